"""A cluster of pods, made by dask-kubernetes's operator from resources that are rendered here as plain values."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distributed import Client

from pipeline.errors import ConfigError
from workflows.cluster.config import ClusterConfig, GpuPodGroup, KubernetesConfig, PodGroup
from workflows.cluster.environment import JOB_ENVIRONMENT, NANNY_MB, SCHEDULER_ENVIRONMENT
from workflows.cluster.machine import TASKS_A_GPU
from workflows.cluster.offers import wait_for_offers

API = "kubernetes.dask.org/v1"
USER = 1000
"""Of the image, `docker/Dockerfile`."""


@contextmanager
def kubernetes_cluster(config: ClusterConfig) -> Iterator[Client]:
    """Create a config's pods and give a client of their workers; the cluster is deleted in the end.

    Strategy: one DaskCluster with the scheduler and the workers that cut, and a DaskWorkerGroup beside it for those
    with GPUs. The operator replaces pods that end.

    Raises
    ------
    ConfigError
        If the extra or the operator is not installed, Kubernetes can't be reached, or no worker comes in time.
    """
    settings = _settings(config)
    create, look, reasons = _operator()
    name = f"{settings.name}-{uuid.uuid4().hex[:6]}"
    group = gpu_worker_group(settings, name)
    try:
        look(settings.namespace)
        cluster = create(
            custom_cluster_spec=dask_cluster(settings, name),
            namespace=settings.namespace,
            idle_timeout=math.ceil(settings.idle),
            resource_timeout=math.ceil(config.wait),
            shutdown_on_close=True,
            quiet=True,
        )
    except reasons as error:
        raise ConfigError(
            f"Kubernetes gives no Dask cluster: {type(error).__name__}: {error}. Check that `kubectl get daskclusters` "
            f"answers (KUBECONFIG, your permissions, dask-kubernetes's operator), and that the image can be pulled."
        ) from error
    with cluster:
        if group is not None:
            cluster.add_worker_group(name="score", custom_spec=group["spec"]["worker"])
        with Client(cluster, set_as_default=False) as client:
            wait_for_offers(client, {"cut", "score"}, config.wait, f"of the cluster {name}")
            yield client


def dask_cluster(settings: KubernetesConfig, name: str) -> dict[str, Any]:
    """The DaskCluster: a scheduler and the workers that cut, and score too where there is no GPU group."""
    offers = {"cut": 1} if settings.gpu is not None else {"cut": 1, "score": 1}
    selector = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    ports = {"tcp-comm": 8786, "http-dashboard": 8787}
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    scheduler = {
        **_container("scheduler", settings.image, SCHEDULER_ENVIRONMENT, settings.secrets),
        "command": ["dask", "scheduler"],
        "args": ["--host", "0.0.0.0"],
        "resources": _resources(1, settings.scheduler_memory),
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports.items()],
        "readinessProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 30},
        "livenessProbe": {**health, "initialDelaySeconds": 15, "periodSeconds": 20, "timeoutSeconds": 30},
    }
    service = {
        "type": "ClusterIP",
        "selector": selector,
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port} for port, number in ports.items()
        ],
    }
    return {
        "apiVersion": API,
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "idleTimeout": math.ceil(settings.idle),
            "scheduler": {"spec": _pod(scheduler, ()), "service": service},
            "worker": _workers(settings, settings.cpu, offers, {"CUDA_VISIBLE_DEVICES": ""}),
        },
    }


def gpu_worker_group(settings: KubernetesConfig, name: str) -> dict[str, Any] | None:
    """The DaskWorkerGroup of the workers that score, each with a GPU; None where the config has none."""
    group = settings.gpu
    if group is None:
        return None
    return {
        "apiVersion": API,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": f"{name}-score"},
        "spec": {"cluster": name, "worker": _workers(settings, group, {"score": TASKS_A_GPU}, {})},
    }


def _workers(
    settings: KubernetesConfig, group: PodGroup, offers: Mapping[str, int], environment: Mapping[str, str]
) -> dict[str, Any]:
    threads = max(offers.values())
    devices = {group.resource: "1"} if isinstance(group, GpuPodGroup) else {}
    worker = {
        **_container("worker", group.image or settings.image, {**JOB_ENVIRONMENT, **environment}, settings.secrets),
        "command": ["dask", "worker"],
        # The operator tells each pod the scheduler's address and its own name in the environment.
        "args": [
            *("--name", "$(DASK_WORKER_NAME)", "--nthreads", str(threads)),
            *("--memory-limit", f"{group.memory:.0f}MB"),
            *("--resources", ",".join(f"{name}={amount}" for name, amount in offers.items())),
            *("--death-timeout", "60"),
        ],
        "resources": _resources(threads, group.memory + NANNY_MB, devices),
        "volumeMounts": [
            {"name": f"volume-{number}", "mountPath": volume.path, "readOnly": volume.read_only}
            for number, volume in enumerate(settings.volumes)
        ],
    }
    volumes = [
        {
            "name": f"volume-{number}",
            "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only},
        }
        for number, volume in enumerate(settings.volumes)
    ]
    pod = _pod(worker, volumes)
    if group.node_selector:
        pod["nodeSelector"] = dict(group.node_selector)
    if devices:
        # Nodes with GPUs are kept free of other pods by a taint of the GPU's own name.
        pod["tolerations"] = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in devices]
    return {"replicas": group.workers, "spec": pod}


def _pod(container: dict[str, Any], volumes: Any) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
    }
    if volumes:
        pod["volumes"] = list(volumes)
    return pod


def _container(name: str, image: str, environment: Mapping[str, str], secrets: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "envFrom": [{"secretRef": {"name": secret}} for secret in secrets],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _resources(cores: int, memory: float, devices: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """What a container asks for and may have at most: cores, and memory in MB."""
    amounts = {"cpu": str(cores), "memory": f"{math.ceil(memory)}M", **(devices or {})}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _settings(config: ClusterConfig) -> KubernetesConfig:
    if config.kubernetes is None:
        raise ConfigError(
            'kind = "kubernetes" needs the section kubernetes; configs/clusters/kubernetes.toml shows one.'
        )
    return config.kubernetes


def _operator() -> tuple[Any, Callable[[str | None], None], tuple[type[BaseException], ...]]:
    """The class that talks to the operator, a look at whether it can, and what both raise when they can't."""
    try:
        import httpx
        import kr8s
        from dask_kubernetes.exceptions import SchedulerStartupError, ValidationError
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise ConfigError(
            f'kind = "kubernetes" needs dask-kubernetes ({error}); run `./install.sh clusters` in lensscan\'s folder.'
        ) from error

    def look(namespace: str | None) -> None:
        # Before there is a KubeCluster, which would try to delete itself at this process's end, with a traceback.
        list(kr8s.get("daskclusters.kubernetes.dask.org", namespace=namespace))

    reasons = (kr8s.ServerError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, kr8s.NotFoundError, httpx.HTTPError)
    others = (SchedulerStartupError, ValidationError, RuntimeError, TimeoutError, ValueError, OSError)
    return KubeCluster, look, (*reasons, *others)
