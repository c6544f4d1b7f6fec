"""View: charts of datasets, films of agents, and the page that holds them."""
