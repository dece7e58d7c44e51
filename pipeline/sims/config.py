"""What a simulation is told: populations, observing conditions, artefacts and the layout of a synthetic sky.

A simulation's TOML has `kind = "stamps"` or `kind = "sky"`, and `population` names a second file with the
galaxies, lenses and artefacts, so that stamps for training and skies for tests share one population.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import Arcsec, ArcsecOrZero, Degrees, Magnitude, StrictModel, expand, find, read_toml, validate
from pipeline.errors import ConfigError

BANDS = ("g", "r", "i", "z")
"""Bands that the populations have colours for, from blue to red."""

KINDS = (
    "lens",
    "elliptical",
    "spiral",
    "clumpy",
    "ring",
    "companion",
    "edge_on",
    "merger",
    "star",
    "star_pair",
    "group",
    "empty",
)
"""What stands in the middle of a stamp; a stamp's `kind` is an index into this tuple, and 0 is a lens."""

ARTEFACTS = ("gap", "star", "trail", "cosmic_ray", "bad_column", "seam", "step", "ghost")
"""Classes of artefacts that can be put into an image."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lower end {value[0]} is above the upper end {value[1]}")
    return value


def _known_bands(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [band for band in value if band not in BANDS]
    if unknown or not value or len(set(value)) != len(value):
        raise ValueError(f"bands are one or more of {', '.join(BANDS)}, each once, not {', '.join(value) or 'nothing'}")
    return value


ArcsecRange = Annotated[tuple[ArcsecOrZero, ArcsecOrZero], AfterValidator(_ordered)]
MagnitudeRange = Annotated[tuple[Magnitude, Magnitude], AfterValidator(_ordered)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]
Bands = Annotated[tuple[str, ...], AfterValidator(_known_bands)]


class Spread(StrictModel):
    """A normal distribution of magnitudes."""

    mean: Magnitude
    scatter: Magnitude


class Colours(StrictModel):
    """Colours of a population, each drawn on its own."""

    g_r: Spread
    r_i: Spread
    i_z: Spread


class RedSequence(StrictModel):
    """Colours of old stellar populations by redshift, interpolated linearly; `scatter` is common to the colours."""

    redshift: tuple[float, ...]
    g_r: tuple[Magnitude, ...]
    r_i: tuple[Magnitude, ...]
    i_z: tuple[Magnitude, ...]
    scatter: Magnitude

    @model_validator(mode="after")
    def _same_length(self) -> RedSequence:
        if not len(self.redshift) == len(self.g_r) == len(self.r_i) == len(self.i_z):
            raise ValueError("redshift, g_r, r_i and i_z need one value for each redshift")
        return self


class LensPopulation(StrictModel):
    """Deflectors, sources, and which of the systems are clear enough to be called lenses.

    The arc's S/N is sqrt(sum(arc^2 ivar)) of the noiseless arc over the stamp, with the sky's inverse variance,
    in the band where that is largest; the source's flux is set from it. `visible_share` is the share of the arc's
    flux in pixels where the arc is above both `visible_sigma` times the sky noise and `visible_contrast` times
    all other light; systems below it are drawn again, and so are those whose theta_E is below
    `theta_E_over_seeing` times the seeing. The `faint_` keys hold for the `faint_share` of the systems.
    """

    theta_E_median: Arcsec
    theta_E_scatter: float = Field(gt=0)
    theta_E: ArcsecRange
    axis_ratio: Range
    shear_scatter: float = Field(ge=0)
    mass_light_angle_scatter: Degrees
    redshift: Range
    magnitude: Magnitude
    magnitude_per_dex: float
    magnitude_scatter: Magnitude
    arc_snr: Range
    faint_share: Share
    faint_arc_snr: Range
    visible_share: Share
    faint_visible_share: Share
    theta_E_over_seeing: float = Field(ge=0)
    faint_theta_E_over_seeing: float = Field(ge=0)
    visible_sigma: float = Field(gt=0)
    visible_contrast: float = Field(ge=0)
    source_offset: float = Field(gt=0)
    source_radius: ArcsecRange
    source_sersic: Range
    source_axis_ratio: Range
    source_clumps: int = Field(ge=0)
    source_clump_radius: ArcsecRange
    red_source_share: Share
    blue_source: Colours
    red_source: Colours
    group_members: float = Field(ge=0)


class GalaxyPopulation(StrictModel):
    """Field galaxies and the central objects of negatives.

    Effective radii are log-normal about `radius` at `radius_magnitude` (r), shrinking by `radius_slope` dex a
    magnitude. Numbers follow `density` galaxies per square arcminute between the ends of `magnitude`, with
    log10 N rising by `count_slope` per magnitude.
    """

    density: float = Field(ge=0)
    count_slope: float
    magnitude: MagnitudeRange
    radius: Arcsec
    radius_magnitude: Magnitude
    radius_slope: float
    radius_scatter: float = Field(ge=0)
    red_share: Share
    red_sequence: RedSequence
    blue: Colours
    elliptical_radius: Arcsec
    elliptical_radius_magnitude: Magnitude
    elliptical_radius_slope: float
    elliptical_radius_scatter: float = Field(ge=0)
    central_magnitude: MagnitudeRange
    deflector_like_share: Share
    companion_distance: ArcsecRange
    companion_contrast: MagnitudeRange
    ring_radius: ArcsecRange


class StarPopulation(StrictModel):
    """Foreground stars: numbers as for galaxies, colours along one blue-to-red line."""

    density: float = Field(ge=0)
    count_slope: float
    magnitude: MagnitudeRange
    central_magnitude: MagnitudeRange
    g_r: tuple[Magnitude, Magnitude]
    r_i: tuple[Magnitude, Magnitude]
    i_z: tuple[Magnitude, Magnitude]


class ArtefactPopulation(StrictModel):
    """Shapes and strengths of artefacts; surface brightnesses in units of the sky noise of a pixel.

    Truth masks flag the pixels that artefact light raises by more than `truth_sigma` times the sky noise.
    """

    truth_sigma: float = Field(gt=0)
    gap_width: ArcsecRange
    gap_in_all_bands: Share
    star_magnitude: MagnitudeRange
    saturation: Magnitude
    bleed_width: ArcsecRange
    bleed_length_per_magnitude: Arcsec
    spike_share: float = Field(ge=0)
    spike_length_per_magnitude: Arcsec
    spike_width: Arcsec
    halo_share: float = Field(ge=0)
    halo_radius_per_magnitude: Arcsec
    trail_width: ArcsecRange
    trail_sigma: Range
    cosmic_ray_length: ArcsecRange
    cosmic_ray_sigma: Range
    column_sigma: Range
    seam_noise: Range
    step_sigma: Range
    seam_width: Arcsec
    ghost_radius: ArcsecRange
    ghost_sigma: Range


class Population(StrictModel):
    """Everything that can be in an image."""

    lenses: LensPopulation
    galaxies: GalaxyPopulation
    stars: StarPopulation
    artefacts: ArtefactPopulation


class BandConditions(StrictModel):
    """How deep a band is: the 5-sigma point-source depth (AB), and the sky's brightness a square arcsecond."""

    depth: Magnitude
    sky_brightness: Magnitude


