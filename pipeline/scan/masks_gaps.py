"""Gaps without data, pixels of little exposure, and seams of noise, from the first pass over a field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, label

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, box
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.masks_steps import StepRule, line_edges

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_ROOT_2 = np.float32(np.sqrt(2.0))

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


def find_low_exposure(profile: FieldProfile, fraction: float, share: float) -> list[Shape]:
    """Cells whose noise says that they have less than `fraction` of the exposure that a `share` of the field has.

    Noise goes with the inverse square root of exposure, so the cell's noise is above that quantile of the
    field's divided by the root of `fraction`; the median would be the shallow part's where that is half of the field.
    Measured from pixels, whether or not the survey gives weights.
    """
    shapes = []
    for band, noise in enumerate(profile.scatter):
        poor = noise > np.quantile(noise, share) / np.sqrt(fraction)
        for cell_y, cell_x in zip(*np.nonzero(poor), strict=True):
            shapes.append(_cell_box(profile, band, PixelFlag.LOW_EXPOSURE, int(cell_y), int(cell_x)))
    return shapes


def find_seams(profile: FieldProfile, rule: StepRule) -> list[Shape]:
    """Lines near rows or columns where the noise changes, through several cells: boxes flagged SEAM.

    The scatter of the pixels of each column or row inside a cell steps there as the background does at a detector's
    edge, and the same votes tell (`masks_steps`); a standard deviation is known better than a mean by the root of two.

    Parameters
    ----------
    profile : FieldProfile
    rule : StepRule
        `jump` is the smallest change of the noise, in units of the field's typical noise.
    """
    shapes = []
    for band, noise in enumerate(profile.scatter):
        for upright in (True, False):
            if upright:
                spread, errors, plane = profile.columns_spread[band], profile.columns_error[band], noise
                along = profile.y_edges
            else:
                spread, errors, plane = profile.rows_spread[band].T, profile.rows_error[band].T, noise.T
                along = profile.x_edges
            edges = line_edges(np.ascontiguousarray(spread), (errors / _ROOT_2).astype(np.float32), plane, along, rule)
            for cell, line in zip(*np.nonzero(edges), strict=True):
                low, high = max(int(line) - rule.margin, 0), min(int(line) + rule.margin, spread.shape[1])
                first, last = int(along[cell]), int(along[cell + 1])
                place = (low, high, first, last) if upright else (first, last, low, high)
                shapes.append(box(band, PixelFlag.SEAM, *place))
    return shapes


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
