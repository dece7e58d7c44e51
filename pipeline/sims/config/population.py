"""Populations as a person writes them: galaxies, stars and artefacts, with units; lenses and negatives beside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, Magnitude, StrictModel
from pipeline.sims.config.lenses import Cosmology, LensPopulation
from pipeline.sims.config.negatives import NegativePopulation
from pipeline.sims.config.ranges import ArcsecRange, Colours, MagnitudeRange, Range, Share


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
    low_exposure_noise: float = Field(gt=1)
    step_sigma: Range
    seam_width: Arcsec
    ghost_radius: ArcsecRange
    ghost_sigma: Range


class Population(StrictModel):
    """Everything that can be in an image."""

    cosmology: Cosmology
    lenses: LensPopulation
    galaxies: GalaxyPopulation
    negatives: NegativePopulation
    stars: StarPopulation
    artefacts: ArtefactPopulation
