"""A short probe: a few fields of a survey, scanned for real where they can do no harm, to forecast the rest."""

from __future__ import annotations

import time
from dataclasses import replace

from pipeline.io.lease import LeaseMark
from pipeline.io.places import remove
from workflows.deferred import Deferred
from workflows.executors import Executor
from workflows.forecast import Rates, Slots, measured_rates
from workflows.plan import Plan
from workflows.progress import drive
from workflows.setup import ScanSetup
from workflows.wanted import stages_of

FIELDS_A_SLOT = 2
"""Fields of the probe for each task that can run, so that every worker is as busy as it will be."""
LEAST = 4
"""Fields of the probe at least: two of a survey may have a fifth fewer objects than its fields have on average."""
MOST = 64
"""Fields of the probe at most."""
SCRATCH = "probe"
"""Folder of the probe's products inside the output; gone when the probe ends."""


def probe(setup: ScanSetup, executor: Executor, plan: Plan, lease: LeaseMark, *, quiet: bool) -> Rates | None:
    """Scan a few of the fields that are left into a scratch folder, and give the rates.

    The caller holds the output, by `lease`; nothing else of it is touched. At most half of the fields that are left are
    taken, spread evenly over them. Workers load what they need before the clock starts.

    Returns
    -------
    Rates or None
        None where too few fields are left, or none of those chosen gets through.
    """
    left = plan.where(lambda field: not field.finished and not field.blocked)
    number = min(max(LEAST, FIELDS_A_SLOT * Slots.of(executor).workers), len(left) // 2, MOST)
    if number < 1:
        return None
    step = len(left) // number
    chosen = left[step // 2 :: step][:number]
    scratch = setup.output / SCRATCH
    remove(scratch)
    job = replace(setup.job(lease), output=str(scratch))
    began = time.monotonic()
    executor.everywhere(Deferred("workflows.remembered:warm_up"), job)
    ready = time.monotonic() - began
    every = {field.field_id: stages_of(setup.config) for field in chosen.sketches()}
    try:
        result = drive(job, executor, chosen, every, quiet, None)
    finally:
        remove(scratch)
    basis = f"rates of a probe of {result.fields} fields in {result.seconds:,.1f} s"
    return measured_rates(result, warm_up=ready, basis=basis)
