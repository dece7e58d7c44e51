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
class Work:
    """What tasks of one kind have been through: objects, the sky that they lie on, and worker seconds."""

    objects: int = 0
    area: float = 0.0
    """arcmin²; nought for tasks on single shards."""
    seconds: float = 0.0

    def add(self, objects: int, seconds: float, area: float = 0.0) -> None:
        """Count a task."""
        self.objects += objects
        self.seconds += seconds
        self.area += area


@dataclass
class ScanResult:
    """What one call did so far.

    Attributes
    ----------
    ran : int
        Products written.
    failures : list of Failure
    fields : int
        Fields brought to their end.
    retries : int
        Tasks sent again after an error of the system or the death of a worker.
    cut, scored, finished : Work
        What was cut, scored and catalogued in this call.
    bytes_in, bytes_out : int
        Size of the input files of fields that were cut, and of the products written.
    peak_mb : float
        Largest resident memory of a worker.
    seconds : float
        Wall time from the first task to the last.
    """

    ran: int = 0
    failures: list[Failure] = field(default_factory=list)
    fields: int = 0
    retries: int = 0
    cut: Work = field(default_factory=Work)
    scored: Work = field(default_factory=Work)
    finished: Work = field(default_factory=Work)
    bytes_in: int = 0
    bytes_out: int = 0
    peak_mb: float = 0.0
    seconds: float = 0.0
