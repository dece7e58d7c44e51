"""Planted objects in the stream, and what comes out: statistics and exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.catalogue.query import query
from pipeline.inspector.planted import PLANTED_FIELD
from tests.inspector.conftest import write_pool
from tests.inspector.made_scan import PIXEL_SCALE, made_scan

Client = Callable[..., Any]


@pytest.fixture
def planting(scan_output: Path, tmp_path: Path, client_of: Client) -> Any:
    """A fifth of what a blind grader sees is planted: six lenses, six duds."""
    pool = write_pool(tmp_path / "pool.npz", side=32, scale=PIXEL_SCALE)
    return client_of(scan_output, lenses=(str(pool),), duds=(str(pool),), share=0.2)


def planted(client: Any) -> set[int]:
    keys = client.session.objects.keys
    return {number for number, key in enumerate(keys) if key[0] == PLANTED_FIELD}


def stream(client: Any, **values: Any) -> list[int]:
    return list(client.get("/api/stream", params={"grader": "ann", **values}).json()["numbers"])


def grade(client: Any, number: int, letter: str, grader: str = "ann") -> None:
    token = client.session.objects.tokens[number]
    body = {"grader": grader, "object": token, "grade": letter, "once": f"{number}"}
    assert client.post("/api/grade", json=body).status_code == 200


def test_a_share_of_what_a_blind_grader_sees_is_planted(planting: Any) -> None:
    there = planted(planting)
    assert len(there) == 12
    numbers = stream(planting, blind=1)
    assert len(numbers) == len(set(numbers)) == 72
    assert there <= set(numbers)
    places = [place for place, number in enumerate(numbers) if number in there]
    assert max(places) - min(places) > 20, "anywhere in the stream, not in a lump"


def test_a_filter_does_not_give_planted_objects_away(planting: Any) -> None:
    there, whole = planted(planting), stream(planting, blind=1)
    for where in ("score > 0.9", "ra < 150.5", "flag(vet_flags, 'CHIP_GAP_CROSSES')", "score > 2"):
        some, others = stream(planting, blind=1, where=where), stream(planting, blind=1, where=f"NOT ({where})")
        # Whoever stays under every condition would be planted: all are on one side of each, in the same order.
        assert sorted(some + others) == sorted(whole)
        assert some == [number for number in whole if number in set(some)]
    assert stream(planting, blind=1, where="score > 2") == []
    by_one = [
        number
        for _, objid in planting.session.objects.rows
        for number in stream(planting, blind=1, where=f"objid = {objid}")
    ]
    assert sorted(by_one) == sorted(whole), "each comes and goes with one candidate"
    assert {number for number in by_one if number in there} == there


def test_nothing_planted_is_shown_to_who_sees_scores(planting: Any) -> None:
    assert not planted(planting) & set(stream(planting, blind=0))
    for number in planted(planting):
        token = planting.session.objects.tokens[number]
        assert planting.get(f"/api/object/{token}", params={"blind": 0}).status_code == 404
        assert planting.get(f"/api/similar/{token}").status_code == 404


def test_a_blind_grader_is_told_the_same_of_every_object(planting: Any) -> None:
    told = [
        planting.get(f"/api/object/{token}", params={"blind": 1}).json() for token in planting.session.objects.tokens
    ]
    assert {frozenset(facts) for facts in told} == {frozenset({"object", "picture"})}
    assert len({tuple(sorted(facts["picture"])) for facts in told}) == 1
    assert {(facts["picture"]["size"], facts["picture"]["scale"], *facts["picture"]["bands"]) for facts in told} == {
        (32, PIXEL_SCALE, "g", "r", "i")
    }
    assert "planted" not in str(told)
    version = planting.session.version
    for number in range(len(told)):
        assert planting.get("/picture/stamp", params={"v": version, "n": number}).status_code == 200


def test_statistics_measure_graders_by_what_was_planted(planting: Any) -> None:
    items = planting.session.objects.planted.by_key
    keys = planting.session.objects.keys
    lenses = [number for number in planted(planting) if items[keys[number]].kind == "lens"]
    duds = [number for number in planted(planting) if items[keys[number]].kind == "dud"]
    for number in lenses[:4]:
        grade(planting, number, "A")
    grade(planting, lenses[4], "X")
    for number in duds[:3]:
        grade(planting, number, "X")
    grade(planting, duds[3], "B")
    ours = [number for number in range(72) if number not in planted(planting)]
    for number in ours[:10]:
        grade(planting, number, "C")
        grade(planting, number, "C" if number != ours[0] else "A", grader="bo")
    said = planting.get("/api/statistics", params={"blind": 0}).json()
    assert (said["candidates"], said["graded"], said["shared"]) == (60, 10, 10)
    ann = said["planted"][0]
    assert (ann["grader"], ann["lenses"], ann["duds"]) == ("ann", 5, 4)
    assert ann["found"][0] == pytest.approx(4 / 5)
    assert ann["taken"][0] == pytest.approx(1 / 4)
    assert [pair["graders"] for pair in said["pairs"]] == [["ann", "bo"]]
    assert said["pairs"][0]["same"] == pytest.approx(0.9)
    assert {one["grader"]: one["counts"]["C"] for one in said["graders"]} == {"ann": 10, "bo": 9}
    assert sum(said["consensus"].values()) == 10


def test_statistics_do_not_tell_a_blind_grader_what_was_planted(planting: Any) -> None:
    def counted() -> Any:
        said = planting.get("/api/statistics").json()
        assert (said["candidates"], said["planted"]) == (72, [])
        return said["graded"], said["consensus"]["A"], said["graders"][0]["graded"]

    there = planted(planting)
    for done, number in enumerate([next(iter(there)), next(number for number in range(72) if number not in there)]):
        grade(planting, number, "A")
        assert counted() == (done + 1, done + 1, done + 1)


def test_exports_join_the_catalogue_and_leave_out_what_was_planted(planting: Any) -> None:
    ours = [number for number in range(72) if number not in planted(planting)]
    grade(planting, ours[0], "A")
    grade(planting, ours[1], "X", grader="=cmd()")
    grade(planting, next(iter(planted(planting))), "A")
    answer = planting.get("/export/grades.parquet")
    assert answer.headers["content-disposition"] == 'attachment; filename="grades-test.parquet"'
    table = pq.read_table(io.BytesIO(answer.content))
    wanted = {planting.session.objects.keys[number] for number in ours[:2]}
    assert set(zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True)) == wanted
    assert table["grade"].to_pylist() == ["A", "X"]
    scores = dict(
        zip(*query(planting.session.objects.output, columns=["objid", "score"]).to_pydict().values(), strict=True)
    )
    assert [scores[objid] for objid in table["objid"].to_pylist()] == table["score"].to_pylist()
    text = planting.get("/export/grades.csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["objid"]) for row in rows] == table["objid"].to_pylist()


def test_an_export_of_nothing_and_of_no_format_are_refused(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    assert client.get("/export/grades.csv").status_code == 422
    assert "nothing is graded yet" in client.get("/export/grades.csv").json()["detail"]
    assert client.get("/export/grades.exe").status_code == 422
    assert client.get("/api/statistics").json()["graders"] == []


def test_similar_objects_come_by_their_likeness(tmp_path: Path, client_of: Client) -> None:
    client = client_of(made_scan(tmp_path / "products", embedded=True))
    key = client.session.objects.keys[0]
    found = client.get(f"/api/similar/{client.session.objects.tokens[0]}").json()
    assert 0 not in found["numbers"]
    assert found["likeness"] == sorted(found["likeness"], reverse=True)
    assert len(found["numbers"]) == 59

    def has_arc(key: tuple[str, int]) -> bool:
        return (key[1] - 2**53 - 1) % 10_000_000 % 3 == 0

    alike = [has_arc(client.session.objects.keys[number]) == has_arc(key) for number in found["numbers"]]
    assert alike == sorted(alike, reverse=True)


def test_a_scan_without_embeddings_says_how_to_have_them(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    answer = client.get(f"/api/similar/{client.session.objects.tokens[0]}")
    assert answer.status_code == 422
    assert "embeddings = true" in answer.json()["detail"]
