"""Pictures of the objects that the page shows, by number, made once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp, StampSource
from pipeline.errors import LensscanError
from pipeline.inspector.cache import Cache
from pipeline.inspector.history import Key
from pipeline.inspector.looks import Look, choices
from pipeline.inspector.objects import Objects
from pipeline.inspector.pictures import flags_png, map_png, sheet_jpeg, stamp_png, strip_jpeg

CACHE = 256 * 2**20
"""Bytes of pictures kept."""
STAMPS = 2000
"""Stamps kept: those of the pages looked at last, some hundred kilobytes each."""
DRAWN = 200
"""Objects whose maps are kept."""
READERS = 4
"""Stamps read at the same time; more than one helps where they are in an object store."""


@dataclass(frozen=True)
class Maps:
    """What networks draw of a stamp: (y, x) from 0 to 1 each, None where the ensemble draws none."""

    lens_light: npt.NDArray[np.float32] | None
    artefacts: npt.NDArray[np.float32] | None
    saliency: npt.NDArray[np.float32] | None


KINDS = ("lens_light", "artefacts", "saliency")

MapSource = Callable[[str, Stamp], Maps]
"""(field_id, stamp) -> its maps; loads the ensemble when it is first called."""


class Gallery:
    """Stamps and pictures by number; any thread may ask.

    Parameters
    ----------
    objects : Objects
    stamps : StampSource
        Of the catalogue's rows and of what is planted.
    maps : MapSource, optional
    """

    def __init__(self, objects: Objects, stamps: StampSource, maps: MapSource | None = None) -> None:
        self._objects, self._source, self._maps = objects, stamps, maps
        self._pictures = Cache(CACHE)
        self._stamps: dict[int, Stamp | None] = {}
        self._partial: set[Hashable] = set()
        self._drawn: dict[Key, Maps] = {}
        self._lock, self._drawing = threading.Lock(), threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="stamps")
        first = next((stamp for stamp in map(self.stamp, range(min(len(objects), 50))) if stamp is not None), None)
        self.side = int(first.image.shape[-1]) if first is not None else 64
        self.combinations = choices(first.bands) if first is not None else []
        self.maps = maps is not None

    def stamp(self, number: int) -> Stamp | None:
        """The stamp of an object; None where there is none to show."""
        with self._lock:
            if number in self._stamps:
                return self._stamps[number]
        key = self._objects.keys[number]
        row = self._row(number)
        try:
            stamp = self._source(*key, row)
        except (LensscanError, OSError):
            # Its cutouts are gone: told in its place, the rest goes on.
            stamp = None
        if stamp is None and row is not None:
            return None  # its field is being computed again, and may have it later
        with self._lock:
            self._stamps[number] = stamp
            while len(self._stamps) > STAMPS:
                del self._stamps[next(iter(self._stamps))]
        return stamp

    def _row(self, number: int) -> int | None:
        """Place of an object among its field's cutouts; None where it was not kept, or is of no field."""
        place = self._objects.rows.get(self._objects.keys[number])
        row: int | None = self._objects.table["row"][place].as_py() if place is not None else None
        return row

    def sheet(self, numbers: Sequence[int], look: Look, *, outlines: bool = False) -> tuple[bytes, bool]:
        """Many stamps in one JPEG, and whether it is to stay: not where one is missing that may be there later."""
        key = ("sheet", tuple(numbers), look, outlines)

        def make() -> bytes:
            stamps = list(self._readers.map(self.stamp, numbers))
            lost = any(
                stamp is None and self._row(number) is not None for number, stamp in zip(numbers, stamps, strict=True)
            )
            (self._partial.add if lost else self._partial.discard)(key)
            return sheet_jpeg(stamps, look, self.side, outlines=outlines)

        made = self._pictures.get(key, make)
        if key not in self._partial:
            return made, True
        self._pictures.drop(key)
        return made, False

    def single(self, number: int, look: Look) -> bytes | None:
        """One stamp as PNG."""
        stamp = self.stamp(number)
        return None if stamp is None else self._pictures.get((number, look), lambda: stamp_png(stamp, look))

    def strip(self, number: int, stretch: str) -> bytes | None:
        """One stamp in every combination of bands."""
        stamp = self.stamp(number)
        if stamp is None:
            return None
        return self._pictures.get((number, "strip", stretch), lambda: strip_jpeg(stamp, stretch, self.side))

    def flags(self, number: int) -> bytes | None:
        """What is flagged, see-through."""
        stamp = self.stamp(number)
        return None if stamp is None else self._pictures.get((number, "flags"), lambda: flags_png(stamp))

    def map(self, number: int, kind: str) -> bytes | None:
        """A map of `KINDS`, see-through; None where there is no such map.

        Raises
        ------
        LensscanError
            If the ensemble that draws it can't be found.
        """
        stamp = self.stamp(number)
        if stamp is None or self._maps is None:
            return None
        key = self._objects.keys[number]
        with self._drawing:
            if key not in self._drawn:
                self._drawn[key] = self._maps(key[0], stamp)
            drawn: npt.NDArray[np.float32] | None = getattr(self._drawn[key], kind)
            while len(self._drawn) > DRAWN:
                del self._drawn[next(iter(self._drawn))]
        return None if drawn is None else self._pictures.get((number, kind), lambda: map_png(drawn))
