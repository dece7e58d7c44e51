"""Resources for dask-kubernetes's operator, held against the schema of its own resource definitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from workflows.cluster import ClusterConfig, cluster_config, executor_for
from workflows.cluster.config import KubernetesConfig
from workflows.cluster.kubernetes import dask_cluster, gpu_worker_group

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: ./install.sh test installs it")

CPU = {"workers": 4, "memory": "2 GB"}


def settings(**more: Any) -> KubernetesConfig:
    return KubernetesConfig.model_validate({"image": "lensscan:1", "cpu": CPU, **more})


def definition(kind: str) -> dict[str, Any]:
    """The schema of a resource, as the operator's chart installs it, closed: the API drops what it doesn't know."""
    spec = find_spec("dask_kubernetes")
    if spec is None or spec.origin is None:
        pytest.skip("dask-kubernetes is not installed: ./install.sh test installs it")
    folder = Path(spec.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    crd = yaml.safe_load((folder / f"{kind.lower()}.yaml").read_text())
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    # Kubernetes itself adds these three to every resource.
    schema["properties"] |= {"apiVersion": {"const": "kubernetes.dask.org/v1"}, "kind": {"const": kind}}
    schema["properties"]["metadata"] = {"properties": {"name": {"type": "string", "maxLength": 63}}}
    return closed(schema)


def closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        inner = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
            inner["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        if inner.get("x-kubernetes-int-or-string"):
            inner.pop("format", None)
            inner["type"] = ["integer", "string"]
        elif inner.get("format") == "int-or-string":
            inner["type"] = ["integer", "string"]
        return inner
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


def check(resource: dict[str, Any]) -> None:
    json.dumps(resource)
    jsonschema.Draft202012Validator(definition(resource["kind"])).validate(resource)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"volumes": [{"claim": "a", "path": "/a"}, {"claim": "b", "path": "/b", "read_only": True}]},
        {"secrets": ["s3"], "gpu": {"workers": 2, "memory": "8 GB", "node_selector": {"gpu": "h100"}}},
        {"gpu": {"workers": 1, "memory": "8 GB", "resource": "amd.com/gpu", "image": "lensscan:gpu"}, "idle": "10 min"},
    ],
)
def test_what_is_rendered_is_what_the_operators_definitions_ask_for(more: dict[str, Any]) -> None:
    check(dask_cluster(settings(**more), "scan-1"))
    group = gpu_worker_group(settings(**more), "scan-1")
    assert (group is None) == ("gpu" not in more)
    if group is not None:
        check(group)


def test_the_shipped_config_is_rendered(tmp_path: Path) -> None:
    shipped = cluster_config("kubernetes").kubernetes
    assert shipped is not None
    check(dask_cluster(shipped, "scan-1"))


def test_the_check_of_this_test_can_fail() -> None:
    resource = dask_cluster(settings(), "scan-1")
    resource["spec"]["worker"]["spec"]["container"] = []
    with pytest.raises(jsonschema.ValidationError, match="container"):
        check(resource)
    resource = dask_cluster(settings(), "scan-1")
    resource["spec"]["worker"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = 1
    with pytest.raises(jsonschema.ValidationError, match="not of type 'string'"):
        check(resource)


def test_a_pod_has_what_its_worker_needs() -> None:
    config = settings(gpu={"workers": 2, "memory": "8 GB"}, secrets=["s3"], volumes=[{"claim": "sky", "path": "/data"}])
    worker = dask_cluster(config, "scan-1")["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert worker["replicas"] == 4
    assert container["command"] == ["dask", "worker"]
    assert " ".join(container["args"][2:]) == (
        "--nthreads 1 --memory-limit 2000MB --resources cut=1 --death-timeout 60"
    )
    assert (environment["MALLOC_MMAP_MAX_"], environment["CUDA_VISIBLE_DEVICES"]) == ("0", "")
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2200M"}
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert container["volumeMounts"] == [{"name": "volume-0", "mountPath": "/data", "readOnly": False}]
    assert worker["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "sky"
    assert worker["spec"]["securityContext"]["runAsNonRoot"] is True
    scheduler = dask_cluster(config, "scan-1")["spec"]["scheduler"]["spec"]["containers"][0]
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"} in scheduler["env"]
    group = gpu_worker_group(config, "scan-1")
    assert group is not None
    (container,) = group["spec"]["worker"]["spec"]["containers"]
    assert container["args"][3] == "2"
    assert "score=2" in container["args"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "8200M", "nvidia.com/gpu": "1"}
    assert "CUDA_VISIBLE_DEVICES" not in {one["name"] for one in container["env"]}


def test_without_gpus_the_pods_that_cut_score_too() -> None:
    (container,) = dask_cluster(settings(), "scan-1")["spec"]["worker"]["spec"]["containers"]
    assert "cut=1,score=1" in container["args"]


class WithoutOperator(BaseHTTPRequestHandler):
    """A Kubernetes that knows no resources but its own few."""

    def do_GET(self) -> None:
        answers = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
            "/apis": {"kind": "APIGroupList", "groups": []},
        }
        found = answers.get(self.path.partition("?")[0].rstrip("/"))
        body = json.dumps(
            found or {"kind": "Status", "status": "Failure", "code": 404, "message": "not found"}
        ).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def kubeconfig(port: int) -> str:
    user = {"name": "u", "user": {"token": "t"}}
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "sky"}}
    whole = {"apiVersion": "v1", "kind": "Config", "current-context": "x"}
    return yaml.safe_dump({**whole, "clusters": [cluster], "users": [user], "contexts": [context]})


@pytest.mark.parametrize("trouble", ["no credentials", "nobody answers", "no operator"])
def test_a_kubernetes_that_gives_no_cluster_is_told_of_before_any_work(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "kubeconfig"
    server = ThreadingHTTPServer(("127.0.0.1", 0), WithoutOperator)
    if trouble == "no operator":
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.server_close()
    if trouble != "no credentials":
        path.write_text(kubeconfig(server.server_port))
    config = {"kind": "kubernetes", "wait": "5 s", "kubernetes": {"image": "lensscan:1", "cpu": CPU}}
    # In a process of its own: dask-kubernetes does something at a process's end.
    code = (
        "import sys\nfrom pipeline.errors import ConfigError\n"
        "from workflows.cluster import ClusterConfig, executor_for\n"
        "try:\n    with executor_for(ClusterConfig.model_validate_json(sys.argv[1])): print('started')\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config)],
        env={**os.environ, "KUBECONFIG": str(path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if trouble == "no operator":
        server.shutdown()
        server.server_close()
    assert "Kubernetes gives no Dask cluster" in done.stdout, done.stderr
    assert "kubectl get daskclusters" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_extra_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("dask_kubernetes", "dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dask_kubernetes", None)
    config = ClusterConfig.model_validate({"kind": "kubernetes", "kubernetes": {"image": "lensscan:1", "cpu": CPU}})
    with pytest.raises(ConfigError, match=r"run `\./install\.sh clusters`"), executor_for(config):
        pass
