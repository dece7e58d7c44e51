"""Grades of candidates, on disk: who gave which grade to which object.

A folder of grades belongs to one scan and holds::

    grades.json     the scan that it belongs to
    journal.jsonl   one line for each grade, undo and redo, in order (`pipeline.inspector.journal`)
    planted.json    what was planted among the candidates, where something was (`pipeline.inspector.planted`)
    holder.json     the process that has the folder open, or had it last

It lies outside the scan's output, which is only read. Times are in the journal alone.
"""

from __future__ import annotations

import json
import operator
import os
import secrets
import socket
import threading
import unicodedata
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.errors import GradeError
from pipeline.inspector.history import GRADES, Grade, History, Key
from pipeline.inspector.identity import CatalogueIdentity
from pipeline.inspector.journal import Journal, replay
from pipeline.io.writing import sync_folder, write_json

__all__ = ["GRADES", "Grade", "GradesFile", "History", "Key", "check_grader", "open_grades", "read_grades"]

FORMAT = 1
"""Version of the folder's layout; another one is refused."""

LONGEST_NAME = 64
"""Characters of a grader's name."""

LONGEST_COMMENT = 2000
"""Characters of a comment."""


def open_grades(
    folder: str | os.PathLike[str], *, catalogue_identity: CatalogueIdentity, known: Container[Key]
) -> GradesFile:
    """Open a folder of grades for grading; it is made where it does not exist. No other process can until it is closed.

    The lock is the system's and goes with the process that holds it, however that ends.

    Parameters
    ----------
    folder : path
        Local; see `pipeline.inspector.identity.grades_folder` for the usual one.
    catalogue_identity : CatalogueIdentity
        The scan graded; see `pipeline.inspector.identity.catalogue_identity`.
    known : container of (field_id, objid)
        What may be graded, planted objects included.

    Raises
    ------
    GradeError
        If the folder belongs to another scan, is open elsewhere (by whom is said), lies in a scan's output, holds
        other files, or its journal is damaged.
    """
    path = _local(folder)
    secret = _claim(path, catalogue_identity)
    try:
        journal = Journal(path / "journal.jsonl")
    except BlockingIOError:
        raise GradeError(f"{path} is open in {_holder(path)}; stop that, or grade into another folder.") from None
    except OSError as error:
        raise GradeError(f"{path}: can't be written to ({error}); give a folder of your own.") from error
    try:
        history = _replayed(journal.path, journal.records)
        _tell_who(path)
    except BaseException:
        journal.close()
        raise
    return GradesFile(path, catalogue_identity, journal, history, known, secret)


def read_grades(folder: str | os.PathLike[str], *, catalogue_identity: CatalogueIdentity | None = None) -> History:
    """The grades of a folder as they are now, also while a server has it open; nothing is changed.

    A last line without its end is being written, or was when its process died, and is not counted.

    Raises
    ------
    GradeError
        If it is no folder of grades, is damaged, or belongs to another scan than `catalogue_identity`.
    """
    path = _local(folder)
    said = _said(path)
    if catalogue_identity is not None:
        _require(path, said, catalogue_identity)
    journal = path / "journal.jsonl"
    return _replayed(journal, replay(journal).records)


def folder_identity(folder: str | os.PathLike[str]) -> CatalogueIdentity:
    """The scan that a folder of grades belongs to; raises GradeError if it is no such folder."""
    said = _said(Path(folder))
    return CatalogueIdentity(said["survey"], said["release"], said["scan_id"])


