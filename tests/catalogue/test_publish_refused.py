"""What is not published, and that nothing is left of it: bad files, bad places, bad values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from pipeline.catalogue import hats_metadata
from pipeline.catalogue import publish as publishing
from pipeline.catalogue.publish import publish
from pipeline.catalogue.publish_beside import BESIDE
from pipeline.errors import ConfigError, ProductMismatch, QueryError
from pipeline.io.object_path import ObjectPath
from pipeline.io.products import live_files
from pipeline.io.tables import parquet_bytes, read_table, write_table
from workflows.publish import publish as command

ROOT = Path(__file__).resolve().parents[2]


def live(scan: Path, field: str) -> Path:
    path = live_files(scan, "candidates", "candidates.parquet")[field]
    assert isinstance(path, Path)
    return path


def refused(kind: type[Exception], match: str, *arguments: Any, **options: Any) -> None:
    """The error is raised, and beside the target nothing has come or gone."""
    target = arguments[1]
    around = target.parent if target.parent.exists() else target.parent.parent
    before = sorted(around.rglob("*"))
    with pytest.raises(kind, match=match):
        publish(*arguments, **options)
    assert sorted(around.rglob("*")) == before


def test_a_folder_inside_the_scans_output_is_refused(scan: Path) -> None:
    refused(ConfigError, "inside a scan's output", scan, scan / "published" / "deeper")
    refused(ConfigError, "inside a scan's output", scan, scan)


def test_a_folder_inside_the_output_of_another_scan_is_refused_through_links_too(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scan.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    refused(ConfigError, "inside a scan's output", scan, tmp_path / "link" / "x")


def test_a_folder_that_is_not_empty_is_refused_and_a_file_too(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused(ConfigError, "exists and is not an empty folder", scan, tmp_path / "full")
    refused(ConfigError, "exists and is not an empty folder", scan, tmp_path / "full" / "mine.txt")


def test_exported_files_are_not_published_into_their_own_folder(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    write_table(tmp_path / "exports" / "a.parquet", read_table(live(scan, "B")))
    refused(ConfigError, "which is published", tmp_path / "exports", tmp_path / "exports" / "hats")


def test_a_store_is_refused_as_a_target(scan: Path) -> None:
    with pytest.raises(ConfigError, match="publish to a local one and copy it"):
        publish(scan, ObjectPath("bucket", "key"))


@pytest.mark.parametrize("name", ["a b", "a,b", "../x", "", ".hidden", "é", "a/b"])
def test_a_name_that_hats_would_take_apart_is_refused(name: str, scan: Path, tmp_path: Path) -> None:
    refused(ConfigError, "use letters, digits", scan, tmp_path / "out", name=name)


@pytest.mark.parametrize("name", ["README.md", "candidates.fits", "collection.properties"])
def test_a_name_that_a_file_beside_has_is_refused(name: str, scan: Path, tmp_path: Path) -> None:
    refused(ConfigError, "is that of a file in the folder", scan, tmp_path / "out", name=name)


def test_the_files_beside_are_those_that_no_catalogue_may_be_called(scan: Path, tmp_path: Path) -> None:
    assert publish(scan, tmp_path / "out").tables == BESIDE


@pytest.mark.parametrize("margin", [0.0, -1.0, 241.0, float("nan"), float("inf")])
def test_a_margin_that_can_not_be_is_refused(margin: float, scan: Path, tmp_path: Path) -> None:
    refused(ConfigError, "margin: ", scan, tmp_path / "out", margin_arcsec=margin)


def test_a_missing_file_is_named_with_its_field(scan: Path, tmp_path: Path) -> None:
    live(scan, "A/1").unlink()
    refused(
        ProductMismatch, r"is missing; run its field again \(lensscan field SCAN.toml 'A/1'", scan, tmp_path / "out"
    )


def test_a_truncated_file_is_refused_by_its_size(scan: Path, tmp_path: Path) -> None:
    path = live(scan, "B")
    path.write_bytes(path.read_bytes()[:-100])
    refused(ProductMismatch, "bytes, its manifest says", scan, tmp_path / "out")


def test_a_file_of_the_right_size_that_is_no_parquet_is_refused(scan: Path, tmp_path: Path) -> None:
    path = live(scan, "B")
    path.write_bytes(b"x" * path.stat().st_size)
    refused(ProductMismatch, "can't be read", scan, tmp_path / "out")


def test_fewer_rows_than_the_manifest_says_are_refused(scan: Path, tmp_path: Path) -> None:
    path, manifest = live(scan, "B"), next((scan / "manifests" / "B").glob("candidates.*.json"))
    path.write_bytes(parquet_bytes(read_table(path).slice(0, 1)))
    said = json.loads(manifest.read_text())
    said["files"]["candidates.parquet"] = path.stat().st_size
    manifest.write_text(json.dumps(said))
    refused(ProductMismatch, "holds 1 rows, its manifest says 2", scan, tmp_path / "out")


def changed(scan: Path, field: str, table: pa.Table) -> None:
    """Put another table in a field's place, its size in the manifest with it."""
    path, manifest = live(scan, field), next((scan / "manifests" / field).glob("candidates.*.json"))
    path.write_bytes(parquet_bytes(table))
    said = json.loads(manifest.read_text())
    said["files"]["candidates.parquet"] = path.stat().st_size
    said["counts"]["candidates"] = len(table)
    manifest.write_text(json.dumps(said))


