"""How well a share of so many is known."""

from __future__ import annotations

import math
from typing import NamedTuple


class Share(NamedTuple):
    """A share and its 95 % interval; None of so many is 0 with an interval, of none at all None."""

    value: float | None
    low: float
    high: float


def share(count: float, total: float, z: float = 1.96) -> Share:
    """A share with the interval of Wilson (1927, JASA 22, 209).

    Parameters
    ----------
    count, total : float
        0 <= count <= total.
    z : float
        Half-width in standard deviations of a normal distribution.
    """
    if total <= 0:
        return Share(None, 0.0, 1.0)
    p, spread = count / total, z * z / total
    middle = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / total + spread / (4 * total))
    return Share(p, max(0.0, middle - half) if count else 0.0, min(1.0, middle + half) if count < total else 1.0)
