"""Charts, tables and rollout videos of datasets, and the page that holds them. Computes nothing."""
