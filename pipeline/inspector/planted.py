"""Lenses and duds whose truth is known, planted among the candidates to measure who grades them.

To a grader they look like the others: objects go to the page under tokens (`token`) that say nothing of their ids,
and stand anywhere in the stream (`mix`). They are no candidates: exports and training leave them out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline.errors import GradeError
from pipeline.inspector.history import Key
from pipeline.io.writing import write_json

PLANTED_FIELD = "~planted"
"""Stands for the field of what is in no field of the scan; its objids are made from the pixels."""

Kind = Literal["lens", "dud"]


@dataclass(frozen=True)
class PlantedItem:
    """One planted object.

    Attributes
    ----------
    field_id, objid : str, int
        Its key among the grades: its own where it is a row of the scan, else `PLANTED_FIELD` and a number.
    kind : "lens" or "dud"
        The truth.
    source : str
        The pool or table that it came from.
    row : int
        Its row there.
    theta_E : float or None, arcsec
    magnitude : float or None, mag
        Of the deflector of a simulated lens; whatever the table says of another.
    arc_snr : float or None
    """

    field_id: str
    objid: int
    kind: Kind
    source: str
    row: int
    theta_E: float | None = None
    magnitude: float | None = None
    arc_snr: float | None = None

    @property
    def key(self) -> Key:
        """(field_id, objid)."""
        return self.field_id, self.objid


@dataclass(frozen=True)
class Planted:
    """All that is planted in a folder of grades, sorted by key."""

    items: tuple[PlantedItem, ...] = ()

    @cached_property
    def by_key(self) -> dict[Key, PlantedItem]:
        """The items by (field_id, objid)."""
        return {item.key: item for item in self.items}

    @property
    def truth(self) -> dict[Key, bool]:
        """Whether each is a lens, by (field_id, objid)."""
        return {item.key: item.kind == "lens" for item in self.items}

    def __contains__(self, key: object) -> bool:
        return key in self.by_key

    def __len__(self) -> int:
        return len(self.items)


def save_planted(folder: Path, planted: Planted) -> Planted:
    """Add to what is planted in a folder of grades, which has to be open for grading; all that is planted there now.

    Raises
    ------
    GradeError
        If an object was planted with the other truth before.
    """
    every = joined(load_planted(folder), planted)
    items = [{**asdict(item), "objid": str(item.objid)} for item in every.items]
    write_json(folder / "planted.json", {"items": items})
    return every


def load_planted(folder: Path) -> Planted:
    """What is planted in a folder of grades; nothing where nothing is. Raises GradeError if the file is damaged."""
    path = folder / "planted.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Planted(tuple(PlantedItem(**{**item, "objid": int(item["objid"])}) for item in said["items"]))
    except FileNotFoundError:
        return Planted()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GradeError(f"{path} is damaged ({error}); bring it back from a copy.") from error


def joined(first: Planted, second: Planted) -> Planted:
    """The items of both, sorted by key; raises GradeError for an object that is lens in one and dud in the other."""
    every = dict(first.by_key)
    for key, item in second.by_key.items():
        if key in every and every[key].kind != item.kind:
            where = item.source if key[0] == PLANTED_FIELD else f"objid {key[1]} of field {key[0]} in {item.source}"
            raise GradeError(f"{where} is planted as {item.kind}, but as {every[key].kind} in {every[key].source}.")
        every[key] = item
    return Planted(tuple(every[key] for key in sorted(every)))


def mix(keys: Sequence[Key], planted: Iterable[Key], *, share: float, seed: bytes) -> list[Key]:
    """A stream of candidates with planted objects among them.

    The candidates keep their order. Which objects are planted, and where, is a function of the seed and their keys:
    a stream that has grown shows the same ones and more.

    Parameters
    ----------
    keys : sequence of (field_id, objid)
        Candidates, in the order in which they are to be seen; those that are planted stay where they are.
    planted : iterable of (field_id, objid)
    share : float
        Of planted objects in the answer, 0 to below 1; fewer where there are not so many.
    seed : bytes
        `GradesFile.secret`, and the grader's name where everybody is to get an order of their own.
    """
    if not 0 <= share < 1:
        raise GradeError(f"share of planted objects: {share} is not in 0 to 1 (1 left out).")
    wanted = set(planted)
    there = sum(key in wanted for key in keys)
    others = len(keys) - there
    number = max(0, round(share / (1 - share) * others) - there)
    more = sorted(wanted.difference(keys), key=lambda key: _draw(seed, "which", key))[:number]
    places = sorted((int(_draw(seed, "where", key) * (len(keys) + 1)), _draw(seed, "order", key), key) for key in more)
    stream: list[Key] = []
    done = 0
    for place, _, key in places:
        stream += keys[done:place]
        stream.append(key)
        done = place
    return stream + list(keys[done:])


def token(secret: bytes, key: Key) -> str:
    """A name of an object that tells nothing of it: 16 letters and digits, the same in every session of a folder."""
    return hashlib.blake2b(f"{key[1]} {key[0]}".encode(), key=secret, digest_size=8).hexdigest()


def _draw(seed: bytes, what: str, key: Key) -> float:
    """A number from 0 to below 1 that is an object's own."""
    digest = hashlib.blake2b(f"{what} {key[1]} {key[0]}".encode(), key=seed[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
