"""Logits of an earlier evaluation, for members and stamps that are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.models.ensemble import Ensemble
from pipeline.provenance import STAGE_VERSIONS, fingerprint
from pipeline.scan.score import choose_device
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

STAMP = "stamp_hash"
"""Column of what a stamp's logits rest on."""
_MEMBERS = b"lensscan.members"
"""Key of the file's metadata: what each member's logits rest on, beside the stamp."""


@dataclass(frozen=True)
class KnownLogits:
    """Logits by sample, member and row, with what they rest on.

    Attributes
    ----------
    members : mapping of str to str
        `member_identities`.
    stamps : mapping of str to int64 (n,)
        `stamp_hashes` by sample.
    logits : mapping of (sample, member) to float32 (n,); NaN where not scorable
    """

    members: Mapping[str, str]
    stamps: Mapping[str, Int64]
    logits: Mapping[tuple[str, str], Float32]

    def of(self, sample: str, start: int, stamps: Int64, members: Mapping[str, str]) -> dict[str, Float32]:
        """Logits of the stamps from row `start` on, by those members that are the same, if the stamps all are."""
        stop = start + len(stamps)
        if not np.array_equal(self.stamps.get(sample, np.empty(0, np.int64))[start:stop], stamps):
            return {}
        same = [name for name, identity in members.items() if self.members.get(name) == identity]
        return {name: self.logits[sample, name][start:stop] for name in same}


def member_identities(ensemble: Ensemble) -> dict[str, str]:
    """By member, a hash of what its logits rest on beside the stamp: network, views, device, way of scoring."""
    about = (STAGE_VERSIONS["score"], choose_device(ScoreConfig().device).type, ensemble.views)
    return {member.name: fingerprint([*about, member.logit_fingerprint()]) for member in ensemble.members}


def stamp_hashes(sample: Sample, part: Part) -> Int64:
    """A hash (n,) of what the members see of each stamp: pixels, weights, flags, bands and pixel scale."""
    planes = [np.ascontiguousarray(plane) for plane in (part.image, part.ivar, part.mask) if plane is not None]
    grid = json.dumps([sample.bands, sample.pixel_scale, part.ivar is None, part.mask is None]).encode()
    answer = np.empty(len(part.image), np.int64)
    for row in range(len(part.image)):
        digest = hashlib.blake2b(grid, digest_size=8)
        for plane in planes:
            digest.update(plane[row])
        answer[row] = int.from_bytes(digest.digest(), "little", signed=True)
    return answer


def with_identities(table: pa.Table, members: Mapping[str, str]) -> pa.Table:
    """The table of scores with what its members' logits rest on in its metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _MEMBERS: json.dumps(dict(members))})


def read_logits(path: Path) -> KnownLogits:
    """The logits of a `scores.parquet` that an evaluation has written.

    Raises
    ------
    ConfigError
        If it can't be read or is no such table.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}: give the folder that an evaluation has written.")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: can't be read as the scores of an evaluation ({error}).") from error
    members: dict[str, str] = json.loads((table.schema.metadata or {}).get(_MEMBERS, b"null")) or {}
    columns = {name: f"logit_{name}" for name in members}
    if not members or not {STAMP, "sample", *columns.values()} <= set(table.column_names):
        raise ConfigError(f"{path}: does not say what its logits rest on; it is not from `lensscan evaluate`, or old.")
    sample = table["sample"].to_numpy()
    rows = {str(name): sample == name for name in table["sample"].unique().to_pylist()}
    stamps = table[STAMP].to_numpy()
    logits = {name: table[column].to_numpy().astype(np.float32) for name, column in columns.items()}
    return KnownLogits(
        members,
        {name: stamps[chosen] for name, chosen in rows.items()},
        {(name, member): values[chosen] for name, chosen in rows.items() for member, values in logits.items()},
    )
