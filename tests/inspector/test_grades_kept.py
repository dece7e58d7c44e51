"""Grades survive kills, power cuts, full disks and second servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import GradeError
from pipeline.inspector.grades import GradesFile, open_grades, read_grades
from pipeline.inspector.identity import CatalogueIdentity
from pipeline.inspector.journal import Journal, replay

ROOT = Path(__file__).parents[2]
SCAN = CatalogueIdentity("survey", "dr1", "scan-1")
KNOWN = frozenset(("F", 2**60 + number) for number in range(200))
FIRST = ("F", 2**60)

HOLD = """
import sys, time
from pipeline.inspector.grades import open_grades
from pipeline.inspector.identity import CatalogueIdentity
grades = open_grades(sys.argv[1], catalogue_identity=CatalogueIdentity("survey", "dr1", "scan-1"), known={("F", 2**60)})
grades.grade("held", "F", 2**60, "A")
print("open", flush=True)
time.sleep(120)
"""


def opened(folder: Path) -> GradesFile:
    return open_grades(folder, catalogue_identity=SCAN, known=KNOWN)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder open."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "grades")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_that_is_killed_while_it_grades_loses_no_acknowledged_grade(tmp_path: Path):
    command = [sys.executable, str(Path(__file__).with_name("kill_grading.py")), str(tmp_path / "grades"), "40"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert int(answer.stdout) > 300  # ten a round, on average


def test_a_second_server_is_refused_with_who_holds_the_folder(tmp_path: Path, holder: subprocess.Popen[str]):
    with pytest.raises(GradeError, match=f"is open in process {holder.pid} on .* since 20"):
        opened(tmp_path / "grades")
    assert [grade.grade for grade in read_grades(tmp_path / "grades").of("held")] == ["A"]


def test_the_folder_of_a_dead_process_is_taken_over(tmp_path: Path, holder: subprocess.Popen[str]):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with opened(tmp_path / "grades") as grades:
        grades.grade("anna", *FIRST, "B")
        assert grades.graders() == ("anna", "held")


def test_one_process_can_open_a_folder_but_once_at_a_time(tmp_path: Path):
    with opened(tmp_path), pytest.raises(GradeError, match=f"is open in process {os.getpid()}"):
        opened(tmp_path)
    opened(tmp_path).close()


@pytest.mark.parametrize("number", range(20))
def test_of_many_that_open_a_new_folder_at_once_one_gets_it(tmp_path: Path, number: int):
    folder, start = tmp_path / "grades", threading.Barrier(6)
    won: list[GradesFile] = []
    refused: list[str] = []

    def work(scan: CatalogueIdentity) -> None:
        start.wait()
        try:
            won.append(open_grades(folder, catalogue_identity=scan, known=KNOWN))
        except GradeError as error:
            refused.append(str(error))

    scans = [SCAN, CatalogueIdentity("survey", "dr1", "scan-2")] * 3
    threads = [threading.Thread(target=work, args=(scan,)) for scan in scans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert all("is open in" in text or "holds grades of scan" in text for text in refused), refused
    said = json.loads((folder / "grades.json").read_text())
    assert (said["scan_id"], bytes.fromhex(said["secret"])) == (won[0].identity.scan_id, won[0].secret)
    assert sorted(entry.name for entry in folder.iterdir()) == ["grades.json", "holder.json", "journal.jsonl"]
    won[0].close()


def test_a_line_cut_off_anywhere_is_dropped_with_a_word_and_the_rest_stays(tmp_path: Path):
    with opened(tmp_path) as grades:
        for number in range(3):
            grades.grade("anna", "F", 2**60 + number, "A", "ümlaut \n")
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    for length in range(last + 1, len(whole)):
        journal.write_bytes(whole[:length])
        assert len(read_grades(tmp_path).of("anna")) == 2
        with opened(tmp_path) as grades:
            assert f"dropped a last line without its end ({length - last} bytes)" in grades.note
            assert len(grades.of("anna")) == 2
        assert journal.read_bytes() == whole[:last]
    with opened(tmp_path) as grades:
        assert grades.note == ""
        assert grades.grade("anna", "F", 2**60 + 2, "A").sequence == 3


def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path):
    with opened(tmp_path) as grades:
        for number in range(3):
            grades.grade("anna", "F", 2**60 + number, "A", f"comment {number}")
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        # A single bit anywhere in a line, its end apart.
        for place in range(0, len(line) - 1, 7):
            broken = bytearray(line)
            broken[place] ^= 1
            if broken[place] == ord("\n"):
                continue
            journal.write_bytes(b"".join([*lines[: number - 1], bytes(broken), *lines[number:]]))
            with pytest.raises(GradeError, match=f"line {number} of 3 is damaged"):
                opened(tmp_path)
            with pytest.raises(GradeError, match=f"line {number} of 3 is damaged"):
                read_grades(tmp_path)
    journal.write_bytes(lines[0] + lines[2])
    with pytest.raises(GradeError, match=r"line 2 does not follow from those before it \(sequence 3 after 1\)"):
        opened(tmp_path)
    journal.write_bytes(whole)
    opened(tmp_path).close()


@pytest.mark.parametrize(
    "entry",
    [
        {"action": "undo", "of": 7},
        {"action": "redo", "of": 1},
        {"action": "erase"},
        {"action": "grade", "field_id": "F", "objid": "1", "grade": "D", "comment": ""},
        {"action": "grade", "field_id": "F", "objid": "1.5", "grade": "A", "comment": ""},
        {"action": "grade", "field_id": "F", "grade": "A", "comment": ""},
        {},
    ],
)
def test_an_entry_that_makes_no_sense_is_an_error_that_names_its_line(tmp_path: Path, entry: dict[str, object]):
    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A")
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"sequence": 2, "time": "2026-01-01T00:00:00.000Z", "grader": "anna", **entry})
    journal.close()
    with pytest.raises(GradeError, match="line 2 does not follow"):
        opened(tmp_path)


def test_a_line_is_on_the_disk_before_the_grade_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(tmp_path) as grades:
        seen: list[int] = []
        really = os.fsync

        def fsync(handle: int) -> None:
            seen.append(os.fstat(handle).st_size)
            really(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        grades.grade("anna", *FIRST, "A")
        assert seen == [(tmp_path / "journal.jsonl").stat().st_size]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_grade_that_the_disk_refuses_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A")
        before, really, failures = (tmp_path / "journal.jsonl").read_bytes(), getattr(os, call), [True]

        def fails_once(handle: int, *data: bytes) -> int | None:
            if failures:
                failures.pop()
                if data:
                    really(handle, data[0][:10])
                raise OSError(28, "No space left on device")
            return really(handle, *data)

        monkeypatch.setattr(os, call, fails_once)
        with pytest.raises(GradeError, match=r"could not be saved .*No space left.*make room and grade again"):
            grades.grade("anna", *FIRST, "X")
        assert (tmp_path / "journal.jsonl").read_bytes() == before
        assert grades.get("anna", *FIRST).grade == "A"  # type: ignore[union-attr]
        assert grades.grade("anna", *FIRST, "C").sequence == 2
    with opened(tmp_path) as grades:
        assert grades.get("anna", *FIRST).grade == "C"  # type: ignore[union-attr]


def test_nothing_is_added_behind_a_part_that_could_not_be_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", broken)
            patched.setattr(os, "ftruncate", broken)
            with pytest.raises(GradeError, match="could not be saved"):
                grades.grade("anna", *FIRST, "B")
        with pytest.raises(GradeError, match="closed; open the grades again"):
            grades.grade("anna", *FIRST, "B")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk is not tested: this user may not mount a file system in memory")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_a_grade_and_keeps_those_before_it(small_disk: Path):
    saved = 0
    with opened(small_disk / "grades") as grades:
        refused = None
        while saved < 10_000 and refused is None:
            try:
                grades.grade("anna", "F", 2**60 + saved % 200, "A", f"{saved} " + "x" * 800)
                saved += 1
            except GradeError as error:
                refused = str(error)
        assert 10 < saved < 10_000
        assert "could not be saved" in str(refused)
        assert "No space left" in str(refused)
        expected = grades.all_current()
        assert read_grades(small_disk / "grades").all_current() == expected
        with pytest.raises(GradeError, match="No space left"):
            grades.grade("anna", *FIRST, "A", "x" * 2000)
        subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
        assert grades.grade("ben", *FIRST, "B").sequence == saved + 1
    with opened(small_disk / "grades") as grades:
        assert grades.note == ""
        assert grades.of("anna") == expected


@pytest.mark.parametrize("how", ["removed", "replaced", "shortened"])
def test_grades_are_not_written_into_a_file_that_is_no_longer_there(tmp_path: Path, how: str):
    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A")
        journal = tmp_path / "journal.jsonl"
        if how == "shortened":
            os.truncate(journal, 10)
        else:
            text = journal.read_bytes()
            journal.unlink()
            if how == "replaced":
                journal.write_bytes(text)
        with pytest.raises(GradeError, match="moved, removed or changed while open"):
            grades.grade("anna", *FIRST, "B")


def test_threads_may_grade_at_the_same_time(tmp_path: Path):
    with opened(tmp_path) as grades:

        def work(grader: str) -> None:
            for number in range(40):
                grades.grade(grader, "F", 2**60 + number, "ABCX"[number % 4])
                assert len(grades.current(grader)) == number + 1
                if number % 10 == 9:
                    grades.undo(grader)
                    grades.redo(grader)

        threads = [threading.Thread(target=work, args=(f"grader {number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sequences = [record["sequence"] for record in replay(tmp_path / "journal.jsonl").records]
        assert sequences == list(range(1, 6 * 48 + 1))
        for number in range(6):
            expected = {("F", 2**60 + place): "ABCX"[place % 4] for place in range(40)}
            assert {key: grade.grade for key, grade in grades.current(f"grader {number}").items()} == expected


def test_the_journal_has_ids_as_text_that_no_reader_of_json_rounds(tmp_path: Path):
    with opened(tmp_path) as grades:
        grades.grade("anna", "F", 2**60 + 1, "A")
    line = json.loads((tmp_path / "journal.jsonl").read_text())
    assert line["objid"] == str(2**60 + 1)