def is_grades_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds grades."""
    return (Path(folder) / "grades.json").is_file()


class GradesFile:
    """A folder of grades, open for grading; made by `open_grades`. Any thread may call anything.

    Attributes
    ----------
    folder : Path
    identity : CatalogueIdentity
    secret : bytes
        Of this folder; the page makes from it the names under which objects are shown to graders
        (`pipeline.inspector.planted.token`).
    note : str
        What a person should know of how the folder was found; empty if nothing.
    """

    def __init__(
        self,
        folder: Path,
        identity: CatalogueIdentity,
        journal: Journal,
        history: History,
        known: Container[Key],
        secret: bytes,
    ) -> None:
        self.folder, self.identity, self.secret = folder, identity, secret
        self._journal, self._history, self._known = journal, history, known
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self.note = (
            f"{journal.path}: dropped a last line without its end ({journal.torn} bytes); nobody was told that it was "
            "saved."
            if journal.torn
            else ""
        )

    def grade(
        self, grader: str, field_id: str, objid: int, grade: str | None, comment: str = "", *, once: str | None = None
    ) -> Grade:
        """Grade an object; it is saved, whatever happens to this process or machine, when this returns.

        A grade takes the place of the grader's earlier one of the object.

        Parameters
        ----------
        grader : str
        field_id : str
        objid : int
        grade : "A", "B", "C", "X" or None
            None is a comment without a grade.
        comment : str
            Plain text; kept as it is, so whoever shows it escapes it.
        once : str, optional
            A name of this request: asked again with it, as after an answer that was lost, nothing is written and
            the answer is the same.

        Raises
        ------
        GradeError
            If the object is not known, a text is not fit, or it could not be saved.
        """
        name, key = check_grader(grader), _key(field_id, objid)
        if grade is not None and grade not in GRADES:
            raise GradeError(f"grade {grade!r}: choose from {', '.join(GRADES)}.")
        _check_comment(comment)
        if key not in self._known:
            raise GradeError(f"objid {key[1]} of field {key[0]!r} is not among what is graded in {self.folder}.")
        entry = {"action": "grade", "field_id": key[0], "objid": str(key[1]), "grade": grade, "comment": comment}
        given = self._write(name, once, lambda: entry)
        if given is None:
            raise GradeError(f"request {once!r} of {name} was no grade; give every request a name of its own.")
        return given

    def undo(self, grader: str, *, once: str | None = None) -> Grade | None:
        """Take back the grader's last grade that stands; the one before it of the object holds again.

        Can be done again and again, back to the grader's first grade; it is saved as a grade is.

        Returns
        -------
        Grade or None
            What was taken back (`get` tells what holds instead); None if there is nothing to take back.
        """
        name = check_grader(grader)
        return self._write(name, once, lambda: self._history.undo_entry(name))

    def redo(self, grader: str, *, once: str | None = None) -> Grade | None:
        """Give again what the last undo took back, if nothing was graded since; None if there is nothing."""
        name = check_grader(grader)
        return self._write(name, once, lambda: self._history.redo_entry(name))

    def get(self, grader: str, field_id: str, objid: int) -> Grade | None:
        """The grader's grade of an object that holds now."""
        with self._reading:
            return self._history.get(check_grader(grader), _key(field_id, objid))

    def of(self, grader: str) -> tuple[Grade, ...]:
        """Every grade of a grader that holds now, in the order in which they were given."""
        with self._reading:
            return self._history.of(check_grader(grader))

    def current(self, grader: str) -> dict[Key, Grade]:
        """Every grade of a grader that holds now, by (field_id, objid)."""
        with self._reading:
            return self._history.current(check_grader(grader))

    def all_current(self) -> tuple[Grade, ...]:
        """Every grade of every grader that holds now, by grader, then in the order in which they were given."""
        with self._reading:
            return self._history.all_current()

    def graders(self) -> tuple[str, ...]:
        """Names of all who ever graded here, sorted."""
        with self._reading:
            return self._history.graders()

    def known_as(self, grader: str) -> str:
        """The name under which a grader graded here before: written the same but for capitals, as phones put them."""
        name = check_grader(grader)
        before = self.graders()
        return name if name in before else next((one for one in before if one.casefold() == name.casefold()), name)

    def close(self) -> None:
        """Let go of the folder."""
        with self._writing:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, grader: str, once: str | None, make: Any) -> Grade | None:
        """Write what `make` gives, if it gives anything, and only then let it count."""
        with self._writing:
            if once is not None and self._history.has(grader, once):
                return self._history.answer(grader, once)
            entry = make()
            if entry is None:
                return None
            record = {"sequence": self._history.sequence + 1, "time": _now(), "grader": grader, **entry}
            if once is not None:
                record["once"] = once
            self._journal.append(record)
            with self._reading:
                return self._history.apply(record)


