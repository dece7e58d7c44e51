"""A field's cutouts on their way to a store, or to the networks without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.field import FieldImage
from pipeline.io import cutout_store
from pipeline.io.cutout_store import CutoutStore, Packed, Stamps, pack
from pipeline.io.places import Place
from pipeline.scan.cutouts import Cutouts, cut
from pipeline.scan.cutouts_stats import StampStats
from pipeline.scan.detect import Detections
from pipeline.scan.masks import FieldMasks
from pipeline.scan.rows import ScoredRows
from pipeline.scan_config import ScanConfig
from workflows import field_tables


class CutoutSource(Protocol):
    """Where cutouts of a field come from."""

    def shards(self, numbers: Sequence[int]) -> Iterator[tuple[int, Packed]]:
        """Number and cutouts of some shards, both ascending; one at a time is in memory."""
        ...


@dataclass(frozen=True)
class Stored:
    """Cutouts of a store."""

    store: CutoutStore

    def shards(self, numbers: Sequence[int]) -> Iterator[tuple[int, Packed]]:
        """Number and cutouts of some shards."""
        for number in numbers:
            yield number, cutout_store.read_packed(self.store, number)


@dataclass(frozen=True)
class Fresh:
    """Cutouts of an open field."""

    field_image: FieldImage
    masks: FieldMasks
    detections: Detections
    config: ScanConfig
    memory: float

    def cut(self, numbers: Sequence[int] | None = None) -> Iterator[tuple[Cutouts, Packed]]:
        """All shards or some: what was cut, and how it is stored."""
        config = self.config
        quantised = config.cutouts.codec == "quantised"
        shards = cut(
            self.field_image, self.masks, self.detections, config.cutouts, config.vet, self.memory, only=numbers
        )
        for cutouts in shards:
            yield cutouts, pack(Stamps(cutouts.image, cutouts.ivar, cutouts.mask), quantised)

    def shards(self, numbers: Sequence[int]) -> Iterator[tuple[int, Packed]]:
        """Number and cutouts of some shards."""
        for cutouts, packed in self.cut(numbers):
            yield cutouts.shard, packed

    def create(self, folder: Place, kept: Sequence[int] | None = None) -> CutoutStore:
        """An empty store for them."""
        config, image = self.config.cutouts, self.field_image
        return cutout_store.create(
            folder,
            bands=image.bands,
            pixel_scale=image.pixel_scale,
            rows=len(self.detections),
            size=self.size,
            chunk=config.chunk,
            shard=config.shard,
            codec=config.codec,
            seeing=image.meta.get("seeing", {}),
            kept=kept,
        )

    @property
    def size(self) -> int:
        """Side of a cutout, pixels."""
        return self.config.cutouts.stamp_pixels(self.field_image.pixel_scale)


@dataclass
class Tally:
    """Ids and statistics of the shards that have passed."""

    parts: list[tuple[npt.NDArray[np.int64], StampStats]] = field(default_factory=list)

    def take(self, cutouts: Cutouts) -> None:
        """Add a shard's."""
        self.parts.append((cutouts.objid, cutouts.stats))


def write_cutouts(
    folder: Place, source: Fresh, watch: Callable[[Cutouts, Packed], None] = lambda cutouts, packed: None
) -> None:
    """Cut a field into a store, with its table of stamps; `watch` sees each shard on its way."""
    tally = Tally()

    def packed() -> Iterator[Packed]:
        for cutouts, arrays in source.cut():
            tally.take(cutouts)
            watch(cutouts, arrays)
            yield arrays

    cutout_store.write(source.create(folder), packed())
    field_tables.write_stamps(folder, tally.parts, source.size)


def kept_rows(scored: ScoredRows, keep: str) -> tuple[int, ...] | None:
    """Rows of the cutouts that stay by `cutouts.keep`, ascending; None for all."""
    if keep == "all":
        return None
    return tuple(sorted(scored.row[scored.is_candidate].tolist())) if keep == "candidates" else ()


def shards_of(rows: Sequence[int], shard: int) -> list[int]:
    """Numbers of the shards, of so many cutouts, that hold some rows, ascending."""
    return sorted({row // shard for row in rows})
