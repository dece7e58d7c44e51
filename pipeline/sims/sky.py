"""A synthetic survey of overlapping fields, as FITS files with a truth that can be scored against.

Fields lie on one tangent plane, each with its own noise and artefacts over the same objects. A field is made in
strips of rows, so memory is bounded by the strip whatever the field's size: objects come from templates
(`sky_objects`), noise and artefacts have a random stream a strip, and rows go straight to the files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from pipeline.errors import ProductMismatch
from pipeline.flags import PixelFlag, fatal
from pipeline.geometry import FieldGeometry, depth, to_sky
from pipeline.sims.artefact_population import Scene, draw_artefacts
from pipeline.sims.artefacts import (
    Artefact,
    BadColumn,
    BrightStar,
    CosmicRay,
    Gap,
    Ghost,
    Seam,
    Trail,
    Window,
    put_all,
)
from pipeline.sims.conditions import sky_level, sky_sigma
from pipeline.sims.config import SkyConfig
from pipeline.sims.light import Float64
from pipeline.sims.render import Psf
from pipeline.sims.sky_files import (
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
from pipeline.sims.sky_lenses import PlantedLens, plant_lenses
from pipeline.sims.sky_objects import SkyObjects, Templates, add_objects, make_templates, objects_in

_MARGIN = 128
"""Pixels around a field in which objects may lie that shine into it."""
_SPARED = 10
"""Pixels around a clear lens that no fatal artefact touches, so that it can be found at all."""
_TRIES = 50


@dataclass(frozen=True)
class _Sky:
    """What all fields of a survey share."""

    config: SkyConfig
    seed: int
    plane: tuple[int, int]
    sigma: Float64
    level: Float64
    psf: Psf
    templates: Templates
    lenses: list[PlantedLens]
    stars: list[BrightStar]


@dataclass(frozen=True)
class _Field:
    """One field: its number, its id, and its first pixel (x, y) on the plane."""

    number: int
    field_id: str
    origin: tuple[int, int]
    geometry: FieldGeometry


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
        artefacts = _field_artefacts(sky, field)
        _write_field(sky, field, artefacts, folder / field.field_id)
        artefact_rows += [_artefact_row(config, field, artefact) for artefact in artefacts]
    write_table(folder / "truth.parquet", pa.Table.from_pylist(_lens_rows(sky, fields), schema=LENS_SCHEMA))
    write_table(folder / "artefacts.parquet", pa.Table.from_pylist(artefact_rows, schema=ARTEFACT_SCHEMA))
    # Last, so that a folder with a survey.toml holds a whole survey.
    toml.write_text(survey_text(config), encoding="utf-8")
    return toml


def _prepare(config: SkyConfig, seed: int) -> _Sky:
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
    sky = _Sky(config, seed, plane, sigma, level, psf, templates, lenses, [])
    rng = np.random.default_rng([seed, 4])
    number = config.artefacts.get("star", 0) * layout.columns * layout.rows
    stars = [star for _ in range(number) for star in _spared(sky, "star", plane, (0, 0), rng)]
    return replace(sky, stars=[star for star in stars if isinstance(star, BrightStar)])


def _fields(sky: _Sky) -> list[_Field]:
    layout = sky.config.layout
    step = layout.size - layout.overlap
    fields: list[_Field] = []
    for row in range(layout.rows):
        for column in range(layout.columns):
            origin = (column * step, row * step)
            field_id = f"f{row:02d}-{column:02d}"
            geometry = FieldGeometry(field_id, (layout.size, layout.size), field_wcs(sky.config, origin, sky.plane))
            fields.append(_Field(len(fields), field_id, origin, geometry))
    return fields


def _field_artefacts(sky: _Sky, field: _Field) -> list[Artefact]:
    """Stars that reach into the field, and its own artefacts, in the field's pixels."""
    rng = np.random.default_rng([sky.seed, 5, field.number])
    x0, y0 = field.origin
    size = sky.config.layout.size
    artefacts: list[Artefact] = []
    for star in sky.stars:
        moved = replace(star, x=star.x - x0, y=star.y - y0)
        reach = max(6 * star.spike_length, 1.4 * star.halo_radius, 100.0)
        if -reach < moved.x < size + reach and -reach < moved.y < size + reach:
            artefacts.append(moved)
    for name, count in sky.config.artefacts.items():
        if name != "star":
            for _ in range(count):
                artefacts.extend(_spared(sky, name, (size, size), field.origin, rng))
    return artefacts


def _spared(sky: _Sky, name: str, shape: tuple[int, int], origin: tuple[int, int], rng: Generator) -> list[Artefact]:
    """Draw artefacts of a class, again while one would make a clear lens unfindable."""
    config = sky.config
    scene = Scene(shape, config.bands, config.pixel_scale, sky.sigma, sky.psf.fwhm, sky.psf.beta, 0.0)
    near = [
        (lens.column - origin[0], lens.row - origin[1])
        for lens in sky.lenses
        if lens.clear
        and -_SPARED < lens.column - origin[0] < shape[1] + _SPARED
        and -_SPARED < lens.row - origin[1] < shape[0] + _SPARED
    ]
    drawn: list[Artefact] = []
    for _ in range(_TRIES):
        drawn = draw_artefacts(rng, name, config.population, scene)
        if not any(_touches(sky, drawn, place) for place in near):
            break
    return drawn


