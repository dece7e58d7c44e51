"""Embeddings beside a scan's candidates: made by the pass that scores, redone alone, the same bytes by every way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.catalogue.similar import similar
from pipeline.errors import ConfigError, ModelMismatch
from pipeline.io import products
from pipeline.io.embeddings import EmbeddingFile
from pipeline.models.ensemble import load_ensemble
from pipeline.provenance import fingerprint
from pipeline.scan.field_scan import scan_field
from pipeline.scan.score import embed_cutouts
from tests.object_store import upload
from workflows import field_embeddings, field_finish
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.outcomes import ScanOutcome
from workflows.run import run_field, run_scan, status
from workflows.setup import ScanSetup, open_scan
from workflows.wanted import Wanted

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]

FEW = "floor = 0.0\nprior = 0.5\nmax_fraction = 0.2\n"


@pytest.fixture
def few(project: Path, edit: Edit) -> Path:
    """The project with one row in five a candidate."""
    edit(project / "scan.toml", "floor = 0.0\nprior = 0.5\nmax_fraction = 1.0\n", FEW)
    return project


def setup(project: Path, out: str, score: str = "embeddings = true", *, fraction: float = 0.2) -> ScanSetup:
    """The scan with further lines in its section of scores, and another share of candidates."""
    text = (project / "scan.toml").read_text(encoding="utf-8").replace("[score]\n", f"[score]\n{score}\n")
    path = project / "variant.toml"
    path.write_text(text.replace("max_fraction = 0.2", f"max_fraction = {fraction}"), encoding="utf-8")
    return open_scan(str(path), str(project / out))


def scan(given: ScanSetup) -> ScanOutcome:
    outcome = run_scan(given, SERIAL, quiet=True)
    assert not outcome.failures
    return outcome


def files(given: ScanSetup, name: str = "embeddings.parquet") -> dict[str, bytes]:
    found = products.live_files(given.output, "candidates", name)
    return {field: path.read_bytes() for field, path in found.items()}


def tree(root: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in named.items() if not name.startswith("runs/")}


def stale(given: ScanSetup) -> set[str]:
    return {str(row["stage"]) for row in status(given) if row["state"] not in ("done", "empty")}


@pytest.fixture
def no_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may look at a stamp once."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network looks again")

    monkeypatch.setattr(field_embeddings, "embed_cutouts", refuse)


@pytest.mark.usefixtures("no_second_pass")
def test_the_pass_that_scores_gives_the_embeddings_of_every_candidate_in_its_place(few: Path) -> None:
    given = setup(few, "out")
    summary = scan(given).summary
    assert summary.detections == summary.cutouts == summary.scored
    own = {field.field_id: field for field in given.survey.fields()}
    ensemble = load_ensemble(few / "ensemble.toml")
    count = 0
    for name, path in products.live_files(given.output, "candidates", "embeddings.parquet").items():
        stored = EmbeddingFile(path).whole()
        candidates = pq.read_table(path.with_name("candidates.parquet"))
        assert stored.objid.tolist() == candidates["objid"].to_pylist()
        rows = scan_field(given.survey.open(own[name], given.config.bands), ensemble, given.config)
        assert rows.embeddings is not None
        assert stored.vectors.tobytes() == rows.embeddings[rows.is_candidate].tobytes()
        assert np.isfinite(stored.vectors).all()
        manifest = products.live_manifest(given.output, name, "candidates")
        assert manifest is not None
        assert manifest.counts["embedded"] == manifest.counts["candidates"] == len(stored.objid)
        about = manifest.provenance["embeddings"]
        assert (about["member"], about["of"]) == ("one", "candidates")
        assert about["identity"] == stored.kind.identity == ensemble.members[0].logit_fingerprint()
        count += len(stored.objid)
    assert count == summary.candidates > 10


def test_left_out_no_fingerprint_and_no_byte_is_another(few: Path) -> None:
    plain = setup(few, "plain", "")
    scan(plain)
    config, ensemble = plain.config, plain.ensemble
    assert ensemble is not None
    # As it was before there were embeddings.
    score = config.score.model_dump(mode="json")
    for key in ("device", "cascade", "backend", "embeddings", "embeddings_of"):
        score.pop(key)
    vet, candidates = config.vet.model_dump(mode="json"), config.candidates.model_dump(mode="json")
    reads = Wanted(config, plain.survey, ensemble, "cpu")._reads
    assert reads["score"] == fingerprint([score, config.threads, ensemble.fingerprint(cascade=False), "cpu", "torch"])
    assert reads["candidates"] == fingerprint(
        [config.scan_id, vet, candidates, ensemble.calibration_fingerprint(), [], "all"]
    )
    before = tree(few / "plain")
    assert not [name for name in before if "embedd" in name]
    manifests = [json.loads(data) for name, data in before.items() if name.startswith("manifests/")]
    assert len(manifests) == 15
    assert not [one for one in manifests if "embeddings" in one["provenance"] or "embedded" in one["counts"]]
    assert stale(setup(few, "plain", "embeddings = false")) == set()


def test_asked_for_later_they_redo_candidates_alone_and_let_go_they_leave_the_bytes_of_before(few: Path) -> None:
    expected, given = setup(few, "expected"), setup(few, "out", "")
    scan(setup(few, "expected"))
    scan(given)
    before = tree(few / "out")
    given = setup(few, "out")
    assert stale(given) == {"candidates"}
    assert scan(given).summary.ran == 3
    assert files(given) == files(expected)
    assert files(given, "candidates.parquet") == files(expected, "candidates.parquet")
    after = tree(few / "out")
    kept = [name for name in before if "/candidates" not in name and not name.startswith("candidates/")]
    assert len(kept) > 30
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    given = setup(few, "out", "")
    assert scan(given).summary.ran == 3
    back = tree(few / "out")
    assert back.keys() == before.keys()
    different = {name for name in before if back[name] != before[name]}
    assert {name.split("/")[-1].split(".")[0] for name in different} <= {"candidates"}
    assert all(name.startswith("manifests/") for name in different), "only the manifests count on"


@pytest.mark.parametrize("codec", ["lz4", "quantised"])
@pytest.mark.parametrize("keep", ["candidates", "none"])
def test_where_cutouts_did_not_stay_the_field_is_cut_again_for_them(
    few: Path, edit: Edit, keep: str, codec: str
) -> None:
    edit(few / "scan.toml", "[cutouts]", f'[cutouts]\nkeep = "{keep}"\ncodec = "{codec}"')
    expected = setup(few, "expected")
    scan(expected)
    scan(setup(few, "out", ""))
    given = setup(few, "out")
    assert scan(given).summary.ran == 3
    assert files(given) == files(expected)


def test_another_floor_takes_over_what_is_there_and_looks_again_only_at_what_is_new(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def watched(image: Any, *planes: Any, **named: Any) -> Any:
        looked.append(len(image))
        return embed_cutouts(image, *planes, **named)

    monkeypatch.setattr(field_embeddings, "embed_cutouts", watched)
    given = setup(few, "out")
    scan(given)
    fewer = setup(few, "out", fraction=0.1)
    assert scan(fewer).summary.ran == 3
    assert looked == []
    fresh = setup(few, "fresh", fraction=0.1)
    scan(fresh)
    assert files(fewer) == files(fresh)
    again = setup(few, "out")
    assert scan(again).summary.ran == 3
    assert looked
    expected = setup(few, "expected")
    scan(expected)
    assert files(again) == files(expected)


def test_of_all_detections_what_no_network_saw_is_null(few: Path) -> None:
    path = few / "survey ü" / "F1" / "F1-g-ivar.fits"
    from astropy.io import fits

    for band in ("g", "r"):
        with fits.open(path.with_name(f"F1-{band}-ivar.fits"), mode="update") as hdus:
            hdus[0].data[:, :120] = 0
    given = setup(few, "out", 'embeddings = "two"\nembeddings_of = "all"')
    scan(given)
    nulls = 0
    for field, found in products.live_files(given.output, "candidates", "embeddings.parquet").items():
        stored, scores = EmbeddingFile(found).whole(), pq.read_table(found.with_name("scores.parquet"))
        assert stored.kind.member == "two"
        assert stored.objid.tolist() == scores["objid"].to_pylist()
        missing = np.isnan(stored.vectors).all(axis=1)
        assert missing.tolist() == [value is None for value in scores["score_two"].to_pylist()]
        assert np.isfinite(stored.vectors[~missing]).all()
        manifest = products.live_manifest(given.output, field, "candidates")
        assert manifest is not None
        assert manifest.counts["embedded"] == (~missing).sum()
        nulls += int(missing.sum())
    assert nulls > 5
    assert len(similar(given.output, int(stored.objid[0]), all=True)) > len(similar(given.output, int(stored.objid[0])))


GATE = """
[cascade]
loss = 0.001
prior = 1e-4
floor = 1e-4
n_candidates = 10
passed = 0.5

