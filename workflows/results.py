"""What one call of a scan did: products, failures, rates, and the memory that it took."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import LensscanError


class ScanAborted(LensscanError):
    """The scan could not go on; everything published stays, and the same command resumes."""


@dataclass(frozen=True)
class Failure:
    """A field that did not get through: the stage, the reason, and the traceback where it was unexpected."""

    field_id: str
    stage: str
    reason: str
    trace: str | None = None


@dataclass
class Rate:
    """Objects and the worker seconds that they took."""

    objects: int = 0
    seconds: float = 0.0

    def add(self, objects: int, seconds: float) -> None:
        """Count a task."""
        self.objects += objects
        self.seconds += seconds

    @property
    def per_second(self) -> float | None:
        """Objects a worker second; None before anything was measured."""
        return self.objects / self.seconds if self.seconds else None


@dataclass
class ScanResult:
    """What one call did so far.

    Attributes
    ----------
    ran : int
        Products written.
    failures : list of Failure
    retries : int
        Tasks sent again after an error of the system or the death of a worker.
    cut, scored, finished : Rate
        Objects of fields cut, scored and catalogued in this call, with the worker seconds that they took.
    peak_mb : float
        Largest resident memory of a worker.
    seconds : float
        Wall time from the first task to the last.
    """

    ran: int = 0
    failures: list[Failure] = field(default_factory=list)
    retries: int = 0
    cut: Rate = field(default_factory=Rate)
    scored: Rate = field(default_factory=Rate)
    finished: Rate = field(default_factory=Rate)
    peak_mb: float = 0.0
    seconds: float = 0.0
