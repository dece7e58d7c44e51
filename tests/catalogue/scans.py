"""Scans' outputs of one field put together by hand, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.io import ownership, products
from pipeline.io.tables import write_table

STAGES = ("masks", "detect", "cutouts", "score", "candidates")


@dataclass(frozen=True)
class MadeScan:
    """One field of a scan; rows are detections. Fingerprints differ where `versions` do, from there on."""

    make_table: Callable[..., pa.Table]
    objid: Sequence[int] = (1, 2, 3)
    ra: Sequence[float] = (10.0, 10.01, 10.02)
    dec: Sequence[float] = (0.0, 0.0, 0.0)
    score: Sequence[float] = (0.9, 0.5, 0.05)
    flags: Sequence[int] = (0, 0, 0)
    floor: float = 0.1
    members: Sequence[str] = ("cnn", "vit")
    logits: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"cnn": (1.0, 2.0, 3.0), "vit": (4.0, 5.0, 6.0)}
    )
    npix: Sequence[int] = (0, 0, 0)
    x: Sequence[float] = (10.0, 20.0, 30.0)
    size: int = 60
    config: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=lambda: {"cnn": "aaa", "vit": "bbb"})
    versions: Mapping[str, str] = field(default_factory=dict)
    field_id: str = "A/1"
    survey: str = "sky"
    release: str = "dr1"
    empty: bool = False

    def but(self, **changes: Any) -> MadeScan:
        """The same with some things changed."""
        return replace(self, **changes)

    def write(self, output: Path) -> Path:
        """Write the field into an output, which is made if need be."""
        if not (output / "scan.json").exists():
            ownership.claim(output, "test", self.survey, self.release)
        version = ""
        for stage in STAGES:
            version += "|" + self.versions.get(stage, "")
            fingerprint = f"{stage}{abs(hash(version)):x}"
            generation = products.new_generation(output, stage, self.field_id, fingerprint)
            if not self.empty:
                self._write_stage(stage, output / products.generation_place(stage, self.field_id, generation))
            products.publish(
                output,
                field_id=self.field_id,
                stage=stage,
                fingerprint=fingerprint,
                generation=generation,
                rows=0 if self.empty else len(self.objid),
                provenance={
                    "config": {"scan_id": "test", "bands": ["r"], "candidates": {"floor": self.floor}, **self.config},
                    "packages": dict(self.packages),
                    "software": {"version": "1", "revision": "abc"},
                    "survey": {"name": self.survey},
                },
                empty=self.empty,
            )
        return output

    def _write_stage(self, stage: str, folder: Path) -> None:
        ids = np.array(self.objid, np.int64)
        if stage == "detect":
            x = np.array(self.x, float)
            table = pa.table({"objid": ids, "ra": np.array(self.ra), "dec": np.array(self.dec), "x": x, "y": x})
            write_table(folder / "detections.parquet", table)
        elif stage == "cutouts":
            zeros = np.zeros(len(ids), np.uint32)
            columns = {"objid": ids, "size": np.full(len(ids), self.size, np.int32)}
            columns |= {"npix_trail": np.array(self.npix, np.int32), "centre_flags": zeros, "bands_missing": zeros}
            write_table(folder / "stamps.parquet", pa.table(columns))
        elif stage == "score":
            logits = {f"logit_{name}": np.array(values, np.float32) for name, values in self.logits.items()}
            # In cutting order, which is another one than that of the ids.
            write_table(
                folder / "part-00000.parquet", pa.table({"objid": ids, **logits}).take(np.arange(len(ids))[::-1])
            )
        elif stage == "candidates":
            scores = self.make_table(
                self.field_id, self.objid, self.ra, self.dec, self.score, self.flags, members=self.members
            )
            write_table(folder / "scores.parquet", scores)
            write_table(folder / "candidates.parquet", scores.filter(pa.compute.field("score") >= self.floor))
