"""Seams that the survey's weights show: lines along which the noise of a coadd changes from one pixel to the next.

Where a detector of one exposure ends, or a patch of one was left out, the weight jumps and is level on both
sides. The PSF jumps with it. Weights that count the light of sources have slopes instead, which are no seams.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_LEVEL = 0.35
"""Largest change from one to three pixels beyond a seam, as a share of the change across it (of the logarithm)."""

_REACH = 3


def seam_margin(length: int, strip: int) -> int:
    """Rows beyond a pixel that its answer depends on."""
    return 2 * length + strip + _REACH


def find_weight_seams(ivar: Float32, ratio: float, length: int, strip: int) -> Bool:
    """Pixels along the seams of one band's weights.

    Parameters
    ----------
    ivar : float32 (y, x), nJy^-2
        0 where there is no data, which makes no seam.
    ratio : float
        Smallest ratio of the noise on the two sides.
    length : int
        Shortest seam, pixels.
    strip : int
        Pixels flagged on the side with the larger noise; on the other it is one or two. A survey leaves the outermost
        pixels of a detector out of its coadd, so that a detector's edge lies on the side with fewer exposures.

    Returns
    -------
    bool (y, x)
        Pixels with data.
    """
    found = np.zeros(ivar.shape, bool)
    for turned in (False, True):
        plane, result = (ivar.T, found.T) if turned else (ivar, found)
        for deeper in (False, True):
            # Rows that noise grows along are those that it shrinks along when the plane is upside down.
            part, target = (plane[::-1], result[::-1]) if deeper else (plane, result)
            edge = _long(_rises(part, ratio), length)
            if edge.any():
                _spread(target, edge, strip)
    return found & (ivar > 0)


def _rises(ivar: Float32, ratio: float) -> Bool:
    """Pixels between a row below that has less weight and a row above that has more, both level beyond."""
    rises = np.zeros(ivar.shape, bool)
    if ivar.shape[0] <= 2 * _REACH:
        return rises
    below, above = ivar[_REACH - 1 : -_REACH - 1], ivar[_REACH + 1 : -_REACH + 1]
    y, x = np.nonzero((above > np.float32(ratio * ratio) * below) & (below > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = [np.log(ivar[y + step, x]) for step in (0, 2, 4, 6)]
    jump = logarithm[2] - logarithm[1]
    slope = np.maximum(np.abs(logarithm[1] - logarithm[0]), np.abs(logarithm[3] - logarithm[2]))
    level = slope <= _LEVEL * jump
    rises[y[level] + _REACH, x[level]] = True
    return rises


def _long(edge: Bool, length: int) -> Bool:
    """The connected parts of an edge that are as large as one of `length` columns and its two rows."""
    if not edge.any():
        return edge
    labels, _ = label(edge, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    kept = sizes >= 2 * length
    kept[0] = False
    return np.asarray(kept[labels], bool)


def _spread(found: Bool, edge: Bool, strip: int) -> None:
    """Flag `strip` rows below an edge and one above it; `found` is changed."""
    y, x = np.nonzero(edge)
    for step in range(-strip, 2):
        inside = (y + step >= 0) & (y + step < found.shape[0])
        found[y[inside] + step, x[inside]] = True
