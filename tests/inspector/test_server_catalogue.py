"""What the server tells of the catalogue, to whom, and in which order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.query import query
from pipeline.errors import ConfigError, GradeError, QueryError
from pipeline.io import cutout_store, products
from pipeline.io.places import place
from tests.inspector.made_scan import cut_again, made_scan
from workflows.inspector import Wanted

Client = Callable[..., Any]


def keys_of(client: Any, numbers: list[int]) -> list[tuple[str, int]]:
    return [client.session.objects.keys[number] for number in numbers]


def stream(client: Any, **values: Any) -> Any:
    answer = client.get("/api/stream", params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def queried(path: Path, where: str | None = None) -> list[tuple[str, int]]:
    table = query(path, where)
    return list(zip(table["field_id"].cast(pa.string()).to_pylist(), table["objid"].to_pylist(), strict=True))


def test_the_order_and_the_filter_are_those_of_a_query(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    whole = stream(client, blind=0)
    assert keys_of(client, whole["numbers"]) == queried(scan_output)
    where = "score > 0.3 AND NOT flag(vet_flags, 'CHIP_GAP_CROSSES')"
    some = stream(client, blind=0, where=where)
    assert keys_of(client, some["numbers"]) == queried(scan_output, where)
    assert 0 < len(some["numbers"]) < len(whole["numbers"])
    assert set(keys_of(client, stream(client, blind=1, grader="ann", where=where)["numbers"])) == set(
        queried(scan_output, where)
    )


def test_scores_come_with_the_order_unless_blind(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    scores = stream(client, blind=0)["scores"]
    np.testing.assert_allclose(scores, query(scan_output)["score"].to_pylist(), rtol=0.005)
    assert stream(client, blind=1, grader="ann")["scores"] is None


@pytest.mark.parametrize(("descending", "step"), [(1, -1), (0, 1)])
def test_sorting_by_a_column(scan_output: Path, client_of: Client, descending: int, step: int) -> None:
    client = client_of(scan_output)
    keys = keys_of(client, stream(client, blind=0, sort="ra", descending=descending)["numbers"])
    table = query(scan_output)
    ra = dict(zip(queried(scan_output), table["ra"].to_pylist(), strict=True))
    assert (np.diff([ra[key] for key in keys]) * step >= 0).all()
    assert sorted(keys) == sorted(ra)


def test_missing_values_come_last_either_way(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    for descending in (0, 1):
        numbers = stream(client, blind=0, sort="seeing_r", descending=descending)["numbers"]
        assert keys_of(client, numbers) == queried(scan_output)  # all are missing: by score


@pytest.mark.parametrize(
    "where",
    [
        "1=1; DROP TABLE catalogue",
        "score > (SELECT 1)",
        "score > 0 UNION SELECT 1",
        "objid IN (SELECT objid FROM read_csv('/etc/passwd'))",
        "read_text('/etc/passwd') = ''",
        "COPY catalogue TO 'stolen.csv'",
        "ATTACH 'stolen.db'",
        "1=1) -- ",
        "getenv('HOME') = ''",
        "nowhere > 1",
        "score >",
    ],
)
def test_sql_that_is_no_condition_is_refused_with_the_querys_own_words(
    scan_output: Path, client_of: Client, where: str
) -> None:
    client = client_of(scan_output)
    with pytest.raises(QueryError) as refused:
        query(scan_output, where)
    for blind in (0, 1):
        answer = client.get("/api/stream", params={"where": where, "blind": blind})
        assert answer.status_code == 422
        assert answer.json()["detail"] == str(refused.value)


def test_an_unknown_sort_names_the_columns(scan_output: Path, client_of: Client) -> None:
    answer = client_of(scan_output).get("/api/stream", params={"blind": 0, "sort": "beauty"})
    assert answer.status_code == 422
    assert "'beauty'" in answer.json()["detail"]
    assert "mag_r" in answer.json()["detail"]


def test_a_blind_order_is_the_graders_own_the_same_each_time_and_not_that_of_the_scores(
    scan_output: Path, client_of: Client
) -> None:
    client = client_of(scan_output)
    ann, bo = (stream(client, blind=1, grader=name)["numbers"] for name in ("ann", "bo"))
    assert stream(client, blind=1, grader="ann")["numbers"] == ann
    assert sorted(ann) == sorted(bo) == list(range(60))
    assert ann != bo
    rank_of = {key: rank for rank, key in enumerate(queried(scan_output))}
    for numbers in (ann, bo):
        ranks = [rank_of[key] for key in keys_of(client, numbers)]
        # The correlation of two independent orders of 60 is within 0.5 but once in 10,000 times.
        assert abs(np.corrcoef(ranks, range(60))[0, 1]) < 0.5


def test_a_blind_order_keeps_its_order_when_filtered(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    whole = stream(client, blind=1, grader="ann")["numbers"]
    some = stream(client, blind=1, grader="ann", where="score > 0.5")["numbers"]
    assert some == [number for number in whole if number in set(some)]


def test_a_blind_grader_is_told_no_score_name_or_opinion(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[0]
    blind = client.get(f"/api/object/{token}", params={"blind": 1}).json()
    seeing = client.get(f"/api/object/{token}", params={"blind": 0}).json()
    telling = {"objid", "field", "members", "numbers", "opinions", "known", "primary"}
    assert not telling & set(blind)
    assert telling <= set(seeing)
    row = query(scan_output, f"objid = {seeing['objid']}").to_pylist()[0]
    assert seeing["numbers"]["score"] == pytest.approx(row["score"], rel=1e-6)
    assert seeing["objid"] == str(row["objid"])
    text = json.dumps(blind)
    assert seeing["objid"] not in text
    assert "score" not in text
    assert client.get(f"/api/object/{token}").json() == blind, "blind is what is told if nobody says"


def test_tokens_and_numbers_tell_nothing_of_ids_or_scores(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    start = client.get("/api/start").text
    assert "A/1" not in start
    assert not [objid for _, objid in client.session.objects.keys if str(objid) in start]
    tokens = json.loads(start)["tokens"]
    assert tokens == sorted(set(tokens))


def test_links_name_the_position_and_the_page_loads_none_of_them(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    facts = client.get(f"/api/object/{client.session.objects.tokens[0]}").json()
    assert [link["name"] for link in facts["links"]] == ["Legacy Surveys", "Aladin Lite", "SIMBAD", "NED"]
    for link in facts["links"]:
        assert link["url"].startswith("https://")
        assert f"{facts['ra']:.6f}" in link["url"]
    assert "http" not in client.get("/").text.replace("http://www.w3.org", "")


def test_the_nearest_known_lens_is_named(scan_output: Path, client_of: Client, tmp_path: Path) -> None:
    table = query(scan_output)
    ra, dec = table["ra"][0].as_py(), table["dec"][0].as_py()
    known = tmp_path / "known.csv"
    known.write_text(f'name,ra,dec,grading\n"<b>J1000</b>",{ra},{dec + 3 / 3600:.9f},confident\nfar,10,-40,probable\n')
    client = client_of(scan_output, known=str(known))
    key = queried(scan_output)[0]
    token = client.session.objects.tokens[client.session.objects.numbers([key])[0]]
    found = client.get(f"/api/object/{token}", params={"blind": 0}).json()["known"]
    assert found["name"] == "<b>J1000</b>"
    assert found["separation"] == pytest.approx(3, abs=1e-3)
    assert found["grade"] == "confident"
    far = next(number for number, key in enumerate(client.session.objects.keys) if key[0] == "B")
    other = client.get(f"/api/object/{client.session.objects.tokens[far]}", params={"blind": 0}).json()
    assert other["known"] is None
    assert "known" not in client.get(f"/api/object/{token}", params={"blind": 1}).json()


def test_only_what_a_condition_lets_through_is_served(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output, where="score > 0.9")
    assert len(client.session.objects) == len(query(scan_output, "score > 0.9"))
    client.session.grades.close()
    best = client_of(scan_output, top=7)
    assert keys_of(best, stream(best, blind=0)["numbers"]) == queried(scan_output)[:7]
    assert "best 7" in best.get("/api/start").json()["notes"][0]


def test_a_half_written_catalogue_is_served_as_far_as_it_is_live_with_a_word(tmp_path: Path, client_of: Client) -> None:
    output = made_scan(tmp_path / "products", ("A",))
    generation = products.new_generation(output, "detect", "late", "f")
    products.publish(
        output, field_id="late", stage="detect", fingerprint="f", generation=generation, rows=9, provenance={}
    )
    products.record_failure(output, "broken", "masks", "f", "no such file", again=False)
    # What a killed writer left: a generation that no manifest names.
    (output / "candidates" / "late" / "half").mkdir(parents=True)
    (output / "candidates" / "late" / "half" / "candidates.parquet").write_bytes(b"PAR1 torn")
    client = client_of(output)
    notes = client.get("/api/start").json()["notes"]
    assert len(client.session.objects) == 30
    assert "2 of 3 fields have no candidates yet, 1 of them failed" in notes[0]


def test_a_field_that_is_cut_again_meanwhile_loses_its_pictures_and_nothing_else(
    scan_output: Path, client_of: Client
) -> None:
    client = client_of(scan_output)
    version = client.get("/api/start").json()["version"]
    other = next(number for number, key in enumerate(client.session.objects.keys) if key[0] == "B")
    gone = next(
        n
        for n, key in enumerate(client.session.objects.keys)
        if key[0] == "A/1" and n not in client.session.gallery._stamps
    )
    manifest = products.live_manifest(scan_output, "A/1", "cutouts")
    assert manifest is not None
    shutil.rmtree(scan_output / manifest.place)
    assert client.get("/picture/stamp", params={"v": version, "n": gone}).status_code == 404
    assert client.get("/picture/stamp", params={"v": version, "n": other}).status_code == 200
    assert client.get("/picture/sheet", params={"v": version, "n": f"{gone},{other}"}).status_code == 200
    assert client.get(f"/api/object/{client.session.objects.tokens[gone]}").json()["picture"] is None


def test_pictures_of_a_field_that_was_cut_again_come_back(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    version, gallery = client.session.version, client.session.gallery
    first, second = [n for n, key in enumerate(client.session.objects.keys) if key[0] == "A/1"][-2:]
    sheet = {"v": version, "n": f"{first},{second}"}
    old = gallery.stamp(first).image
    manifest = products.live_manifest(scan_output, "A/1", "cutouts")
    assert manifest is not None
    shutil.rmtree(scan_output / manifest.place)
    assert client.get("/picture/stamp", params={"v": version, "n": second}).status_code == 404
    assert client.get("/picture/sheet", params=sheet).headers["cache-control"] == "no-store"
    objid = np.array([key[1] for key in client.session.objects.keys if key[0] == "A/1"])[::-1]
    cut_again(scan_output, "A/1", objid)
    assert client.get("/picture/stamp", params={"v": version, "n": second}).status_code == 200
    store = cutout_store.open_store(scan_output / products.live_manifest(scan_output, "A/1", "cutouts").place)  # type: ignore[union-attr]
    row = objid.tolist().index(client.session.objects.keys[second][1])
    np.testing.assert_array_equal(gallery.stamp(second).image, cutout_store.read(store, row, row + 1).image[0])
    np.testing.assert_array_equal(gallery.stamp(first).image, old, "what was seen stays what it was")
    assert "immutable" in client.get("/picture/sheet", params=sheet).headers["cache-control"]


def test_what_is_no_scans_output_is_refused(scan_output: Path, client_of: Client, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, scan_output / "candidates", scan_output / "scan.json"):
        with pytest.raises(ConfigError, match="no scan's output"):
            client_of(path)
    with pytest.raises(QueryError, match="nothing to look at"):
        client_of(scan_output, where="score > 2")
    with pytest.raises(ConfigError, match=r"--planted-share 0\.9"):
        client_of(scan_output, share=0.9)


def test_a_second_server_on_the_same_grades_is_refused(scan_output: Path, client_of: Client) -> None:
    client_of(scan_output)
    with pytest.raises(GradeError, match="is open in process"):
        client_of(scan_output)
    assert client_of(scan_output, grades=str(scan_output.parent / "others")).get("/api/start").status_code == 200


def test_grades_of_another_scan_or_inside_the_output_are_refused(scan_output: Path, client_of: Client) -> None:
    with pytest.raises(GradeError, match="only read"):
        client_of(scan_output, grades=str(scan_output / "grades"))


def test_wanted_has_a_small_share_of_planted_objects_unless_told() -> None:
    assert Wanted("x").share == 0.05


def test_of_an_object_in_two_fields_the_primary_row_is_shown(scan: Path, client_of: Client, tmp_path: Path) -> None:
    client = client_of(scan, grades=str(tmp_path / "one"))
    keys = set(client.session.objects.keys)
    assert keys == {
        key for key, primary in zip(queried(scan), query(scan)["is_primary"].to_pylist(), strict=True) if primary
    }
    assert len(keys) < len(queried(scan))
    assert any("1 rows are copies" in note for note in client.get("/api/start").json()["notes"])
    every = client_of(scan, grades=str(tmp_path / "two"), copies=True)
    assert set(every.session.objects.keys) == set(queried(scan))
    assert every.get("/api/start").json()["notes"] == []


def test_a_scan_in_an_object_store_is_looked_at_like_another(bucket: str, client_of: Client, tmp_path: Path) -> None:
    output = made_scan(place(f"s3://{bucket}/products"), each=6)  # type: ignore[arg-type]
    client = client_of(output, grades=str(tmp_path / "grades"))
    version = client.get("/api/start").json()["version"]
    assert len(stream(client, blind=0)["numbers"]) == 12
    for number in range(12):
        assert client.get("/picture/stamp", params={"v": version, "n": number}).status_code == 200
    token = client.session.objects.tokens[0]
    body = {"grader": "ann", "object": token, "grade": "A", "once": "1"}
    assert client.post("/api/grade", json=body).status_code == 200


def test_a_vet_flag_of_a_later_version_is_told_but_not_to_the_blind(tmp_path: Path, client_of: Client) -> None:
    client = client_of(made_scan(tmp_path / "products", later_flags=True))
    token = client.session.objects.tokens[0]
    told = client.get(f"/api/object/{token}", params={"blind": 0}).json()
    assert [flag["name"] for flag in told["opinions"]] == ["bit 27"]
    assert "bit 27" not in client.get(f"/api/object/{token}", params={"blind": 1}).text
