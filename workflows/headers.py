"""Headers of many fields, read by the cluster's workers before a plan is made."""

from __future__ import annotations

import numpy as np

from pipeline.geometry import Footprints
from pipeline.io.footprints import Identities, read_footprints, write_footprints
from workflows.deferred import Deferred
from workflows.executors import Executor, Task
from workflows.scan import PENDING
from workflows.setup import ScanSetup
from workflows.wanted import header_identities

FOOTPRINTS_OF = Deferred("workflows.header_task:footprints_of")

FIELDS_A_TASK = 200
"""Headers that one task reads: a second's work."""


def read_headers(setup: ScanSetup, executor: Executor) -> None:
    """Have the workers read the headers that this output does not remember, so that the plan needs to open none.

    One header takes milliseconds, a million of them an hour. Where fields are few the plan reads them itself, and so it
    does with those that no worker could read: it then says why.
    """
    fields = setup.survey.fields()
    identities, footprints = _remembered(setup)
    unknown = np.flatnonzero(~footprints.known)
    if executor.workers() < 2 or len(unknown) < 2 * FIELDS_A_TASK:
        return
    job = setup.job()
    chunks = [unknown[first : first + FIELDS_A_TASK] for first in range(0, len(unknown), FIELDS_A_TASK)]
    under_way = 0
    while chunks or under_way:
        while chunks and under_way < PENDING * executor.workers():
            chunk = [fields[number] for number in chunks.pop()]
            arguments = {"job": job, "fields": chunk}
            name = chunk[0].field_id
            executor.submit(Task(f"headers/{name}", "cut", FOOTPRINTS_OF, arguments, ("cut",), name))
            under_way += 1
        outcome = executor.next_outcome()
        under_way -= 1
        if outcome.error is None:
            for name, footprint in outcome.value.items():
                number = fields.number(name)
                if number is not None:
                    footprints.put(number, footprint)
    write_footprints(setup.output, identities, footprints)


def unknown_headers(setup: ScanSetup) -> int:
    """How many fields have a header that this output does not remember."""
    _, footprints = _remembered(setup)
    return int(np.count_nonzero(~footprints.known))


def _remembered(setup: ScanSetup) -> tuple[Identities, Footprints]:
    """The identities of the fields' files, and the footprints that are remembered of the same files."""
    identities = header_identities(setup.survey)
    return identities, read_footprints(setup.output).of(identities, setup.survey.fields().ids)
