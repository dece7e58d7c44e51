"""Lenses injected into real galaxies, of a scan or of a folder of stamps."""
