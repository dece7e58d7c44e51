"""Readers and writers: FITS, Zarr, Parquet, products and stamps; nothing is computed here."""
