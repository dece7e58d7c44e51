"""What every task of a scan is told."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.io.lease import LeaseMark
from pipeline.scan_config import ScanConfig


@dataclass(frozen=True)
class Job:
    """What every task of a scan is told: where its output is and which files configure it.

    The keys are hashes of what the files said when the scan was planned: a worker that lives on from an earlier scan
    must not take what it remembers for what is there. `measures`: networks of the ensemble look at candidates once
    more, which needs its device. `lease`: whose work it is, which is published as long as that holds the output; None
    for a notebook's.
    """

    output: str
    config: ScanConfig
    survey: str
    survey_key: str
    ensemble: str | None
    ensemble_key: str
    measures: bool = False
    lease: LeaseMark | None = None
