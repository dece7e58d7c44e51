"""PSFs of real images: measured from stars, or read from PSFEx files."""
