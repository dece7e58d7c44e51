"""What detectors, satellites, cosmic rays and bright stars do to an image, and the truth about it."""
