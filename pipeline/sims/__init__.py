"""Simulated lenses, artefacts and whole synthetic surveys."""
