"""Headers of many fields, read by the cluster's workers before a plan is made."""

from __future__ import annotations

from pipeline.geometry import Footprint
from pipeline.io.footprints import read_footprints, write_footprints
from workflows.deferred import Deferred
from workflows.executors import Executor, Task
from workflows.scan import PENDING
from workflows.setup import ScanSetup
from workflows.wanted import header_identity, header_key

FOOTPRINTS_OF = Deferred("workflows.header_task:footprints_of")

FIELDS_A_TASK = 200
"""Headers that one task reads: a second's work."""


def read_headers(setup: ScanSetup, executor: Executor) -> None:
    """Have the workers read the headers that this output does not remember, so that the plan needs to open none.

    One header takes milliseconds, a million of them an hour. Where fields are few the plan reads them itself, and so it
    does with those that no worker could read: it then says why.
    """
    key = header_key(setup.survey)
    known = read_footprints(setup.output)
    identities = {header_identity(key, setup.survey, field): field for field in setup.survey.fields()}
    unknown = [field for identity, field in identities.items() if identity not in known]
    if executor.workers() < 2 or len(unknown) < 2 * FIELDS_A_TASK:
        return
    found: dict[str, Footprint] = {}
    job = setup.job()
    chunks = [unknown[first : first + FIELDS_A_TASK] for first in range(0, len(unknown), FIELDS_A_TASK)]
    under_way = 0
    while chunks or under_way:
        while chunks and under_way < PENDING * executor.workers():
            chunk = chunks.pop()
            arguments = {"job": job, "fields": chunk}
            name = chunk[0].field_id
            executor.submit(Task(f"headers/{name}", "cut", FOOTPRINTS_OF, arguments, ("cut",), name))
            under_way += 1
        outcome = executor.next_outcome()
        under_way -= 1
        if outcome.error is None:
            found |= outcome.value
    old_and_new = {
        identity: footprint
        for identity, field in identities.items()
        if (footprint := known.get(identity) or found.get(field.field_id)) is not None
    }
    write_footprints(setup.output, old_and_new)
