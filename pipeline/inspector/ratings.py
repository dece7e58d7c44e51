"""Grades as a matrix: objects by graders."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.inspector.history import GRADES, Grade, Key

NONE = -1
"""Stands for no grade."""

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratings:
    """Who graded what how.

    Attributes
    ----------
    objects : tuple of (field_id, objid)
        That have a grade, sorted.
    graders : tuple of str
        Sorted.
    level : int64 (object, grader)
        Place of the grade in `GRADES`, 0 (A) to 3 (X); `NONE` where there is no grade.
    """

    objects: tuple[Key, ...]
    graders: tuple[str, ...]
    level: Int64

    @property
    def votes(self) -> Int64:
        """How many graders gave each grade to each object, (object, grade)."""
        return np.stack([(self.level == place).sum(axis=1) for place in range(len(GRADES))], axis=1)


def ratings(grades: Iterable[Grade], without: Container[Key] = ()) -> Ratings:
    """The matrix of some grades, each the only one of its grader and object; the order given does not count.

    Parameters
    ----------
    grades : iterable of Grade
        Those without a letter are left out.
    without : container of (field_id, objid)
        Objects to leave out.
    """
    counted = [grade for grade in grades if grade.grade is not None and grade.key not in without]
    objects = sorted({grade.key for grade in counted})
    graders = sorted({grade.grader for grade in counted})
    row = {key: place for place, key in enumerate(objects)}
    column = {name: place for place, name in enumerate(graders)}
    level = np.full((len(objects), len(graders)), NONE, np.int64)
    for grade in counted:
        level[row[grade.key], column[grade.grader]] = GRADES.index(str(grade.grade))
    return Ratings(tuple(objects), tuple(graders), level)