def check_grader(name: str) -> str:
    """A grader's name, without blanks around it and in Unicode's composed form (NFC).

    Raises
    ------
    GradeError
        If it is empty, too long, or has characters that can't be seen.
    """
    if not isinstance(name, str):
        raise GradeError(f"grader {name!r}: give a name.")
    clean = unicodedata.normalize("NFC", name.strip())
    if not clean or len(clean) > LONGEST_NAME:
        raise GradeError(f"grader {clean[:80]!r}: give a name of 1 to {LONGEST_NAME} characters.")
    if any(unicodedata.category(letter)[0] == "C" or unicodedata.category(letter) in ("Zl", "Zp") for letter in clean):
        raise GradeError(f"grader {clean!r}: a name can't hold control characters.")
    return clean


def _check_comment(comment: str) -> None:
    if len(comment) > LONGEST_COMMENT:
        raise GradeError(f"comment: {len(comment):,} characters; keep it to {LONGEST_COMMENT:,}.")
    hidden = [letter for letter in comment if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cs")]
    if hidden:
        raise GradeError(f"comment {comment[:80]!r}: it can't hold control characters.")


def _local(folder: str | os.PathLike[str]) -> Path:
    if str(folder).startswith("s3:/"):
        raise GradeError(f"{folder}: grades need a local folder, where they can be locked and are kept at once.")
    return Path(folder)


def _key(field_id: str, objid: int) -> Key:
    try:
        number = operator.index(objid)
    except TypeError:
        number = None
    if number is None or isinstance(objid, bool) or not -(2**63) <= number < 2**63:
        raise GradeError(f"objid {objid!r} is no 64-bit integer.")
    return str(field_id), number


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _claim(path: Path, identity: CatalogueIdentity) -> bytes:
    """Make a folder the scan's own, or check that it is; its secret."""
    whole = path.absolute()
    owner = next((parent for parent in (whole, *whole.parents) if (parent / "scan.json").is_file()), None)
    if owner is not None:
        raise GradeError(f"{path} lies in a scan's output ({owner}), which is only read; give a folder outside it.")
    if not is_grades_folder(path):
        try:
            _make(path, identity)
        except OSError as error:
            raise GradeError(f"{path}: can't be made a folder of grades ({error}); give another one.") from error
    said = _said(path)
    _require(path, said, identity)
    return bytes.fromhex(said["secret"])


def _make(path: Path, identity: CatalogueIdentity) -> None:
    """Make a folder of grades, unless another process is faster: linking is the step that only one can win."""
    path.mkdir(parents=True, exist_ok=True)
    others = [entry for entry in path.iterdir() if not entry.name.lstrip(".").startswith("grades.json.")]
    if others and not is_grades_folder(path):
        raise GradeError(f"{path} holds other files than grades; give a new folder.")
    draft = path / f".grades.json.{secrets.token_hex(8)}"
    write_json(draft, {"format": FORMAT, **identity.as_dict(), "secret": secrets.token_hex(16)})
    try:
        os.link(draft, path / "grades.json")
        sync_folder(path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _tell_who(path: Path) -> None:
    """Write down who holds the folder; without room for that, at least nobody else is named."""
    try:
        write_json(path / "holder.json", {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
    except OSError:
        (path / "holder.json").unlink(missing_ok=True)


def _said(path: Path) -> dict[str, Any]:
    """What `grades.json` says."""
    try:
        said = json.loads((path / "grades.json").read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise GradeError(f"{path} has layout {said['format']}, this lensscan reads {FORMAT}; use one that fits.")
        bytes.fromhex(said["secret"])
        return {name: str(said[name]) for name in ("survey", "release", "scan_id", "secret")}
    except FileNotFoundError:
        raise GradeError(
            f"{path} is no folder of grades (no grades.json in it); `lensscan inspect` makes one."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GradeError(f"{path / 'grades.json'} is damaged ({error}); bring it back from a copy.") from error


def _require(path: Path, said: Mapping[str, str], identity: CatalogueIdentity) -> None:
    theirs = CatalogueIdentity(said["survey"], said["release"], said["scan_id"])
    if theirs != identity:
        raise GradeError(f"{path} holds grades of {theirs}, not of {identity}; give another folder of grades.")


def _replayed(path: Path, records: list[dict[str, Any]]) -> History:
    history = History()
    for number, record in enumerate(records, start=1):
        try:
            history.apply(record)
        except (ValueError, KeyError, TypeError) as error:
            raise GradeError(
                f"{path}: line {number} does not follow from those before it ({error}); bring it back from a copy."
            ) from error
    return history


def _holder(path: Path) -> str:
    try:
        said = json.loads((path / "holder.json").read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