Conditions = dict[str, BandConditions]


class Rendering(StrictModel):
    """How finely light is computed before it is averaged to pixels; `margin` lets light in from outside."""

    oversampling: int = Field(2, ge=1)
    margin: Arcsec = Field("1.2 arcsec", validate_default=True)


class SimsConfig(StrictModel):
    """A pool of stamps for training.

    Attributes
    ----------
    pixel_scale, pixel_scale_scatter : arcsec, share
        Stamps are drawn with the scale times 1 +- the share (uniform), and are labelled with the nominal one.
    seeing, seeing_band_scatter : arcsec (FWHM), natural log
        One draw a stamp, and how much each band departs from it.
    moffat_beta : range
    ellipticity : float
        Largest ellipticity of the PSF.
    depth_scatter, band_depth_scatter, gain_scatter : mag
        Uniform half-width of the depth common to all bands, the same of each band, and the normal scatter of
        each band's calibration.
    noise_correlation : share
        Upper end of the weight of neighbouring pixels in the noise of a coadd.
    off_centre_share, off_centre : share, arcsec
        Share of stamps that are centred on anything within that distance of the object, and the distance.
    centre_scatter : arcsec
    lens_share : share
    negatives : kind -> weight
    artefact_share, artefact_weights : share of stamps with at least one artefact; class -> weight
    """

    kind: Literal["stamps"]
    bands: Bands
    size: int = Field(ge=16)
    pixel_scale: Arcsec
    pixel_scale_scatter: Share
    seeing: ArcsecRange
    seeing_band_scatter: float = Field(ge=0)
    moffat_beta: Range
    ellipticity: float = Field(ge=0, lt=0.5)
    depth_scatter: Magnitude
    band_depth_scatter: Magnitude
    gain_scatter: Magnitude
    noise_correlation: Share
    off_centre_share: Share
    off_centre: ArcsecOrZero
    centre_scatter: ArcsecOrZero
    lens_share: Share
    negatives: dict[str, float]
    artefact_share: Share
    artefact_weights: dict[str, float]
    detection_band: str
    stamps: int = Field(ge=1)
    shard: int = Field(ge=1)
    conditions: Conditions
    rendering: Rendering
    population: Population

    @model_validator(mode="after")
    def _consistent(self) -> SimsConfig:
        _has_conditions(self.bands, self.conditions)
        if self.detection_band not in self.bands:
            raise ValueError(f"detection_band {self.detection_band!r} is not among bands {', '.join(self.bands)}")
        _has_names(self.negatives, KINDS[1:], "negatives")
        _has_names(self.artefact_weights, ARTEFACTS, "artefact_weights")
        return self


