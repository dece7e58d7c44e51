"""What simulations are told: the tables of `configs/sims`, with units."""
