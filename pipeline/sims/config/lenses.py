"""Lenses as a person writes them: masses, sources, quasars, and which systems are clear enough to be called lenses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, Degrees, KmPerSecond, KmPerSecondPerMpc, Magnitude, StrictModel
from pipeline.sims.config.ranges import ArcsecRange, Colours, MagnitudeRange, Range, Share


class Cosmology(StrictModel):
    """A flat universe of matter and a cosmological constant: Hubble constant, and matter's share of the density."""

    hubble: KmPerSecondPerMpc
    matter: float = Field(gt=0, lt=1)


class DispersionRelation(StrictModel):
    """Velocity dispersion and r magnitude of early-type galaxies (Faber & Jackson 1976).

    log10(sigma / km/s) = `log_dispersion` + `slope` (M - `magnitude`), normal with `scatter` dex, where M is the
    absolute r magnitude that the galaxy would have at redshift 0: M = m - distance modulus - K(z) + `evolution` z,
    with K(z) interpolated linearly in the table of `redshift` and `k_correction`.

    The other way, from sigma to magnitude, galaxies are fainter than the inverted line by `magnitude_bias`, because
    faint galaxies are more numerous than bright ones, and scatter by `magnitude_scatter`. A dispersion above `limit`
    is that of a group's halo, whose galaxy is as bright as one of the limit.
    """

    log_dispersion: float
    magnitude: Magnitude
    slope: float = Field(lt=0)
    scatter: float = Field(ge=0)
    evolution: Magnitude
    redshift: tuple[float, ...]
    k_correction: tuple[Magnitude, ...]
    magnitude_bias: Magnitude
    magnitude_scatter: Magnitude
    limit: KmPerSecond

    @model_validator(mode="after")
    def _same_length(self) -> DispersionRelation:
        if len(self.redshift) != len(self.k_correction):
            raise ValueError("redshift and k_correction need one value for each redshift")
        return self


class SourceRedshift(StrictModel):
    """Redshifts of sources: log-normal about `median`, inside `range`, and at least `behind` above the deflector's."""

    median: float = Field(gt=0)
    scatter: float = Field(ge=0)
    range: Range
    behind: float = Field(gt=0)

    @model_validator(mode="after")
    def _not_empty(self) -> SourceRedshift:
        if not self.range[0] <= self.median <= self.range[1]:
            raise ValueError(f"median {self.median} is outside range {self.range[0]} to {self.range[1]}")
        return self


class QuasarPopulation(StrictModel):
    """Lensed quasars.

    An image's place is uniform over a disc of `reach` Einstein radii about the deflector, and the source is what it
    is the image of, so that sources are as frequent as they are magnified; sources without a second image are drawn
    again. `flux_scatter` is what microlensing, substructure and variability do to each image; `host_share` is the
    host galaxy's part of the unlensed light in r. The brightness is set by `second_image_snr`, the S/N as a point
    source of the second-brightest image in its best band. Systems count as visible where the two images farthest
    apart are more than `separation_over_seeing` median seeing (FWHM) apart, and `visible_share` of all lensed light
    is above the noise and other light as for arcs.
    """

    theta_E_median: Arcsec
    theta_E_scatter: float = Field(gt=0)
    theta_E: ArcsecRange
    reach: float = Field(gt=0)
    redshift: SourceRedshift
    colours: Colours
    flux_scatter: Magnitude
    host_share: Range
    host_radius: ArcsecRange
    second_image_snr: Range
    separation_over_seeing: float = Field(ge=0)
    visible_share: Share


class LensPopulation(StrictModel):
    """Deflectors, sources, and which of the systems are clear enough to be called lenses.

    With `theta_E_drawn = "log_normal"` Einstein radii are log-normal about `theta_E_median`, flatter than nature's,
    and the deflector's magnitude follows from its velocity dispersion; with "from_dispersion" magnitudes are drawn
    from `deflector_magnitude`, as frequent as galaxies are, and Einstein radii follow; both stay inside `theta_E`.

    Masses are elliptical power laws of density r^-slope, with shear, and where there is a group, its galaxies as
    isothermal spheres and `group_convergence` for its halo.

    The arc's S/N is sqrt(sum(arc^2 ivar)) of the noiseless arc over the stamp, with the sky's inverse variance,
    in the band where that is largest; the source's flux is set from it. `visible_share` is the share of the arc's
    flux in pixels where the arc is above both `visible_sigma` times the sky noise and `visible_contrast` times
    all other light; systems below it are drawn again, and so are those whose theta_E is below
    `theta_E_over_seeing` times the seeing. The `faint_` keys hold for the `faint_share` of the systems.

    Clumps of a source lie about its middle with a normal scatter of `source_clump_scatter` of its radius along each
    axis.
    """

    theta_E_drawn: Literal["log_normal", "from_dispersion"]
    theta_E_median: Arcsec
    theta_E_scatter: float = Field(gt=0)
    theta_E: ArcsecRange
    axis_ratio: Range
    slope_mean: float = Field(gt=1, lt=3)
    slope_scatter: float = Field(ge=0)
    slope: Range
    shear_scatter: float = Field(ge=0)
    mass_light_angle_scatter: Degrees
    mass_light_axis_ratio_scatter: float = Field(ge=0)
    redshift: Range
    deflector_magnitude: MagnitudeRange
    dispersion: DispersionRelation
    source_redshift: SourceRedshift
    quasars: QuasarPopulation
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
    source_clump_share: Range
    source_clump_scatter: float = Field(1.0, ge=0)
    source_clump_sersic: float = Field(1.0, gt=0)
    source_clump_axis_ratio: Range = (0.6, 1.0)
    red_source_share: Share
    blue_source: Colours
    red_source: Colours
    group_members: float = Field(ge=0)
    group_distance: ArcsecRange
    group_contrast: MagnitudeRange
    group_convergence: Range

    @model_validator(mode="after")
    def _slopes_are_lenses(self) -> LensPopulation:
        if not (self.slope[0] > 1 and self.slope[1] < 3):
            raise ValueError(f"slope {self.slope[0]} to {self.slope[1]} has to be inside 1 to 3")
        return self