class FieldLayout(StrictModel):
    """Where the fields of a sky are: a grid of `columns` x `rows`, on one tangent plane."""

    ra: Degrees
    dec: Degrees
    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    size: int = Field(ge=64)
    overlap: int = Field(ge=0)

    @model_validator(mode="after")
    def _overlap_fits(self) -> FieldLayout:
        if self.overlap * 2 > self.size:
            raise ValueError(f"overlap {self.overlap} px is more than half of the fields' size {self.size} px")
        return self


class SkyConfig(StrictModel):
    """A synthetic survey.

    Attributes
    ----------
    name, release : str
        Of the survey that is written.
    seeing : band -> arcsec
    lenses : number planted in the whole survey
    lens_clear_share : share
        Of these, planted with theta_E above `lens_clear_theta_E` and arc S/N above `lens_clear_snr`.
    artefacts : class -> number a field
    mask_plane : list of PixelFlag names
        Flags that the survey's own mask plane tells of; empty for a survey without one.
    templates : int
        Galaxies rendered a magnitude bin; fields are filled with shifted, flipped and turned copies.
    strip : rows that are in memory at once
    truth_masks : whether to write what artefacts touched, as one more plane a field
    """

    kind: Literal["sky"]
    name: str = Field(min_length=1)
    release: str = Field(min_length=1)
    bands: Bands
    layout: FieldLayout
    pixel_scale: Arcsec
    seeing: dict[str, Arcsec]
    moffat_beta: float = Field(gt=1)
    lenses: int = Field(ge=0)
    lens_clear_share: Share
    lens_clear_theta_E: Arcsec
    lens_clear_snr: float
    lens_stamp: Arcsec
    artefacts: dict[str, int]
    mask_plane: tuple[str, ...]
    templates: int = Field(ge=1)
    strip: int = Field(ge=64)
    truth_masks: bool
    conditions: Conditions
    rendering: Rendering
    population: Population

    @model_validator(mode="after")
    def _consistent(self) -> SkyConfig:
        _has_conditions(self.bands, self.conditions)
        _has_names(self.artefacts, ARTEFACTS, "artefacts")
        without = [band for band in self.bands if band not in self.seeing]
        if without:
            raise ValueError(f'no seeing for band {", ".join(without)}; add {without[0]} = "0.9 arcsec" to it')
        return self


def load_sims(reference: str | Path) -> SimsConfig | SkyConfig:
    """A simulation's config, with its population read from the file that it names.

    Parameters
    ----------
    reference : str or path
        A path, or the name of a shipped config.

    Raises
    ------
    ConfigError
        If a file is missing or a key or value is wrong.
    """
    path = find(reference, "sims")
    values: dict[str, Any] = expand(read_toml(path), str(path))
    if isinstance(values.get("population"), str):
        population_path = find(values["population"], "sims", relative_to=path.parent)
        population = validate(
            Population, expand(read_toml(population_path), str(population_path)), str(population_path)
        )
        values["population"] = population
    match values.get("kind"):
        case "stamps":
            return validate(SimsConfig, values, str(path))
        case "sky":
            return validate(SkyConfig, values, str(path))
        case other:
            raise ConfigError(f'{path}: kind is {other!r}; a simulation has kind = "stamps" or kind = "sky".')


def _has_conditions(bands: tuple[str, ...], conditions: Conditions) -> None:
    without = [band for band in bands if band not in conditions]
    if without:
        raise ValueError(f"no conditions for band {', '.join(without)}; add a table [conditions.{without[0]}]")


def _has_names(weights: dict[str, Any], known: tuple[str, ...], key: str) -> None:
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ValueError(f"{key}: {', '.join(unknown)} unknown; known are {', '.join(known)}")
