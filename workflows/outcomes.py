"""What the commands that scan give back: values to print, or to go on with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.catalogue.diff import TableDifference
from workflows.forecast import Forecast
from workflows.plan import Plan
from workflows.results import Failure


@dataclass(frozen=True)
class Summary:
    """What a scan or a rerun did, and what the output holds for the fields named.

    Counts describe those fields, whether done now or before; `ran` counts products written by this call, and `notes`
    say what a person should know of fields that went on (`<field>: <text>`).
    """

    fields: int
    done: int
    empty: int
    failed: int
    ran: int
    detections: int
    cutouts: int
    scored: int
    unscorable: int
    candidates: int
    catalogue: str
    seconds: float
    notes: tuple[str, ...] = ()
    stopped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ScanOutcome:
    """A summary with the fields that failed, the forecast made before, and what it came to."""

    summary: Summary
    failures: tuple[Failure, ...]
    forecast: Forecast
    actual: Forecast

    def as_dict(self) -> dict[str, Any]:
        """The summary with `forecast` and `actual`, for JSON."""
        return {**self.summary.as_dict(), "forecast": self.forecast.as_dict(), "actual": self.actual.as_dict()}


@dataclass(frozen=True)
class FieldOutcome:
    """A rerun's summary with what changed against the catalogue before."""

    summary: Summary
    failures: tuple[Failure, ...]
    difference: TableDifference | None

    def as_dict(self) -> dict[str, Any]:
        """The summary with `new`, `gone` and `changed`, for JSON; null where the field failed."""
        change = self.difference
        counts = {
            "new": change.new if change else None,
            "gone": change.gone if change else None,
            "changed": change.changed if change else None,
        }
        return {**self.summary.as_dict(), **counts}


@dataclass(frozen=True)
class PlanReport:
    """What a scan would do.

    Attributes
    ----------
    states : mapping
        Stage -> state -> number of fields.
    plan : Plan
    forecast : Forecast
    """

    states: dict[str, dict[str, int]]
    plan: Plan
    forecast: Forecast

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON; `products` has one for each field and stage."""
        rows = [
            {"field": plan.field.field_id, "stage": one.stage, "fingerprint": one.fingerprint, "state": one.state}
            for plan in self.plan
            for one in plan.stages
        ]
        return {"stages": self.states, "products": rows, "forecast": self.forecast.as_dict()}


@dataclass(frozen=True)
class CandidatesOutcome:
    """A summary of the fields that have scores, the failures among them, and the fields that need a scan first."""

    summary: Summary
    failures: tuple[Failure, ...]
    waiting: tuple[str, ...]
