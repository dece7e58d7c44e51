"""Which embeddings put lenses beside lenses: each member's, by plain and by whitened cosine.

    PYTHONPATH=. python tests/benchmarks/bench_embeddings.py [--ensemble ground] [--pool GLOB ...] [--real EVALUATION]
        [--group COLUMN] [--share 0.05] [--json FILE]

Every lens of a sample asks for its 20 nearest; the share of lenses among them is told, beside that among all. Lenses
are thinned to `--share` of the others, to 25 at least. A neighbour counts only if it shows another object and another
source than the one that asks, and with `--group field_id` lies in another file of a pool. `--real` takes the samples of
real stamps from an evaluation's config.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import find
from pipeline.evaluate.config import PoolsConfig, load_evaluation
from pipeline.evaluate.realism.probe import embeddings
from pipeline.evaluate.samples.pools import open_pools
from pipeline.evaluate.samples.sample import Sample
from pipeline.models.ensemble import load_ensemble
from pipeline.models.package import ModelPackage
from workflows.evaluate import open_samples

Float64 = npt.NDArray[np.float64]

NEAREST = 20
LEAST = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--pool", action="append", default=[], help="a glob of pools; may be given again")
    parser.add_argument("--real", default=None, help="an evaluation, whose samples of kind stamps are taken")
    parser.add_argument("--group", default=None, help="column of the pools whose equal values don't count")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures = []
    members = load_ensemble(options.ensemble).members
    for sample in samples(options.pool, options.real, options.group):
        kept, alike = thinned(sample.lens, options.share), same(sample)
        for member in members:
            vectors = np.concatenate([vectors_of(part, member, sample) for part in sample.parts()]).astype(np.float64)
            row: dict[str, Any] = {
                "sample": sample.name,
                "member": member.name,
                "lenses": int((sample.lens & kept).sum()),
            }
            row |= {name: share(unit(values), sample.lens, alike, kept) for name, values in forms(vectors, member)}
            row["chance"] = round(float(sample.lens[kept].mean()), 3)
            figures.append(row)
            print(json.dumps(row), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def samples(pools: list[str], real: str | None, group: str | None) -> list[Sample]:
    """What to ask of."""
    made = [
        open_pools(PoolsConfig(name=glob, column="simulations", kind="pools", pools=(glob,), masks=True, group=group))
        for glob in pools
    ]
    if real is None:
        return made
    config, absent = load_evaluation(find(real, "evaluations"))
    stamps = tuple(sample for sample in config.samples if sample.kind == "stamps")
    return [*made, *open_samples(config.model_copy(update={"samples": stamps}), absent)]


def vectors_of(part: Any, member: ModelPackage, sample: Sample) -> npt.NDArray[np.float32]:
    """Embeddings of some stamps, in the precision that a scan keeps."""
    found = embeddings(part, member, bands=sample.bands, pixel_scale=sample.pixel_scale)
    return found.astype(np.float16).astype(np.float32)


def forms(vectors: Float64, member: ModelPackage) -> list[tuple[str, Float64]]:
    """The vectors as they are, centred on the mean of the classes' means, and whitened about it."""
    answer = [("plain", vectors)]
    if member.familiarity is not None:
        centred = vectors - member.familiarity.means.numpy().astype(np.float64).mean(axis=0)
        answer += [("centred", centred), ("whitened", centred @ member.familiarity.whitening.numpy())]
    return answer


def unit(vectors: Float64) -> Float64:
    length: Float64 = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def same(sample: Sample) -> npt.NDArray[np.bool_]:
    """Which pairs show one object, one frame, or two images of one source."""
    alike = np.eye(len(sample), dtype=bool)
    for column in (sample.group, sample.truth.get("objid")):
        if column is not None:
            alike |= column[:, None] == column[None]
    if "source_id" in sample.truth:
        source = sample.truth["source_id"]
        # -1 is a source of no catalogue, which is drawn anew for each lens.
        alike |= (source[:, None] == source[None]) & (source >= 0) & sample.lens[:, None] & sample.lens[None]
    return alike


def thinned(lens: npt.NDArray[np.bool_], wanted: float) -> npt.NDArray[np.bool_]:
    """Stamps that stay, so that lenses are a share of the others."""
    kept = np.full(len(lens), True)
    number = max(LEAST, int(wanted * (~lens).sum()))
    kept[np.random.default_rng(0).permutation(np.flatnonzero(lens))[number:]] = False
    return kept


def share(
    vectors: Float64, lens: npt.NDArray[np.bool_], alike: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]
) -> float:
    """Share of lenses among the nearest of a lens, the mean over lenses."""
    found = []
    for row in np.flatnonzero(lens & kept):
        cosine = np.where(kept & ~alike[row], vectors @ vectors[row], -np.inf)
        found.append(lens[np.argsort(-cosine, kind="stable")[:NEAREST]].mean())
    return round(float(np.mean(found)), 3)


if __name__ == "__main__":
    main()
