"""Fitting calibrations and rules of combination, and comparing them on what their fit has not seen."""
