"""How well drawn maps agree with true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


def overlap(drawn: Bool, truth: Bool) -> Float64:
    """Intersection over union of each pair of maps, (n,); NaN where neither shows anything.

    Parameters
    ----------
    drawn, truth : bool (n, y, x)
    """
    union = (drawn | truth).sum(axis=(1, 2))
    both = (drawn & truth).sum(axis=(1, 2))
    shares: Float64 = np.divide(both, union, out=np.full(len(union), np.nan), where=union > 0)
    return shares


def peak_distance(drawn: npt.NDArray[np.floating], truth: Bool) -> Float64:
    """Pixels from the highest pixel of each drawn map to the nearest one that is truly lit, (n,).

    Parameters
    ----------
    drawn : (n, y, x)
        The first of equal peaks counts.
    truth : bool (n, y, x)

    Returns
    -------
    float64 (n,)
        0 on a lit pixel, 1 beside one, 1.41 at a corner of one; infinite where nothing is lit.
    """
    distances = np.full(len(drawn), np.inf)
    for index, (plane, lit) in enumerate(zip(drawn, truth, strict=True)):
        if lit.any():
            y, x = np.unravel_index(int(np.argmax(plane)), plane.shape)
            distances[index] = distance_transform_edt(~lit)[y, x]
    return distances
