"""One sitting over one catalogue: its objects, their pictures, the grades, and what the page may offer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.catalogue.crossmatch import KnownLenses
from pipeline.catalogue.explain import sky_axes
from pipeline.flags import VetFlag, describe
from pipeline.inspector.consensus import consensus
from pipeline.inspector.facts import opinion_facts, picture_facts, place_facts, table_row
from pipeline.inspector.gallery import KINDS, Gallery
from pipeline.inspector.grades import GRADES, LONGEST_COMMENT, LONGEST_NAME, Grade, GradesFile
from pipeline.inspector.history import Key
from pipeline.inspector.looks import STRETCHES
from pipeline.inspector.objects import Objects
from pipeline.inspector.opinions import ORDERS, by_graders
from pipeline.inspector.ratings import ratings

Similar = Callable[[Key], pa.Table]
"""Key of a row -> candidates' columns and `similarity`, the most alike first."""


@dataclass
class Session:
    """What the server serves.

    Attributes
    ----------
    objects : Objects
    gallery : Gallery
    grades : GradesFile
    known : KnownLenses, optional
    similar : callable, optional
    share : float
        Of planted objects in a blind grader's stream.
    notes : tuple of str
        What a person should know of the catalogue, such as fields that are missing from it.
    """

    objects: Objects
    gallery: Gallery
    grades: GradesFile
    known: KnownLenses | None = None
    similar: Similar | None = None
    share: float = 0.0
    notes: tuple[str, ...] = ()
    version: str = field(init=False)

    def __post_init__(self) -> None:
        table = self.objects.table
        said = hashlib.blake2b("".join(self.objects.tokens).encode(), digest_size=8)
        for name in ("row", "score"):
            said.update(repr(table[name].to_pylist()).encode())
        self.version = said.hexdigest()

    @property
    def planting(self) -> bool:
        """Whether a blind grader sees planted objects."""
        return self.share > 0 and len(self.objects.planted) > 0

    def start(self) -> dict[str, Any]:
        """What the page needs once."""
        identity = self.grades.identity
        schema = self.objects.table.schema
        meaning = {name: (schema.field(name).metadata or {}).get(b"description", b"").decode() for name in schema.names}
        return {
            "version": self.version,
            **identity.as_dict(),
            "tokens": self.objects.tokens,
            "grades": list(GRADES),
            "graders": list(self.grades.graders()),
            "longest_name": LONGEST_NAME,
            "longest_comment": LONGEST_COMMENT,
            "combinations": self.gallery.combinations,
            "stretches": list(STRETCHES),
            "side": self.gallery.side,
            "columns": [{"name": name, "meaning": meaning[name]} for name in schema.names],
            "sortable": [*(field.name for field in schema if _sortable(field.type)), *ORDERS],
            "flags": [{"name": flag.name, "meaning": flag.description} for flag in describe(VetFlag)],
            "maps": list(KINDS) if self.gallery.maps else [],
            "similar": self.similar is not None,
            "known": self.known is not None,
            "planted": self.planting,
            "notes": list(self.notes),
        }

    def stream(self, grader: str, *, blind: bool, where: str | None, sort: str | None, descending: bool) -> Any:
        """Numbers in the order in which they are seen, and their scores unless blind."""
        if blind:
            return {"version": self.version, "numbers": self.blind_numbers(grader, where), "scores": None}
        if sort in ORDERS:
            return self._by_graders(where, sort, descending)
        numbers = self.objects.stream(where=where, sort=sort, descending=descending)
        return {"version": self.version, "numbers": numbers, "scores": self._scores(numbers)}

    def blind_numbers(self, grader: str, where: str | None = None) -> list[int]:
        """What a blind grader sees, in order."""
        return self.objects.blind_stream(grader, where=where, share=self.share if self.planting else 0.0)

    def like(self, number: int) -> dict[str, Any] | None:
        """Objects that look like one, the most alike first, with their likeness; None where that is not to be had."""
        if self.similar is None:
            return None
        found = self.similar(self.objects.keys[number])
        keys = list(zip(found["field_id"].cast(pa.string()).to_pylist(), found["objid"].to_pylist(), strict=True))
        likeness = dict(zip(keys, found["similarity"].to_pylist(), strict=True))
        shown = [key for key in keys if self.objects.numbers([key])]
        return {
            "version": self.version,
            "numbers": self.objects.numbers(shown),
            "likeness": [round(float(likeness[key]), 4) for key in shown],
            "left_out": len(keys) - len(shown),
        }

    def facts(self, number: int, *, blind: bool) -> dict[str, Any] | None:
        """What the page tells of an object; None of a planted one where the grader is not blind.

        A blind grader is told no score, map, name or known lens, and while something is planted no position either:
        a planted object has none.
        """
        key = self.objects.keys[number]
        facts = {"object": self.objects.tokens[number], **picture_facts(self.gallery.stamp(number))}
        place = self.objects.rows.get(key)
        if place is None and not (blind and self.planting):
            return None
        if blind and self.planting:
            return facts
        row = table_row(self.objects.table, place) if place is not None else {}
        facts |= place_facts(row) | {"axes": self._axes(key)}
        return facts if blind else facts | opinion_facts(row, self.known)

    def others(self, number: int) -> dict[str, Any]:
        """What every grader says of an object, and the median of their grades: for a talk about it afterwards."""
        key = self.objects.keys[number]
        given = [grade for grade in self.grades.all_current() if grade.key == key]
        chosen = consensus(ratings(given)).grades
        return {
            "grades": [{"grader": one.grader, "grade": one.grade, "comment": one.comment} for one in given],
            "consensus": chosen[0] if chosen else None,
        }

    def grade_facts(self, grade: Grade | None, key: Key) -> dict[str, Any]:
        """A grade that holds of an object, for the page."""
        number = self.objects.numbers([key])
        return {
            "object": self.objects.tokens[number[0]] if number else None,
            "grade": grade.grade if grade is not None else None,
            "comment": grade.comment if grade is not None else "",
        }

    def grades_of(self, grader: str) -> dict[str, list[str | None]]:
        """A grader's own grades by token."""
        held = self.grades.current(grader)
        return {
            self.objects.tokens[self.objects.numbers([key])[0]]: [grade.grade, grade.comment]
            for key, grade in held.items()
            if self.objects.numbers([key])
        }

    def _by_graders(self, where: str | None, order: str, descending: bool) -> dict[str, Any]:
        """The candidates that were graded, in an order of `ORDERS`, and what their tiles tell; see `by_graders`."""
        keys = [self.objects.keys[number] for number in self.objects.stream(where=where)]
        grades = [grade for grade in self.grades.all_current() if grade.key not in self.objects.planted]
        found, tags = by_graders(keys, grades, order, descending=descending)
        numbers = self.objects.numbers(found)
        return {"version": self.version, "numbers": numbers, "scores": None, "tags": [tags[key] for key in found]}

    def _axes(self, key: Key) -> list[list[float]] | None:
        """Unit vectors (x, y) towards north and east in a stamp's pixels."""
        axes = sky_axes(self.objects.output, *key)
        return None if axes is None else axes.tolist()

    def _scores(self, numbers: list[int]) -> list[float | None]:
        score = self.objects.table["score"].to_pylist()
        rows = (self.objects.rows[self.objects.keys[number]] for number in numbers)
        return [None if score[row] is None else float(f"{score[row]:.3g}") for row in rows]


def _sortable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
