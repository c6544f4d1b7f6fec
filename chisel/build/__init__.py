"""From a study and its world to what training needs."""
