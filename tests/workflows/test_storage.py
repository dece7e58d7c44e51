"""A scan whose images, products and catalogue lie in an object store gives the rows of one on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.errors import ConfigError, ProductMismatch
from pipeline.io import objects, products
from pipeline.io.places import place
from tests.object_store import FAULTS, FaultProxy, at_random, client, upload
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.run import ScanOutcome, run_field, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]


def scan(config: Path, out: str | None = None) -> ScanOutcome:
    return run_scan(open_scan(str(config), out), SERIAL, quiet=True)


def catalogue(output: str) -> dict[str, bytes]:
    """Every live table of candidates and scores."""
    return {
        f"{field}/{name}": path.read_bytes()
        for name in ("candidates.parquet", "scores.parquet")
        for field, path in products.live_files(place(output), "candidates", name).items()
    }


@pytest.fixture
def remote(project: Path, bucket: str, store_url: str, edit: Edit) -> Path:
    """The project's scan, with its images and output in a store."""
    upload(store_url, bucket, project / "survey ü", "data/survey ü")
    edit(project / "survey ü" / "survey.toml", 'name = "mini"', f'name = "mini"\nroot = "s3://{bucket}/data/survey ü"')
    text = (project / "scan.toml").read_text(encoding="utf-8")
    config = project / "remote.toml"
    config.write_text(text.replace(str(project / "out put"), f"s3://{bucket}/scans/out put"), encoding="utf-8")
    return config


@pytest.fixture
def on_disk(project: Path) -> dict[str, bytes]:
    """The catalogue of the same scan on disk."""
    scan(project / "scan.toml")
    return catalogue(str(project / "out put"))


def test_everything_in_a_store_gives_the_bytes_of_the_disk(
    project: Path, on_disk: dict[str, bytes], remote: Path, bucket: str, store_url: str
) -> None:
    output = f"s3://{bucket}/scans/out put"
    first = scan(remote).summary
    assert (first.fields, first.done, first.failed, first.ran) == (3, 3, 0, 15)
    assert catalogue(output) == on_disk
    assert scan(remote).summary.ran == 0
    assert {row["state"] for row in status(open_scan(str(remote)))} == {"done"}
    keys = {item["Key"] for item in client(store_url).list_objects_v2(Bucket=bucket)["Contents"]}
    assert "scans/out put/scan.json" in keys
    assert not [key for key in keys if "lease" in key], "the lease is given back"
    run_field(open_scan(str(remote)), SERIAL, "F1", quiet=True)
    assert catalogue(output) == on_disk
    generations = {key.split("/")[4] for key in keys if key.startswith("scans/out put/masks/F1/")}
    again = client(store_url).list_objects_v2(Bucket=bucket, Prefix="scans/out put/masks/F1/")["Contents"]
    now = {item["Key"].split("/")[4] for item in again}
    assert len(now) == 1, "dead generations are removed"
    assert now != generations


def test_queries_and_pages_of_a_store_say_what_those_of_the_disk_say(
    project: Path, on_disk: dict[str, bytes], remote: Path, bucket: str
) -> None:
    scan(remote)
    here, there = str(project / "out put"), f"s3://{bucket}/scans/out put"
    arguments = {"where": "mag_i < 30", "cone": (150.0, 2.0, 0.02), "top": 20, "all": True}
    rows = query(here, **arguments)  # type: ignore[arg-type]
    assert len(rows) > 5
    assert query(there, **arguments).equals(rows)  # type: ignore[arg-type]
    assert query(f"{there}/candidates/F0/{_generation(there, 'F0')}/candidates.parquet".replace(there, there)) if 0 else 1
    runner = CliRunner()
    answer = runner.invoke(app, ["query", there, "--top", "3", "--json"])
    assert answer.exit_code == 0, answer.output
    assert answer.output == runner.invoke(app, ["query", here, "--top", "3", "--json"]).output
    best = json.loads(answer.output)["candidates"][0]
    table = runner.invoke(app, ["query", there, "--output", f"s3://{bucket}/exports/all.parquet"])
    assert table.exit_code == 0, table.output
    assert query(f"s3://{bucket}/exports").equals(query(here))
    assert runner.invoke(app, ["report", there, "--output", str(project / "there.html")]).exit_code == 0
    assert "F1" in (project / "there.html").read_text()
    picture = [best["objid"], "--field", best["field_id"], "--ensemble", str(project / "ensemble.toml")]
    explained = runner.invoke(app, ["explain", there, *picture, "--output", f"s3://{bucket}/exports/best.png"])
    assert explained.exit_code == 0, explained.output
    assert place(f"s3://{bucket}/exports/best.png").read_bytes().startswith(b"\x89PNG")
