"""Networks, trained packages and ensembles."""
