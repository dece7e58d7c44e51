"""What is wrong with a cluster's workers, told before any work starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from distributed import Client
from distributed.comm import CommClosedError

from pipeline.errors import ConfigError, LensscanError
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place
from pipeline.io.storage_check import check
from pipeline.scan_config import ScanConfig
from workflows.cluster.config import PROCESS_MB
from workflows.cluster.machine import visible_gpus
from workflows.deferred import Deferred
from workflows.job import Job
from workflows.plan import Plan
from workflows.results import ScanAborted

_DASK = ("python", "dask", "distributed", "cloudpickle", "msgpack")
"""What processes of a cluster need to agree on to understand each other."""
_OURS = ("numpy", "torch", "zarr", "sep", "astropy", "pyarrow")
"""What workers need to agree on to write the same bytes."""
_FIELD_BYTES = 40
"""What the stages before scoring hold of a field's pixel and band at most, bytes (`pipeline.scan.masks`)."""
_STAMP_BYTES = 12
"""Image, ivar and mask of a stamp's pixel and band."""


def check_same_code(client: Client) -> None:
    """Check that every worker imports the same `pipeline` and `workflows` and the same versions as this process.

    Both names are generic: a user's own folder can shadow them on a worker.

    Raises
    ------
    ConfigError
        Naming the workers that differ, and what they import.
    """
    differing = different_versions(client.get_versions(packages=list(_OURS)))
    if differing:
        raise ConfigError(
            f"the cluster's software differs from this process's ({'; '.join(differing[:4])}); install the same, "
            f"the versions of constraints.txt, on both."
        )
    digest = digest_by_value()
    mine, *_ = digest()
    theirs = ask(client, digest)
    other = {worker: answer for worker, answer in theirs.items() if isinstance(answer, Exception) or answer[0] != mine}
    if other:
        told = "; ".join(f"{worker}: {_imported(answer)}" for worker, answer in sorted(other.items())[:4])
        raise ConfigError(
            f"{len(other)} of {len(theirs)} workers import other code as `pipeline` and `workflows` than this process "
            f"({told}); install the same lensscan there, and start workers outside folders of those names."
        )


def different_versions(told: Mapping[str, Any]) -> list[str]:
    """What differs between this process and scheduler or workers, a sentence each, of `Client.get_versions`.

    Of Python the first two numbers count; builds of a version for a CPU and for a GPU, 2.13.0+cpu and the like, go
    together. What a scheduler has not installed it does not need.
    """
    mine = told["client"]["packages"]
    theirs = {"scheduler": told["scheduler"], **told["workers"]}
    return [
        f"{name} {theirs[where]['packages'][name]} on {where}, {mine[name]} here"
        for name in (*_DASK, *_OURS)
        for where in sorted(theirs)
        if _counts(name, theirs[where]["packages"].get(name)) != _counts(name, mine.get(name))
        and not (where == "scheduler" and (name in _OURS or theirs[where]["packages"].get(name) is None))
    ]


def _counts(name: str, version: str | None) -> str:
    """The part of a version that has to agree."""
    whole = str(version).partition("+")[0]
    return ".".join(whole.split(".")[:2]) if name == "python" else whole


def _imported(answer: Any) -> str:
    return repr(answer) if isinstance(answer, Exception) else " and ".join(str(place) for place in answer[1])


def digest_by_value() -> Callable[[], tuple[str, list[str], str]]:
    """A function that says what `pipeline` and `workflows` are where it runs, and which torch is there.

    It is local on purpose, so that it travels by value: a worker with other packages of those names couldn't import it.
    """

    def digest_of_packages() -> tuple[str, list[str], str]:
        """The sha256 of every Python file of both packages, the packages' folders, and torch's version."""
        from hashlib import sha256
        from importlib.metadata import version
        from importlib.util import find_spec
        from pathlib import Path

        digest, places = sha256(), []
        for package in ("pipeline", "workflows"):
            spec = find_spec(package)
            folders = list(spec.submodule_search_locations or []) if spec is not None else []
            places.append(folders[0] if folders else f"no {package}")
            for root in map(Path, folders):
                for path in sorted(root.rglob("*.py")):
                    digest.update(path.relative_to(root).as_posix().encode())
                    digest.update(path.read_bytes())
        # Builds of a version for a CPU and for a GPU, 2.13.0+cpu and the like, go together.
        return digest.hexdigest(), places, version("torch").partition("+")[0]

    return digest_of_packages


def ask(client: Client, question: Callable[..., Any], *about: Any, workers: list[str] | None = None) -> dict[str, Any]:
    """What each worker answers, or the exception that it raised; one that went away meanwhile is left out.

    Raises
    ------
    ScanAborted
        If all of them went away.
    """
    told = client.run(question, *about, workers=workers, on_error="return")
    answers = {worker: answer for worker, answer in told.items() if not isinstance(answer, CommClosedError)}
    if told and not answers:
        raise ScanAborted("every worker went away while it was asked whether it is ready; run the same command again.")
    return answers


def workers_with(client: Client, resource: str) -> list[str]:
    """Addresses of the workers that offer a resource, sorted."""
    return sorted(address for address, worker in _workers(client).items() if worker["resources"].get(resource, 0) >= 1)


def device_kinds(client: Client | None, wanted: str) -> set[str]:
    """The kinds of device ("cpu", or the GPU's name) that tasks will score on; asks the workers that offer `score`.

    Raises
    ------
    ConfigError
        If no worker scores, or a GPU is asked for and some worker that scores has none.
    """
    if client is None:
        return {device_kind(wanted)}
    scoring = workers_with(client, "score")
    if not scoring:
        raise ConfigError('no worker of the cluster offers score; start workers with --resources "score=1".')
    kinds = ask(client, device_kind, wanted, workers=scoring)
    failed = {worker: kind for worker, kind in kinds.items() if isinstance(kind, Exception)}
    if failed:
        worker, error = min(failed.items())
        raise ConfigError(f"{len(failed)} of {len(kinds)} workers that score cannot: {worker}: {error}") from error
    return set(kinds.values())


