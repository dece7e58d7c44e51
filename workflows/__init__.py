"""Dask graphs and commands; the only place that knows dask and the command line."""
