"""Populations as a person writes them: lenses, galaxies, stars and artefacts, with units."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import Arcsec, ArcsecOrZero, Degrees, Magnitude, StrictModel


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lower end {value[0]} is above the upper end {value[1]}")
    return value


ArcsecRange = Annotated[tuple[ArcsecOrZero, ArcsecOrZero], AfterValidator(_ordered)]
MagnitudeRange = Annotated[tuple[Magnitude, Magnitude], AfterValidator(_ordered)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]


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
    group_distance: ArcsecRange
    group_contrast: MagnitudeRange


class GalaxyPopulation(StrictModel):
    """Field galaxies and the central objects of negatives.

    Effective radii are log-normal about `radius` at `radius_magnitude` (r), shrinking by `radius_slope` dex a
    magnitude. Numbers follow `density` galaxies per square arcminute between the ends of `magnitude`, with
    log10 N rising by `count_slope` per magnitude. `morphologies` are the relative numbers of kinds (of
    `negatives.NEGATIVES`) among the galaxies of a sky that are brighter than `central_magnitude`'s faint end.
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

    lenses: LensPopulation
    galaxies: GalaxyPopulation
    stars: StarPopulation
    artefacts: ArtefactPopulation
