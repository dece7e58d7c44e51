"""A cluster of SLURM jobs: some that cut, and, where a partition has GPUs, others that score."""

from __future__ import annotations

import asyncio
import getpass
import logging
import math
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler
from distributed.deploy.spec import ProcessInterface, SpecCluster

from pipeline.errors import ConfigError
from workflows.cluster.address import security
from workflows.cluster.config import ClusterConfig, GpuJobGroup, JobGroup, SlurmConfig
from workflows.cluster.environment import JOB_ENVIRONMENT, NANNY_MB
from workflows.cluster.machine import TASKS_A_GPU
from workflows.cluster.offers import wait_for_offers

LAUNCHES = 3
"""Jobs that end before a worker of theirs has joined, after which waiting for the first ones is given up."""

ENDS_BEFORE = 120.0
"""Seconds before a job's walltime at which its workers retire; a tenth of a walltime that is shorter than 20 min."""


@contextmanager
def slurm_cluster(config: ClusterConfig) -> Iterator[Client]:
    """Submit a config's jobs and give a client of their workers; the jobs are cancelled in the end.

    Strategy: one scheduler in this process and one `SpecCluster` over jobs of both partitions. SLURM is asked now and
    then which jobs live, and each that has ended, cancelled, out of time or on a broken node, is submitted anew.

    Raises
    ------
    ConfigError
        If the extra or SLURM's commands are not here, SLURM takes no job, jobs end before their workers join, or no
        worker comes in time.
    """
    settings = _settings(config)
    _require_commands()
    secure = security(config.tls) if config.tls is not None else None
    scheduler = {
        "protocol": "tls://" if secure is not None else "tcp://",
        "interface": settings.scheduler_interface or settings.interface,
        "dashboard_address": config.dashboard,
        "security": secure,
    }
    try:
        cluster = JobsCluster(
            workers=job_specifications(config),
            scheduler={"cls": Scheduler, "options": scheduler},
            security=secure,
            silence_logs=logging.CRITICAL,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"the cluster of SLURM jobs does not start: {_told(error)} Check partition, account, directives and "
            f"interface in the section slurm; `sinfo` lists the partitions."
        ) from error
    with cluster, Client(cluster, security=secure, set_as_default=False) as client, _renewed(cluster, settings.poll):
        wait_for_offers(client, {"cut", "score"}, config.wait, f"of {len(cluster.worker_spec)} jobs", cluster.trouble)
        yield client


class JobsCluster(SpecCluster):  # type: ignore[misc]
    """A cluster of jobs that are submitted anew when they end."""

    def __init__(self, **options: Any) -> None:
        self._joined: set[str] = set()
        self._lost = 0
        self._last: Path | None = None
        super().__init__(**options)

    async def renew(self, living: set[str]) -> None:
        """Submit a job, under another name, for each that is not among SLURM's living ones."""
        self._joined |= {str(worker["name"]) for worker in self.scheduler_info["workers"].values()}
        for name in set(self.worker_spec) - {name for name, job in self.workers.items() if job.job_id in living}:
            ended = self.workers.pop(name, None)
            if ended is not None and ended.job_id and not any(_is_of(worker, name) for worker in self._joined):
                self._lost += 1
                self._last = Path(ended.log_directory) / f"{ended.job_name}-{ended.job_id}.err"
            specification = self.worker_spec.pop(name)
            self.worker_spec[_next_name(name)] = specification
        await self._correct_state()

    def trouble(self) -> str | None:
        """What to say if jobs end before their workers join; None as long as it may be chance."""
        if self._lost < LAUNCHES:
            return None
        return f"{self._lost} jobs ended before a worker of theirs had joined. {_end_of(self._last)}"


