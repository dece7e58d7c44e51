"""Stamps for training: lenses and what is taken for lenses, under many skies and with artefacts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.sims.artefact_population import Scene, bright_star, draw_artefacts
from pipeline.sims.artefacts import Artefact, Mask, Window, put_all
from pipeline.sims.conditions import correlated_noise, sky_level, sky_sigma
from pipeline.sims.config import KINDS, SimsConfig
from pipeline.sims.light import Float32, Float64, Grid, Light, Point
from pipeline.sims.negatives import NEGATIVES
from pipeline.sims.population import AB_NANOJANSKY, field_light, flux_of, lens_system
from pipeline.sims.render import LensedSource, Psf, convolved, lensed, render, scale_arc, single_thread, transfer

_BATCH = 16
"""Scenes rendered at once: few enough that a batch's arrays stay in the cache."""
_FAINTEST = 0.03
"""Profiles are cut off below this share of a pixel's noise."""
_MOST_DRAWS = 60
"""Draws a stamp, on average, after which a population is taken to hold no visible lens."""


@dataclass(frozen=True)
class StampTruth:
    """What was put into stamps, one element a stamp; NaN where a stamp has no lens.

    Attributes
    ----------
    kind : int8
        Index into `config.KINDS`.
    theta_E, arc_snr, arc_share : float32
        Arcsec; S/N of the arc in its best band; share of its flux that is visible (`render.visible_share`).
    lens_mag, source_mag : float32
        r magnitude of the deflector, and of the source before lensing.
    red_source : bool
    x, y : float32, arcsec
        Where the central object is from the stamp's centre.
    pixel_scale : float32, arcsec
        True scale; the stamp is labelled with the nominal one.
    seeing : float32 (n, band), arcsec
    artefacts : uint32
        PixelFlags of artefacts anywhere in the stamp.
    """

    kind: npt.NDArray[np.int8]
    theta_E: Float32
    arc_snr: Float32
    arc_share: Float32
    lens_mag: Float32
    source_mag: Float32
    red_source: npt.NDArray[np.bool_]
    x: Float32
    y: Float32
    pixel_scale: Float32
    seeing: Float32
    artefacts: Mask


@dataclass(frozen=True)
class SimulatedStamps:
    """Stamps with their labels and truth.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy
        NaN where there is no data.
    ivar : float32 (n, band, y, x), nJy^-2
    mask : uint32 (n, band, y, x)
        Truth about artefacts, PixelFlag bits 0-15, found by the survey or not.
    label : int8 (n,)
        1 for a lens, 0 for none.
    arc : float32 (n, y, x), nJy
        Light of the lensed source in the detection band, without noise; 0 where there is no lens.
    truth : StampTruth
    """

    image: Float32
    ivar: Float32
    mask: Mask
    label: npt.NDArray[np.int8]
    arc: Float32
    truth: StampTruth


@dataclass(frozen=True)
class _Sky:
    """Conditions of one stamp; arrays are (band,)."""

    grid: Grid
    psf: Psf
    sigma: Float64
    level: Float64
    gain: Float64
    correlation: float


@dataclass(frozen=True)
class _Drawn:
    """One stamp before rendering."""

    kind: int
    sky: _Sky
    light: Light
    at: tuple[float, float]
    source: LensedSource | None = None
    colour: Float64 | None = None
    lens_mag: float = np.nan
    red: bool = False
    snr: float = np.nan
    least_share: float = 0.0
    visible_sigma: float = 0.0
    visible_contrast: float = 0.0
    saturated: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class _Rendered:
    """One stamp before noise; `scene` holds all light but the arc, `arc` the arc in every band."""

    drawn: _Drawn
    scene: Float32
    arc: Float32
    snr: float
    share: float
    source_mag: float


def simulate_stamps(config: SimsConfig, n: int, seed: int) -> SimulatedStamps:
    """Simulate `n` stamps, the same for the same config, `n`, seed and software.

    Labels are drawn with the config's share of lenses and kinds by their weights. Systems whose arc isn't visible
    enough are drawn again under another sky, so what is drawn is labelled without doubt.

    Parameters
    ----------
    config : SimsConfig
    n : int
    seed : int

    Returns
    -------
    SimulatedStamps
        In random order of kinds.

    Raises
    ------
    ConfigError
        If no visible lens can be drawn from the population.
    """
    rng = np.random.default_rng(seed)
    names = list(config.negatives)
    weights = np.array([config.negatives[name] for name in names])
    is_lens = rng.random(n) < config.lens_share
    chosen = rng.choice(len(names), n, p=weights / weights.sum())
    kinds = np.where(is_lens, 0, np.array([KINDS.index(name) for name in names])[chosen])
    stamps = _empty(config, n)
    waiting = list(range(n))
    draws = 0
    with single_thread():
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            draws += len(batch)
            if draws > _MOST_DRAWS * (n + 4):
                raise ConfigError(
                    f"after {draws} draws {len(batch) + len(waiting)} of {n} stamps still have no visible arc; "
                    "lower visible_share or raise arc_snr in the population."
                )
            drawn = [_draw(config, int(kinds[index]), rng) for index in batch]
            for index, rendered in zip(batch, _render(drawn, config), strict=True):
                if rendered.drawn.kind == 0 and rendered.share < rendered.drawn.least_share:
                    waiting.append(index)
                else:
                    _finish(stamps, index, rendered, config, rng)
    return stamps


