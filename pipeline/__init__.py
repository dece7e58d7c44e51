"""Strong lens finding on one field: types and functions; no Dask, no command line below here."""
