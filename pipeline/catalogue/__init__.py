"""Catalogues: query, difference, report."""
