"""Seams that the survey's weights show: lines along which the noise of a coadd changes from one pixel to the next.

Where a detector of one exposure ends, or a patch of one was left out, the weight jumps and is level on both
sides. The PSF jumps with it. Weights that count the light of sources have slopes instead, which are no seams.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.intp]

_LEVEL = 0.35
"""Largest change from one to three pixels beyond a seam, as a share of the change across it (of the logarithm)."""

_REACH = 3

_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Steps (y, x) in which weights rise."""


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
    for y, x, direction in zip(*_steep(ivar, np.float32(ratio * ratio)), _DIRECTIONS, strict=True):
        edge = _long(_rises(ivar, y, x, direction), length)
        if edge.any():
            _spread(found, edge, direction, strip)
    return found & (ivar > 0)


@native
def _steep(ivar: Float32, squared: np.float32) -> tuple[list[Int], list[Int]]:
    """Rows, and columns, of the pixels whose weight before and behind differ by so much, for each direction."""
    height, width = ivar.shape
    places = [[0 for _ in range(0)] for _ in _DIRECTIONS]
    for y in range(height):
        for k, (dy, dx) in enumerate(_DIRECTIONS):
            if dy != 0 and not _REACH <= y < height - _REACH:
                continue
            low, high = (_REACH, width - _REACH) if dx != 0 else (0, width)
            if high <= low:
                continue
            before = ivar[y - dy, low - dx :][: high - low]
            behind = ivar[y + dy, low + dx :][: high - low]
            if not _any_steep(before, behind, squared):
                continue
            for x in range(high - low):
                if behind[x] > squared * before[x] and before[x] > 0:
                    places[k].append(y * width + x + low)
    return [np.array(part) // width for part in places], [np.array(part) % width for part in places]


@native
def _any_steep(before: Float32, behind: Float32, squared: np.float32) -> bool:
    steep = False
    for x in range(len(before)):
        steep |= (behind[x] > squared * before[x]) & (before[x] > 0)
    return steep


def _rises(ivar: Float32, y: Int, x: Int, direction: tuple[int, int]) -> Bool:
    """Those of some pixels that have a level weight before and a larger level one behind in a direction."""
    rises = np.zeros(ivar.shape, bool)
    dy, dx = direction
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = [np.log(ivar[y + step * dy, x + step * dx]) for step in (-_REACH, -1, 1, _REACH)]
        jump = logarithm[2] - logarithm[1]
        slope = np.maximum(np.abs(logarithm[1] - logarithm[0]), np.abs(logarithm[3] - logarithm[2]))
    level = slope <= _LEVEL * jump
    rises[y[level], x[level]] = True
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


def _spread(found: Bool, edge: Bool, direction: tuple[int, int], strip: int) -> None:
    """Flag `strip` pixels before an edge and one behind it; `found` is changed."""
    y, x = np.nonzero(edge)
    for step in range(-strip, 2):
        row, column = y + step * direction[0], x + step * direction[1]
        inside = (row >= 0) & (row < found.shape[0]) & (column >= 0) & (column < found.shape[1])
        found[row[inside], column[inside]] = True