def test_rows_of_another_field_are_refused(scan: Path, tmp_path: Path, make_table: Callable[..., pa.Table]) -> None:
    changed(scan, "B", make_table("C", [1], [10.0], [0.0], [0.5]))
    refused(ProductMismatch, "holds rows of field C", scan, tmp_path / "out")


def test_an_objid_that_stands_twice_in_its_field_is_refused(
    scan: Path, tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    changed(scan, "B", make_table("B", [1, 1], [10.0, 10.1], [0.0, 0.0], [0.5, 0.5]))
    refused(ProductMismatch, "an objid stands twice", scan, tmp_path / "out")


def test_a_scan_without_candidates_is_not_published_and_all_its_scores_are(
    tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    table = make_table("B", [1], [10.0], [0.0], [0.001])
    publish_field(tmp_path / "scan", "B", table, table.slice(0, 0))
    refused(QueryError, "no candidates to publish; --all publishes every score", tmp_path / "scan", tmp_path / "out")
    assert publish(tmp_path / "scan", tmp_path / "out", all=True).rows == 1


def test_an_output_without_any_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "scan.json").write_text("{}")
    refused(QueryError, "holds no candidates", tmp_path / "scan", tmp_path / "out")


def test_a_field_run_again_while_it_is_published_stops_it(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = publishing.count

    def then_gone(*arguments: Any, **options: Any) -> Any:
        counted = count(*arguments, **options)
        live(scan, "A/1").unlink()
        return counted

    monkeypatch.setattr(publishing, "count", then_gone)
    with pytest.raises(ProductMismatch, match="was a field run again meanwhile"):
        publish(scan, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_rows_that_change_while_they_are_published_are_noticed(
    scan: Path, tmp_path: Path, make_table: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = publishing.count

    def then_changed(*arguments: Any, **options: Any) -> Any:
        counted = count(*arguments, **options)
        changed(scan, "B", make_table("B", [-5, 13], [10.05, 10.1], [0.0, 0.0], [0.95, 0.4], members=("cnn", "vit")))
        return counted

    monkeypatch.setattr(publishing, "count", then_changed)
    with pytest.raises(ProductMismatch, match=r"does not hold the rows of the per-field files: B \(2 rows instead"):
        publish(scan, tmp_path / "out")


def test_what_hats_does_not_accept_gets_no_name(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footers = hats_metadata._write_footers

    def spoilt(catalogue: Path, schema: pa.Schema, pixels: Any) -> None:
        footers(catalogue, schema, pixels)
        (catalogue / "partition_info.csv").write_text("Norder,Npix\n0,0\n")

    monkeypatch.setattr(hats_metadata, "_write_footers", spoilt)
    refused(ProductMismatch, "HATS does not accept what was written", scan, tmp_path / "out")


def test_being_stopped_leaves_nothing(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(folder: Path) -> None:
        raise KeyboardInterrupt("stop")

    monkeypatch.setattr(publishing, "validate", stopped)
    refused(KeyboardInterrupt, "^stop$", scan, tmp_path / "out")


def test_being_killed_leaves_no_folder_of_that_name_and_the_next_one_is_whole(scan: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipeline.catalogue import publish\n"
        "publish.validate = lambda folder: (print('written', flush=True), time.sleep(600))\n"
        "publish.publish(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", code, str(scan), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert not (tmp_path / "out").exists()
    assert publish(scan, tmp_path / "out").rows == 5


def test_whoever_takes_the_name_meanwhile_keeps_it(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(folder: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("theirs")

    monkeypatch.setattr(publishing, "validate", taken)
    with pytest.raises(OSError, match="out"):
        publish(scan, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]
    assert not list(tmp_path.glob(".*"))


def test_without_hats_it_says_what_to_install(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hats", None)
    refused(ConfigError, r"run `\./install\.sh hats`", scan, tmp_path / "out")


def test_exported_rows_without_what_hats_sorts_by_are_refused(scan: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", read_table(live(scan, "B")).drop_columns(["_healpix_29"]))
    refused(QueryError, "it has no column _healpix_29", tmp_path / "t.parquet", tmp_path / "out")
    write_table(tmp_path / "u.parquet", read_table(live(scan, "B")).drop_columns(["is_primary"]))
    refused(QueryError, "no column is_primary", tmp_path / "u.parquet", tmp_path / "out", primary=True)


def test_a_row_that_stands_in_two_exported_files_is_refused(scan: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / "exports" / f"{name}.parquet", read_table(live(scan, "B")))
    match = r"objid (-5|12) of field B stands twice"
    refused(QueryError, match, tmp_path / "exports", tmp_path / "out")


app = typer.Typer()
app.command()(command)


def test_the_command_prints_one_object_or_what_to_do_next(scan: Path, tmp_path: Path) -> None:
    run = CliRunner()
    answer = run.invoke(app, [str(scan), "--output", str(tmp_path / "out"), "--json"])
    assert answer.exit_code == 0
    said = json.loads(answer.stdout)
    assert (said["rows"], said["name"], said["folder"]) == (5, "test", str(tmp_path / "out"))
    again = run.invoke(app, [str(scan), "--output", str(tmp_path / "out"), "--json"])
    assert again.exit_code == 2
    assert "not an empty folder" in json.loads(again.stdout)["error"]
    text = run.invoke(app, [str(scan), "--output", str(tmp_path / "[2]"), "--citation", "me"])
    assert str(tmp_path / "[2]") in text.stdout
    assert "nothing was said of --licence;" in text.stdout
