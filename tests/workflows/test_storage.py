"""A scan whose images, products and catalogue lie in an object store gives the rows of one on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.errors import ConfigError, ProductMismatch
from pipeline.io import objects, products
from pipeline.io.lease import Lease, present_token
from pipeline.io.places import place
from tests.object_store import FAULTS, FaultProxy, at_random, client, upload
from tests.workflows.conftest import write_project
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.run import ScanOutcome, run_field, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")


def scan(config: Path, out: str | None = None) -> ScanOutcome:
    return run_scan(open_scan(str(config), out), SERIAL, quiet=True)


def catalogue(output: str) -> dict[str, bytes]:
    """Every live table of candidates and scores."""
    return {
        f"{field}/{name}": path.read_bytes()
        for name in ("candidates.parquet", "scores.parquet")
        for field, path in products.live_files(place(output), "candidates", name).items()
    }


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny survey, and its scan that was brought to its end on disk."""
    folder = tmp_path_factory.mktemp("on disk")
    write_project(folder)
    scan(folder / "scan.toml")
    return folder


@pytest.fixture
def remote(on_disk: Path, tmp_path: Path, bucket: str, store_url: str) -> Path:
    """The config of the same scan, with its images and output in a store."""
    upload(store_url, bucket, on_disk / "survey ü", "data/survey ü")
    survey = (on_disk / "survey ü" / "survey.toml").read_text(encoding="utf-8")
    root = f'root = "s3://{bucket}/data/survey ü"'
    (tmp_path / "survey.toml").write_text(f"{root}\n{survey}", encoding="utf-8")
    text = (on_disk / "scan.toml").read_text(encoding="utf-8")
    for old, new in (
        (str(on_disk / "out put"), f"s3://{bucket}/scans/out put"),
        ("survey ü/survey.toml", str(tmp_path / "survey.toml")),
        ("ensemble.toml", str(on_disk / "ensemble.toml")),
    ):
        text = text.replace(old, new)
    (tmp_path / "remote.toml").write_text(text, encoding="utf-8")
    return tmp_path / "remote.toml"


def test_everything_in_a_store_gives_the_bytes_of_the_disk(
    on_disk: Path, remote: Path, bucket: str, store_url: str
) -> None:
    output = f"s3://{bucket}/scans/out put"
    first = scan(remote).summary
    assert (first.fields, first.done, first.failed, first.ran) == (3, 3, 0, 15)
    assert catalogue(output) == catalogue(str(on_disk / "out put"))
    assert scan(remote).summary.ran == 0
    assert {row["state"] for row in status(open_scan(str(remote)))} == {"done"}
    keys = {item["Key"] for item in client(store_url).list_objects_v2(Bucket=bucket)["Contents"]}
    assert "scans/out put/scan.json" in keys
    assert not [key for key in keys if "lease" in key], "the lease is given back"
    run_field(open_scan(str(remote)), SERIAL, "F1", quiet=True)
    assert catalogue(output) == catalogue(str(on_disk / "out put"))
    generations = {key.split("/")[4] for key in keys if key.startswith("scans/out put/masks/F1/")}
    again = client(store_url).list_objects_v2(Bucket=bucket, Prefix="scans/out put/masks/F1/")["Contents"]
    now = {item["Key"].split("/")[4] for item in again}
    assert len(now) == 1, "dead generations are removed"
    assert now != generations


def test_queries_and_pages_of_a_store_say_what_those_of_the_disk_say(
    on_disk: Path, tmp_path: Path, bucket: str, store_url: str
) -> None:
    upload(store_url, bucket, on_disk / "out put", "scans/out put")
    here, there = str(on_disk / "out put"), f"s3://{bucket}/scans/out put"
    arguments = {"where": "mag_i < 30", "cone": (150.0, 2.0, 0.02), "top": 20, "all": True}
    rows = query(here, **arguments)  # type: ignore[arg-type]
    assert len(rows) > 5
    assert query(there, **arguments).equals(rows)  # type: ignore[arg-type]
    runner = CliRunner()
    answer = runner.invoke(app, ["query", there, "--top", "3", "--json"])
    assert answer.exit_code == 0, answer.output
    assert answer.output == runner.invoke(app, ["query", here, "--top", "3", "--json"]).output
    best = json.loads(answer.output)["candidates"][0]
    table = runner.invoke(app, ["query", there, "--output", f"s3://{bucket}/exports/all.parquet"])
    assert table.exit_code == 0, table.output
    assert query(f"s3://{bucket}/exports").equals(query(here))
    assert runner.invoke(app, ["report", there, "--output", str(tmp_path / "there.html")]).exit_code == 0
    assert "F1" in (tmp_path / "there.html").read_text()
    picture = [best["objid"], "--field", best["field_id"], "--ensemble", str(on_disk / "ensemble.toml")]
    explained = runner.invoke(app, ["explain", there, *picture, "--output", f"s3://{bucket}/exports/best.png"])
    assert explained.exit_code == 0, explained.output
    assert place(f"s3://{bucket}/exports/best.png").read_bytes().startswith(b"\x89PNG")


