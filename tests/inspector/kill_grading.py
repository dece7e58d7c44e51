"""Rounds of a process that grades and is killed; run by `test_grades_kept.py`, in a process without threads."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from pipeline.inspector.grades import GRADES, open_grades
from pipeline.inspector.identity import CatalogueIdentity
from pipeline.inspector.journal import replay

SCAN = CatalogueIdentity("survey", "dr1", "scan-1")
KNOWN = frozenset(("F", 2**60 + number) for number in range(50))


def grade_for_ever(folder: Path, pipe: int, seed: int) -> None:
    """Grade and undo, and write down the sequence of each only once it is acknowledged."""
    rng, keys = random.Random(seed), sorted(KNOWN)
    with open_grades(folder, catalogue_identity=SCAN, known=KNOWN) as grades:
        number = grades._history.sequence
        while True:
            grader = rng.choice(("anna", "ben"))
            if rng.random() < 0.2:
                given, said = grades.undo(grader), "undo"
            else:
                given, said = (
                    grades.grade(grader, *rng.choice(keys), rng.choice(GRADES), "x" * rng.randrange(300)),
                    "grade",
                )
            if given is not None:
                number += 1
                os.write(pipe, f"{number} {said} {grader} {given.objid} {given.grade}\n".encode())


def one_round(folder: Path, seed: int) -> int:
    """Start, kill, compare; how many were acknowledged."""
    before = len(replay(folder / "journal.jsonl").records)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        grade_for_ever(folder, writer, seed)
    os.close(writer)
    chance = random.Random(-seed)
    with os.fdopen(reader) as stream:
        # However busy the machine is, the kill comes after some grades, and somewhere in the next one.
        lines = [stream.readline() for _ in range(chance.randrange(1, 20))]
        time.sleep(chance.random() * 0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = [line.split() for line in [*lines, *stream]]
    records = replay(folder / "journal.jsonl").records
    assert before + len(acknowledged) <= len(records) <= before + len(acknowledged) + 1, (before, acknowledged, records)
    by_sequence = {record["sequence"]: record for record in records}
    for number, said, grader, objid, grade in acknowledged:
        record = by_sequence[int(number)]
        assert (record["action"], record["grader"]) == (said, grader), record
        given = by_sequence[record["of"]] if said == "undo" else record
        assert (given["objid"], given["grade"]) == (objid, grade), (given, objid, grade)
    return len(acknowledged)


if __name__ == "__main__":
    place, rounds = Path(sys.argv[1]), int(sys.argv[2])
    with open_grades(place, catalogue_identity=SCAN, known=KNOWN) as opened:
        opened.grade("anna", *min(KNOWN), "A")
    print(sum(one_round(place, seed) for seed in range(1, rounds + 1)))
