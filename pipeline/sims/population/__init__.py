"""Draws of galaxies, stars, deflectors, sources and quasars."""
