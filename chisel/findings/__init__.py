"""From datasets to what was found: xarray in, xarray out."""
