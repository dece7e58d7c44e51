"""Detectors of anomalies, several beside one another: lensed quasars among the point-like and extended sources."""
