"""Stamps for training: lenses and what is taken for lenses, under many skies and with artefacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.sims.artefacts.draw import Scene, bright_star, draw_artefacts
from pipeline.sims.artefacts.kinds import put_all
from pipeline.sims.artefacts.window import Artefact, Window
from pipeline.sims.config.names import KINDS
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.mass_truth import mass_truth, tell_mass
from pipeline.sims.negatives.kinds import NEGATIVES
from pipeline.sims.population.galaxies import field_light
from pipeline.sims.population.lenses import LensSystem, lens_system
from pipeline.sims.redraw import until_visible
from pipeline.sims.render.conditions import correlated_noise, sky_level, sky_sigma
from pipeline.sims.render.image import Psf, convolved, render, transfer
from pipeline.sims.render.lensing import lensed
from pipeline.sims.render.light import Float32, Float64, Grid, Light, Point
from pipeline.sims.render.photometry import AB_NANOJANSKY, flux_of
from pipeline.sims.render.visibility import arc_snr, scale_arc
from pipeline.sims.sources.hst import Galaxy, read_galaxies
from pipeline.sims.sources.lenses import with_real_source
from pipeline.sims.stamps.truth import SimulatedStamps, StampTruth
from pipeline.sims.truth import empty_stamps

_FAINTEST = 0.03
"""Profiles are cut off below this share of a pixel's noise."""
_MOST_DRAWS = 30
"""Draws a stamp, on average, after which a population is taken to hold no visible lens."""


@dataclass(frozen=True)
class _Sky:
    """Conditions of one stamp; arrays are (band,)."""

    grid: Grid
    psf: Psf
    sigma: Float64
    level: Float64
    gain: Float64
    correlation: float

    @property
    def point_noise(self) -> Float64:
        """Noise of a point source's flux in nJy by optimal photometry, float64 (band,); see `sky_sigma`."""
        return np.asarray(self.sigma * np.sqrt(4 * np.pi) * self.psf.fwhm / 2.3548 / self.grid.scale)


@dataclass(frozen=True)
class _Goal:
    """How bright a source is to be, by its arc's S/N or its own flux in r (nJy), and the share of it to be visible."""

    least_share: float
    arc_snr: float | None = None
    flux: float = np.nan


@dataclass(frozen=True)
class _Drawn:
    """One stamp before rendering; `system` and `goal` are those of a lens."""

    kind: int
    sky: _Sky
    light: Light
    at: tuple[float, float]
    system: LensSystem | None = None
    goal: _Goal | None = None
    saturated: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class _Rendered:
    """One stamp before noise; `scene` holds all light but the arc, `arc` the arc in every band."""

    drawn: _Drawn
    scene: Float32
    arc: Float32
    snr: float = np.nan
    share: float = np.nan
    source_mag: float = np.nan

    @property
    def visible(self) -> bool:
        """Whether what is labelled a lens looks like one; True for other stamps."""
        return self.drawn.goal is None or self.share >= self.drawn.goal.least_share


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
    is_quasar = is_lens & (rng.random(n) < config.quasar_share)
    chosen = rng.choice(len(names), n, p=weights / weights.sum())
    kinds = np.where(is_lens, 0, np.array([KINDS.index(name) for name in names])[chosen])
    stamps = empty_stamps(StampTruth.empty(n, len(config.bands)), config.size)
    galaxies = read_galaxies(config.sources)

    def attempt(batch: Sequence[int]) -> list[bool]:
        drawn = [_draw(config, galaxies, int(kinds[index]), bool(is_quasar[index]), rng) for index in batch]
        made = _render(drawn, config)
        for index, rendered in zip(batch, made, strict=True):
            if rendered.visible:
                _finish(stamps, index, rendered, config, rng)
        return [rendered.visible for rendered in made]

    until_visible(range(n), attempt, most=_MOST_DRAWS, what="stamps")
    return stamps


def _draw(config: SimsConfig, galaxies: tuple[Galaxy, ...], kind: int, quasar: bool, rng: Generator) -> _Drawn:
    sky, population, bands = _draw_sky(config, rng), config.population, config.bands
    at = _place(config, rng)
    neighbours = field_light(rng, population, (config.size + 2 * sky.grid.margin) * sky.grid.scale, bands)
    if kind:
        light = NEGATIVES[KINDS[kind]](rng, population, bands).moved(*at) + neighbours
        points, saturated = _saturated(light, config)
        return _Drawn(kind, sky, replace(light, points=points), at, saturated=saturated)
    system, goal = _quasar(config, sky, at, rng) if quasar else _lensed_galaxy(config, sky, at, rng)
    if not quasar and galaxies:
        system = with_real_source(rng, system, galaxies, config.sources, population, bands)
    points, saturated = _saturated(neighbours, config)
    light = system.light + replace(neighbours, points=points)
    return _Drawn(kind, sky, light, at, system=system, goal=goal, saturated=saturated)


