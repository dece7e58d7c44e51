"""Lenses beside gaps, without a band, at an edge: what is still found, and what a gap alone is taken for.

    python tests/benchmarks/artefacts/masked.py [--ensembles ground] [--pools "runs/pools/test-simulations/pool-*.npz"]

How a network is best told what is invalid, trained at equal cost in every way there is, and compared:

    python tests/benchmarks/artefacts/masked_networks.py --pools runs/pools --out runs/masked
    python tests/benchmarks/artefacts/masked.py --ensembles runs/masked/*.toml --views 1 --dtype bfloat16

Simulated stamps without artefacts of their own get a gap of 2 to 6 arcsec at any angle, the nearest pixels at a given
distance from the centre or (`touching`) at half to one and a half Einstein radii, others at those of the lenses; in
all bands or in one drawn at random; or they lose a band, or what lies beyond an image's edge. The score that is asked
for is the one that 1 % of the clean others pass, so every row has the same. `unmasked` rows have the gap's pixels at 0
as if that were measured. Of a row:

- no score: stamps that can't be scored, which count as not found
- lenses: share of all lenses above the score, with the 68 % interval; `clear`, of those with theta_E > 1.2 arcsec and
  arc S/N > 20
- others: share of all others above the score; `new`, of those that are not above it when clean
- plain: likewise, of single galaxies, stars and empty places alone
- blank: share of stamps of nothing but noise
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics import share
from pipeline.io.pools import labels, opened_pool, pools_of
from pipeline.models.cascade_config import Views
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig

Bool = npt.NDArray[np.bool_]
Floats = npt.NDArray[Any]

PLAIN = ("elliptical", "spiral", "edge_on", "star", "faint_field", "empty")
CLEAR_THETA_E, CLEAR_ARC_SNR = 1.2, 20.0
WIDTH_ARCSEC = (2.0, 6.0)
TOUCHING = (0.5, 1.5)
FALSE_POSITIVES = 0.01
PRIOR = 0.01
SEED = 20261121


@dataclass(frozen=True)
class Stamps:
    """Image and ivar (n, band, y, x), and of each stamp what it is; `gap_at` is where its touching gap begins."""

    image: Floats
    ivar: Floats
    lens: Bool
    clear: Bool
    plain: Bool
    gap_at: Floats
    pixel_scale: float
    bands: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Chance:
    """Of each stamp: angle and width of its gap, the band that it is in, and the side of the image's edge."""

    angle: Floats
    width: Floats
    band: npt.NDArray[np.int64]
    side: npt.NDArray[np.int64]


Condition = Callable[[Stamps, Chance], Bool]
"""Which pixels are hidden, bool (n, band, y, x)."""


def read(patterns: list[str], lenses: int, others: int) -> Stamps:
    """The first lenses and others without artefacts in the pools."""
    parts: list[dict[str, Floats]] = []
    wanted = {True: lenses, False: others}
    for path in pools_of(patterns):
        if not any(wanted.values()):
            break
        with opened_pool(path) as pool:
            lens, kind = labels(pool, path)
            clean = pool.whole("artefacts") == 0
            rows = np.sort(
                np.concatenate([np.flatnonzero(clean & (lens == is_lens))[:n] for is_lens, n in wanted.items()])
            )
            wanted = {is_lens: n - int((lens[rows] == is_lens).sum()) for is_lens, n in wanted.items()}
            part = {name: pool.whole(name)[rows] for name in ("image", "ivar", "theta_E", "arc_snr")}
            parts.append(part | {"lens": lens[rows], "kind": kind[rows]})
            bands, pixel_scale = tuple(map(str, pool.whole("bands"))), float(pool.whole("pixel_scale"))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rng = np.random.default_rng(SEED)
    lens, theta_e = joined["lens"], joined["theta_E"]
    radius = np.where(lens, theta_e, rng.choice(theta_e[lens], len(lens)))
    return Stamps(
        image=joined["image"],
        ivar=joined["ivar"],
        lens=lens,
        clear=lens & (theta_e > CLEAR_THETA_E) & (joined["arc_snr"] > CLEAR_ARC_SNR),
        plain=np.isin(joined["kind"], PLAIN),
        gap_at=radius * rng.uniform(*TOUCHING, len(lens)),
        pixel_scale=pixel_scale,
        bands=bands,
    )


