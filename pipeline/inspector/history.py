"""What a sequence of grades, undos and redos comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GRADES = ("A", "B", "C", "X")
"""A: sure lens; B: probable lens; C: possible lens; X: no lens."""

Key = tuple[str, int]
"""(field_id, objid)."""


@dataclass(frozen=True)
class Grade:
    """One grade that somebody gave.

    Attributes
    ----------
    field_id, objid : str, int
        The object.
    grader : str
    grade : str or None
        One of `GRADES`; None: a comment alone.
    comment : str
    time : str
        UTC, ISO 8601.
    sequence : int
        Number of its line in the journal, from 1.
    """

    field_id: str
    objid: int
    grader: str
    grade: str | None
    comment: str
    time: str
    sequence: int

    @property
    def key(self) -> Key:
        """(field_id, objid)."""
        return self.field_id, self.objid


@dataclass
class _Grader:
    """One grader's grades, and what can be undone and redone: each grade with what it took the place of."""

    now: dict[Key, Grade] = field(default_factory=dict)
    done: list[tuple[Grade, Grade | None]] = field(default_factory=list)
    undone: list[tuple[Grade, Grade | None]] = field(default_factory=list)
    answers: dict[str, Grade] = field(default_factory=dict)

    def hold(self, key: Key, grade: Grade | None) -> None:
        self.now.pop(key, None)
        if grade is not None:
            self.now[key] = grade


class History:
    """Grades that hold after a sequence of entries.

    Attributes
    ----------
    sequence : int
        Number of entries so far.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self._graders: dict[str, _Grader] = {}

    def apply(self, record: Mapping[str, Any]) -> Grade:
        """Let one entry of a journal count; the grade that it gave, took back or gave again.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is no entry that can follow those before it; nothing has changed then.
        """
        if record["sequence"] != self.sequence + 1:
            raise ValueError(f"sequence {record['sequence']} after {self.sequence}")
        name, action = str(record["grader"]), record["action"]
        mine = self._graders.get(name, _Grader())
        if action == "grade":
            given = _grade(record)
            mine.done.append((given, mine.now.get(given.key)))
            mine.undone.clear()
            mine.hold(given.key, given)
        elif action == "undo":
            given, before = _last(mine.done, record)
            mine.undone.append(mine.done.pop())
            mine.hold(given.key, before)
        elif action == "redo":
            given, _ = _last(mine.undone, record)
            mine.done.append(mine.undone.pop())
            mine.hold(given.key, given)
        else:
            raise ValueError(f"action {action!r}")
        self._graders[name] = mine
        self.sequence += 1
        if "once" in record:
            mine.answers[str(record["once"])] = given
        return given

    def undo_entry(self, grader: str) -> dict[str, Any] | None:
        """The entry that takes back a grader's last grade; None if there is none."""
        mine = self._graders.get(grader)
        return {"action": "undo", "of": mine.done[-1][0].sequence} if mine and mine.done else None

    def redo_entry(self, grader: str) -> dict[str, Any] | None:
        """The entry that gives again what was last taken back; None if there is none."""
        mine = self._graders.get(grader)
        return {"action": "redo", "of": mine.undone[-1][0].sequence} if mine and mine.undone else None

    def has(self, grader: str, once: str) -> bool:
        """Whether a request of this name has been answered."""
        return grader in self._graders and once in self._graders[grader].answers

    def answer(self, grader: str, once: str) -> Grade:
        """What was answered to a request of this name."""
        return self._graders[grader].answers[once]

    def get(self, grader: str, key: Key) -> Grade | None:
        """A grader's grade of an object that holds."""
        mine = self._graders.get(grader)
        return mine.now.get(key) if mine else None

    def of(self, grader: str) -> tuple[Grade, ...]:
        """A grader's grades that hold, in the order in which they were given."""
        mine = self._graders.get(grader)
        return tuple(sorted(mine.now.values(), key=lambda grade: grade.sequence)) if mine else ()

    def current(self, grader: str) -> dict[Key, Grade]:
        """A grader's grades that hold, by object."""
        return {grade.key: grade for grade in self.of(grader)}

    def all_current(self) -> tuple[Grade, ...]:
        """Every grade that holds, by grader, then in the order in which they were given."""
        return tuple(grade for grader in self.graders() for grade in self.of(grader))

    def graders(self) -> tuple[str, ...]:
        """Names of all who ever graded, sorted."""
        return tuple(sorted(self._graders))


def _grade(record: Mapping[str, Any]) -> Grade:
    if record["grade"] is not None and record["grade"] not in GRADES:
        raise ValueError(f"grade {record['grade']!r}")
    return Grade(
        field_id=str(record["field_id"]),
        objid=int(record["objid"]),
        grader=str(record["grader"]),
        grade=record["grade"],
        comment=str(record["comment"]),
        time=str(record["time"]),
        sequence=int(record["sequence"]),
    )


def _last(entries: list[tuple[Grade, Grade | None]], record: Mapping[str, Any]) -> tuple[Grade, Grade | None]:
    if not entries or entries[-1][0].sequence != record["of"]:
        raise ValueError(f"{record['action']} of {record['of']}, which is not the last one")
    return entries[-1]
