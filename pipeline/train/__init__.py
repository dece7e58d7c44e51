"""Training: one loop, one idea a file."""
