"""Some of the stamps of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.samples.sample import Part, Sample


def subset(sample: Sample, kept: npt.NDArray[np.bool_], name: str, notes: tuple[str, ...]) -> Sample:
    """The sample of the stamps that are kept, bool (n,), in their order, under another name and with other notes."""
    rows = np.flatnonzero(kept)

    def parts() -> Iterator[Part]:
        start = 0
        for part in sample.parts():
            here = kept[start : start + len(part.image)]
            start += len(part.image)
            if here.any():
                planes: list[Any] = [None if plane is None else plane[here] for plane in (part.ivar, part.mask)]
                yield Part(part.image[here], *planes)

    return replace(
        sample,
        name=name,
        lens=sample.lens[rows],
        truth={column: values[rows] for column, values in sample.truth.items()},
        parts=parts,
        stamp=lambda row: sample.stamp(int(rows[row])),
        group=None if sample.group is None else sample.group[rows],
        notes=notes,
    )