def _touches(sky: _Sky, artefacts: list[Artefact], place: tuple[int, int]) -> bool:
    side = 2 * _SPARED + 1
    shape = (len(sky.sigma), side, side)
    image, mask = np.zeros(shape, np.float32), np.zeros(shape, np.uint32)
    truth_sigma = sky.config.population.artefacts.truth_sigma
    corner = (place[0] - _SPARED, place[1] - _SPARED)
    window = Window(image, np.ones(shape, np.float32), mask, sky.sigma, sky.level, *corner, truth_sigma)
    put_all(artefacts, window, np.random.default_rng(0))
    return bool(fatal(mask).any() or (mask & np.uint32(PixelFlag.BRIGHT_OBJECT)).any())


def _write_field(sky: _Sky, field: _Field, artefacts: list[Artefact], folder: Path) -> None:
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
    sky: _Sky, field: _Field, objects: SkyObjects, artefacts: list[Artefact], number: int, first: int, rows: int
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


def _writer(config: SkyConfig, field: _Field, folder: Path, plane: str, band: str) -> StripWriter:
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


def _write_objects(field: _Field, objects: SkyObjects, folder: Path) -> None:
    size = field.geometry.shape[0]
    x, y = objects.x - field.origin[0], objects.y - field.origin[1]
    inside = (x > -0.5) & (x < size - 0.5) & (y > -0.5) & (y < size - 0.5)
    ra, dec = to_sky(field.geometry.wcs, x, y)
    names = ("ra", "dec", "x", "y", "mag_r", "is_star")
    columns = zip(names, (ra, dec, x, y, objects.magnitude, objects.star), strict=True)
    table = pa.table({name: column[inside] for name, column in columns}, schema=OBJECT_SCHEMA)
    write_table(folder / f"{field.field_id}_objects.parquet", table)


def _lens_rows(sky: _Sky, fields: list[_Field]) -> list[dict[str, Any]]:
    wcs = field_wcs(sky.config, (0, 0), sky.plane)
    rows = []
    for number, lens in enumerate(sky.lenses):
        ra, dec = (float(value) for value in to_sky(wcs, lens.x, lens.y))
        home = max(fields, key=lambda field: float(depth(field.geometry, ra, dec)))
        rows.append(
            {
                "lens_id": number,
                "field_id": home.field_id,
                "ra": ra,
                "dec": dec,
                "x": lens.x - home.origin[0],
                "y": lens.y - home.origin[1],
                "theta_E": lens.theta_E,
                "arc_snr": lens.arc_snr,
                "arc_share": lens.arc_share,
                "lens_mag": lens.lens_mag,
                "source_mag": lens.source_mag,
                "red_source": lens.red_source,
                "clear": lens.clear,
            }
        )
    return rows


def _artefact_row(config: SkyConfig, field: _Field, artefact: Artefact) -> dict[str, Any]:
    every = range(len(config.bands))
    match artefact:
        case Gap():
            x, y = (artefact.x_low + artefact.x_high) / 2, (artefact.y_low + artefact.y_high) / 2
            sides = (artefact.x_high - artefact.x_low) / 2, (artefact.y_high - artefact.y_low) / 2
            row = _row("gap", artefact.bands, x, y, 0.0, *sides)
        case BrightStar(x=x, y=y):
            row = _row("star", every, x, y, artefact.spike_angle, artefact.bleed_length, artefact.halo_radius)
        case Trail(x=x, y=y):
            length = min(artefact.half_length, 2.0 * config.layout.size)
            row = _row("trail", artefact.bands, x, y, artefact.angle, length, artefact.width / 2)
        case CosmicRay(x=x, y=y):
            row = _row("cosmic_ray", (artefact.band,), x, y, artefact.angle, artefact.length / 2, 0.5)
        case BadColumn(x=column):
            middle, half = (artefact.y_low + artefact.y_high) / 2, (artefact.y_high - artefact.y_low) / 2
            row = _row("bad_column", (artefact.band,), column, middle, np.pi / 2, half, 0.5)
        case Seam(x=x, y=y):
            kind = "seam" if artefact.noise > 1 else "step"
            row = _row(kind, artefact.bands, x, y, artefact.angle, 2.0 * config.layout.size, artefact.width / 2)
        case Ghost(x=x, y=y):
            row = _row("ghost", every, x, y, 0.0, artefact.outer, artefact.outer)
        case _:
            raise TypeError(f"no row for {type(artefact).__name__}")
    ra, dec = to_sky(field.geometry.wcs, row["x"], row["y"])
    row["bands"] = "".join(config.bands[band] for band in row["bands"])
    return {**row, "field_id": field.field_id, "ra": float(ra), "dec": float(dec)}


def _row(
    kind: str, bands: Any, x: float, y: float, angle: float, half_length: float, half_width: float
) -> dict[str, Any]:
    extent = {"angle": float(np.rad2deg(angle)), "half_length": float(half_length), "half_width": float(half_width)}
    return {"kind": kind, "bands": tuple(bands), "x": float(x), "y": float(y), **extent}
