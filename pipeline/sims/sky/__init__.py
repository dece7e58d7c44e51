"""Synthetic surveys: overlapping fields as FITS files, with the truth."""