def _lensed_galaxy(config: SimsConfig, sky: _Sky, at: tuple[float, float], rng: Generator) -> tuple[LensSystem, _Goal]:
    """A lensed galaxy that the seeing resolves, with the S/N of its arc."""
    lenses = config.population.lenses
    faint = rng.random() < lenses.faint_share
    snr = float(np.exp(rng.uniform(*np.log(lenses.faint_arc_snr if faint else lenses.arc_snr))))
    least = lenses.faint_visible_share if faint else lenses.visible_share
    resolved = lenses.faint_theta_E_over_seeing if faint else lenses.theta_E_over_seeing
    seeing = float(np.median(sky.psf.fwhm))
    for _ in range(_MOST_DRAWS):
        system = lens_system(rng, config.population, config.bands, at)
        if system.source.deflector.theta_E >= resolved * seeing:
            return system, _Goal(least, arc_snr=snr)
    raise ConfigError(
        f"no theta_E above {resolved} times the seeing of {seeing:.2f} arcsec in {_MOST_DRAWS} draws; "
        "lower theta_E_over_seeing or raise theta_E."
    )


def _quasar(config: SimsConfig, sky: _Sky, at: tuple[float, float], rng: Generator) -> tuple[LensSystem, _Goal]:
    """A lensed quasar whose images the seeing parts, with the flux that its second image needs."""
    quasars = config.population.lenses.quasars
    snr = float(np.exp(rng.uniform(*np.log(quasars.second_image_snr))))
    seeing = float(np.median(sky.psf.fwhm))
    for _ in range(_MOST_DRAWS):
        system = lens_system(rng, config.population, config.bands, at, quasar=True)
        if system.quasar is not None and system.quasar.separation >= quasars.separation_over_seeing * seeing:
            flux = snr * float((sky.point_noise / system.quasar.points[1].flux).min())
            return system, _Goal(quasars.visible_share, flux=flux)
    raise ConfigError(
        f"no quasar images {quasars.separation_over_seeing} times the seeing of {seeing:.2f} arcsec apart in "
        f"{_MOST_DRAWS} draws; lower separation_over_seeing or raise quasars.theta_E."
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
    lenses = [index for index, item in enumerate(drawn) if item.system is not None]
    systems = [item.system for item in drawn if item.system is not None]
    if lenses:
        unit = lensed([system.source for system in systems], [grids[index] for index in lenses])
        colours = np.array([system.colour for system in systems], np.float32)[:, :, None, None]
        arcs[lenses] = convolved(unit[:, None], transfers[lenses], grids[0]) * colours
    for index, system in zip(lenses, systems, strict=True):
        if system.quasar is not None:
            points = Light((), (), system.quasar.points)
            arcs[index] += render([points], [grids[index]], transfers[[index]], bands, faintest[[index]])[0]
    return [_with_arc(*items, config) for items in zip(drawn, scenes, arcs, strict=True)]


def _with_arc(drawn: _Drawn, scene: Float32, unit: Float32, config: SimsConfig) -> _Rendered:
    """Give the source of flux 1 in r the brightness that was drawn for it."""
    if drawn.goal is None:
        return _Rendered(drawn, scene, unit)
    lenses = config.population.lenses
    limits = lenses.visible_sigma, lenses.visible_contrast
    snr = drawn.goal.arc_snr
    if snr is None:
        snr = drawn.goal.flux * float(arc_snr(unit, drawn.sky.sigma).max())
    scaled = scale_arc(unit, scene, np.ones(len(unit)), drawn.sky.sigma, snr, *limits)
    return _Rendered(drawn, scene, scaled.arc, snr, scaled.share, scaled.source_mag)


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
    truth.centre_x[index], truth.centre_y[index] = drawn.at
    truth.true_pixel_scale[index], truth.seeing[index] = sky.grid.scale, sky.psf.fwhm
    truth.magnified[index] = config.pixel_scale / sky.grid.scale
    truth.artefacts[index] = np.bitwise_or.reduce(mask, axis=None)
    if drawn.system is not None:
        _lens_truth(truth, index, drawn.system, rendered)


def _lens_truth(truth: StampTruth, index: int, system: LensSystem, rendered: _Rendered) -> None:
    truth.theta_E[index] = system.source.deflector.theta_E
    tell_mass(truth, index, mass_truth(system.source))
    truth.arc_snr[index], truth.arc_share[index] = rendered.snr, rendered.share
    truth.lens_mag[index], truth.source_mag[index] = system.magnitude, rendered.source_mag
    truth.lens_redshift[index], truth.source_redshift[index] = system.redshift, system.source_redshift
    truth.dispersion[index] = system.dispersion
    truth.red_source[index], truth.source_id[index] = system.red, system.source_id
    if system.quasar is not None:
        truth.quasar_images[index], truth.separation[index] = len(system.quasar.points), system.quasar.separation


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
        count = 1 + rng.poisson(config.artefact_more)
        for name in rng.choice(names, count, p=weights / weights.sum()):
            artefacts.extend(draw_artefacts(rng, str(name), config.population, scene))
    return artefacts


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
