"""Sources on the noise-weighted stack of bands, in row blocks that give what one whole-field pass would.

A block is detected with a margin of rows on each side and keeps the sources whose centroid lies in its own
rows. A source that reaches from there to the cut would come out different, so the margin grows until none
does. sep shares the pixels around blends out by random numbers that run on from one blend to the next; each
blend is therefore deblended alone, so that it cannot matter what else is in the block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import sep
from scipy.ndimage import find_objects, label

from pipeline.field import FieldImage
from pipeline.notes import note
from pipeline.scan.masks import FieldMasks, calibrated
from pipeline.scan_config import DetectConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

CENTROID_STEP = 1024.0
"""Centroids are rounded to this part of a pixel, so that the row a block starts at cannot move them."""

AB_ZERO_NJY = 31.4
"""AB magnitude of 1 nJy."""

_STACK_BYTES = 60
_PLANE_BYTES = 16
_FIRST_MARGIN = 32
_EDGE_ROWS = 2
_EIGHT = np.ones((3, 3), np.int32)
_TOO_MUCH = ("pixel buffer full", "deblending overflow")


def find_sources(
    field_image: FieldImage, masks: FieldMasks, config: DetectConfig, memory_mb: float
) -> tuple[Float64, Float64]:
    """Centroids of the sources of a field.

    The stack is sum(ivar x image) / sqrt(sum(ivar)) over the bands, each pixel in units of its own noise,
    smoothed with the 3 x 3 kernel (1 2 1) x (1 2 1) / 16 of Source Extractor. A source is at least
    `min_area_pix` connected pixels (diagonals count) above `threshold`, deblended with sep.

    Parameters
    ----------
    field_image : FieldImage
    masks : FieldMasks
    config : DetectConfig
        `bands` names those of the stack; none means all.
    memory_mb : float
        Height of the row blocks. The result is the same for every value, as long as a connected source fits
        in three blocks; one that does not is cut at the block, with a warning.

    Returns
    -------
    x, y : float64 (n,), pixels
        Barycentres of the smoothed stack, in multiples of 1/1024; sorted by y, then x.
    """
    ny, nx = field_image.shape
    chosen = [field_image.bands.index(band) for band in (config.bands or field_image.bands)]
    height = max(64, int(memory_mb * 1e6 / 3 / (_STACK_BYTES * nx)))
    found = [
        _block_sources(field_image, masks, config, chosen, y0, min(y0 + height, ny), height, memory_mb)
        for y0 in range(0, ny, height)
    ]
    x = np.concatenate([part[0] for part in found])
    y = np.concatenate([part[1] for part in found])
    order = np.lexsort((x, y))
    return x[order], y[order]


def aperture_magnitudes(
    field_image: FieldImage, masks: FieldMasks, x: Float64, y: Float64, radius: float, memory_mb: float
) -> Float32:
    """AB magnitudes in circular apertures: float32 (n, band).

    Parameters
    ----------
    x, y : float64 (n,), pixels
    radius : float
        Pixels. Pixels without data are left out and count as average ones do (sep's rule for masks).

    Returns
    -------
    float32 (n, band)
        31.4 - 2.5 log10(flux in nJy); NaN where the flux is not positive or the aperture has no data.
    """
    ny, nx = field_image.shape
    bands = len(field_image.bands)
    mags = np.full((len(x), bands), np.nan, np.float32)
    reach = int(np.ceil(radius)) + 2
    height = max(4 * reach, int(memory_mb * 1e6 / (_PLANE_BYTES * bands * nx)))
    order = np.argsort(y, kind="stable")
    for y0 in range(0, ny, height):
        start, stop = np.searchsorted(y[order], [y0 - 0.5, min(y0 + height, ny) - 0.5])
        rows = order[start:stop]
        if rows.size == 0:
            continue
        low, high = max(0, y0 - reach), min(ny, y0 + height + reach)
        block = calibrated(field_image, masks, low, high)
        for band in range(bands):
            image = block.image[band]
            absent = ~np.isfinite(image)
            image[absent] = 0.0
            flux, _, _ = sep.sum_circle(image, x[rows], y[rows] - low, radius, mask=absent, subpix=5)
            with np.errstate(divide="ignore", invalid="ignore"):
                mags[rows, band] = np.where(flux > 0, AB_ZERO_NJY - 2.5 * np.log10(flux), np.nan)
    return mags


def smoothed_stack(
    field_image: FieldImage, masks: FieldMasks, chosen: list[int], y0: int, y1: int, memory_mb: float
) -> Float32:
    """The stack of the chosen bands on rows y0 to y1 (exclusive) in units of its noise, smoothed; float32 (y, x).

    0 where no chosen band has data. The first and last rows are not smoothed along y.
    """
    nx = field_image.shape[1]
    stack = np.zeros((y1 - y0, nx), np.float32)
    step = max(16, int(memory_mb * 1e6 / 3 / (_PLANE_BYTES * len(field_image.bands) * nx)))
    for low in range(y0, y1, step):
        high = min(low + step, y1)
        block = calibrated(field_image, masks, low, high)
        signal = np.zeros((high - low, nx), np.float32)
        weight = np.zeros((high - low, nx), np.float32)
        for band in chosen:
            ivar = block.ivar[band]
            signal += np.where(ivar > 0, block.image[band], np.float32(0.0)) * ivar
            weight += ivar
        stack[low - y0 : high - y0] = np.where(weight > 0, signal / np.sqrt(np.where(weight > 0, weight, 1)), 0)
    lines = stack.copy()
    lines[:, 1:-1] = (stack[:, :-2] + 2 * stack[:, 1:-1] + stack[:, 2:]) * np.float32(0.25)
    smooth = np.where(stack != 0, lines, np.float32(0.0))
    smooth[1:-1] = (lines[:-2] + 2 * lines[1:-1] + lines[2:]) * np.float32(0.25)
    smooth[stack == 0] = 0.0
    return smooth


def _block_sources(
    field_image: FieldImage,
    masks: FieldMasks,
    config: DetectConfig,
    chosen: list[int],
    y0: int,
    y1: int,
    height: int,
    memory_mb: float,
) -> tuple[Float64, Float64]:
    """Sources whose centroid lies on rows y0 to y1 (exclusive), as the whole field would give them."""
    ny = field_image.shape[0]
    margin = _FIRST_MARGIN
    while True:
        low, high = max(0, y0 - margin), min(ny, y1 + margin)
        stack = smoothed_stack(field_image, masks, chosen, low, high, memory_mb)
        labels = np.zeros(stack.shape, np.int32)
        number = int(label(stack > config.threshold, structure=_EIGHT, output=labels))
        cut = _cut_labels(labels, low > 0, high < ny)
        inside = np.zeros(number + 1, bool)
        inside[labels[y0 - low : y1 - low].ravel()] = True
        blocked = cut[inside[cut] & (cut > 0)]
        if not blocked.size:
            break
        if margin >= height:
            note(
                f"field {field_image.field.field_id}: a source on rows {y0}-{y1} is taller than the {high - low} rows "
                "that the memory allows and was cut; raise memory in the scan's configuration."
            )
            break
        margin = min(2 * margin, max(height, _FIRST_MARGIN))
    x, y = _measure(stack, labels, number, config, np.setdiff1d(cut, blocked))
    y += low
    own = (y >= y0 - 0.5) & (y < y1 - 0.5)
    return x[own], y[own]


def _cut_labels(labels: Int32, at_start: bool, at_end: bool) -> Int32:
    """Labels that touch rows which the cut has changed, where the block is cut."""
    edges = [labels[:_EDGE_ROWS]] * at_start + [labels[-_EDGE_ROWS:]] * at_end
    return np.unique(np.concatenate([edge.ravel() for edge in edges])) if edges else np.zeros(0, np.int32)


def _measure(
    stack: Float32, labels: Int32, number: int, config: DetectConfig, skipped: Int32
) -> tuple[Float64, Float64]:
    """Centroids of all connected regions but the skipped ones, deblended."""
    if number == 0:
        return np.zeros(0), np.zeros(0)
    wanted = np.bincount(labels.ravel(), minlength=number + 1) >= config.min_area_pix
    wanted[0] = False
    wanted[skipped] = False
    simple = np.bincount(_crests(stack, labels), minlength=number + 1) <= 1
    places = find_objects(labels)
    x, y = _barycentres(stack, labels, places, np.flatnonzero(wanted & simple))
    blends = [
        position
        for index in np.flatnonzero(wanted & ~simple)
        for position in _deblended(stack, labels, int(index), places[index - 1], config)
    ]
    x = np.concatenate([x, [position[0] for position in blends]])
    y = np.concatenate([y, [position[1] for position in blends]])
    return np.rint(x * CENTROID_STEP) / CENTROID_STEP, np.rint(y * CENTROID_STEP) / CENTROID_STEP


def _crests(stack: Float32, labels: Int32) -> Int32:
    """The label of every pixel that none of its eight neighbours exceeds."""
    y, x = np.nonzero(labels)
    here = stack[y, x]
    highest = np.ones(len(y), bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row = np.clip(y + dy, 0, stack.shape[0] - 1)
            column = np.clip(x + dx, 0, stack.shape[1] - 1)
            highest &= here >= stack[row, column]
    return labels[y[highest], x[highest]]


def _barycentres(
    stack: Float32, labels: Int32, places: list[tuple[slice, slice]], chosen: npt.NDArray[np.int64]
) -> tuple[Float64, Float64]:
    """Barycentres of regions that have one crest and so nothing to deblend, as sep would give them."""
    if chosen.size == 0:
        return np.zeros(0), np.zeros(0)
    number = len(places) + 1
    ours = np.zeros(number, bool)
    ours[chosen] = True
    rows, columns = np.nonzero(ours[labels])
    index = labels[rows, columns]
    # Sums from each region's own corner have the same bits wherever the region lies in the block.
    top, left = np.zeros(number, np.int64), np.zeros(number, np.int64)
    top[chosen] = [places[region - 1][0].start for region in chosen]
    left[chosen] = [places[region - 1][1].start for region in chosen]
    light = stack[rows, columns].astype(np.float64)
    total = np.bincount(index, light, number)[chosen]
    x = np.bincount(index, light * (columns - left[index]), number)[chosen] / total + left[chosen]
    y = np.bincount(index, light * (rows - top[index]), number)[chosen] / total + top[chosen]
    return x, y


def _deblended(
    stack: Float32, labels: Int32, index: int, place: tuple[slice, slice], config: DetectConfig
) -> Iterator[tuple[float, float]]:
    """Centroids of the sources in one connected region."""
    # A border of zeros, because sep ends a region at the array's edge as if it went on.
    inside = labels[place] == index
    alone = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2), np.float32)
    alone[1:-1, 1:-1] = np.where(inside, stack[place], np.float32(0.0))
    top, left = place[0].start - 1, place[1].start - 1
    for x, y in _taken_apart(alone, config, config.threshold):
        yield x + left, y + top


def _taken_apart(alone: Float32, config: DetectConfig, threshold: float) -> list[tuple[float, float]]:
    """Centroids of the sources that sep finds in one region; what is too much for it is cut at twice the threshold.

    sep holds 300,000 pixels and 1,024 parts of a region: more is no galaxy but a field that is all artefact. What
    stands out of it is still found, and a region that nothing stands out of is one source.
    """
    try:
        sources = sep.extract(
            alone,
            threshold,
            minarea=config.min_area_pix,
            filter_kernel=None,
            deblend_nthresh=config.deblend_levels,
            deblend_cont=config.deblend_contrast,
            clean=False,
        )
    except Exception as error:  # sep has no class of its own for this
        if not any(words in str(error) for words in _TOO_MUCH):
            raise
    else:
        return [(float(x), float(y)) for x, y in zip(sources["x"], sources["y"], strict=True)]
    if threshold == config.threshold:
        note(
            f"{int((alone > threshold).sum()):,} connected pixels are above {threshold:g} times the noise, too many to "
            "deblend: sources were looked for at higher thresholds there. Look at the field, and at the survey's masks."
        )
    labels = np.zeros(alone.shape, np.int32)
    label(alone > 2 * threshold, structure=_EIGHT, output=labels)
    parts: list[tuple[float, float]] = []
    for index, place in enumerate(find_objects(labels), start=1):
        inside = labels[place] == index
        if int(inside.sum()) < config.min_area_pix:
            continue
        part = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2), np.float32)
        part[1:-1, 1:-1] = np.where(inside, alone[place], np.float32(0.0))
        top, left = place[0].start - 1, place[1].start - 1
        parts += [(x + left, y + top) for x, y in _taken_apart(part, config, 2 * threshold)]
    if parts:
        return parts
    y, x = np.nonzero(alone)
    light = alone[y, x].astype(np.float64)
    return [(float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum()))]