def test_a_running_scan_keeps_a_second_one_out(remote: Path, bucket: str) -> None:
    output = place(f"s3://{bucket}/scans/out put")
    with Lease(output) as lease:
        assert present_token(output) == lease.mark.token
        with pytest.raises(ProductMismatch, match="is being written by process"):
            scan(remote)
        assert list(products.listing(output)) == []
    assert present_token(output) is None


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for milliseconds where another one waits for seconds."""
    monkeypatch.setattr(objects, "FIRST_PAUSE", timedelta(milliseconds=5))
    monkeypatch.setattr(objects, "LONGEST_PAUSE", timedelta(milliseconds=20))
    monkeypatch.setattr(objects, "SILENCE", timedelta(seconds=0.4))


@pytest.fixture
def failing(store_url: str, monkeypatch: pytest.MonkeyPatch, hasty: None) -> Iterator[Callable[..., FaultProxy]]:
    """Put a proxy before the store, whose faults are chosen by what is given."""
    host, _, port = store_url.removeprefix("http://").partition(":")
    proxies: list[FaultProxy] = []

    def put(choose: Callable[[str, str], str | None]) -> FaultProxy:
        proxies.append(FaultProxy(host, int(port), choose))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies[-1].url)
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))])
def test_a_store_that_fails_at_random_changes_no_byte(
    seed: int, on_disk: Path, remote: Path, bucket: str, failing: Callable[..., FaultProxy]
) -> None:
    proxy = failing(at_random(seed, share=0.12))
    outcome = scan(remote)
    while outcome.failures:  # what not even three tries got through is for the next call
        outcome = scan(remote)
    assert outcome.summary.done == 3
    assert catalogue(f"s3://{bucket}/scans/out put") == catalogue(str(on_disk / "out put"))
    assert all(proxy.seen[fault] for fault in FAULTS), proxy.seen


def test_a_store_that_goes_away_fails_fields_that_the_next_scan_brings_to_their_end(
    on_disk: Path,
    remote: Path,
    bucket: str,
    failing: Callable[..., FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "RETRIES", 1)
    proxy = failing(lambda method, path: "error" if "/data/" in path and "F1-r.fits" in path else None)
    outcome = scan(remote)
    assert [failure.field_id for failure in outcome.failures] == ["F1"]
    assert outcome.failures[0].reason.startswith("StoreUnavailable: [Errno 5]")
    assert proxy.seen["error"] >= 3
    failing(lambda method, path: None)
    assert scan(remote).failures == ()
    assert catalogue(f"s3://{bucket}/scans/out put") == catalogue(str(on_disk / "out put"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials .* export AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "AWS_SECRET_ACCESS_KEY is not; export AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer .* AWS_ENDPOINT_URL"),
    ],
    ids=["no credentials", "half of them", "no store"],
)
def test_what_is_wrong_with_a_store_is_told_before_any_work(
    changes: dict[str, str | None], message: str, remote: Path, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.delenv(name)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "PROBE", timedelta(seconds=0.5))
    for command in (["scan", str(remote), "--cluster", "serial"], ["query", "s3://some-bucket/out"]):
        answer = CliRunner().invoke(app, [*command, "--json"])
        assert answer.exit_code == 2, answer.output
        assert re.search(message, json.loads(answer.stdout)["error"])


def test_a_missing_bucket_and_a_misspelt_url_are_named(remote: Path) -> None:
    with pytest.raises(ConfigError, match=r"no bucket 'no-such-bucket' at http.*make it, or mend the path"):
        open_scan(str(remote), "s3://no-such-bucket/out")
    with pytest.raises(ConfigError, match="s3://BUCKET/KEY"):
        open_scan(str(remote), "gs://bucket/out")