def require_ensemble(client: Client, job: Job) -> None:
    """Check that every worker that scores can load the scan's networks, which it then keeps.

    Raises
    ------
    ModelMismatch, ConfigError
        What the first of those that cannot says.
    """
    load = Deferred("workflows.remembered:warm_up")
    answers = ask(client, load, job, workers=workers_with(client, "score"))
    failed = {worker: answer for worker, answer in answers.items() if answer is not None}
    if failed:
        worker, error = min(failed.items(), key=lambda item: item[0])
        kind = type(error) if isinstance(error, LensscanError) else ConfigError
        raise kind(f"{len(failed)} of {len(answers)} workers that score cannot load the ensemble: {worker}: {error}")


def require_gpus(client: Client) -> None:
    """Check that workers that were started to score on GPUs see one each.

    Raises
    ------
    ConfigError
        Naming those that see none.
    """
    seen = ask(client, visible_gpus, workers=workers_with(client, "score"))
    blind = sorted(worker for worker, gpus in seen.items() if isinstance(gpus, Exception) or not gpus)
    if blind:
        raise ConfigError(
            f"{len(blind)} of {len(seen)} workers that were asked for with a GPU see no GPU ({blind[0]}); look at the "
            f"GPU group (gres and partition of a job, resource and image of a pod) and at torch there, which must be a "
            f"CUDA build; without the group gpu, the workers of cpu score."
        )


def device_kind(wanted: str) -> str:
    """The kind of device this process would score on: "cpu", or the GPU's name.

    Raises
    ------
    ConfigError
        If a GPU is asked for and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise ConfigError('score.device = "cuda", but no GPU is visible here; use "auto" or "cpu".')
    return str(torch.cuda.get_device_name()) if present else "cpu"


def require_places(client: Client, places: Sequence[str]) -> None:
    """Check that every worker can use the places that tasks read and write: folders and files, or an object store.

    Raises
    ------
    ConfigError
        Naming the workers that can't, and what is not there for them.
    """
    answers = ask(client, out_of_reach, tuple(places))
    blind = {worker: answer for worker, answer in answers.items() if answer is not None}
    if blind:
        worker, answer = min(blind.items(), key=lambda item: item[0])
        raise ConfigError(
            f"{len(blind)} of {len(answers)} workers cannot use what the scan needs: {worker}: {answer} Workers must "
            f"have survey, configs and output at the same paths as this process, or in an object store, with "
            f"credentials."
        )


def out_of_reach(places: Sequence[str]) -> str | None:
    """What is missing of some places where this runs, as a sentence; None if nothing is.

    Raises
    ------
    ConfigError
        If an object store cannot be used.
    """
    for where in map(place, places):
        check(where)
        if not isinstance(where, ObjectPath) and not where.exists():
            return f"{where} is not there."
    return None


def require_memory(client: Client | None, config: ScanConfig, plan: Plan) -> None:
    """Check that every worker may hold what its tasks need: a block of a field, if it cuts, and a shard each.

    Dask gives a worker above a share of its limit (`distributed.worker.memory.pause`) nothing more to do, and memory
    that a worker has freed stays with it, so that share is what counts.

    Raises
    ------
    ConfigError
        Naming the worker that lacks most, what is needed and what can be lowered.
    """
    if client is None:
        return
    share = float(dask.config.get("distributed.worker.memory.pause") or 1.0)
    block, shard = task_memory(config, plan)
    lacking = []
    for address, worker in _workers(client).items():
        allowed = (worker["memory_limit"] or 0) / 1e6
        cut = block if worker["resources"].get("cut") else 0.0
        tasks = max(1, min(int(worker["resources"].get("score", 0)), worker["nthreads"]))
        needed = (PROCESS_MB + cut + shard * tasks) / share
        if 0 < allowed < needed:
            lacking.append((needed - allowed, address, allowed, needed, cut, shard * tasks))
    if lacking:
        _, address, allowed, needed, cut, shards = max(lacking)
        raise ConfigError(
            f"worker {address} may use {allowed:,.0f} MB, but needs about {needed:,.0f} MB, of which Dask lets it fill "
            f"{share:.0%}: {PROCESS_MB:,.0f} for the process, {cut:,.0f} for a block of a field (memory) and "
            f"{shards:,.0f} for a shard of cutouts a task (cutouts.shard). Lower those in the scan's config, or give "
            f"fewer workers more memory each."
        )


def task_memory(config: ScanConfig, plan: Plan) -> tuple[float, float]:
    """What a block of a field and a shard of its cutouts take at most, MB.

    A small field is one block, and its shards hold no more objects than it has at the config's assumed density.
    """
    block = shard = 0.0
    bands = len(config.bands)
    for field in plan.sketches():
        if field.footprint is None or field.finished:
            continue
        scale = field.footprint.pixel_scale
        pixels = float(field.footprint.shape[0]) * field.footprint.shape[1]
        if config.detect.method == "grid":
            objects = pixels * (scale / config.detect.grid_step) ** 2
        else:
            objects = field.footprint.area * config.forecast.density
        stamp = _STAMP_BYTES * bands * config.cutouts.stamp_pixels(scale) ** 2
        block = max(block, min(config.memory, _FIELD_BYTES * bands * pixels / 1e6))
        shard = max(shard, min(float(config.cutouts.shard), objects) * stamp / 1e6)
    return block, shard


def _workers(client: Client) -> dict[str, dict[str, Any]]:
    workers: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return workers