def _draw(config: SimsConfig, kind: int, rng: Generator) -> _Drawn:
    sky, population, bands = _draw_sky(config, rng), config.population, config.bands
    at = _place(config, rng)
    neighbours = field_light(rng, population, (config.size + 2 * sky.grid.margin) * sky.grid.scale, bands)
    if kind:
        light = NEGATIVES[KINDS[kind]](rng, population, bands).moved(*at) + neighbours
        points, saturated = _saturated(light, config)
        return _Drawn(kind, sky, replace(light, points=points), at, saturated=saturated)
    light, source, colour, magnitude, red = lens_system(rng, population, bands, at)
    lenses = population.lenses
    faint = rng.random() < lenses.faint_share
    snr = float(np.exp(rng.uniform(*np.log(lenses.faint_arc_snr if faint else lenses.arc_snr))))
    least = lenses.faint_visible_share if faint else lenses.visible_share
    resolved = lenses.faint_theta_E_over_seeing if faint else lenses.theta_E_over_seeing
    while source.deflector.theta_E < resolved * float(np.median(sky.psf.fwhm)):
        light, source, colour, magnitude, red = lens_system(rng, population, bands, at)
    points, saturated = _saturated(neighbours, config)
    return _Drawn(
        kind=kind,
        sky=sky,
        light=light + replace(neighbours, points=points),
        at=at,
        source=source,
        colour=colour,
        lens_mag=magnitude,
        red=red,
        snr=snr,
        least_share=least,
        visible_sigma=lenses.visible_sigma,
        visible_contrast=lenses.visible_contrast,
        saturated=saturated,
    )


def _saturated(light: Light, config: SimsConfig) -> tuple[tuple[Point, ...], tuple[tuple[float, float, float], ...]]:
    """Part a scene's stars into those below saturation, and (x, y, r magnitude) of those above."""
    limit = flux_of(config.population.artefacts.saturation)
    band = config.bands.index("r") if "r" in config.bands else 0
    below = tuple(point for point in light.points if point.flux[band] < limit)
    above = tuple(
        (point.x, point.y, float(AB_NANOJANSKY - 2.5 * np.log10(point.flux[band])))
        for point in light.points
        if point.flux[band] >= limit
    )
    return below, above


def _place(config: SimsConfig, rng: Generator) -> tuple[float, float]:
    """Where the central object is: within half a pixel and the scatter, or off-centre, on an arc or a companion."""
    half = config.pixel_scale / 2
    x, y = rng.uniform(-half, half, 2) + rng.normal(0, config.centre_scatter, 2)
    if rng.random() < config.off_centre_share:
        distance, angle = config.off_centre * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        x, y = x + distance * np.cos(angle), y + distance * np.sin(angle)
    return float(x), float(y)


def _render(drawn: list[_Drawn], config: SimsConfig) -> list[_Rendered]:
    bands = len(config.bands)
    grids = [item.sky.grid for item in drawn]
    transfers = transfer([item.sky.psf for item in drawn], grids)
    faintest = np.array([_FAINTEST * item.sky.sigma.min() / item.sky.grid.oversampling**2 for item in drawn])
    scenes = render([item.light for item in drawn], grids, transfers, bands, faintest)
    arcs = np.zeros_like(scenes)
    lenses = [index for index, item in enumerate(drawn) if item.source is not None]
    if lenses:
        unit = lensed([item.source for item in drawn if item.source is not None], [grids[index] for index in lenses])
        arcs[lenses] = convolved(unit[:, None], transfers[lenses], grids[0])
    return [_with_arc(*items) for items in zip(drawn, scenes, arcs, strict=True)]


def _with_arc(drawn: _Drawn, scene: Float32, unit: Float32) -> _Rendered:
    """Scale the arc to the S/N that was drawn for it in its best band."""
    if drawn.colour is None:
        return _Rendered(drawn, scene, unit, np.nan, np.nan, np.nan)
    limits = drawn.visible_sigma, drawn.visible_contrast
    scaled = scale_arc(unit, scene, drawn.colour, drawn.sky.sigma, drawn.snr, *limits)
    return _Rendered(drawn, scene, scaled.arc, drawn.snr, scaled.share, scaled.source_mag)


