"""The image and the compose file say what workers and schedulers need, as the code does."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.workflows.cluster.commands import ROOT
from workflows.cluster.environment import JOB_ENVIRONMENT, SCHEDULER_ENVIRONMENT
from workflows.cluster.kubernetes import USER

DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def services() -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    return read


def test_the_image_has_the_environment_of_workers_and_schedulers() -> None:
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)
    environment = dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())
    assert {**JOB_ENVIRONMENT, **SCHEDULER_ENVIRONMENT}.items() <= environment.items()


def test_the_image_runs_as_a_user_that_is_not_root_and_that_kubernetes_names() -> None:
    assert f"\nUSER {USER}:{USER}\n" in DOCKERFILE
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.rindex("\nRUN ")


def test_one_image_serves_scheduler_workers_and_the_command() -> None:
    found = services()
    assert {name: one["image"] for name, one in found.items()} == {
        "scheduler": "lensscan:latest",
        "worker": "lensscan:latest",
        "scan": "lensscan:latest",
        "gpu-worker": "lensscan:gpu",
    }
    assert {found[name]["build"]["dockerfile"] for name in ("scheduler", "gpu-worker")} == {"docker/Dockerfile"}


def test_workers_of_the_compose_file_offer_what_tasks_ask_for() -> None:
    found = services()
    assert found["worker"]["command"][-2:] == ["--resources", "${LENSSCAN_OFFERS:-cut=1,score=1}"]
    assert found["gpu-worker"]["command"][-2:] == ["--resources", "score=2"]
    assert [found[name]["command"][1] for name in ("worker", "gpu-worker")] == ["1", "2"]
    assert "ports" not in found["worker"]
    assert all(port.startswith("127.0.0.1:") for port in found["scheduler"]["ports"])
