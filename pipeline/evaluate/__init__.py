"""Figures of merit and calibration."""
