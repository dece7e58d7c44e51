"""What an evaluation is made on: pools, real lenses, stamps and detections without a known lens."""
