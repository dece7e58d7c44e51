"""What an evaluation of lens parameters is asked to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.config import StrictModel, validate
from pipeline.evaluate.config import BaselineConfig, PoolsConfig, RealLensesConfig, read_samples

Level = Annotated[float, Field(gt=0, lt=1)]


class CutConfig(StrictModel):
    """Which lenses figures are of.

    Attributes
    ----------
    name : str
    above, below : mapping of column to number
        Columns of the truth, or `theta_E_over_seeing`: the effective Einstein radius over the seeing (FWHM).
    """

    name: str
    above: dict[str, float] = Field(default_factory=dict)
    below: dict[str, float] = Field(default_factory=dict)


class BinsConfig(StrictModel):
    """Edges of the bins of a column that bias, scatter and coverage of theta_E are shown against."""

    column: str
    edges: tuple[float, ...] = Field(min_length=2)
    log: bool = False


class ParametersConfig(StrictModel):
    """One evaluation of kind `parameters`.

    Attributes
    ----------
    packages : tuple of str
        Names or folders; the first is the one that the others are compared with.
    samples_each : int
        Of each posterior; one less than a multiple of `rank_bins`, so that all bins of ranks are alike.
    rank_bins : int
    levels : tuple of float
        Of central intervals whose coverage is measured.
    least_lens, unfamiliar_share, beyond_share : float
        When a posterior is trusted, see `pipeline.models.posterior.trustworthy`.
    covered_share : float
        Of a stamp's pixels with a flag in any band, above which it counts as covered by artefacts.
    cuts : tuple of CutConfig
        The first is the one of the plots.
    bins : tuple of BinsConfig
    pictures : int
        Stamps with their posteriors.
    baselines : BaselineConfig
        Apertures of magnitudes of real stamps.
    samples : tuple
        Pools with the truth, and real lenses.
    """

    kind: Literal["parameters"]
    name: str
    description: str = ""
    packages: tuple[str, ...] = Field(min_length=1)
    seed: int = 1
    samples_each: int = Field(511, ge=31)
    rank_bins: int = Field(16, ge=4)
    levels: tuple[Level, ...] = (0.5, 0.68, 0.95)
    least_lens: Level = 0.5
    unfamiliar_share: Level = 0.99
    beyond_share: Level = 0.16
    covered_share: Level = 0.15
    cuts: tuple[CutConfig, ...] = Field(min_length=1)
    bins: tuple[BinsConfig, ...] = ()
    pictures: int = Field(12, ge=0)
    baselines: BaselineConfig = BaselineConfig()
    samples: tuple[Annotated[PoolsConfig | RealLensesConfig, Field(discriminator="kind")], ...] = Field(min_length=1)

    @field_validator("samples", "cuts")
    @classmethod
    def _names_differ(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [item.name for item in value]
        if len(set(names)) != len(names):
            raise ValueError("two have one name")
        return value


def load_parameters(path: Path) -> tuple[ParametersConfig, dict[str, str]]:
    """The configuration, and the samples whose places are not known on this machine, as `load_evaluation`.

    Raises
    ------
    ConfigError
        If the file is wrong, naming key and value.
    """
    values, absent = read_samples(path)
    return validate(ParametersConfig, values, str(path)), absent
