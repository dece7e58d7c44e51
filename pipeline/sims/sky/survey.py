"""A synthetic survey of overlapping fields, as FITS files with a truth that can be scored against.

Fields lie on one tangent plane, each with its own noise and artefacts over the same objects. A field is made in
strips of rows, so memory is bounded by the strip whatever the field's size: objects come from templates
(`objects`), noise and artefacts have a random stream a strip, and rows go straight to the files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ProductMismatch
from pipeline.geometry import FieldGeometry, to_sky
from pipeline.sims.artefacts.kinds import put_all
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.artefacts.window import Artefact, Window
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.render.conditions import sky_level, sky_sigma
from pipeline.sims.render.image import Psf
from pipeline.sims.sky.artefacts import field_artefacts, spared_artefacts
from pipeline.sims.sky.fields import Field, Sky
from pipeline.sims.sky.files import (
    ARTEFACT_SCHEMA,
    LENS_SCHEMA,
    OBJECT_SCHEMA,
    StripWriter,
    field_wcs,
    image_cards,
    mask_bits,
    native_mask,
    survey_text,
    write_table,
)
from pipeline.sims.sky.lenses import PlantedLens, plant_lenses
from pipeline.sims.sky.objects import SkyObjects, add_objects, make_templates, objects_in
from pipeline.sims.sky.truth import artefact_row, lens_rows

_MARGIN = 128
"""Pixels around a field in which objects may lie that shine into it."""


def write_survey(config: SkyConfig, folder: Path, seed: int, progress: Callable[[str], None] | None = None) -> Path:
    """Write a synthetic survey; the same bytes for the same config, seed and software.

    Gives `survey.toml`, `truth.parquet` (lenses), `artefacts.parquet`, and a folder a field with
    `<field>_<band>.fits` (nJy, 0 where there is no data), `<field>_<band>_ivar.fits` (nJy^-2),
    `<field>_<band>_mask.fits` where the config has a mask plane, `<field>_objects.parquet`, and `<field>_truth.fits`
    (PixelFlag bits of artefacts in any band) where it asks for truth masks.

    Parameters
    ----------
    config : SkyConfig
    folder : Path
        Is made.
    seed : int
    progress : callable, optional
        Gets a line for each field.

    Returns
    -------
    Path
        The survey's TOML.

    Raises
    ------
    ProductMismatch
        If the folder holds a survey already.
    """
    toml = folder / "survey.toml"
    if toml.exists():
        raise ProductMismatch(f"{folder} holds a survey already; give another folder or delete it.")
    folder.mkdir(parents=True, exist_ok=True)
    sky = _prepare(config, seed)
    fields = _fields(sky)
    artefact_rows: list[dict[str, Any]] = []
    for field in fields:
        if progress is not None:
            progress(f"field {field.field_id} ({field.number + 1} of {len(fields)})")
        artefacts = field_artefacts(sky, field)
        _write_field(sky, field, artefacts, folder / field.field_id)
        artefact_rows += [artefact_row(config, field, artefact) for artefact in artefacts]
    write_table(folder / "truth.parquet", pa.Table.from_pylist(lens_rows(sky, fields), schema=LENS_SCHEMA))
    write_table(folder / "artefacts.parquet", pa.Table.from_pylist(artefact_rows, schema=ARTEFACT_SCHEMA))
    # Last, so that a folder with a survey.toml holds a whole survey.
    toml.write_text(survey_text(config), encoding="utf-8")
    return toml


def _prepare(config: SkyConfig, seed: int) -> Sky:
    layout = config.layout
    step = layout.size - layout.overlap
    plane = ((layout.rows - 1) * step + layout.size, (layout.columns - 1) * step + layout.size)
    fwhm = np.array([config.seeing[band] for band in config.bands])
    conditions = [config.conditions[band] for band in config.bands]
    sigma = sky_sigma(np.array([item.depth for item in conditions]), fwhm, config.pixel_scale)
    level = sky_level(np.array([item.sky_brightness for item in conditions]), config.pixel_scale)
    psf = Psf(fwhm, config.moffat_beta)
    templates = make_templates(config, psf, sigma, seed)
    lenses = plant_lenses(config, psf, sigma, plane, seed)
    sky = Sky(config, seed, plane, sigma, level, psf, templates, lenses, [])
    rng = np.random.default_rng([seed, 4])
    number = config.artefacts.get("star", 0) * layout.columns * layout.rows
    stars = [star for _ in range(number) for star in spared_artefacts(sky, "star", plane, (0, 0), rng)]
    return replace(sky, stars=[star for star in stars if isinstance(star, BrightStar)])


def _fields(sky: Sky) -> list[Field]:
    layout = sky.config.layout
    step = layout.size - layout.overlap
    fields: list[Field] = []
    for row in range(layout.rows):
        for column in range(layout.columns):
            origin = (column * step, row * step)
            field_id = f"f{row:02d}-{column:02d}"
            geometry = FieldGeometry(field_id, (layout.size, layout.size), field_wcs(sky.config, origin, sky.plane))
            fields.append(Field(len(fields), field_id, origin, geometry))
    return fields


def _write_field(sky: Sky, field: Field, artefacts: list[Artefact], folder: Path) -> None:
    """Make a field strip by strip and write its planes."""
    config, size = sky.config, sky.config.layout.size
    folder.mkdir(exist_ok=True)
    x0, y0 = field.origin
    x, y = (x0 - _MARGIN, x0 + size + _MARGIN), (y0 - _MARGIN, y0 + size + _MARGIN)
    objects = objects_in(config, sky.templates, sky.seed, x, y)
    _write_objects(field, objects, folder)
    order = np.argsort(objects.row, kind="stable")
    objects = _some(objects, order)
    bits = mask_bits(config)
    with ExitStack() as stack:
        writers = {
            (plane, band): stack.enter_context(_writer(config, field, folder, plane, band))
            for plane in ("image", "ivar", *(("mask",) if bits else ()))
            for band in config.bands
        }
        truth = stack.enter_context(_writer(config, field, folder, "truth", "")) if config.truth_masks else None
        for number, first in enumerate(range(0, size, config.strip)):
            window = _strip(sky, field, objects, artefacts, number, first, min(config.strip, size - first))
            for index, band in enumerate(config.bands):
                writers["image", band].write(np.nan_to_num(window.image[index], nan=0.0))
                writers["ivar", band].write(window.ivar[index])
                if bits:
                    writers["mask", band].write(native_mask(window.mask[index], bits))
            if truth is not None:
                truth.write(np.bitwise_or.reduce(window.mask, axis=0))


def _strip(
    sky: Sky, field: Field, objects: SkyObjects, artefacts: list[Artefact], number: int, first: int, rows: int
) -> Window:
    config, size = sky.config, sky.config.layout.size
    x0, y0 = field.origin[0], field.origin[1] + first
    image = np.zeros((len(config.bands), rows, size), np.float32)
    low, high = np.searchsorted(objects.row, (y0 - _MARGIN, y0 + rows + _MARGIN))
    add_objects(image, _some(objects, slice(low, high)), sky.templates, x0, y0)
    for lens in sky.lenses:
        _add(image, lens, x0, y0)
    ivar = np.empty_like(image)
    for band in range(len(config.bands)):
        rng = np.random.default_rng([sky.seed, 6, field.number, number, band])
        noise = rng.standard_normal((rows, size), np.float32)
        noise *= np.sqrt(1 + np.maximum(image[band], 0) / np.float32(sky.level[band]))
        image[band] += noise * np.float32(sky.sigma[band])
        ivar[band] = sky.sigma[band] ** -2
    mask = np.zeros(image.shape, np.uint32)
    truth_sigma = config.population.artefacts.truth_sigma
    window = Window(image, ivar, mask, sky.sigma, sky.level, 0, first, truth_sigma)
    put_all(artefacts, window, np.random.default_rng([sky.seed, 7, field.number, number]))
    return window


def _add(image: np.ndarray[Any, np.dtype[np.float32]], lens: PlantedLens, x0: int, y0: int) -> None:
    _, ny, nx = image.shape
    side = lens.light.shape[-1]
    left, top = lens.column - side // 2 - x0, lens.row - side // 2 - y0
    x_low, x_high, y_low, y_high = max(left, 0), min(left + side, nx), max(top, 0), min(top + side, ny)
    if x_low < x_high and y_low < y_high:
        part = lens.light[:, y_low - top : y_high - top, x_low - left : x_high - left]
        image[:, y_low:y_high, x_low:x_high] += part


def _some(objects: SkyObjects, rows: Any) -> SkyObjects:
    return SkyObjects(*(getattr(objects, name)[rows] for name in SkyObjects.__dataclass_fields__))


def _writer(config: SkyConfig, field: Field, folder: Path, plane: str, band: str) -> StripWriter:
    shape, wcs = field.geometry.shape, field.geometry.wcs
    stem = folder / f"{field.field_id}_{band}"
    match plane:
        case "image":
            return StripWriter(stem.with_suffix(".fits"), shape, "f4", wcs, image_cards(config, band, field.field_id))
        case "ivar":
            return StripWriter(Path(f"{stem}_ivar.fits"), shape, "f4", wcs, {"BUNIT": "nJy-2", "FILTER": band})
        case "mask":
            return StripWriter(Path(f"{stem}_mask.fits"), shape, "u1", wcs, {"FILTER": band})
    return StripWriter(folder / f"{field.field_id}_truth.fits", shape, "i4", wcs, {})


def _write_objects(field: Field, objects: SkyObjects, folder: Path) -> None:
    size = field.geometry.shape[0]
    x, y = objects.x - field.origin[0], objects.y - field.origin[1]
    inside = (x > -0.5) & (x < size - 0.5) & (y > -0.5) & (y < size - 0.5)
    ra, dec = to_sky(field.geometry.wcs, x, y)
    names = ("ra", "dec", "x", "y", "mag_r", "is_star")
    columns = zip(names, (ra, dec, x, y, objects.magnitude, objects.star), strict=True)
    table = pa.table({name: column[inside] for name, column in columns}, schema=OBJECT_SCHEMA)
    write_table(folder / f"{field.field_id}_objects.parquet", table)
