"""Whether a scan needs a cluster at all, told by what its output remembers before one is started."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.io import products
from pipeline.io.run_records import run_records
from workflows.cluster import ClusterConfig
from workflows.headers import FIELDS_A_TASK, unknown_headers
from workflows.plan import Plan
from workflows.setup import ScanSetup


def settled_plan(
    setup: ScanSetup, cluster: ClusterConfig, fields: Sequence[str] | None, *, retry_failed: bool = False
) -> tuple[str, Plan] | None:
    """The device that scored and the plan of the fields asked for, where none of them has anything to run; else None.

    Starting workers takes seconds, and minutes in a queue. The caller holds the output. Headers that are not remembered
    are read here, unless they are so many that workers read them faster.

    Parameters
    ----------
    setup : ScanSetup
    cluster : ClusterConfig
        The one that is not to be started for nothing.
    fields : sequence of str or None
        Only these.
    retry_failed : bool
        Whether a quarantined field is something to run.

    Raises
    ------
    ConfigError
        For a name that is no field of the survey.
    """
    device = recorded_device(setup)
    if device is None or not _would_do(device, setup, cluster):
        return None
    if next(iter(products.listings(setup.output)), None) is None or unknown_headers(setup) >= 2 * FIELDS_A_TASK:
        return None
    plan = setup.plan(device, retry_failed=retry_failed, remember=True).named(fields)
    return (device, plan) if all(field.finished or field.blocked for field in plan.sketches()) else None


def recorded_device(setup: ScanSetup) -> str | None:
    """The kind of device that the last run of this output scored on, None without a record of one."""
    if setup.ensemble is None:
        return "none"
    devices = (record.get("device") for record in reversed(run_records(setup.output)))
    return next((str(device) for device in devices if device), None)


def _would_do(device: str, setup: ScanSetup, cluster: ClusterConfig) -> bool:
    """Whether scores of a device are what the scan asks for: a GPU that is asked for by name makes them anew."""
    wanted = setup.config.score.device
    if wanted == "auto":
        return device != "cpu" or not (cluster.kind == "gpus" or cluster.asks_for_gpus)
    return (wanted == "cpu") == (device == "cpu")