def _finish(stamps: SimulatedStamps, index: int, rendered: _Rendered, config: SimsConfig, rng: Generator) -> None:
    """Add noise and artefacts, and write one stamp with its truth."""
    drawn, sky = rendered.drawn, rendered.drawn.sky
    light = rendered.scene + rendered.arc
    noise = correlated_noise(rng, light.shape, sky.correlation)
    variance = sky.sigma[:, None, None] ** 2 * (1 + np.maximum(light, 0) / sky.level[:, None, None])
    image = light + noise * np.sqrt(variance).astype(np.float32)
    ivar = np.broadcast_to((sky.sigma**-2)[:, None, None], image.shape).astype(np.float32)
    mask = np.zeros(image.shape, np.uint32)
    truth_sigma = config.population.artefacts.truth_sigma
    window = Window(image, ivar, mask, sky.sigma, sky.level, truth_sigma=truth_sigma)
    put_all(_draw_artefacts(drawn, config, rng), window, rng)
    gain = sky.gain[:, None, None].astype(np.float32)
    stamps.image[index], stamps.ivar[index], stamps.mask[index] = image * gain, ivar / gain**2, mask
    stamps.label[index] = drawn.kind == 0
    band = config.bands.index(config.detection_band)
    stamps.arc[index] = rendered.arc[band] * gain[band]
    truth = stamps.truth
    truth.kind[index] = drawn.kind
    truth.theta_E[index] = drawn.source.deflector.theta_E if drawn.source is not None else np.nan
    truth.arc_snr[index], truth.arc_share[index] = rendered.snr, rendered.share
    truth.lens_mag[index], truth.source_mag[index] = drawn.lens_mag, rendered.source_mag
    truth.red_source[index] = drawn.red
    truth.x[index], truth.y[index] = drawn.at
    truth.pixel_scale[index], truth.seeing[index] = sky.grid.scale, sky.psf.fwhm
    truth.artefacts[index] = np.bitwise_or.reduce(mask, axis=None)


def _draw_artefacts(drawn: _Drawn, config: SimsConfig, rng: Generator) -> list[Artefact]:
    """Saturated stars of the scene, and what the config's share and weights add to any stamp."""
    sky = drawn.sky
    # A bright star's spikes and halo reach stamps that the star itself is far outside of.
    reach = config.size * 0.8
    scene = Scene(
        (config.size, config.size), config.bands, sky.grid.scale, sky.sigma, sky.psf.fwhm, sky.psf.beta, reach
    )
    artefacts: list[Artefact] = []
    for x, y, magnitude in drawn.saturated:
        middle = (config.size - 1) / 2
        at = (x / sky.grid.scale + middle, y / sky.grid.scale + middle)
        artefacts.append(bright_star(rng, config.population, scene, at, magnitude))
    if rng.random() < config.artefact_share:
        names = list(config.artefact_weights)
        weights = np.array([config.artefact_weights[name] for name in names])
        count = 1 + rng.poisson(0.3)
        for name in rng.choice(names, count, p=weights / weights.sum()):
            artefacts.extend(draw_artefacts(rng, str(name), config.population, scene))
    return artefacts


def _empty(config: SimsConfig, n: int) -> SimulatedStamps:
    shape = (n, len(config.bands), config.size, config.size)

    def missing() -> Float32:
        return np.full(n, np.nan, np.float32)

    truth = StampTruth(
        kind=np.zeros(n, np.int8),
        theta_E=missing(),
        arc_snr=missing(),
        arc_share=missing(),
        lens_mag=missing(),
        source_mag=missing(),
        red_source=np.zeros(n, np.bool_),
        x=missing(),
        y=missing(),
        pixel_scale=missing(),
        seeing=np.full((n, len(config.bands)), np.nan, np.float32),
        artefacts=np.zeros(n, np.uint32),
    )
    return SimulatedStamps(
        image=np.empty(shape, np.float32),
        ivar=np.empty(shape, np.float32),
        mask=np.empty(shape, np.uint32),
        label=np.zeros(n, np.int8),
        arc=np.empty((n, config.size, config.size), np.float32),
        truth=truth,
    )


def _draw_sky(config: SimsConfig, rng: Generator) -> _Sky:
    bands = len(config.bands)
    scale = config.pixel_scale * (1 + rng.uniform(-1, 1) * config.pixel_scale_scatter)
    fwhm = rng.uniform(*config.seeing) * np.exp(rng.normal(0, config.seeing_band_scatter, bands))
    e1, e2 = rng.uniform(-1, 1, 2) * config.ellipticity
    nominal = np.array([config.conditions[band].depth for band in config.bands])
    scatter, own = config.depth_scatter, config.band_depth_scatter
    depth = nominal + rng.uniform(-scatter, scatter) + rng.uniform(-own, own, bands)
    brightness = np.array([config.conditions[band].sky_brightness for band in config.bands])
    margin = int(np.ceil(config.rendering.margin / config.pixel_scale))
    return _Sky(
        Grid(config.size, scale, config.rendering.oversampling, margin),
        Psf(fwhm, float(rng.uniform(*config.moffat_beta)), e1, e2),
        sky_sigma(depth, fwhm, scale),
        sky_level(brightness, scale),
        10 ** (-0.4 * rng.normal(0, config.gain_scatter, bands)),
        rng.uniform(0, config.noise_correlation),
    )
