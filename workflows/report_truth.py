"""What a report is told of the truth: grades that people gave, and known lenses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.catalogue.observed import Judged
from pipeline.catalogue.report_facts import KnownFacts

if TYPE_CHECKING:
    from pipeline.io.places import Place


def judged_of(output: Place, folder: str | Path | None = None) -> Judged | None:
    """What graders found, by the median of their grades: A and B are lenses; what was planted does not count.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's output.
    folder : str or Path, optional
        A folder of grades; the one beside the output, if there is one, where none is given.

    Returns
    -------
    Judged or None
        None where nothing was graded.

    Raises
    ------
    GradeError
        If a folder is given that holds no grades of this scan, or the grades are damaged.
    """
    from pipeline.inspector.consensus import LENS, consensus
    from pipeline.inspector.grades import is_grades_folder, read_grades
    from pipeline.inspector.identity import catalogue_identity, grades_folder
    from pipeline.inspector.planted import load_planted
    from pipeline.inspector.ratings import ratings

    chosen = Path(folder) if folder is not None else grades_folder(output)
    if folder is None and not is_grades_folder(chosen):
        return None
    history = read_grades(chosen, catalogue_identity=catalogue_identity(output))
    matrix = ratings(history.all_current(), load_planted(chosen))
    if not matrix.objects:
        return None
    found = consensus(matrix)
    lens = {key: grade in LENS for key, grade in zip(found.objects, found.grades, strict=True)}
    graders = len(matrix.graders)
    who = "one person" if graders == 1 else f"{graders:,} people, the median of whose grades counts"
    return Judged(lens, f"{len(lens):,} objects graded by {who}; A and B are lenses.")


def known_of(output: Place, file: str) -> KnownFacts:
    """Known lenses that a scan could have found, and at which score it has them.

    Raises
    ------
    QueryError
        If the file is no table of known lenses, or the scan has no candidates.
    """
    from pipeline.catalogue.crossmatch import choose, crossmatch, read_known
    from pipeline.catalogue.recovered import COVERED, SCORED, State, recovered

    listed = read_known(file)
    result = crossmatch(output, choose(listed))
    state = result.state
    return KnownFacts(
        source=Path(file).name,
        systems=len(result.known),
        covered=int(sum((state == kind).sum() for kind in COVERED)),
        detected=int((state >= State.NO_SCORE).sum()),
        scored=int(sum((state == kind).sum() for kind in SCORED)),
        rows=tuple(recovered(state, result.score, result.known.lenses.grade.tolist())),
        by_chance=result.by_chance,
        radius=result.radius,
    )
