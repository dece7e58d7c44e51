"""Populations as a person writes them: galaxies, stars and artefacts, with units; lenses and negatives beside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, Degrees, Magnitude, StrictModel
from pipeline.sims.config.lenses import Cosmology, LensPopulation
from pipeline.sims.config.negatives import NegativePopulation
from pipeline.sims.config.ranges import ArcsecRange, Colours, IntRange, MagnitudeRange, Range, Share


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


class GalaxyPopulation(StrictModel):
    """Field galaxies and the central objects of negatives.

    Effective radii are log-normal about `radius` at `radius_magnitude` (r), shrinking by `radius_slope` dex a
    magnitude. Numbers follow `density` galaxies per square arcminute between the ends of `magnitude`, with
    log10 N rising by `count_slope` per magnitude. `morphologies` are the relative numbers of kinds (of
    `negatives.kinds.NEGATIVES`) among the galaxies of a sky that are brighter than `central_magnitude`'s faint end.
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
    radius_limits: ArcsecRange
    elliptical_sersic: Range
    elliptical_axis_ratio: Range
    disc_sersic: Range
    disc_axis_ratio: Range
    central_magnitude: MagnitudeRange
    deflector_like_share: Share
    companion_distance: ArcsecRange
    companion_contrast: MagnitudeRange
    ring_radius: ArcsecRange
    morphologies: dict[Literal["elliptical", "spiral", "clumpy", "ring", "edge_on", "merger"], float]


class StarPopulation(StrictModel):
    """Foreground stars: numbers as for galaxies, colours along one blue-to-red line.

    Places along the line, from 0 to 1, have a beta distribution of both parameters `colour_concentration`. Beyond
    `bend` g - r rises by `beyond_bend` along a whole line only, as that of M dwarfs saturates while r - i goes on.
    """

    density: float = Field(ge=0)
    count_slope: float
    magnitude: MagnitudeRange
    central_magnitude: MagnitudeRange
    g_r: tuple[Magnitude, Magnitude]
    r_i: tuple[Magnitude, Magnitude]
    i_z: tuple[Magnitude, Magnitude]
    colour_concentration: float = Field(1.2, gt=0)
    bend: Share = 0.6
    beyond_bend: Magnitude = Field("0.4 mag", validate_default=True)


class ArtefactPopulation(StrictModel):
    """Shapes and strengths of artefacts; surface brightnesses in units of the sky noise of a pixel.

    Truth masks flag the pixels that artefact light raises by more than `truth_sigma` times the sky noise.

    A gap runs along the columns with `gap_along_columns`, else along the rows. Stars brighter than `saturation` bleed
    and have spikes, which fade by a factor e in one of `spike_folds` parts of their length; those that are brighter
    by `halo_from` have a halo. Light of spikes and haloes is `star_light_scatter` times the usual, the bleed's length
    `bleed_length_scatter` times, and its pixels `bleed_level` times saturation at least. A pixel of a cosmic ray has
    `cosmic_ray_level` of its level at least. A bad column is a whole one with `column_whole`, else from somewhere up.
    Ghosts are `ghost_band_scatter` as bright in a band, with a hole of `ghost_hole` of their radius. Edges of seams and
    steps are within `detector_tilt` (normal) of the rows or columns.
    """

    truth_sigma: float = Field(gt=0)
    gap_width: ArcsecRange
    gap_in_all_bands: Share
    gap_along_columns: Share = 0.5
    star_magnitude: MagnitudeRange
    saturation: Magnitude
    bleed_width: ArcsecRange
    bleed_length_per_magnitude: Arcsec
    bleed_length_scatter: Range = (0.4, 1.3)
    bleed_level: Share = 0.75
    star_light_scatter: Range = (0.5, 1.5)
    spike_share: float = Field(ge=0)
    spike_length_per_magnitude: Arcsec
    spike_width: Arcsec
    spike_folds: float = Field(3.0, gt=0)
    halo_share: float = Field(ge=0)
    halo_radius_per_magnitude: Arcsec
    halo_from: Magnitude = Field("0.5 mag", validate_default=True)
    trail_width: ArcsecRange
    trail_sigma: Range
    cosmic_ray_length: ArcsecRange
    cosmic_ray_sigma: Range
    cosmic_rays: IntRange = (1, 4)
    cosmic_ray_level: Share = 0.5
    column_sigma: Range
    columns: IntRange = (1, 2)
    column_whole: Share = 0.5
    seam_noise: Range
    low_exposure_noise: float = Field(gt=1)
    step_sigma: Range
    seam_width: Arcsec
    ghost_radius: ArcsecRange
    ghost_sigma: Range
    ghost_band_scatter: Range = (0.5, 1.0)
    ghost_hole: Range = (0.0, 0.7)
    detector_tilt: Degrees = Field("0.5 deg", validate_default=True)


class Population(StrictModel):
    """Everything that can be in an image."""

    cosmology: Cosmology
    lenses: LensPopulation
    galaxies: GalaxyPopulation
    negatives: NegativePopulation
    stars: StarPopulation
    artefacts: ArtefactPopulation
