"""Lensed sources injected into real galaxies, and real detections as they are: stamps that only lack a real lens.

The cutout of a real galaxy gets the image of a source that is lensed by the mass that goes with its light, convolved
with the field's own PSF, with the arc's own photon noise; sky, noise, neighbours, masks and weights stay the survey's.
Every stamp is turned and mirrored (eight ways) after the injection, so that the same pixels come back in many guises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy.ndimage import uniform_filter
from scipy.special import ndtr, ndtri

from pipeline.errors import ConfigError
from pipeline.flags import fatal
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.lenses import LensPopulation
from pipeline.sims.inject.lens import InjectedLens, Injection
from pipeline.sims.inject.noise import gains, sky_sigmas, with_light
from pipeline.sims.inject.objects import read_cutouts
from pipeline.sims.inject.plan import InjectionPlan
from pipeline.sims.inject.stamps import put_stamp
from pipeline.sims.inject.truth import InjectedStamps, InjectionTruth
from pipeline.sims.population.cosmology import dispersion_of, einstein_radius
from pipeline.sims.population.dispersion import dispersion, table
from pipeline.sims.population.galaxies import colours_of
from pipeline.sims.population.lenses import Foreground, draw_source_redshift, mass_of, source_galaxy, source_place
from pipeline.sims.psf.images import AnyPsf, transfers
from pipeline.sims.redraw import until_visible
from pipeline.sims.render.image import convolved
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Float32, Float64, Grid
from pipeline.sims.render.mass import Deflector
from pipeline.sims.render.photometry import flux_of, fluxes
from pipeline.sims.render.visibility import scale_arc
from pipeline.sims.sources.hst import Galaxy, place
from pipeline.sims.sources.lenses import galaxy_behind, is_red
from pipeline.sims.truth import empty_stamps

_MOST_DRAWS = 200
"""Draws a lens, on average, after which no visible arc is taken to be possible."""
_MOST_MASSES = 2000
"""Draws of one deflector and source, after which the population and the galaxies are taken not to go together."""


def inject_stamps(plan: InjectionPlan, n: int, seed: int) -> InjectedStamps:
    """Make `n` stamps, the same for the same plan, `n`, seed and software.

    Parameters
    ----------
    plan : InjectionPlan
    n : int
    seed : int

    Returns
    -------
    InjectedStamps
        Lenses, deflector galaxies and detections in random order, by the config's shares.

    Raises
    ------
    ConfigError
        If no visible arc can be drawn.
    """
    rng = np.random.default_rng(seed)
    config = plan.config
    kinds = np.where(rng.random(n) < config.lens_share, 0, np.where(rng.random(n) < config.deflector_share, 1, 2))
    stamps = empty_stamps(InjectionTruth.empty(n, len(config.bands)), config.size)
    for kind, choices in ((1, plan.deflectors.index), (2, np.arange(len(plan.objects)))):
        places = np.flatnonzero(kinds == kind)
        rows = _in_turn(rng, choices, len(places))
        for stamp, row, cutout in zip(
            places.tolist(), rows.tolist(), read_cutouts(plan.objects, rows, config.bands), strict=True
        ):
            put_stamp(stamps, stamp, plan, row, cutout, kind, int(rng.integers(8)))
    waiting = np.flatnonzero(kinds == 0).tolist()
    chosen = rng.permutation(len(plan.deflectors))[: max(len(waiting), 1)]
    read = read_cutouts(plan.objects, plan.deflectors.index[chosen], config.bands) if waiting else []
    cutouts = dict(zip(chosen.tolist(), read, strict=False))

    def attempt(batch: Sequence[int]) -> list[bool]:
        made = inject(plan, [draw_lens(rng, plan, chosen) for _ in batch], cutouts, rng)
        visible = [one.share >= one.lens.least_share for one in made]
        for index, one, seen in zip(batch, made, visible, strict=True):
            if seen:
                row = int(plan.deflectors.index[one.lens.deflector])
                put_stamp(stamps, index, plan, row, one.stamps, 0, int(rng.integers(8)), one)
        return visible

    until_visible(waiting, attempt, most=_MOST_DRAWS, what="lenses")
    return stamps


def draw_lens(rng: Generator, plan: InjectionPlan, chosen: npt.NDArray[np.int64]) -> InjectedLens:
    """Draw a galaxy, an Einstein radius that goes with it and is resolved, and a source.

    Parameters
    ----------
    rng : Generator
    plan : InjectionPlan
    chosen : int64 (k,)
        Indices of the deflectors to draw from.

    Raises
    ------
    ConfigError
        If the galaxies have no Einstein radius in the population's range and above the seeing.
    """
    config, lenses = plan.config, plan.config.population.lenses
    universe = table(config.population.cosmology)
    faint = bool(rng.random() < lenses.faint_share)
    resolved = lenses.faint_theta_E_over_seeing if faint else lenses.theta_E_over_seeing
    for _ in range(_MOST_MASSES):
        index = int(rng.choice(chosen))
        redshift, magnitude = float(plan.deflectors.redshift[index]), float(plan.deflectors.magnitude[index])
        galaxy = galaxy_behind(rng, plan.sources, config.sources, redshift, lenses.source_redshift.behind)
        behind = draw_source_redshift(rng, lenses.source_redshift, redshift) if galaxy is None else galaxy.redshift
        ratio = universe.ratio(redshift, behind)
        seeing = float(np.median(_psf_of(plan, int(plan.deflectors.index[index])).fwhm))
        smallest, largest = max(lenses.theta_E[0], resolved * seeing), lenses.theta_E[1]
        if config.mass.theta_E == "dispersion":
            modulus = universe.modulus(redshift)
            theta = einstein_radius(dispersion(lenses.dispersion, magnitude, redshift, modulus, rng), ratio)
        else:
            largest = min(largest, config.mass.most * float(plan.deflectors.theta_E[index]))
            theta = _theta_between(rng, lenses, smallest, largest)
        if smallest <= theta <= largest:
            break
    else:
        raise ConfigError(
            f"no galaxy with an Einstein radius of {lenses.theta_E[0]:g} to {lenses.theta_E[1]:g} arcsec, {resolved:g} "
            f"times the seeing, in {_MOST_MASSES} draws; choose brighter deflectors, or raise mass.most."
        )
    shape = plan.deflectors
    seen = Foreground(shape.x[index], shape.y[index], magnitude, redshift, shape.q[index], shape.angle[index])
    deflector = mass_of(rng, config.population, seen, behind, theta, [])
    source, colours, red = _source_behind(rng, plan, deflector, galaxy)
    return InjectedLens(
        deflector=index,
        source=source,
        colour=fluxes(0.0, colours, config.bands) / flux_of(0.0),
        redshift=redshift,
        source_redshift=behind,
        dispersion=dispersion_of(theta, ratio),
        source_id=-1 if galaxy is None else galaxy.source_id,
        red=red,
        snr=float(np.exp(rng.uniform(*np.log(lenses.faint_arc_snr if faint else lenses.arc_snr)))),
        least_share=lenses.faint_visible_share if faint else lenses.visible_share,
    )


def inject(
    plan: InjectionPlan, lenses: Sequence[InjectedLens], cutouts: Mapping[int, Stamps], rng: Generator
) -> list[Injection]:
    """Render the arcs of lenses and add them, with their photon noise, to their galaxies' cutouts.

    Parameters
    ----------
    plan : InjectionPlan
    lenses : sequence of InjectedLens
    cutouts : mapping
        Index of a deflector -> its cutout (band, y, x).
    rng : Generator
        Of the noise.

    Returns
    -------
    list of Injection
        In the order of `lenses`; the cutouts are not turned.
    """
    rows = np.array([int(plan.deflectors.index[lens.deflector]) for lens in lenses], np.int64)
    made: list[Injection | None] = [None] * len(lenses)
    fields = plan.objects.field[rows]
    for number in np.unique(fields):
        here = np.flatnonzero(fields == number).tolist()
        store = plan.objects.fields[int(number)].store
        rendering = plan.config.rendering
        margin = int(np.ceil(rendering.margin / store.pixel_scale))
        grid = Grid(store.size, store.pixel_scale, rendering.oversampling, margin)
        unit = lensed([lenses[index].source for index in here], [grid] * len(here))
        # One PSF for the whole field is transformed once.
        places = here if plan.skies[int(number)].psf is None else here[:1]
        psfs = [_psf_of(plan, int(rows[index])) for index in places]
        arcs = convolved(unit[:, None], transfers(psfs, [grid] * len(psfs)), grid)
        for index, arc in zip(here, arcs, strict=True):
            correlation, cutout = plan.skies[int(number)].correlation, cutouts[lenses[index].deflector]
            made[index] = _added(plan, lenses[index], cutout, arc, store.pixel_scale, correlation, rng)
    return [item for item in made if item is not None]


def _added(
    plan: InjectionPlan,
    lens: InjectedLens,
    cutout: Stamps,
    unit: Float32,
    pixel_scale: float,
    correlation: Float64,
    rng: Generator,
) -> Injection:
    """Scale a source to its S/N, and add its image to a cutout."""
    limits = plan.config.population.lenses
    sigma = sky_sigmas(cutout)
    usable = np.isfinite(cutout.image) & ~fatal(cutout.mask)
    # Single pixels of noise are no light that hides an arc; what is not there or masked hides all of it.
    smooth = uniform_filter(np.where(usable, cutout.image, 0), size=(1, 3, 3))
    scene = np.where(usable, smooth, np.float32(np.inf))
    scaled = scale_arc(unit, scene, lens.colour, sigma, lens.snr, limits.visible_sigma, limits.visible_contrast)
    gain = gains(plan.config.noise, plan.config.bands, sigma, pixel_scale)
    stamps = with_light(cutout, scaled.arc, gain, correlation, rng)
    return Injection(stamps, scaled.arc, lens, scaled.share, scaled.source_mag)


def _in_turn(rng: Generator, choices: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """`n` of the choices, each as often as any other, but for one, in random order."""
    rounds = [rng.permutation(choices) for _ in range(-(-n // max(len(choices), 1)))]
    return np.concatenate([*rounds, np.empty(0, np.int64)])[:n].astype(np.int64)


def _theta_between(rng: Generator, lenses: LensPopulation, low: float, high: float) -> float:
    """An Einstein radius of the population's log-normal distribution between two ends, arcsec; NaN for empty ones."""
    if low >= high:
        return float("nan")
    ends = ndtr(np.log(np.array([low, high]) / lenses.theta_E_median) / lenses.theta_E_scatter)
    place = float(np.clip(rng.uniform(*ends), 1e-12, 1 - 1e-12))
    return float(np.clip(lenses.theta_E_median * np.exp(lenses.theta_E_scatter * ndtri(place)), low, high))


def _source_behind(
    rng: Generator, plan: InjectionPlan, deflector: Deflector, galaxy: Galaxy | None
) -> tuple[LensedSource, tuple[float, float, float], bool]:
    """A source with its colours (g - r, r - i, i - z), and whether it is red."""
    lenses = plan.config.population.lenses
    red = bool(rng.random() < lenses.red_source_share)
    colours = colours_of(rng, lenses.red_source if red else lenses.blue_source)
    if galaxy is None:
        return LensedSource(deflector, source_galaxy(rng, lenses, deflector)), colours, red
    placed = place(rng, galaxy, plan.config.sources, source_place(rng, lenses, deflector))
    if plan.config.sources.colours == "catalogue":
        colours, red = galaxy.colours, is_red(galaxy, plan.config.population)
    return LensedSource(deflector, (), (placed,)), colours, red


def _psf_of(plan: InjectionPlan, row: int) -> AnyPsf:
    objects = plan.objects
    number = int(objects.field[row])
    scale = objects.fields[number].store.pixel_scale
    return plan.skies[number].psf_at(float(objects.x[row]), float(objects.y[row]), scale)
