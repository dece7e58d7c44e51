"""Real galaxies, of HST images, as what is lensed."""
