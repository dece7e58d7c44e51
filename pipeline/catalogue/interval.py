"""The interval of a measured share."""

from __future__ import annotations

import math


def wilson(p: float, n: float) -> tuple[float, float]:
    """The 68 % interval of a share `p` of `n` independent trials, n > 0 (Wilson 1927, JASA 22, 209, at one sigma)."""
    centre = (p + 0.5 / n) / (1 + 1 / n)
    half = math.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)
    # Rounding must not leave a share of all, or of none, outside its own interval.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
