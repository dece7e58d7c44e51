"""What is wrong with a cluster is told before any work starts, with the next step."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from distributed import Worker

from pipeline.errors import ConfigError, ModelMismatch
from tests.workflows.cluster.commands import ROOT, dask
from workflows.cluster import ClusterConfig, device_kinds, executor_for, require_places
from workflows.cluster.checks import ask, different_versions, require_gpus, workers_with
from workflows.results import ScanAborted
from workflows.run import run_scan
from workflows.setup import open_scan

Edit = Callable[[Path, str, str], None]


def at(address: str) -> ClusterConfig:
    return ClusterConfig.model_validate({"kind": "address", "address": address, "wait": "40 s"})


def untouched(project: Path) -> bool:
    return not list((project / "out put").glob("*/F*"))


def test_an_address_where_nobody_is_is_told() -> None:
    config = ClusterConfig.model_validate({"kind": "address", "address": "tcp://127.0.0.1:1", "wait": "1 s"})
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1.*check the address"):
        executor_for(config).__enter__()


def test_a_scheduler_without_workers_is_told() -> None:
    with dask() as address:
        config = ClusterConfig.model_validate({"kind": "address", "address": address, "wait": "5 s"})
        with pytest.raises(ConfigError, match="had no worker within 5 s; start some"), executor_for(config):
            pass


def test_a_resource_that_no_worker_offers_is_told(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    with dask("--resources cut=1") as address, pytest.raises(ConfigError, match=r'offers score.*--resources "score=1"'):
        run_scan(setup, at(address), quiet=True)
    assert untouched(project)


def test_workers_before_whose_packages_stands_another_one_are_told(project: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    for name in ("pipeline", "workflows"):
        (shadow / name).mkdir(parents=True)
        (shadow / name / "__init__.py").write_text("")
    setup = open_scan(str(project / "scan.toml"))
    # `python -m` looks into the folder it is started from first.
    with (
        dask("--resources cut=1,score=1", cwd=shadow) as address,
        pytest.raises(
            ConfigError, match=r"1 of 1 workers import other code.*shadow/pipeline.*install the same lensscan"
        ),
    ):
        run_scan(setup, at(address), quiet=True)
    assert untouched(project)


def test_workers_of_another_version_are_told(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("pipeline", "workflows"):
        shutil.copytree(ROOT / name, other / name)
    with (other / "workflows" / "tasks.py").open("a") as stream:
        stream.write("\n# a release later\n")
    setup = open_scan(str(project / "scan.toml"))
    with (
        dask("--resources cut=1,score=1", cwd=other) as address,
        pytest.raises(ConfigError, match="1 of 1 workers import other code"),
    ):
        run_scan(setup, at(address), quiet=True)
    assert untouched(project)


def test_versions_that_differ_are_named_and_builds_of_one_go_together() -> None:
    mine = dict.fromkeys(("dask", "distributed", "cloudpickle", "msgpack", "numpy", "zarr", "sep", "astropy"), "1.0")
    mine |= {"python": "3.11.7.final.0", "torch": "2.13.0+cpu", "pyarrow": "26.0"}
    same = {**mine, "python": "3.11.2.final.0", "torch": "2.13.0+cu130"}
    bare = {**mine, "numpy": None, "torch": None, "msgpack": None}

    def told(worker: dict[str, str], scheduler: dict[str, str | None]) -> list[str]:
        answer = {"scheduler": {"packages": scheduler}, "workers": {"tcp://a": {"packages": worker}}}
        return different_versions({**answer, "client": {"packages": mine}})

    assert told(same, bare) == []
    assert told({**same, "numpy": "2.0"}, bare) == ["numpy 2.0 on tcp://a, 1.0 here"]
    assert told({**same, "python": "3.12.1.final.0"}, {**bare, "dask": "0.9"}) == [
        "python 3.12.1.final.0 on tcp://a, 3.11.7.final.0 here",
        "dask 0.9 on scheduler, 1.0 here",
    ]


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r'kind = "gpus" finds no GPU: torch sees 0 here.*kind = "local"'):
        executor_for(ClusterConfig(kind="gpus")).__enter__()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"finds no GPU \[2\]: torch sees 2 here"):
        executor_for(ClusterConfig(kind="gpus", devices=(2,))).__enter__()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_workers_that_lack_the_gpu_or_the_files_that_are_asked_for_are_told(tmp_path: Path) -> None:
    with executor_for(ClusterConfig(workers=1)) as (_, client):
        assert client is not None
        require_places(client, [str(tmp_path)])
        with pytest.raises(ConfigError, match=r"1 of 1 workers cannot use.*none is not there.*at the same paths"):
            require_places(client, [str(tmp_path), str(tmp_path / "none")])
        with pytest.raises(ConfigError, match=r"1 of 1 workers that score cannot.*no GPU is visible"):
            device_kinds(client, "cuda")
        with pytest.raises(ConfigError, match=r"1 of 1 workers that were asked for with a GPU see no GPU.*gres"):
            require_gpus(client)


def test_weights_that_are_not_those_of_the_card_are_told_by_the_workers(project: Path, edit: Edit) -> None:
    edit(project / "two" / "model.toml", "width = 4", "width = 8")
    setup = open_scan(str(project / "scan.toml"))
    with pytest.raises(ModelMismatch, match=r"1 of 1 workers that score cannot load the ensemble.*not weights of cnn"):
        run_scan(setup, ClusterConfig(workers=1), quiet=True)
    assert untouched(project)


def test_a_worker_that_dies_while_it_is_asked_is_not_blamed_for_its_answer() -> None:
    def die(chosen: tuple[str, ...], dask_worker: Worker) -> str:
        if dask_worker.address in chosen:
            os._exit(1)
        return "here"

    with executor_for(ClusterConfig(workers=2)) as (_, client):
        assert client is not None
        gone, left = workers_with(client, "cut")
        assert ask(client, die, (gone,)) == {left: "here"}
    with executor_for(ClusterConfig(workers=1)) as (_, client):
        assert client is not None
        with pytest.raises(ScanAborted, match=r"every worker went away.*run the same command again"):
            ask(client, die, tuple(workers_with(client, "cut")))


def test_too_little_memory_for_one_shard_is_told(project: Path, edit: Edit) -> None:
    edit(project / "scan.toml", "shard = 8", "shard = 20000")
    edit(project / "scan.toml", "[score]", '[detect]\nmethod = "grid"\ngrid_step = "0.3 arcsec"\n[score]')
    setup = open_scan(str(project / "scan.toml"))
    config = ClusterConfig.model_validate({"kind": "local", "workers": 1, "memory": "700 MB"})
    with pytest.raises(ConfigError, match=r"may use 700 MB, but needs about .*for a shard of cutouts"):
        run_scan(setup, config, quiet=True)
    assert untouched(project)


def test_without_slurm_or_its_extra_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = {"jobs": 1, "memory": "1 GB", "walltime": "1 h"}
    config = ClusterConfig.model_validate({"kind": "slurm", "slurm": {"cpu": cpu, "log": str(tmp_path)}})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"sbatch, squeue, scancel, which this machine does not have.*login node"):
        executor_for(config).__enter__()
    for command in ("sbatch", "squeue", "scancel"):
        (tmp_path / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / command).chmod(0o755)
    for name in [name for name in sys.modules if name.split(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ConfigError, match=r"needs dask-jobqueue.*run `\./install\.sh clusters`"):
        executor_for(config).__enter__()
