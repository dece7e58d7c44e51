"""What a cluster's TOML may say, and what is rendered from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import config_root
from pipeline.errors import ConfigError
from workflows.cluster import ClusterConfig, cluster_config
from workflows.cluster.machine import node_workers
from workflows.cluster.slurm import job_scripts, job_specifications

SHIPPED = sorted(path.stem for path in (config_root() / "clusters").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_is_read(name: str) -> None:
    config = cluster_config(name)
    assert config.kind == name.partition("-")[0]
    assert config.processes >= 1


def test_every_kind_of_cluster_is_shipped() -> None:
    kinds = set(ClusterConfig.model_json_schema()["properties"]["kind"]["enum"])
    assert {cluster_config(name).kind for name in SHIPPED} == kinds


def test_an_address_on_the_command_line_is_a_cluster() -> None:
    assert cluster_config("tcp://somewhere:8786") == ClusterConfig(kind="address", address="tcp://somewhere:8786")
    assert cluster_config(None) == ClusterConfig()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('kind = "address"', 'kind = "address" needs address'),
        ('kind = "slurm"', r'kind = "slurm" needs slurm; configs/clusters/slurm.toml'),
        ('kind = "kubernetes"', 'kind = "kubernetes" needs kubernetes'),
        ('kind = "local"\naddress = "tcp://a:1"', 'address has no meaning for kind = "local"'),
        ('kind = "slurm"\nmemory = "1 GB"', 'memory has no meaning for kind = "slurm", only for "local" or "gpus"'),
        ('kind = "slurm"\n[slurm.cpu]\njobs = 1\nmemory = "1 GB"', "walltime"),
        ('kind = "slurm"\n[slurm.cpu]\njobs = 0\nmemory = "1 GB"\nwalltime = "1 h"', "jobs"),
        ('kind = "slurm"\n[slurm.cpu]\njobs = 1\nmemory = "1"\nwalltime = "1 h"', "memory"),
        ('kind = "slurm"\n[slurm.cpu]\njobs = 1\nmemory = "1 GB"\nwaltime = "1 h"', "walltime"),
        ('kind = "address"\naddress = "tls://a:1"', "tls:// needs the section tls"),
        ('kind = "address"\naddress = "tcp://a:1"\n[tls]\nca_file = "a"\ncert = "b"\nkey = "c"', "only that has one"),
        ('kind = "kubernetes"\n[kubernetes]\nimage = "a"\nname = "Ä"\ncpu = { workers = 1, memory = "1 GB" }', "name"),
        ('kind = "cloud"', "kind"),
        ('kind = "local"\nmemory = "50 MB"', "memory: a worker takes 500 MB before it holds any data"),
        ('kind = "slurm"\n[slurm.cpu]\njobs = 1\nmemory = "50 MB"\nwalltime = "1 h"', "a worker takes 500 MB"),
    ],
)
def test_a_wrong_config_is_told_with_its_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        cluster_config(str(path))
    assert "cluster.toml" in str(caught.value)


@pytest.mark.parametrize("address", ["tcp://", "tcp://somewhere", "tcp://:8786", "http://a:1", "somewhere:8786"])
def test_what_is_no_address_is_told_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match=r"is no address such as tcp://host:8786"):
        cluster_config(address)
    assert cluster_config("tcp://[::1]:8786").kind == "address"


def test_an_address_that_wants_certificates_is_told_to_name_them() -> None:
    with pytest.raises(ConfigError, match="section tls"):
        cluster_config("tls://somewhere:8786")


def slurm(**settings: Any) -> ClusterConfig:
    cpu = {"jobs": 3, "workers": 4, "memory": "2 GB", "walltime": "26 h", "account": "sky"}
    return ClusterConfig.model_validate({"kind": "slurm", "slurm": {"cpu": cpu, **settings}})


def test_jobs_of_both_partitions_ask_for_what_their_workers_need(tmp_path: Path) -> None:
    gpu = {
        "jobs": 2,
        "memory": "8 GB",
        "walltime": "10 min",
        "partition": "a100",
        "gres": "gpu:a100:1",
        "directives": ["--exclusive=user"],
    }
    config = slurm(gpu=gpu, interface="ib0", log=str(tmp_path), prologue=["module load cuda"], python="/opt/a b/python")
    assert sorted(job_specifications(config)) == ["cut-0", "cut-1", "cut-2", "score-0", "score-1"]
    assert config.processes == 3 * 4 + 2
    scripts = job_scripts(config)
    cut, score = scripts["cut"].splitlines(), scripts["score"].splitlines()
    # (2 GB + 200 MB for the watching process) x 4, and 8.2 GB, in SLURM's MiB.
    assert {"#SBATCH -A sky", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=8393M", "#SBATCH -t 26:00:00"} <= set(cut)
    assert {"export CUDA_VISIBLE_DEVICES=", "export MALLOC_MMAP_MAX_=0", "export OMP_NUM_THREADS=1"} <= set(cut)
    assert {
        "#SBATCH -p a100",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=7821M",
        "#SBATCH -t 0:10:00",
        "#SBATCH --gres=gpu:a100:1",
        "#SBATCH --exclusive=user",
        "module load cuda",
        "export PYTHONSAFEPATH=1",
    } <= set(score)
    assert not any("CUDA_VISIBLE_DEVICES" in line for line in score)
    for part in ("'/opt/a b/python' -m", "--nworkers 4", "--nthreads 1", "--resources cut=1 ", "--interface ib0"):
        assert part in cut[-1], part
    # Two minutes before the walltime of 26 h; a tenth of 10 min before.
    assert "--lifetime 93480s --lifetime-stagger 60s" in cut[-1]
    assert "--lifetime 540s --lifetime-stagger 30s" in score[-1]
    assert "--resources score=2 " in score[-1]
    assert "--nthreads 2" in score[-1]


def test_without_gpus_the_jobs_that_cut_score_too(tmp_path: Path) -> None:
    (script,) = job_scripts(slurm(log=str(tmp_path))).values()
    assert "--resources cut=1,score=1" in script


def test_a_node_with_gpus_has_a_worker_for_each_and_others_on_the_cores_that_are_left() -> None:
    workers = node_workers(["3", "GPU-abc"], 2, "auto")
    offers = {name: one["options"]["resources"] for name, one in workers.items()}
    assert offers == {"score-0": {"score": 2}, "score-1": {"score": 2}, "cut-0": {"cut": 1}, "cut-1": {"cut": 1}}
    shown = {name: one["options"]["env"]["CUDA_VISIBLE_DEVICES"] for name, one in workers.items()}
    assert shown == {"score-0": "3", "score-1": "GPU-abc", "cut-0": "", "cut-1": ""}
