"""The maps of candidates: how well lens light is drawn, what the joint criterion saves, and what both cost.

    python tests/benchmarks/artefacts/maps.py --pools "POOL" ... [--ensemble ground] [--limit 4000]

Pools as `lensscan simulate` writes them; they hold the true arcs. Of each:

lens light
    Overlap (intersection over union) of the map above one half with the true arc above the noise of a pixel, mean over
    the lenses that have such light; share of these lenses whose map peaks within a pixel of it.
joint
    Others above the score that a share of the lenses passes, by the ensemble's score and by the joint criterion of
    score and lens-light map: how many fewer, with a 68 % interval from resampled stamps.
cost
    Seconds that maps and saliency of a tenth of the stamps take, over those that all the scores take: a scan draws maps
    of its candidates alone, which are at most `candidates.max_fraction` = 0.1 of the detections. In one process, the
    median of several rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.map_metrics import overlap, peak_distance
from pipeline.evaluate.samples.pools import PoolHead, read_heads, read_parts
from pipeline.io.pools import opened_pool
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.maps import LensLight, joined_light, map_cutouts, measure_light, measure_maps
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig
from pipeline.train.method_config import MapTargets
from pipeline.train.sources.pools import true_maps

Floats = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]

COMPLETENESS = (0.3, 0.5, 0.7, 0.9)
PRIOR = 1e-4
ROUNDS = 5
RESAMPLES = 500
SEED = 20261121


@dataclass(frozen=True)
class LightFigures:
    """`lenses` have light above the noise; both figures are of them."""

    lenses: int
    iou: float
    peak_within_1px: float


@dataclass(frozen=True)
class JointLine:
    """False positives at one completeness; `fewer` is one minus the ratio of the two, with its interval (NaN: none)."""

    completeness: float
    score: int
    joint: int
    fewer: float
    low: float
    high: float


@dataclass(frozen=True)
class PoolFigures:
    """What one pool says."""

    pool: str
    others: int
    light: LightFigures
    joint: tuple[JointLine, ...]


def pool_figures(pattern: str, ensemble: Ensemble, limit: int) -> PoolFigures:
    """Lens light and joint criterion on the first `limit` stamps of a pool; `ensemble` has a mapper with a joint."""
    if ensemble.mapper is None:
        raise SystemExit(f"ensemble {ensemble.name!r} draws no maps; give one with [maps].")
    heads = read_heads((pattern,), limit)
    logits, drawn, ious, near = [], [], [], []
    for head in heads:
        truth = _true_light(head)
        start = 0
        for part in read_parts(head, masks=True):
            keys: dict[str, Any] = {"pixel_scale": head.pixel_scale, "bands": head.bands}
            maps = map_cutouts(part.image, part.ivar, part.mask, mapper=ensemble.mapper, **keys)
            drawn.append(measure_light(maps.lens_light, head.pixel_scale))
            lit = truth[start : start + len(part.image)]
            some = lit.any(axis=(1, 2))
            light = np.nan_to_num(maps.lens_light)
            ious.append(overlap(light[some] > 0.5, lit[some]))
            near.append(peak_distance(light[some], lit[some]) <= 1)
            if ensemble.mapper.joint is not None:
                logits.append(
                    score_cutouts(
                        part.image, part.ivar, part.mask, ensemble=ensemble, config=ScoreConfig(device="cpu"), **keys
                    )
                )
            start += len(part.image)
    lens = np.concatenate([head.lens for head in heads])
    shares, close = np.concatenate(ious), np.concatenate(near)
    figures = LightFigures(len(shares), float(shares.mean()), float(close.mean()))
    lines = _joint(ensemble, np.concatenate(logits), joined_light(drawn), lens) if logits else ()
    return PoolFigures(pattern, int((~lens).sum()), figures, lines)


def cost(ensemble: Ensemble, pattern: str, n: int = 640) -> float:
    """Time of maps and saliency of n / 10 stamps over that of n stamps' scores, the median of several rounds."""
    (head, *_) = read_heads((pattern,), n)
    parts = list(read_parts(head, masks=True))
    image, ivar, mask = (np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "ivar", "mask"))
    keys: dict[str, Any] = {"pixel_scale": head.pixel_scale, "bands": head.bands, "ensemble": ensemble}
    few = slice(0, len(image) // 10)
    ratios = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        score_cutouts(image, ivar, mask, config=ScoreConfig(device="cpu"), **keys)
        scored = time.perf_counter()
        measure_maps(image[few], ivar[few], mask[few], **keys)
        ratios.append((time.perf_counter() - scored) / (scored - began))
    return float(np.median(ratios))


def _true_light(head: PoolHead) -> Bool:
    """Where each stamp of a shard shows lensed light above the noise, (n, y, x)."""
    targets = MapTargets()
    n = len(head.lens)
    with opened_pool(str(head.path)) as archive:
        arc, ivar, mask = (archive.whole(name)[:n] for name in ("arc", "ivar", "mask"))
        bands = [str(band) for band in archive.whole("bands")]
    found: Bool = true_maps(arc, ivar, mask.astype(np.uint32), bands.index(targets.arc_band), targets)[:, 0]
    return found


def _joint(ensemble: Ensemble, logits: Floats, light: LensLight, lens: Bool) -> tuple[JointLine, ...]:
    features = light.features()
    known = np.isfinite(logits).all(axis=1) & np.isfinite(features).all(axis=1)
    score = ensemble.evidence(logits[known], PRIOR)
    assert ensemble.mapper is not None
    assert ensemble.mapper.joint is not None
    joint = ensemble.mapper.joint.evidence(score, features[known])
    lens = lens[known]
    rng = np.random.default_rng(SEED)
    lines = []
    for completeness in COMPLETENESS:
        counts = [_above(values, lens, completeness) for values in (score, joint)]
        ratios = []
        for _ in range(RESAMPLES):
            rows = rng.integers(0, len(lens), len(lens))
            first, second = (_above(values[rows], lens[rows], completeness) for values in (score, joint))
            ratios.append(1 - second / first if first else np.nan)
        low, high = np.nanquantile(ratios, (0.16, 0.84)) if np.isfinite(ratios).any() else (np.nan, np.nan)
        fewer = 1 - counts[1] / counts[0] if counts[0] else float("nan")
        lines.append(JointLine(completeness, counts[0], counts[1], fewer, float(low), float(high)))
    return tuple(lines)


def _above(values: Floats, lens: Bool, completeness: float) -> int:
    """Others at or above the value that this share of the lenses reaches."""
    threshold = np.quantile(values[lens], 1 - completeness)
    return int((values[~lens] >= threshold).sum())


def report(figures: list[PoolFigures], ratio: float) -> None:
    """Print a table a pool."""
    for one in figures:
        light = one.light
        print(f"{one.pool}: {light.lenses:,} lenses with light above the noise, {one.others:,} others")
        print(f"  lens light: IoU {light.iou:.3f}, peak within 1 px {light.peak_within_1px:.3f}")
        for line in one.joint:
            told = f"{line.score:,} others by the score, {line.joint:,} by the joint criterion"
            fewer = (
                f"{100 * line.fewer:.0f} % [{100 * line.low:.0f}, {100 * line.high:.0f}] fewer" if line.score else ""
            )
            print(f"  at completeness {line.completeness:.1f}: {told} {fewer}".rstrip())
    print(f"maps and saliency of a tenth of the stamps / scores of all: {ratio:.3f}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--limit", type=int, default=4000)
    parser.add_argument("--pools", nargs="+", required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ensemble = load_ensemble(args.ensemble)
    figures = [pool_figures(pattern, ensemble, args.limit) for pattern in args.pools]
    ratio = cost(ensemble, args.pools[0])
    if args.json:
        json.dump({"pools": [asdict(one) for one in figures], "cost": ratio}, sys.stdout, indent=1)
    else:
        report(figures, ratio)


if __name__ == "__main__":
    main()
