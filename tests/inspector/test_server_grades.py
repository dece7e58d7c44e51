"""Grades over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Client = Callable[..., Any]


def post(client: Any, path: str, **values: Any) -> Any:
    return client.post(path, json={"grader": "ann", **values})


def own(client: Any, grader: str = "ann") -> Any:
    return client.get("/api/grades", params={"grader": grader}).json()["grades"]


def test_a_grade_is_on_disk_when_it_is_answered(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token, key = client.session.objects.tokens[3], client.session.objects.keys[3]
    answer = post(client, "/api/grade", object=token, grade="B", comment="an arc?", once="1")
    assert answer.json() == {"object": token, "grade": "B", "comment": "an arc?"}
    line = json.loads((client.session.grades.folder / "journal.jsonl").read_text().splitlines()[-1])
    assert (line["field_id"], line["objid"], line["grade"], line["comment"]) == (key[0], str(key[1]), "B", "an arc?")
    assert own(client) == {token: ["B", "an arc?"]}


def test_a_request_that_is_sent_again_counts_once(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    one, two = client.session.objects.tokens[:2]
    for _ in range(3):
        post(client, "/api/grade", object=one, grade="A", once="1")
    post(client, "/api/grade", object=two, grade="C", once="2")
    for _ in range(3):
        assert post(client, "/api/undo", once="3").json() == {"object": two, "grade": None, "comment": ""}
    assert own(client) == {one: ["A", ""]}
    assert len((client.session.grades.folder / "journal.jsonl").read_text().splitlines()) == 3


def test_undo_brings_the_grade_before_back_and_redo_the_one_after(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[0]
    post(client, "/api/grade", object=token, grade="A", once="1")
    post(client, "/api/grade", object=token, grade="X", once="2")
    assert post(client, "/api/undo", once="3").json()["grade"] == "A"
    assert post(client, "/api/redo", once="4").json()["grade"] == "X"
    assert post(client, "/api/redo", once="5").json() is None
    for number in range(2):
        post(client, "/api/undo", once=f"back {number}")
    assert own(client) == {}
    assert post(client, "/api/undo", once="6").json() is None


def test_graders_see_their_own_grades_alone(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    one, two = client.session.objects.tokens[:2]
    post(client, "/api/grade", object=one, grade="A", comment="of ann", once="1")
    post(client, "/api/grade", object=one, grade="X", once="1", grader="bo")
    post(client, "/api/grade", object=two, grade="C", once="2", grader="bo")
    assert own(client) == {one: ["A", "of ann"]}
    assert own(client, "bo") == {one: ["X", ""], two: ["C", ""]}
    assert own(client, "eve") == {}
    assert post(client, "/api/undo", once="2").json()["object"] == one, "an undo takes back one's own grade"
    assert len(own(client, "bo")) == 2
    facts = client.get(f"/api/object/{one}", params={"blind": 0}).text
    assert "of ann" not in facts


@pytest.mark.parametrize("name", ["0" * 16, "", "12", "../scan.json", "<b>"])
def test_a_grade_for_an_unknown_object_is_refused(scan_output: Path, client_of: Client, name: str) -> None:
    client = client_of(scan_output)
    answer = post(client, "/api/grade", object=name, grade="A", once="1")
    assert answer.status_code == 404
    assert not client.session.grades.all_current()


@pytest.mark.parametrize(
    "wrong",
    [
        {"grade": "D"}, {"grade": "a"}, {"grade": 1}, {"grade": ["A"]}, {"comment": "x" * 5000}, {"comment": None},
        {"comment": "\x00"}, {"once": ""}, {"once": "x" * 65}, {"grader": ""}, {"grader": "  "}, {"grader": "x" * 70},
        {"grader": "a\nb"}, {"grader": "a\u202eb"}, {"grader": None}, {"objid": 12}, {"comment": "x" * 2001},
    ],
)  # fmt: skip
def test_a_misshapen_grade_is_refused_with_a_word(scan_output: Path, client_of: Client, wrong: dict[str, Any]) -> None:
    client = client_of(scan_output)
    right = {"object": client.session.objects.tokens[0], "grade": "A", "comment": "", "once": "1"}
    answer = post(client, "/api/grade", **right | wrong)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert not client.session.grades.all_current()
    assert post(client, "/api/grade", **right).status_code == 200


def test_what_is_no_json_is_refused(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    for text in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"grader": NaN}', b"[" * 30_000):
        answer = client.post("/api/grade", content=text, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), text[:20]


def test_markup_is_kept_as_text_and_served_as_json(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    nasty = "<script>alert(1)</script>\"'&\u2028"
    post(
        client,
        "/api/grade",
        object=client.session.objects.tokens[0],
        grade="A",
        comment=nasty,
        once="1",
        grader="<img>",
    )
    answer = client.get("/api/grades", params={"grader": "<img>"})
    assert answer.headers["content-type"].startswith("application/json")
    assert next(iter(answer.json()["grades"].values())) == ["A", nasty]


def test_a_comment_alone_is_no_grade(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[0]
    post(client, "/api/grade", object=token, grade=None, comment="look again", once="1")
    assert own(client) == {token: [None, "look again"]}


def test_grades_are_there_when_the_folder_is_opened_again(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[5]
    post(client, "/api/grade", object=token, grade="C", once="1")
    order = client.get("/api/stream", params={"grader": "ann"}).json()
    client.session.grades.close()
    again = client_of(scan_output)
    assert own(again) == {token: ["C", ""]}
    assert again.get("/api/stream", params={"grader": "ann"}).json() == order
    assert post(again, "/api/grade", object=token, grade="C", once="1").status_code == 200
    assert len((again.session.grades.folder / "journal.jsonl").read_text().splitlines()) == 1


def test_what_could_not_be_saved_is_told_as_something_to_send_again(
    scan_output: Path, client_of: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(scan_output)
    right = {"object": client.session.objects.tokens[0], "grade": "A", "once": "1"}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.inspector.journal.os.fsync", full)
        answer = post(client, "/api/grade", **right)
    assert answer.status_code == 503
    assert "could not be saved" in answer.json()["detail"]
    assert own(client) == {}


def test_everybodys_grades_of_one_object_are_told_with_their_median(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[0]
    assert client.get(f"/api/others/{token}").json() == {"grades": [], "consensus": None}
    for name, letter in (("ann", "A"), ("bo", "B"), ("cy", "X")):
        post(client, "/api/grade", object=token, grade=letter, comment=name, once="1", grader=name)
    said = client.get(f"/api/others/{token}").json()
    assert [(one["grader"], one["grade"], one["comment"]) for one in said["grades"]] == [
        ("ann", "A", "ann"), ("bo", "B", "bo"), ("cy", "X", "cy"),
    ]  # fmt: skip
    assert said["consensus"] == "B"
    assert client.get("/api/others/none").status_code == 404


def test_candidates_come_by_what_all_graders_make_of_them_and_never_to_the_blind(
    scan_output: Path, client_of: Client
) -> None:
    client = client_of(scan_output)
    given = {0: "AAB", 1: "XXX", 2: "AX", 3: "C", 4: "B"}
    for number, letters in given.items():
        for grader, letter in zip(("ann", "bo", "cy"), letters, strict=False):
            body = {
                "grader": grader,
                "object": client.session.objects.tokens[number],
                "grade": letter,
                "once": f"{number}",
            }
            assert client.post("/api/grade", json=body).status_code == 200

    def shown(sort: str, **values: object) -> tuple[list[int], list[str]]:
        said = client.get("/api/stream", params={"blind": 0, "sort": sort, **values}).json()
        return said["numbers"], said["tags"]

    numbers, tags = shown("consensus of graders")
    assert dict(zip(numbers, tags, strict=True)) == {0: "A of 3", 4: "B of 1", 2: "C of 2", 3: "C of 1", 1: "X of 3"}
    assert numbers == [0, 4, 2, 3, 1], "A and X are C in the median, and B in the mean"
    assert shown("consensus of graders", descending=0)[0] == [1, 3, 2, 4, 0]
    # AX: three steps; AAB: two pairs of three are a step apart.
    assert shown("disagreement of graders") == ([2, 0, 1], ["C ± 3", "A ± 0.67", "X ± 0"])
    assert shown("disagreement of graders", where="score < 0")[0] == []
    blind = client.get("/api/stream", params={"grader": "ann", "sort": "consensus of graders"}).json()
    assert len(blind["numbers"]) == 60
    assert "tags" not in blind
