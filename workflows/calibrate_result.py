"""How a calibration is fitted, and what the fit has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.catalogue.purity import PurityRow
    from pipeline.evaluate.calibration.cascade import CascadeFigures
    from pipeline.evaluate.calibration.compare import RuleFigures
    from pipeline.evaluate.calibration.fit import Method
    from pipeline.evaluate.calibration.purity import LabelledPurity
    from pipeline.evaluate.metrics import Estimate
    from pipeline.models.combination import Rule

DETECTIONS = 1_000_000
"""Detections of the survey that the table of purity is for."""


@dataclass(frozen=True)
class CalibrateResult:
    """What a fit has made.

    Attributes
    ----------
    ensembles : tuple of str
        Files written, one a rule.
    comparison : tuple of RuleFigures
        Every rule and member on held-out folds; empty for a calibration on detections.
    best : str or None
        The rule with the least log-loss of the comparison, whose purity is told.
    purity : tuple of LabelledPurity
        On the held-out folds.
    shifts : dict of str to (moved, low, high), or None
        How far a scan's own detections moved each offset, with the 68 % interval.
    scan_purity : tuple of PurityRow
        Of the scan's detections by the new scores.
    cascade : CascadeResult or None
        Where gates were fitted.
    """

    ensembles: tuple[str, ...]
    comparison: tuple[RuleFigures, ...] = ()
    best: str | None = None
    purity: tuple[LabelledPurity, ...] = ()
    shifts: dict[str, tuple[float, float, float]] | None = None
    scan_purity: tuple[PurityRow, ...] = ()
    cascade: CascadeResult | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        from pipeline.evaluate.result import plain

        values: dict[str, Any] = plain(self)
        return values


@dataclass(frozen=True)
class CascadeResult:
    """Gates that were fitted: where they stop, what they do to the sample, and what they lose of held-out folds."""

    gates: tuple[str, ...]
    thresholds: tuple[float, ...]
    figures: CascadeFigures
    held_out: Estimate | None


@dataclass(frozen=True)
class FitOptions:
    """How a fit is made: rules, method of the calibrations, weight of lenses, the survey's prior, folds."""

    rules: tuple[Rule, ...]
    method: Method
    weigh: float
    prior: float
    folds: int
    seed: int = 1