def drawn(n: int, bands: int) -> Chance:
    """The same chance for every condition, so that rows differ by the condition alone."""
    rng = np.random.default_rng([SEED, n])
    return Chance(
        rng.uniform(0, 2 * np.pi, n), rng.uniform(*WIDTH_ARCSEC, n), rng.integers(0, bands, n), rng.integers(0, 4, n)
    )


def gap(at: float | None, *, through: bool = False, one_band: bool = False) -> Condition:
    """A strip whose nearest edge is `at` arcsec from the centre; None: where the stamp's touching gap begins."""

    def hidden(stamps: Stamps, chance: Chance) -> Bool:
        near = -chance.width / 2 if through else stamps.gap_at if at is None else np.full(len(stamps), at)
        return _strip(stamps, near, chance.width, chance.angle) & _in_bands(stamps, chance.band if one_band else None)

    return hidden


def edge(at: float) -> Condition:
    """Nothing beyond a line `at` arcsec from the centre, on one of the four sides."""

    def hidden(stamps: Stamps, chance: Chance) -> Bool:
        n = len(stamps)
        return _strip(stamps, np.full(n, at), np.full(n, np.inf), chance.side * np.pi / 2) & _in_bands(stamps, None)

    return hidden


def without(band: int) -> Condition:
    """One band missing."""

    def hidden(stamps: Stamps, chance: Chance) -> Bool:
        del chance
        return np.ones(stamps.image.shape, bool) & _in_bands(stamps, np.full(len(stamps), band))

    return hidden


def nothing(stamps: Stamps, chance: Chance) -> Bool:
    """Clean."""
    del chance
    return np.zeros(stamps.image.shape, bool)


def conditions(bands: tuple[str, ...]) -> dict[str, Condition]:
    """Every row of the table, by name."""
    return {
        "clean": nothing,
        **{f"gap, all bands, {at:g} arcsec off": gap(at) for at in (1.0, 2.0, 3.0, 5.0)},
        "gap, all bands, touching": gap(None),
        "gap, all bands, through the centre": gap(None, through=True),
        "gap, one band, touching": gap(None, one_band=True),
        "gap, one band, through the centre": gap(None, through=True, one_band=True),
        **{f"no {name}": without(index) for index, name in enumerate(bands)},
        **{f"edge {at:g} arcsec off": edge(at) for at in (1.0, 2.0, 4.0)},
    }


UNMASKED = ("gap, all bands, touching", "gap, one band, through the centre", "edge 2 arcsec off")


def blank(stamps: Stamps, n: int) -> Stamps:
    """The noise of the first stamps, without what is in them."""
    rng = np.random.default_rng(SEED + 1)
    noise = rng.normal(size=stamps.image[:n].shape) / np.sqrt(np.maximum(stamps.ivar[:n], 1e-30))
    few = replace(
        stamps,
        **{name: getattr(stamps, name)[:n] for name in ("ivar", "lens", "clear", "plain", "gap_at")},
    )
    return replace(few, image=noise.astype(np.float32))


def scores(stamps: Stamps, hidden: Bool, ensemble: Ensemble, config: ScoreConfig, *, masked: bool = True) -> Floats:
    """Scores (n,), -inf without one; hidden pixels are NaN, or 0 and taken for good if not `masked`."""
    image = np.where(hidden, np.float32(np.nan if masked else 0.0), stamps.image)
    ivar = np.where(hidden & masked, np.float32(0.0), stamps.ivar)
    logits = score_cutouts(
        image, ivar, None, pixel_scale=stamps.pixel_scale, bands=stamps.bands, ensemble=ensemble, config=config
    )
    answer = ensemble.score(logits, PRIOR).score
    return np.where(np.isfinite(answer), answer, -np.inf)


