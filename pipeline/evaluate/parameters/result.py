"""What an evaluation of lens parameters found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.metrics import Estimate
from pipeline.evaluate.parameters.metrics import Calibrated


@dataclass(frozen=True)
class OfParameter:
    """One package's posteriors of one parameter, over the lenses of one cut.

    Attributes
    ----------
    cut, parameter, unit : str
        theta_E has the unit "%" : its bias, scatter and sharpness are relative to the truth.
    n : int
    bias, scatter : Estimate
        Median of posterior mean less truth, and 1.4826 median deviations about it.
    coverage : mapping of level to Estimate
        Share of truths inside central intervals.
    sharpness : float
        Median half width of the central 68 % intervals.
    """

    cut: str
    parameter: str
    unit: str
    n: int
    bias: Estimate
    scatter: Estimate
    coverage: Mapping[str, Estimate]
    sharpness: float


@dataclass(frozen=True)
class Bin:
    """theta_E over the lenses of the first cut between two values of a column; relative."""

    low: float
    high: float
    n: int
    bias: Estimate
    scatter: Estimate
    coverage: Estimate
    sharpness: float


@dataclass(frozen=True)
class OfPackage:
    """One package on one sample whose truth is known.

    Attributes
    ----------
    log_posterior : Estimate
        Mean over all lenses of the logarithm of the density at the truth, and its standard error.
    figures : tuple of OfParameter
    calibrated : mapping of parameter to Calibrated
        Ranks over the lenses of the first cut.
    bins : mapping of column to tuple of Bin
    """

    package: str
    sample: str
    log_posterior: Estimate
    figures: tuple[OfParameter, ...]
    calibrated: Mapping[str, Calibrated]
    bins: Mapping[str, tuple[Bin, ...]]

    def figure(self, cut: str, parameter: str) -> OfParameter:
        """The figures of a parameter; raises StopIteration where there are none."""
        return next(item for item in self.figures if (item.cut, item.parameter) == (cut, parameter))


@dataclass(frozen=True)
class OfSeparation:
    """Twice theta_E against the measured separation of a real lens's images.

    Attributes
    ----------
    n, trusted : int
        Lenses with a separation, and those whose posterior is trusted, of which the rest is told.
    ratio, scatter : Estimate
        Median of twice theta_E over the separation, and 1.4826 median deviations.
    inside : Estimate
        Share of separations inside the 95 % interval of twice theta_E.
    points : tuple of (separation, twice theta_E, its standard deviation, trusted)
    """

    package: str
    sample: str
    n: int
    trusted: int
    ratio: Estimate
    scatter: Estimate
    inside: Estimate
    points: tuple[tuple[float, float, float, bool], ...]


@dataclass(frozen=True)
class Guarded:
    """Share of some stamps whose posteriors are trusted."""

    package: str
    stamps: str
    n: int
    trusted: Estimate


@dataclass(frozen=True)
class ParametersEvaluation:
    """All of it; `packages` by name, with the sha256 of their weights."""

    name: str
    description: str
    packages: Mapping[str, str]
    config: Mapping[str, Any]
    version: str
    known: tuple[OfPackage, ...]
    separations: tuple[OfSeparation, ...]
    guard: tuple[Guarded, ...]
    not_measured: Mapping[str, str]
