"""Everything that an injection knows before it draws: objects, galaxies for lenses, PSFs, noise, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.flags import fatal
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.inject.folder import in_part, read_folder
from pipeline.sims.inject.noise import correlation_weights
from pipeline.sims.inject.objects import Objects, in_sky, read_cutouts, read_objects
from pipeline.sims.population.cosmology import einstein_radius
from pipeline.sims.population.dispersion import dispersion, table
from pipeline.sims.population.galaxies import red_redshift
from pipeline.sims.psf.images import AnyPsf, transfers
from pipeline.sims.psf.psfex import PsfexModel, psfex_at, read_psfex
from pipeline.sims.psf.shapes import Shapes, measure_shapes
from pipeline.sims.psf.stars import measured_psf
from pipeline.sims.render.image import Psf, convolved
from pipeline.sims.render.light import Float64, Grid
from pipeline.sims.sources.hst import Galaxy, read_galaxies

_MOST_STARS = 400
"""Bright detections of a field among which stars are looked for."""
_MOST_FOR_NOISE = 60
"""Cutouts of a field whose empty pixels tell of the noise's correlation."""


@dataclass(frozen=True)
class FieldSky:
    """PSF and noise of a field; `psfex` has a model a band where the PSF is to be evaluated in place."""

    psf: AnyPsf | None
    psfex: tuple[PsfexModel, ...]
    correlation: Float64

    def psf_at(self, x: float, y: float, pixel_scale: float) -> AnyPsf:
        """The PSF of an object at a 0-based position of the field."""
        return self.psf if self.psf is not None else psfex_at(self.psfex, x, y, pixel_scale)


@dataclass(frozen=True)
class Deflectors:
    """Galaxies that lenses are made of, one element each.

    Attributes
    ----------
    index : int64 (m,)
        Into the plan's objects.
    x, y : float64 (m,), arcsec
        Of the light's centroid, from the stamp's centre.
    q, angle : float64 (m,)
        Axis ratio without the PSF, and direction of the long axis from x towards y, radians.
    magnitude : float64 (m,)
        Total, r (the detection band where there is no r).
    redshift : float64 (m,)
        Of the red sequence at the galaxy's colours.
    theta_E : float64 (m,), arcsec
        Of its mean velocity dispersion and a source at the population's median redshift.
    """

    index: npt.NDArray[np.int64]
    x: Float64
    y: Float64
    q: Float64
    angle: Float64
    magnitude: Float64
    redshift: Float64
    theta_E: Float64

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class InjectionPlan:
    """What stamps are drawn from."""

    config: InjectionConfig
    objects: Objects
    deflectors: Deflectors
    skies: tuple[FieldSky, ...]
    sources: tuple[Galaxy, ...]


def prepare(config: InjectionConfig, folders: Sequence[Path]) -> InjectionPlan:
    """Read scans' outputs, or a folder of stamps, and find out what an injection needs.

    Parameters
    ----------
    config : InjectionConfig
    folders : sequence of Path
        The scans' outputs; not read where the config names a folder of stamps.

    Raises
    ------
    ConfigError
        If they do not hold what is asked for: cutouts, bands, stars, galaxies.
    """
    every = read_objects(folders, config) if config.galaxies is None else read_folder(config, config.galaxies)
    skies = tuple(_field_sky(every, number, config) for number in range(len(every.fields)))
    objects = in_sky(every, config) if config.galaxies is None else in_part(every, config)
    return InjectionPlan(config, objects, find_deflectors(objects, skies, config), skies, read_galaxies(config.sources))


def find_deflectors(objects: Objects, skies: Sequence[FieldSky], config: InjectionConfig) -> Deflectors:
    """The galaxies of the config's magnitudes, colours and size, with what their light tells of their mass.

    Raises
    ------
    ConfigError
        If there is none.
    """
    choice, lenses = config.deflectors, config.population.lenses
    band = config.bands.index(config.detection_band)
    bright = (objects.mags[:, band] >= choice.magnitude[0]) & (objects.mags[:, band] <= choice.magnitude[1])
    bright &= objects.centre_clear & (objects.valid >= choice.least_valid)
    for name, (low, high) in choice.colours.items():
        first, _, second = name.partition("-")
        colour = objects.mags[:, config.bands.index(first)] - objects.mags[:, config.bands.index(second)]
        bright &= (colour >= low) & (colour <= high)
    rows = np.flatnonzero(bright).astype(np.int64)
    stars = {
        number: _psf_size(skies[number], objects, number)[band] for number in np.unique(objects.field[rows]).tolist()
    }
    found = []
    universe = table(config.population.cosmology)
    for row, stamp in zip(rows.tolist(), read_cutouts(objects, rows, config.bands), strict=True):
        store = objects.fields[int(objects.field[row])].store
        if not _clear(stamp, choice.centre_radius / store.pixel_scale):
            continue
        shapes = measure_shapes(_one(stamp), store.pixel_scale)
        star = stars[int(objects.field[row])]
        if not shapes.good[0, band] or shapes.size[0, band] < choice.least_size * star:
            continue
        q, angle = _without_psf(shapes, band, star)
        magnitude, redshift = _seen(objects, row, config)
        sigma = dispersion(lenses.dispersion, magnitude, redshift, universe.modulus(redshift))
        theta = einstein_radius(sigma, universe.ratio(redshift, max(lenses.source_redshift.median, redshift + 0.3)))
        middle = (store.size - 1) / 2
        x, y = (float(place[0, band] - middle) * store.pixel_scale for place in (shapes.x, shapes.y))
        found.append((row, x, y, q, angle, magnitude, redshift, theta))
    if not found:
        raise ConfigError(
            f"deflectors: none of {len(objects)} detections is a galaxy of magnitude {choice.magnitude[0]:g} to "
            f"{choice.magnitude[1]:g} with these colours and size; widen them."
        )
    index, *columns = zip(*found, strict=True)
    return Deflectors(np.array(index, np.int64), *(np.array(column) for column in columns))