def job_specifications(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Dask's specification of the jobs: name -> class and options.

    Raises
    ------
    ConfigError
        If dask-jobqueue is not installed.
    """
    settings = _settings(config)
    job = _job_class()
    groups: list[tuple[str, int, dict[str, Any]]] = [("cut", settings.cpu.jobs, _cpu_job(settings, settings.cpu))]
    if settings.gpu is not None:
        groups.append(("score", settings.gpu.jobs, _gpu_job(settings, settings.gpu)))
    secure = security(config.tls) if config.tls is not None else None
    shared = {
        "interface": settings.interface,
        "python": shlex.quote(settings.python) if settings.python is not None else None,
        "log_directory": str(Path(settings.log).expanduser().absolute()),
        "protocol": "tls://" if secure is not None else None,
        "security": secure,
    }
    specifications = {}
    for kind, jobs, options in groups:
        for number in range(jobs):
            one: dict[str, Any] = {"cls": job, "options": {**shared, **options}}
            if options["processes"] > 1:
                one["group"] = [f"-{worker}" for worker in range(options["processes"])]
            specifications[f"{kind}-{number}"] = one
    return specifications


def job_scripts(config: ClusterConfig) -> dict[str, str]:
    """The script of one job of each group, as it would be submitted."""
    scripts = {}
    for name, one in job_specifications(config).items():
        group, number = name.split("-")
        if number == "0":
            scripts[group] = one["cls"]("tcp://SCHEDULER:8786", name=name, **one["options"]).job_script()
    return scripts


def _cpu_job(settings: SlurmConfig, group: JobGroup) -> dict[str, Any]:
    resources = {"cut": 1} if settings.gpu is not None else {"cut": 1, "score": 1}
    return {
        **_job(settings, group, resources, group.workers),
        "cores": group.workers,
        "processes": group.workers,
        "memory": f"{group.memory * group.workers:.0f}MB",
        "job_name": "lensscan-cut",
        "job_extra_directives": list(group.directives),
        "job_script_prologue": [*_prologue(settings), "export CUDA_VISIBLE_DEVICES="],
    }


def _gpu_job(settings: SlurmConfig, group: GpuJobGroup) -> dict[str, Any]:
    return {
        **_job(settings, group, {"score": TASKS_A_GPU}, 1),
        "cores": TASKS_A_GPU,
        "processes": 1,
        "memory": f"{group.memory:.0f}MB",
        "job_name": "lensscan-score",
        "job_extra_directives": [f"--gres={group.gres}", *group.directives],
        "job_script_prologue": _prologue(settings),
    }


def _job(
    settings: SlurmConfig, group: JobGroup | GpuJobGroup, resources: dict[str, int], workers: int
) -> dict[str, Any]:
    early = min(ENDS_BEFORE, group.walltime / 10)
    return {
        "queue": group.partition,
        "account": group.account,
        "walltime": _clock(group.walltime),
        # What is granted has room for the process that watches each worker.
        "job_mem": f"{math.ceil((group.memory + NANNY_MB) * workers * 1e6 / 2**20)}M",
        "worker_extra_args": [
            "--resources",
            ",".join(f"{name}={amount}" for name, amount in resources.items()),
            "--lifetime",
            f"{group.walltime - early:.0f}s",
            "--lifetime-stagger",
            f"{early / 2:.0f}s",
        ],
    }


def _prologue(settings: SlurmConfig) -> list[str]:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in JOB_ENVIRONMENT.items()]
    return [*settings.prologue, *exports]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _end_of(log: Path | None) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines() if log is not None else []
    except OSError:
        lines = []
    if not lines:
        return f"{log} is empty; `sacct` may know more."
    return f"{log} ends with: {' | '.join(lines[-3:])}"


def _is_of(worker: str, job: str) -> bool:
    """Whether a worker is of a job: its only one, or one of several, which are numbered."""
    return worker == job or worker.startswith(f"{job}-")


def _next_name(name: str) -> str:
    """A name for the job that follows: a scheduler that has not noticed a death refuses a second worker of a name."""
    first, _, times = name.partition(".")
    return f"{first}.{int(times or 0) + 1}"


@contextmanager
def _renewed(cluster: JobsCluster, every: float) -> Iterator[None]:
    """Ask SLURM now and then which jobs live, and have those that have ended submitted anew."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            try:
                living = living_jobs()
                cluster.sync(cluster.renew, living)
            except (RuntimeError, OSError, subprocess.SubprocessError, asyncio.CancelledError):
                # SLURM's controller is away for a while, or takes no more jobs at the moment: asked again next time.
                continue

    watcher = threading.Thread(target=watch, name="slurm-jobs", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def living_jobs() -> set[str]:
    """Numbers of this user's jobs that wait or run."""
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%A %t", f"--user={getpass.getuser()}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [line.split() for line in listed.stdout.splitlines() if line.strip()]
    # CG, completing: what is left of a job that has ended.
    return {number for number, state in rows if state != "CG"}


def _settings(config: ClusterConfig) -> SlurmConfig:
    if config.slurm is None:
        raise ConfigError('kind = "slurm" needs a section slurm; see configs/clusters/slurm.toml.')
    return config.slurm


def _require_commands() -> None:
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f'kind = "slurm" needs {", ".join(missing)}, which this machine does not have; run the command on a login '
            f"node of the SLURM cluster."
        )


def _job_class() -> type[Any]:
    try:
        from dask_jobqueue.slurm import SLURMJob
    except ImportError as error:
        raise ConfigError(
            f'kind = "slurm" needs dask-jobqueue ({error}); run `./install.sh clusters` in lensscan\'s folder.'
        ) from error

    class Job(SLURMJob):  # type: ignore[misc]
        async def close(self) -> None:
            await super().close()
            # dask-jobqueue leaves it out, and a cluster asserts in the end that every job says it is closed.
            await ProcessInterface.close(self)

    return Job


def _told(error: BaseException) -> str:
    """The error's own words on one line; those of a command that failed, where it was one."""
    text = str(error)
    if "stderr:" in text:
        text = text.partition("stderr:")[2]
    return " ".join(text.split()).rstrip(".") + "."
