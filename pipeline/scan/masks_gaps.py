"""Gaps without data, pixels of little exposure, and seams of noise, from the first pass over a field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, label

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, box
from pipeline.scan.masks_profile import FieldProfile

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

ELONGATION = 3.0
"""A gap is at least this many times longer than wide; rounder holes are some survey's star masks."""


def find_gaps(profile: FieldProfile, width_pix: float) -> Bool:
    """Bins crossed by a gap between detectors.

    A gap is a long strip without data that has data on both sides within `width_pix`, along rows or along
    columns. The empty corners of a rotated field have data on one side only and are no gap.

    Returns
    -------
    bool (band, bin_y, bin_x)
        The pixels without data in these bins are the gap's.
    """
    reach = max(1, int(np.ceil(width_pix / profile.bin)))
    gaps = np.zeros(profile.empty.shape, bool)
    for band, empty in enumerate(profile.empty):
        lacking = empty > 0
        if not lacking.any():
            continue
        for transpose in (False, True):
            plane = lacking.T if transpose else lacking
            bounded = plane & _between_data(plane, reach)
            kept = _elongated(bounded)
            gaps[band] |= kept.T if transpose else kept
        gaps[band] = binary_dilation(gaps[band], iterations=1) & lacking
    return gaps


def find_low_exposure(profile: FieldProfile, fraction: float) -> list[Shape]:
    """Cells whose noise says that they have less than `fraction` of the field's typical exposure.

    Noise goes with the inverse square root of exposure, so the cell's noise is above the field's median
    divided by the root of `fraction`. Measured from pixels, whether or not the survey gives weights.
    """
    shapes = []
    for band, noise in enumerate(profile.noise.values):
        poor = noise > np.median(noise) / np.sqrt(fraction)
        for cell_y, cell_x in zip(*np.nonzero(poor), strict=True):
            shapes.append(_cell_box(profile, band, PixelFlag.LOW_EXPOSURE, int(cell_y), int(cell_x)))
    return shapes


def find_seams(profile: FieldProfile, ratio: float, margin: int) -> list[Shape]:
    """Lines along rows or columns where the noise changes by more than `ratio` over at least three cells.

    The mesh tells between which cells, the spread of the columns or rows inside them tells where.

    Parameters
    ----------
    profile : FieldProfile
    ratio : float
        Smallest ratio of the noise on the two sides.
    margin : int
        Pixels flagged on each side of the line.
    """
    shapes = []
    for band, noise in enumerate(profile.noise.values):
        for upright in (True, False):
            plane = noise if upright else noise.T
            across, along = (profile.x_edges, profile.y_edges) if upright else (profile.y_edges, profile.x_edges)
            spread = profile.columns_spread[band] if upright else profile.rows_spread[band].T
            for cell, start, stop in _noise_steps(np.log(plane), float(np.log(ratio))):
                line = _steepest(spread[start:stop], int(across[cell]), int(across[cell + 2]))
                low, high = max(line - margin, 0), min(line + margin, int(across[-1]))
                first, last = int(along[start]), int(along[stop])
                place = (low, high, first, last) if upright else (first, last, low, high)
                shapes.append(box(band, PixelFlag.SEAM, *place))
    return shapes


def _steepest(spread: Float32, low: int, high: int) -> int:
    """First pixel after the largest change of the mean spread between `low` and `high` (exclusive)."""
    known = np.isfinite(spread[:, low:high])
    values = np.where(known, spread[:, low:high], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    window = max(4, (high - low) // 10)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(window, values.size - window + 1)
    change = np.abs(sums[at + window] - 2 * sums[at] + sums[at - window])
    return low + int(at[np.argmax(change)]) if at.size else (low + high) // 2


def _noise_steps(plane: Float32, jump: float) -> list[tuple[int, int, int]]:
    """Columns whose right neighbour differs by `jump`, with runs of at least three rows of one sign."""
    steps = []
    difference = np.diff(plane, axis=1)
    for sign in (1.0, -1.0):
        over = difference * sign > jump
        for cell in range(over.shape[1]):
            padded = np.concatenate(([False], over[:, cell], [False])).astype(np.int8)
            turns = np.flatnonzero(np.diff(padded))
            for start, stop in zip(turns[::2], turns[1::2], strict=True):
                if stop - start >= 3:
                    steps.append((cell, int(start), int(stop)))
    return steps


def _between_data(empty: Bool, reach: int) -> Bool:
    """Where the nearest data on the left and on the right are together at most `reach` bins apart."""
    width = empty.shape[1]
    index = np.arange(width)[None, :]
    left = np.maximum.accumulate(np.where(empty, -(10**9), index), axis=1)
    right = np.minimum.accumulate(np.where(empty, 10**9, index)[:, ::-1], axis=1)[:, ::-1]
    between: Bool = (right - left) <= reach + 1
    return between


def _elongated(plane: Bool) -> Bool:
    """The connected parts of a plane that are `ELONGATION` times taller than wide."""
    labels, _ = label(plane, structure=np.ones((3, 3)))
    kept = np.zeros_like(plane)
    for number, place in enumerate(find_objects(labels), start=1):
        height, width = (part.stop - part.start for part in place)
        if height >= ELONGATION * width:
            kept[place] |= labels[place] == number
    return kept


def _cell_box(profile: FieldProfile, band: int, flag: PixelFlag, cell_y: int, cell_x: int) -> Shape:
    return box(
        band,
        flag,
        int(profile.x_edges[cell_x]),
        int(profile.x_edges[cell_x + 1]),
        int(profile.y_edges[cell_y]),
        int(profile.y_edges[cell_y + 1]),
    )
