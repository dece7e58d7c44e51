"""What a fit is asked to do, as a person writes it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.config import Arcsec, StrictModel, find, load


class LengthPrior(StrictModel):
    """Log-normal: the median in arcsec, and the scatter of the natural logarithm."""

    median: Arcsec
    scatter: float = Field(gt=0)


class IndexPrior(StrictModel):
    """Log-normal: the median of a Sersic index, and the scatter of its natural logarithm."""

    median: float = Field(gt=0)
    scatter: float = Field(gt=0)


class Priors(StrictModel):
    """Of the mass (an isothermal ellipsoid with shear), the source's light and the deflector's.

    Ellipticities are (1 - q) / (1 + q) along two axes; `source_offset` is in Einstein radii. Deflector and mass have
    one centre. Fluxes have none but that they are not negative.
    """

    theta_E: LengthPrior
    mass_ellipticity: float = Field(gt=0)
    shear: float = Field(gt=0)
    source_offset: float = Field(gt=0)
    lens_offset: Arcsec
    source_radius: LengthPrior
    source_sersic: IndexPrior
    source_ellipticity: float = Field(gt=0)
    light_radius: LengthPrior
    light_sersic: IndexPrior
    light_ellipticity: float = Field(gt=0)


class RenderingConfig(StrictModel):
    """How finely images are computed, and how far around the stamp."""

    oversampling: int = Field(ge=1)
    margin: Arcsec


class MapConfig(StrictModel):
    """The search of the most probable model; see `pipeline.lensfit.fit_map`."""

    screened: int = Field(ge=1)
    search_radius: Arcsec
    starts: int = Field(ge=1)
    steps: int = Field(ge=1)
    tolerance: float = Field(gt=0)
    same_optimum: float = Field(gt=0)
    neighbour_sigma: float = Field(gt=0)
    neighbour_radius: float = Field(gt=0)


class NoiseConfig(StrictModel):
    """How residuals tell the noise's correlation; see `pipeline.lensfit.observation.correlation`."""

    lags: int = Field(ge=0)
    clip: float = Field(gt=0)


class SamplingConfig(StrictModel):
    """Sampling by NUTS, and when its samples are taken to stand for the posterior; see `pipeline.lensfit.nuts`."""

    chains: int = Field(ge=2)
    warmup: int = Field(ge=1)
    draws: int = Field(ge=4)
    target_accept: float = Field(gt=0, lt=1)
    most_doublings: int = Field(ge=1)
    r_hat: float = Field(gt=1)
    effective_draws: float = Field(gt=0)


class FitConfig(StrictModel):
    """A file of `configs/lensfit`."""

    rendering: RenderingConfig
    priors: Priors
    map: MapConfig
    noise: NoiseConfig
    sampling: SamplingConfig


def load_fit(reference: str | Path = "galaxies") -> FitConfig:
    """A fit's config: a path, or the name of a shipped one.

    Raises
    ------
    ConfigError
        If the file is missing or a key or value is wrong.
    """
    return load(FitConfig, find(reference, "lensfit"))
