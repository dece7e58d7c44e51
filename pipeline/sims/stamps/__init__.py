"""Pools of wholly simulated stamps, for training."""