def table(
    reference: str, stamps: Stamps, noise: Stamps, config: ScoreConfig, views: Views | None, wanted: list[str]
) -> None:
    """Print the table of one ensemble: the clean row, and those with one of the `wanted` words in their names."""
    ensemble = load_ensemble(reference)
    if views is not None:
        ensemble = replace(ensemble, views=views)
    chance, noise_chance = (drawn(len(part), len(part.bands)) for part in (stamps, noise))
    other = ~stamps.lens
    print(
        f"\n{reference}: {stamps.lens.sum()} lenses ({stamps.clear.sum()} clear), {other.sum()} others "
        f"({(other & stamps.plain).sum()} plain), {len(noise)} blank\n"
        f"{'':45s} no score   lenses                clear   others    new      plain    new      blank"
    )
    rows = [(name, condition, True) for name, condition in conditions(stamps.bands).items()]
    rows += [(name, condition, False) for name, condition, _ in rows if name in UNMASKED]
    rows = [row for row in rows if row[0] == "clean" or any(word in row[0] for word in wanted)]
    threshold, clean = np.inf, np.zeros(len(stamps), bool)
    for name, condition, masked in rows:
        score = scores(stamps, condition(stamps, chance), ensemble, config, masked=masked)
        of_noise = scores(noise, condition(noise, noise_chance), ensemble, config, masked=masked)
        if name == "clean":
            threshold = float(np.sort(score[other])[::-1][int(FALSE_POSITIVES * other.sum())])
            clean = score > threshold
        above = score > threshold
        found = share(int(above[stamps.lens].sum()), int(stamps.lens.sum()))
        shares = [
            above[stamps.clear].mean(),
            *(values[which].mean() for which in (other, other & stamps.plain) for values in (above, above & ~clean)),
            (of_noise > threshold).mean(),
        ]
        print(
            f"{name + ('' if masked else ', unmasked'):45s} {np.isneginf(score).mean():8.4f}   "
            f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]  {shares[0]:.3f}   "
            + "   ".join(f"{value:.4f}" for value in shares[1:]),
            flush=True,
        )


def _strip(stamps: Stamps, near: Floats, width: Floats, angle: Floats) -> Bool:
    """Bool (n, 1, y, x): pixels from `near` to `near + width` arcsec from the centre in the direction of `angle`."""
    height, breadth = stamps.image.shape[2:]
    y = (np.arange(height) - (height - 1) / 2)[None, :, None] * stamps.pixel_scale
    x = (np.arange(breadth) - (breadth - 1) / 2)[None, None, :] * stamps.pixel_scale
    along = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None] - near[:, None, None]
    answer: Bool = ((along >= 0) & (along < width[:, None, None]))[:, None]
    return answer


def _in_bands(stamps: Stamps, band: npt.NDArray[np.int64] | None) -> Bool:
    """Bool (n, band, 1, 1): the band of each stamp, or all."""
    count = len(stamps.bands)
    if band is None:
        return np.ones((len(stamps), count, 1, 1), bool)
    answer: Bool = (band[:, None] == np.arange(count))[:, :, None, None]
    return answer


def main() -> None:
    """Print a table an ensemble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensembles", nargs="+", default=["ground"])
    parser.add_argument("--pools", nargs="+", default=["runs/pools/test-simulations/pool-*.npz"])
    parser.add_argument("--lenses", type=int, default=500)
    parser.add_argument("--others", type=int, default=2000)
    parser.add_argument("--blank", type=int, default=300)
    parser.add_argument("--views", type=int, choices=(1, 2, 4), help="instead of the ensemble's own")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--max-lost-bands", type=int, default=ScoreConfig().max_lost_bands)
    parser.add_argument("--rows", nargs="+", default=[""], help="words, one of which a row's name holds; all rows")
    options = parser.parse_args()
    stamps = read(options.pools, options.lenses, options.others)
    config = ScoreConfig(dtype=options.dtype, max_lost_bands=options.max_lost_bands)
    for reference in options.ensembles:
        table(reference, stamps, blank(stamps, options.blank), config, options.views, options.rows)


if __name__ == "__main__":
    main()
