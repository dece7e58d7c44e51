"""Completeness against what is known of the lenses, and the false-positive share by what the others are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics import share_above

MOST_BINS, LEAST_IN_BIN, MOST_NAMES = 8, 15, 20


@dataclass(frozen=True)
class Slice:
    """Share above a threshold, with its 68 % Wilson interval, of the `n` stamps, in `groups`, of a bin or a kind.

    Attributes
    ----------
    column : str
    lens : bool
        Whether lenses are counted (completeness) or others (false-positive share).
    label : str
        The bin or the name.
    middle : float or None
        Median of the column in the bin; None for a name.
    value, low, high : float
    n, groups : int
    """

    column: str
    lens: bool
    label: str
    middle: float | None
    value: float
    low: float
    high: float
    n: int
    groups: int


def breakdown(
    column: str,
    values: npt.NDArray[Any],
    lens: npt.NDArray[np.bool_],
    above: npt.NDArray[np.bool_],
    groups: npt.NDArray[Any] | None = None,
) -> list[Slice]:
    """Slices of a column: of the lenses, and of the others where it holds names.

    Parameters
    ----------
    column : str
    values : (n,)
        Numbers make bins of equal count over the lenses (at least `LEAST_IN_BIN` in each, NaN left out); names and
        booleans a slice each, the commonest `MOST_NAMES`.
    lens, above : bool (n,)
        The label; whether the score passes the threshold.
    groups : (n,), optional
        Equal where stamps belong together; None: each for itself.
    """
    together = np.arange(len(lens)) if groups is None else groups
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and len(np.unique(values)) > MOST_NAMES):
        return _bins(column, values[lens].astype(np.float64), above[lens], together[lens])
    slices = []
    for of_lenses in (True, False):
        names, counts = np.unique(values[lens == of_lenses], return_counts=True)
        for name in names[np.argsort(-counts, kind="stable")][:MOST_NAMES]:
            chosen = (values == name) & (lens == of_lenses)
            if str(name):
                slices.append(_slice(column, of_lenses, str(name), None, above[chosen], together[chosen]))
    return slices


def _bins(
    column: str, values: npt.NDArray[np.float64], above: npt.NDArray[np.bool_], groups: npt.NDArray[Any]
) -> list[Slice]:
    known = np.flatnonzero(np.isfinite(values))
    count = min(MOST_BINS, max(1, len(known) // LEAST_IN_BIN))
    order = known[np.argsort(values[known], kind="stable")]
    slices = []
    for part in np.array_split(order, count):
        if len(part):
            low, high = values[part[0]], values[part[-1]]
            middle = float(np.median(values[part]))
            slices.append(_slice(column, True, f"{low:.3g} – {high:.3g}", middle, above[part], groups[part]))
    return slices


def _slice(
    column: str,
    lens: bool,
    label: str,
    middle: float | None,
    above: npt.NDArray[np.bool_],
    groups: npt.NDArray[Any],
) -> Slice:
    found = share_above(above, groups)
    return Slice(column, lens, label, middle, found.value, found.low, found.high, len(above), len(np.unique(groups)))