def _seen(objects: Objects, row: int, config: InjectionConfig) -> tuple[float, float]:
    """Total magnitude and redshift of a galaxy, from its aperture magnitudes."""
    mags = dict(zip(config.bands, objects.mags[row].astype(np.float64).tolist(), strict=True))
    low, high = config.population.lenses.redshift
    redshift = (low + high) / 2
    if {"g", "r", "i"} <= set(mags):
        redshift = red_redshift(config.population.galaxies, mags["g"] - mags["r"], mags["r"] - mags["i"])
    total = mags.get("r", mags[config.detection_band]) + config.deflectors.aperture_correction
    return total, float(np.clip(redshift, low, high))


def _clear(stamp: Stamps, radius: float) -> bool:
    """No pixel without data or with a fatal flag near the middle, in any band; `radius` in pixels."""
    y, x = np.indices(stamp.image.shape[1:]) - (stamp.image.shape[-1] - 1) / 2
    near = np.hypot(x, y) <= radius
    return bool(np.isfinite(stamp.image[:, near]).all() and not fatal(stamp.mask[:, near]).any())


def _without_psf(shapes: Shapes, band: int, star: float) -> tuple[float, float]:
    """Axis ratio and angle of the light when a round PSF of size `star` is taken off in quadrature."""
    size, q = float(shapes.size[0, band]), float(shapes.q[0, band])
    long, short = size**2 / q, size**2 * q
    rest = max(short - star**2, 0.05 * long)
    return float(np.sqrt(rest / max(long - star**2, rest))), float(shapes.angle[0, band])


def _one(stamp: Stamps) -> Stamps:
    return Stamps(stamp.image[None], stamp.ivar[None], stamp.mask[None])


def _psf_size(sky: FieldSky, objects: Objects, number: int) -> Float64:
    """Size of a star in each band, arcsec, measured as galaxies are."""
    store = objects.fields[number].store
    first = int(np.flatnonzero(objects.field == number)[0])
    psf = sky.psf_at(float(objects.x[first]), float(objects.y[first]), store.pixel_scale)
    grid = Grid(store.size | 1, store.pixel_scale, 3, 0)
    point = np.zeros((1, 1, grid.fine, grid.fine), np.float32)
    point[..., grid.fine // 2, grid.fine // 2] = 1
    image = convolved(point, transfers([psf], [grid]), grid)
    star = Stamps(image, np.ones_like(image), np.zeros(image.shape, np.uint32))
    return np.asarray(measure_shapes(star, store.pixel_scale).size[0])


def _field_sky(objects: Objects, number: int, config: InjectionConfig) -> FieldSky:
    field = objects.fields[number]
    here = np.flatnonzero(objects.field == number).astype(np.int64)
    where = f"{field.scan}, field {field.field_id}"
    correlation = np.full(len(config.bands), 0.0)
    if config.noise.correlation != "measured":
        correlation[:] = float(config.noise.correlation)
    elif len(here):
        correlation = correlation_weights(
            read_cutouts(objects, here[:: -(-len(here) // _MOST_FOR_NOISE)], config.bands)
        )
    psf = config.psf
    if psf.kind == "moffat":
        return FieldSky(Psf(np.array([psf.fwhm[band] for band in config.bands]), psf.beta), (), correlation)
    if psf.kind == "psfex":
        paths = [Path(psf.path.format(field_id=field.field_id, band=band)) for band in config.bands]
        return FieldSky(None, tuple(read_psfex(path) for path in paths), correlation)
    magnitude = objects.mags[here, config.bands.index(config.detection_band)]
    bright = np.flatnonzero((magnitude >= psf.magnitude[0]) & (magnitude <= psf.magnitude[1]))
    bright = bright[:: -(-len(bright) // _MOST_STARS)] if len(bright) else bright
    read = read_cutouts(objects, here[bright], config.bands)
    shape = (0, len(config.bands), field.store.size, field.store.size)
    stamps = Stamps(
        np.stack([item.image for item in read]) if read else np.empty(shape, np.float32),
        np.stack([item.ivar for item in read]) if read else np.empty(shape, np.float32),
        np.stack([item.mask for item in read]) if read else np.empty(shape, np.uint32),
    )
    return FieldSky(measured_psf(stamps, magnitude[bright], field.store.pixel_scale, psf, where), (), correlation)
