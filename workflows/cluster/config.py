"""Where a scan runs: `configs/clusters/*.toml`, or what `--cluster` says otherwise."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.config import Megabytes, Seconds, StrictModel, find, load, validate

PROCESS_MB = 500.0
"""A worker with torch and the astronomy libraries loaded, before it holds any data, MB."""


def _holds_a_worker(value: float) -> float:
    if value < PROCESS_MB:
        raise ValueError(f"a worker takes {PROCESS_MB:g} MB before it holds any data")
    return value


WorkerMegabytes = Annotated[Megabytes, AfterValidator(_holds_a_worker)]

Kind = Literal["local", "address", "serial", "gpus", "slurm", "kubernetes"]

_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|ucxx)://[^/:\s]+:\d+|(tcp|tls)://\[[0-9a-fA-F:]+\]:\d+")

_KINDS_OF: dict[str, tuple[Kind, ...]] = {
    "workers": ("local", "gpus"),
    "memory": ("local", "gpus"),
    "dashboard": ("local", "gpus", "slurm"),
    "devices": ("gpus",),
    "address": ("address",),
    "tls": ("address", "slurm"),
    "wait": ("address", "slurm", "kubernetes"),
    "slurm": ("slurm",),
    "kubernetes": ("kubernetes",),
}
"""Which kinds of cluster a key has a meaning for."""


class TlsConfig(StrictModel):
    """Certificates, PEM files, of a scheduler that asks for them.

    Attributes
    ----------
    ca_file : str
        The authority that signed the cluster's certificates.
    cert, key : str
        This process's own.
    """

    ca_file: str
    cert: str
    key: str


class JobGroup(StrictModel):
    """SLURM jobs of one partition.

    Attributes
    ----------
    jobs : int
        How many are kept in the queue or running.
    workers : int
        Processes of a job, each with a core.
    memory : float, MB
        Limit of each worker.
    partition, account : str or None
        The site's default if None.
    walltime : float, s
        After which SLURM ends a job; its workers retire before, and another job takes its place.
    directives : tuple of str
        More `#SBATCH` lines, such as "--constraint=skylake".
    """

    jobs: int = Field(ge=1)
    workers: int = Field(1, ge=1)
    memory: WorkerMegabytes
    partition: str | None = None
    account: str | None = None
    walltime: Seconds
    directives: tuple[str, ...] = ()


class GpuJobGroup(StrictModel):
    """SLURM jobs of a partition with GPUs: one job, one worker process, one GPU. Keys as in `JobGroup`."""

    jobs: int = Field(ge=1)
    memory: WorkerMegabytes
    partition: str | None = None
    account: str | None = None
    walltime: Seconds
    gres: str = "gpu:1"
    directives: tuple[str, ...] = ()


class SlurmConfig(StrictModel):
    """A cluster of SLURM jobs; the scheduler runs in this process.

    Attributes
    ----------
    cpu : JobGroup
        Workers that cut, and score too where there is no `gpu`.
    gpu : GpuJobGroup or None
        Workers that score.
    interface, scheduler_interface : str or None
        Network interfaces, such as "ib0", of the workers and of this machine (the workers' if None).
    log : str
        Folder of the jobs' output.
    prologue : tuple of str
        Shell lines before a worker starts, such as "module load cuda".
    python : str or None
        Interpreter of the workers; this process's if None.
    poll : float, s
        How often SLURM is asked which jobs have ended.
    """

    cpu: JobGroup
    gpu: GpuJobGroup | None = None
    interface: str | None = None
    scheduler_interface: str | None = None
    log: str = "slurm-logs"
    prologue: tuple[str, ...] = ()
    python: str | None = None
    poll: Seconds = Field("30 s", validate_default=True)


class VolumeConfig(StrictModel):
    """A persistent volume claim that every worker's pod mounts at `path`."""

    claim: str
    path: str
    read_only: bool = False


class PodGroup(StrictModel):
    """Pods of one worker process each, with a core and `memory` (MB); `image` overrides the cluster's."""

    workers: int = Field(ge=1)
    memory: WorkerMegabytes
    image: str | None = None
    node_selector: Mapping[str, str] = Field(default_factory=dict)


class GpuPodGroup(PodGroup):
    """Pods of one worker process and one GPU each; `resource` is the GPU's name in Kubernetes."""

    resource: str = "nvidia.com/gpu"


class KubernetesConfig(StrictModel):
    """A cluster of pods, made by dask-kubernetes's operator.

    Attributes
    ----------
    image : str
        Built by `docker/Dockerfile`.
    cpu : PodGroup
        Workers that cut, and score too where there is no `gpu`.
    gpu : GpuPodGroup or None
        Workers that score.
    name : str
        What the cluster's name begins with.
    namespace : str or None
        The current context's if None.
    volumes : tuple of VolumeConfig
        Where the pods find files; nothing of `s3://` needs one.
    secrets : tuple of str
        Kubernetes secrets that become environment variables, such as an object store's credentials.
    scheduler_memory : float, MB
        Of the scheduler's pod.
    idle : float, s
        An idle cluster is deleted after this long, should this process be killed before it could.
    """

    image: str
    cpu: PodGroup
    gpu: GpuPodGroup | None = None
    name: str = Field("lensscan", pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")
    namespace: str | None = None
    volumes: tuple[VolumeConfig, ...] = ()
    secrets: tuple[str, ...] = ()
    scheduler_memory: Megabytes = Field("2000 Mbyte", validate_default=True)
    idle: Seconds = Field("1 h", validate_default=True)


class ClusterConfig(StrictModel):
    """Where a scan runs.

    Attributes
    ----------
    kind : {"local", "address", "serial", "gpus", "slurm", "kubernetes"}
        Processes on this machine, a scheduler that runs already, no cluster at all, one process a GPU of this machine
        beside others on its cores, or jobs and pods that are started for the scan.
    workers : int
        Processes on this machine's cores; 0 for one a core, less those that GPUs need.
    memory : float, MB
        Limit of each worker on this machine; leave out for a fair share of the machine.
    dashboard : str
        Where a scheduler of ours serves its dashboard; ":0" takes any free port.
    devices : tuple of int or None
        Numbers of the GPUs to use; every visible one if None.
    address : str or None
        Of the scheduler, such as `tcp://host:8786`.
    tls : TlsConfig or None
        Certificates for an address that begins with `tls://`, or for SLURM workers.
    wait : float, s
        How long to wait for the first workers.
    slurm : SlurmConfig or None
    kubernetes : KubernetesConfig or None
    """

    kind: Kind = "local"
    workers: int = Field(0, ge=0)
    memory: WorkerMegabytes | None = None
    dashboard: str = "127.0.0.1:0"
    devices: tuple[int, ...] | None = None
    address: str | None = None
    tls: TlsConfig | None = None
    wait: Seconds = Field("60 s", validate_default=True)
    slurm: SlurmConfig | None = None
    kubernetes: KubernetesConfig | None = None

    @field_validator("address")
    @classmethod
    def _names_host_and_port(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("is no address such as tcp://host:8786")
        return value

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> ClusterConfig:
        for name in sorted(self.model_fields_set - {"kind"}):
            if self.kind not in _KINDS_OF[name]:
                kinds = " or ".join(f'"{kind}"' for kind in _KINDS_OF[name])
                raise ValueError(f'{name} has no meaning for kind = "{self.kind}", only for {kinds}')
        for name in ("address", "slurm", "kubernetes"):
            if self.kind == name and getattr(self, name) is None:
                raise ValueError(f'kind = "{name}" needs {name}; configs/clusters/{name}.toml shows one')
        if self.kind == "address" and str(self.address).startswith("tls://") != (self.tls is not None):
            raise ValueError("an address with tls:// needs the section tls (ca_file, cert, key), and only that has one")
        return self

    @property
    def asks_for_gpus(self) -> bool:
        """Whether jobs or pods with GPUs are started."""
        return any(group is not None and group.gpu is not None for group in (self.slurm, self.kubernetes))

    @property
    def processes(self) -> int:
        """How many workers the cluster will have once it is whole; one where only the cluster itself knows."""
        cores = os.cpu_count() or 1
        if self.slurm is not None:
            return self.slurm.cpu.jobs * self.slurm.cpu.workers + (self.slurm.gpu.jobs if self.slurm.gpu else 0)
        if self.kubernetes is not None:
            return self.kubernetes.cpu.workers + (self.kubernetes.gpu.workers if self.kubernetes.gpu else 0)
        return (self.workers or cores) if self.kind in ("local", "gpus") else 1


def cluster_config(reference: str | None) -> ClusterConfig:
    """The cluster that `--cluster` means: an address with `://`, a file, or a shipped name; local if None.

    Raises
    ------
    ConfigError
        If the reference is none of these, or its file is wrong.
    """
    if reference is None:
        return ClusterConfig()
    if "://" in reference or _ADDRESS.fullmatch(f"tcp://{reference}"):
        return validate(ClusterConfig, {"kind": "address", "address": reference}, f"--cluster {reference}")
    return load(ClusterConfig, find(reference, "clusters"))
