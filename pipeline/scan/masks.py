"""Artefacts found from pixels and weights, with the background and noise of a field.

`find` goes through a field twice. The first pass (`masks_profile`) measures what needs the whole field; the
finders of steps, gaps, seams, stars and trails turn that into shapes. The second pass looks at pixels for
saturation, bleeds, bad columns and cosmic rays, paints the shapes, and packs the flags strip by strip. Flags
do not depend on the memory given: blocks are read with a margin as wide as the finders look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.field import FieldImage, PixelBlock
from pipeline.flags import PixelFlag
from pipeline.scan.background import Mesh
from pipeline.scan.masks_apart import apart
from pipeline.scan.masks_columns import find_bad_columns
from pipeline.scan.masks_flags import STRIP_ROWS, FoundFlags, Shape, box, packed
from pipeline.scan.masks_gaps import find_gaps, find_low_exposure, find_seams
from pipeline.scan.masks_ghosts import find_ghosts
from pipeline.scan.masks_profile import FieldProfile, profile
from pipeline.scan.masks_rays import RAY_MARGIN, find_cosmic_rays
from pipeline.scan.masks_saturation import PLATEAU_MARGIN, find_saturation, saturation_levels
from pipeline.scan.masks_sharpness import sharpness
from pipeline.scan.masks_stars import bright_stars, find_stars
from pipeline.scan.masks_steps import StepRule, find_steps
from pipeline.scan.masks_trails import find_trails
from pipeline.scan.masks_weights import find_weight_seams, seam_margin
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]

_BYTES_PER_PIXEL = 40
"""Of one band while a block is searched: three planes, and some passing ones."""


@dataclass(frozen=True)
class FieldMasks:
    """What `find` knows of a field.

    Attributes
    ----------
    bands : tuple of str
    background, noise : Mesh
        nJy, per band; noise is the standard deviation of one pixel.
    found : FoundFlags
    """

    bands: tuple[str, ...]
    background: Mesh
    noise: Mesh
    found: FoundFlags


def find(field_image: FieldImage, config: MasksConfig, memory_mb: float) -> FieldMasks:
    """Find artefacts, background and noise of a field.

    Parameters
    ----------
    field_image : FieldImage
    config : MasksConfig
    memory_mb : float
        What the pixels in hand may take, MB; changes the speed and never the result.

    Raises
    ------
    NoCoverage
        If no band has a valid pixel.
    BadSurveyData
        If one band has none while others do, unless the survey allows that, or all its pixels are equal.
    """
    scale = field_image.pixel_scale
    measured = profile(
        field_image, max(config.background_box / scale, 8.0), config.saturation_snr, config.saturation_flatness
    )
    levels = saturation_levels(field_image, measured)
    sharpest = sharpness(field_image, measured, levels)
    shapes = _shapes(field_image, measured, config)
    stars = find_stars(measured, levels, config, scale) if config.bright_stars or config.ghosts else []
    if config.bright_stars:
        shapes += bright_stars(measured, stars, config, scale)
    if config.ghosts:
        lines = [shape for shape in shapes if shape.flag in (PixelFlag.CHIP_GAP, PixelFlag.TRAIL)]
        shapes += find_ghosts(measured, config, scale, [(star.x, star.y) for star in stars], lines)
    bands, (ny, nx) = len(field_image.bands), field_image.shape
    gaps = find_gaps(measured, config.gap_width / scale) if config.gaps else None
    block_strips = max(1, int(memory_mb * 1e6 / (_BYTES_PER_PIXEL * bands * nx * STRIP_ROWS)))
    strips: list[bytes] = []
    for top in range(0, ny, block_strips * STRIP_ROWS):
        bottom = min(top + block_strips * STRIP_ROWS, ny)
        flags = np.zeros((bands, bottom - top, nx), np.uint16)
        _pixel_flags(flags, field_image, measured, config, top, levels, sharpest)
        for shape in shapes:
            shape.paint(flags[shape.band], top)
        if gaps is not None:
            _paint_gaps(flags, field_image, gaps, measured.bin, top)
        strips += [packed(flags[:, row : row + STRIP_ROWS]) for row in range(0, bottom - top, STRIP_ROWS)]
    found = FoundFlags(tuple(strips), (bands, ny, nx))
    return FieldMasks(field_image.bands, measured.background, measured.noise, found)


def calibrated(field_image: FieldImage, masks: FieldMasks, y0: int, y1: int) -> PixelBlock:
    """Rows of a field as they are detected on, cut and scored.

    The background is subtracted, because surveys differ in whether theirs is; where the survey has no weight
    of its own the noise map gives `ivar`; found flags stand in bits 16-31 of the mask.

    Parameters
    ----------
    y0, y1 : int
        Rows of the field, y1 exclusive.

    Returns
    -------
    PixelBlock
        NaN, `ivar` 0 and NODATA where there is no data, as read, and throughout a band without a usable pixel.
    """
    block = field_image.read(y0, y1)
    image, ivar, mask = block.image, block.ivar, block.mask
    for band in range(image.shape[0]):
        image[band] -= masks.background.band_rows(band, y0, y1)
        if not field_image.has_ivar:
            noise = masks.noise.band_rows(band, y0, y1)
            # A field without weights has ivar 1 where there is data and 0 elsewhere.
            ivar[band] /= noise * noise
        if np.isnan(masks.background.values[band]).any():
            # No pixel of the band could be used, so there is no background to take away: it has no data.
            ivar[band], mask[band] = 0.0, mask[band] | np.uint32(PixelFlag.NODATA)
    mask |= masks.found.rows(y0, y1)
    return PixelBlock(y0, image, ivar, mask)


def _shapes(field_image: FieldImage, measured: FieldProfile, config: MasksConfig) -> list[Shape]:
    """Regions that the first pass alone tells of."""
    scale = field_image.pixel_scale
    rule = StepRule(
        config.step_significance,
        max(2, round(config.step_window / scale)),
        config.step_cells,
        config.step_jump,
        max(1, round(config.step_margin / scale)),
        config.step_strip / scale,
        config.step_lean,
    )
    steps = find_steps(measured, rule) if config.steps else []
    trails = find_trails(measured, config, scale) if config.trails else []
    trails, steps = apart(trails, steps)
    shapes = steps + trails
    if config.seams:
        # In units of the field's typical noise, which may be that of either side.
        shapes += find_seams(measured, replace(rule, jump=1 - 1 / config.seam_ratio))
    if config.low_exposure_fraction > 0:
        shapes += find_low_exposure(measured, config.low_exposure_fraction, config.well_exposed_share)
    if config.edge > 0:
        shapes += _image_edges(field_image, max(1, round(config.edge / scale)))
    return shapes


def _pixel_flags(
    flags: UInt16,
    field_image: FieldImage,
    measured: FieldProfile,
    config: MasksConfig,
    top: int,
    levels: Float32,
    sharpest: Float32,
) -> None:
    """Set the flags of the finders that look at pixels on rows `top`, ...; `flags` is changed."""
    ny = field_image.shape[0]
    scale = field_image.pixel_scale
    column_rows = max(4, round(config.bad_column_length / scale))
    bleed_rows = max(3, round(config.bleed_length / scale))
    bleed_reach = max(bleed_rows, round(config.bleed_reach / scale))
    grow = max(1, round(config.saturation_grow / scale))
    margin = max(RAY_MARGIN + PLATEAU_MARGIN + grow + 2 * bleed_reach + bleed_rows, 2 * column_rows)
    seam = max(3, round(config.seam_length / scale)), max(1, round(config.seam_strip / scale))
    weighed = config.seams and field_image.has_ivar
    if weighed:
        margin = max(margin, seam_margin(*seam))
    bottom = top + flags.shape[1]
    low, high = max(0, top - margin), min(ny, bottom + margin)
    block = field_image.read(low, high)
    inner = slice(top - low, bottom - low)
    excess = np.empty_like(block.image)
    noise = np.empty_like(block.image)
    for band in range(flags.shape[0]):
        excess[band] = block.image[band] - measured.background.band_rows(band, low, high)
        noise[band] = measured.noise.band_rows(band, low, high)
    sharper = (config.cosmic_ray_sharpness * sharpest).tolist()
    taken = np.zeros(excess.shape, bool)
    for band in range(flags.shape[0]):
        if weighed:
            seams = find_weight_seams(block.ivar[band], config.seam_weight_ratio, *seam)
            flags[band][seams[inner]] |= np.uint16(PixelFlag.SEAM)
        if config.saturation and np.isfinite(levels[band]):
            hit = find_saturation(
                excess[band],
                noise[band],
                float(levels[band]),
                config.saturation_flatness,
                bleed_rows,
                bleed_reach,
                grow,
            )
            flags[band] |= hit[inner]
            taken[band] = hit != 0
        if config.bad_columns:
            bad = find_bad_columns(
                excess[band], noise[band], config.bad_column_significance, column_rows, sharper[band]
            )
            taken[band] |= bad
            flags[band][bad[inner]] |= np.uint16(PixelFlag.BADCOLUMN)
    if config.cosmic_rays:
        rays = find_cosmic_rays(
            excess, noise, taken, config.cosmic_ray_significance, sharpest, config.cosmic_ray_sharpness
        )
        flags[rays[:, inner]] |= np.uint16(PixelFlag.COSMIC_RAY)


def _paint_gaps(flags: UInt16, field_image: FieldImage, gaps: npt.NDArray[np.bool_], side: int, top: int) -> None:
    """Flag the pixels without data in the bins that a gap crosses; `flags` is changed."""
    height, width = flags.shape[1:]
    rows = (top + np.arange(height)) // side
    if not gaps[:, rows[0] : rows[-1] + 1].any():
        return
    block = field_image.read(top, top + height)
    columns = np.arange(width) // side
    for band in range(flags.shape[0]):
        unexplained = block.mask[band] == np.uint32(PixelFlag.NODATA)
        inside = gaps[band][rows][:, columns] & unexplained
        flags[band][inside] |= np.uint16(PixelFlag.CHIP_GAP)


def _image_edges(field_image: FieldImage, width: int) -> list[Shape]:
    """The border of the image, `width` pixels wide, in every band."""
    ny, nx = field_image.shape
    borders = [(0, nx, 0, width), (0, nx, ny - width, ny), (0, width, 0, ny), (nx - width, nx, 0, ny)]
    return [box(band, PixelFlag.EDGE, *border) for band in range(len(field_image.bands)) for border in borders]
