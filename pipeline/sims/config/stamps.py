"""What a pool of stamps for training is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, ArcsecOrZero, Magnitude, StrictModel
from pipeline.sims.config.names import ARTEFACTS, KINDS, Bands, check_names
from pipeline.sims.config.observing import Conditions, Rendering, check_conditions
from pipeline.sims.config.population import Population
from pipeline.sims.config.ranges import ArcsecRange, Range, Share
from pipeline.sims.config.sources import SourcesConfig


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
    artefact_more : float
        Mean number (Poisson) of further artefacts in stamps that have one.
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
    artefact_more: float = Field(0.3, ge=0)
    detection_band: str
    stamps: int = Field(ge=1)
    shard: int = Field(ge=1)
    conditions: Conditions
    rendering: Rendering
    population: Population

    @model_validator(mode="after")
    def _consistent(self) -> SimsConfig:
        check_conditions(self.bands, self.conditions)
        if self.detection_band not in self.bands:
            raise ValueError(f"detection_band {self.detection_band!r} is not among bands {', '.join(self.bands)}")
        check_names(self.negatives, KINDS[1:], "negatives")
        check_names(self.artefact_weights, ARTEFACTS, "artefact_weights")
        return self