[[cascade.gates]]
package = "one"
weights = [1.0]
threshold = {threshold}
calibration = {{ slope = 1.0, offset = 0.0, prior = 0.5, n_lenses = 1, n_others = 1, fitted_on = "nothing" }}
"""


def test_what_a_gate_stops_has_none_by_either_way(few: Path) -> None:
    plain = setup(few, "plain", "")
    scan(plain)
    parts = sorted((plain.output / "score").rglob("part-*.parquet"))
    threshold = float(np.nanmedian(np.concatenate([pq.read_table(path)["logit_one"].to_numpy() for path in parts])))
    with (few / "ensemble.toml").open("a", encoding="utf-8") as stream:
        stream.write(GATE.format(threshold=threshold))
    asked = 'cascade = true\nembeddings = true\nembeddings_of = "all"'
    at_once, later = setup(few, "at once", asked), setup(few, "later", "cascade = true")
    scan(later)
    scan(setup(few, "later", asked))
    scan(setup(few, "at once", asked))
    assert files(at_once) == files(later)
    missing = 0
    for path in products.live_files(at_once.output, "candidates", "embeddings.parquet").values():
        stored, scores = EmbeddingFile(path).whole(), pq.read_table(path.with_name("scores.parquet"))
        none = np.isnan(stored.vectors).any(axis=1)
        assert none.tolist() == [value is None for value in scores["score_one"].to_pylist()]
        missing += int(none.sum())
    assert missing > 20


def test_a_finish_that_is_killed_goes_on_from_the_parts(
    few: Path, monkeypatch: pytest.MonkeyPatch, no_second_pass: None
) -> None:
    expected, given = setup(few, "expected"), setup(few, "out")
    scan(expected)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(field_finish, "write_embeddings", killed)
        with pytest.raises(KeyboardInterrupt):
            run_scan(given, SERIAL, quiet=True)
    assert files(given) == {}
    assert list((given.output / "candidates").rglob("part-*.parquet"))
    scan(given)
    assert files(given) == files(expected)
    # No generation and no part but the live one of each field is left.
    assert len([path for path in (given.output / "candidates").glob("*/*") if path.is_dir()]) == 3


def test_parts_of_another_member_or_damaged_ones_are_no_use(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setup(few, "out")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(field_finish, "write_embeddings", killed)
        with pytest.raises(KeyboardInterrupt):
            run_scan(given, SERIAL, quiet=True)
    for path in (given.output / "candidates").rglob("part-*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    two = setup(few, "out", 'embeddings = "two"')
    scan(two)
    expected = setup(few, "expected", 'embeddings = "two"')
    scan(expected)
    assert files(two) == files(expected)
    again = setup(few, "out")
    scan(again)
    first = setup(few, "first")
    scan(first)
    assert files(again) == files(first)


def test_a_cluster_gives_the_embeddings_of_the_serial_executor(few: Path) -> None:
    serial, cluster = setup(few, "serial"), setup(few, "cluster")
    scan(setup(few, "serial"))
    outcome = run_scan(cluster, ClusterConfig(workers=2), quiet=True)
    assert not outcome.failures
    assert files(cluster) == files(serial)


def test_a_store_gives_the_embeddings_of_the_disk_and_similar_reads_them_there(
    few: Path, bucket: str, store_url: str
) -> None:
    upload(store_url, bucket, few / "survey ü", "data/survey ü")
    disk = setup(few, "disk")
    scan(disk)
    text = (few / "survey ü" / "survey.toml").read_text(encoding="utf-8")
    (few / "remote.toml").write_text(f'root = "s3://{bucket}/data/survey ü"\n{text}', encoding="utf-8")
    variant = (few / "variant.toml").read_text(encoding="utf-8")
    (few / "store.toml").write_text(variant.replace("survey ü/survey.toml", "remote.toml"), encoding="utf-8")
    there = open_scan(str(few / "store.toml"), f"s3://{bucket}/scans/out put")
    scan(there)
    assert files(there) == files(disk)
    objid = EmbeddingFile(products.live_files(disk.output, "candidates", "embeddings.parquet")["F1"]).objid()[0]
    found = similar(f"s3://{bucket}/scans/out put", int(objid))
    assert len(found) > 5
    assert found.equals(similar(disk.output, int(objid)))


def test_a_rerun_of_a_field_replaces_its_embeddings_and_no_other_byte(few: Path) -> None:
    given, out = setup(few, "out"), few / "out"
    scan(given)
    before, bytes_before = tree(out), files(given)
    for stage, ran in (("candidates", 1), ("score", 2)):
        outcome = run_field(given, SERIAL, "F1", first_stage=stage, quiet=True)
        assert outcome.summary.ran == ran
        assert files(given) == bytes_before
        after = tree(out)
        assert {n: d for n, d in after.items() if "F1" not in n} == {n: d for n, d in before.items() if "F1" not in n}
        places = [{name for name in found if name.endswith("embeddings.parquet")} for found in (before, after)]
        assert len(places[0] ^ places[1]) == 2, "a generation of its own"
        before = after


def test_a_damaged_file_is_mended_by_a_rerun_from_candidates(few: Path) -> None:
    given = setup(few, "out")
    scan(given)
    whole = files(given)
    products.live_files(given.output, "candidates", "embeddings.parquet")["F1"].write_bytes(b"PAR1")
    run_field(given, SERIAL, "F1", first_stage="candidates", quiet=True)
    assert files(given) == whole


def test_new_weights_make_new_embeddings(few: Path, retrain: Callable[[str, int], None]) -> None:
    given = setup(few, "out")
    scan(given)
    before = files(given)
    retrain("one", 99)
    given = setup(few, "out")
    assert stale(given) == {"score", "candidates"}
    run_field(given, SERIAL, "F1", quiet=True)
    changed = {name for name, data in files(given).items() if data != before[name]}
    assert changed == {"F1"}
    objid = int(EmbeddingFile(products.live_files(given.output, "candidates", "embeddings.parquet")["F1"]).objid()[0])
    with pytest.raises(Exception, match=r"2 of 3 fields can't be compared.*F0: embeddings by one, with other weights"):
        similar(given.output, objid, field_id="F1")
    scan(given)
    assert len(similar(given.output, objid, field_id="F1")) > 5


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("embeddings = true", 'embeddings = "three"', ModelMismatch, "has no member 'three'.* one of one, two"),
        ("embeddings = true", 'embeddings = ""', ModelMismatch, "has no member ''"),
        ("embeddings = true", 'embeddings = true\nembeddings_of = "some"', ConfigError, "embeddings_of"),
        ('ensemble = "ensemble.toml"', "", ConfigError, r"score\.embeddings needs an ensemble"),
    ],
)
def test_what_can_not_be_kept_stops_a_scan_before_it_starts(
    few: Path, edit: Edit, old: str, new: str, error: type[Exception], message: str
) -> None:
    setup(few, "out")
    edit(few / "variant.toml", old, new)
    with pytest.raises(error, match=message):
        run_scan(open_scan(str(few / "variant.toml"), str(few / "out")), SERIAL, quiet=True)
    assert not (few / "out" / "masks").exists()


def test_the_ensemble_says_whose_embeddings_are_kept_where_the_scan_does_not(few: Path, edit: Edit) -> None:
    edit(few / "ensemble.toml", 'name = "mini"', 'name = "mini"\nembeddings = "two"')
    given, named = setup(few, "out"), setup(few, "out", 'embeddings = "two"')
    scan(given)
    assert stale(named) == set(), "by name or by the ensemble's choice, it is the same member"
    path = next(iter(products.live_files(given.output, "candidates", "embeddings.parquet").values()))
    assert EmbeddingFile(path).kind.member == "two"
    edit(few / "ensemble.toml", 'embeddings = "two"', 'embeddings = "three"')
    with pytest.raises(ConfigError, match="'three' is no member; members: one, two"):
        setup(few, "out")


def test_the_command_gives_what_the_function_gives(few: Path) -> None:
    given = setup(few, "out")
    scan(given)
    out = str(given.output)
    objid = str(EmbeddingFile(products.live_files(given.output, "candidates", "embeddings.parquet")["F1"]).objid()[0])
    answer = CliRunner().invoke(app, ["similar", out, objid, "--field", "F1", "--top", "3", "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    table = similar(out, int(objid), field_id="F1", top=3)
    assert [row["objid"] for row in told["candidates"]] == [str(value) for value in table["objid"].to_pylist()]
    assert [row["similarity"] for row in told["candidates"]] == pytest.approx(table["similarity"].to_pylist())
    assert (told["objid"], told["field_id"], told["member"], told["rows"]) == (objid, "F1", "one", 3)
    text = CliRunner().invoke(app, ["similar", out, objid, "--field", "F1"])
    assert text.exit_code == 0
    assert told["candidates"][0]["objid"] in text.stdout
    written = CliRunner().invoke(app, ["similar", out, objid, "--output", str(few / "like.fits")])
    assert written.exit_code == 0, written.output
    assert (few / "like.fits").read_bytes().startswith(b"SIMPLE")
    for words in (["x"], ["-17"], [objid, "--format", "xls"]):
        assert CliRunner().invoke(app, ["similar", out, *words]).exit_code == 2
