"""What a simulation is told: populations, observing conditions, artefacts and the layout of a synthetic sky."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import Arcsec, ArcsecOrZero, Degrees, Magnitude, StrictModel
from pipeline.sims.hst_sources import SourcesConfig
from pipeline.sims.population_config import Population
from pipeline.sims.ranges import ArcsecRange, Range, Share

BANDS = ("g", "r", "i", "z", "VIS")
"""Bands that the populations have colours for: from blue to red, and Euclid's, which spans r, i and z."""

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
    "blue_disc",
    "red_blend",
    "compact_group",
    "bright_core",
    "star_galaxy",
    "blue_point",
    "faint_field",
)
"""What stands in the middle of a stamp; a stamp's `kind` is an index into this tuple, and 0 is a lens."""

ARTEFACTS = ("gap", "star", "trail", "cosmic_ray", "bad_column", "seam", "step", "ghost")
"""Classes of artefacts that can be put into an image."""


def _known_bands(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [band for band in value if band not in BANDS]
    if unknown or not value or len(set(value)) != len(value):
        raise ValueError(f"bands are one or more of {', '.join(BANDS)}, each once, not {', '.join(value) or 'nothing'}")
    return value


Bands = Annotated[tuple[str, ...], AfterValidator(_known_bands)]


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
    lens_share, quasar_share : share
        Of the stamps, lenses; of these, lensed quasars.
    sources : SourcesConfig
        Real galaxies among the lensed ones; none unless it names a folder.
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
    quasar_share: Share
    sources: SourcesConfig = SourcesConfig()
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


def _has_conditions(bands: tuple[str, ...], conditions: Conditions) -> None:
    without = [band for band in bands if band not in conditions]
    if without:
        raise ValueError(f"no conditions for band {', '.join(without)}; add a table [conditions.{without[0]}]")


def _has_names(weights: dict[str, Any], known: tuple[str, ...], key: str) -> None:
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ValueError(f"{key}: {', '.join(unknown)} unknown; known are {', '.join(known)}")
