"""Whether made lenses can be told from real ones: matched pairs of samples, and the probe between them."""
