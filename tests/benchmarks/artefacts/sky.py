"""How much of each class of artefact is flagged on synthetic skies, and how much of what is clean.

    python tests/benchmarks/artefacts/sky.py [--seeds 201 202] [--sky FOLDER ...] [--config demo-sky] [--json]

The survey's own mask plane is hidden, so that everything has to be found in pixels and weights. Truth is
`<field>_truth.fits`: every pixel that an artefact changed by more than `truth_sigma` of a pixel's noise, in any band;
flags found in any band are held against it. Fainter skirts of halos, ghosts and trails are in no truth, and what is
flagged there counts as a false alarm. Pixels without data tell nothing, and count for gaps alone.

For each class:

pixels     share of the truth's pixels that are flagged as that class, `TOLERANCE` pixels beside a flag included
artefacts  the same share of each artefact, averaged over artefacts
same       share of the truth's pixels under a flag that has the same consequences for a stamp
whole      share of artefacts of which nine tenths are under such a flag
precision  share of what is flagged as that class that lies on its truth or within `TOLERANCE` of it

Clean area lies more than `TOLERANCE` pixels from any truth, far area more than `FAR` arcsec. A planted lens, or a
galaxy of r < 22, is lost if a fatal flag lies within `LOST` of its centre though no truth lies in its stamp.

The finders were tuned on demo-sky with seeds 101 to 105; report others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from astropy.io import fits
from scipy.ndimage import binary_dilation, distance_transform_edt

from pipeline.field import FieldImage, PixelBlock
from pipeline.flags import FATAL, FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import find
from pipeline.scan_config import CutoutsConfig, MasksConfig, VetConfig
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from pipeline.surveys import open_survey

Bool = npt.NDArray[np.bool_]
UInt32 = npt.NDArray[np.uint32]

TOLERANCE = 1
"""Pixels, along rows, columns and diagonals."""

FAR = 10.0
LOST = VetConfig().centre_radius
BRIGHT = 22.0
WHOLE = 0.9
SEEDS = (201, 202, 203, 204, 205, 206, 207, 208)
MEMORY_MB = 500.0

_STAR = PixelFlag.SATURATED | PixelFlag.BLEED | PixelFlag.SPIKE | PixelFlag.HALO | PixelFlag.BRIGHT_OBJECT
_SEAM = PixelFlag.SEAM | PixelFlag.CHIP_GAP


@dataclass(frozen=True)
class Kind:
    """A class of artefact: rows of artefacts.parquet, truth, the flags that name it, and those that matter the same."""

    row: str
    truth: PixelFlag
    own: PixelFlag
    same: PixelFlag


KINDS = {
    "gap": Kind("gap", PixelFlag.CHIP_GAP, PixelFlag.CHIP_GAP, FATAL),
    "saturation": Kind("star", PixelFlag.SATURATED, PixelFlag.SATURATED | PixelFlag.BLEED, FATAL),
    "bleed": Kind("star", PixelFlag.BLEED, PixelFlag.SATURATED | PixelFlag.BLEED, FATAL),
    "trail": Kind("trail", PixelFlag.TRAIL, PixelFlag.TRAIL, FATAL),
    "cosmic_ray": Kind("cosmic_ray", PixelFlag.COSMIC_RAY, PixelFlag.COSMIC_RAY, FATAL),
    "bad_column": Kind("bad_column", PixelFlag.BADCOLUMN, PixelFlag.BADCOLUMN, FATAL),
    "seam": Kind("seam", PixelFlag.SEAM, _SEAM, _SEAM | PixelFlag.LOW_EXPOSURE),
    "step": Kind("step", PixelFlag.SEAM, _SEAM, _SEAM | PixelFlag.LOW_EXPOSURE),
    "low_exposure": Kind("seam", PixelFlag.LOW_EXPOSURE, PixelFlag.LOW_EXPOSURE, FATAL | PixelFlag.LOW_EXPOSURE),
    "ghost": Kind("ghost", PixelFlag.GHOST, PixelFlag.GHOST, FATAL | PixelFlag.HALO),
    "spike": Kind("star", PixelFlag.SPIKE, PixelFlag.SPIKE, FATAL | _STAR),
    "halo": Kind("star", PixelFlag.HALO, PixelFlag.HALO, FATAL | _STAR),
    "bright_object": Kind("star", PixelFlag.BRIGHT_OBJECT, PixelFlag.BRIGHT_OBJECT, FATAL | _STAR),
}
"""A step of the background is a seam in the truth and a detector's edge to the finders. LOW_EXPOSURE can be found
only where the shallow part is less than half of the field, since it is told from the field's typical noise."""


@dataclass(frozen=True)
class Found:
    """One artefact: who it is, its truth pixels, and how many of them are flagged as such, and to the same effect."""

    field_id: str
    kind: str
    x: float
    y: float
    pixels: int
    own: int
    same: int


@dataclass
class Tally:
    """Sums over fields; counts of pixels unless said otherwise."""

    artefacts: list[Found] = field(default_factory=list)
    truth: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    same: dict[str, int] = field(default_factory=dict)
    flagged: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    areas: dict[str, int] = field(default_factory=dict)
    false: dict[str, dict[str, int]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)
    looked_at: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def measure(toml: Path, config: MasksConfig, tally: Tally) -> None:
    """Add the fields of a synthetic survey that was written with truth masks to a tally."""
    survey = open_survey(toml)
    lenses = pq.read_table(toml.parent / "truth.parquet").to_pylist()
    rows = pq.read_table(toml.parent / "artefacts.parquet").to_pylist()
    bands = survey.bands
    for item in survey.fields():
        field_image = without_mask_plane(survey.open(item, bands))
        start = time.perf_counter()
        found = found_flags(field_image, config)
        tally.seconds += time.perf_counter() - start
        name = item.field_id
        truth = fits.getdata(toml.parent / name / f"{name}_truth.fits").astype(np.uint32)
        count(tally, f"{toml.parent.name}/{name}", truth, found, [row for row in rows if row["field_id"] == name])
        objects = pq.read_table(toml.parent / name / f"{name}_objects.parquet").to_pylist()
        places = {
            "lenses": [(row["x"], row["y"]) for row in lenses if row["field_id"] == name],
            "galaxies": [(row["x"], row["y"]) for row in objects if row["mag_r"] < BRIGHT and not row["is_star"]],
        }
        for what, centres in places.items():
            count_lost(tally, f"{toml.parent.name}/{name}", what, centres, truth, found, field_image.pixel_scale)
        count_clean(tally, truth, found, field_image.pixel_scale)


def without_mask_plane(field_image: FieldImage) -> FieldImage:
    """The field as if its survey had no mask: what is left says where there are no data."""

    def read(y0: int, y1: int) -> PixelBlock:
        block = field_image.read(y0, y1)
        block.mask[:] &= np.uint32(PixelFlag.NODATA)
        return block

    return replace(field_image, read=read)


def found_flags(field_image: FieldImage, config: MasksConfig) -> UInt32:
    """PixelFlag bits found in any band: uint32 (y, x)."""
    rows = find(field_image, config, MEMORY_MB).found.rows(0, field_image.shape[0])
    flags: UInt32 = np.bitwise_or.reduce(rows, axis=0) >> np.uint32(FOUND_SHIFT)
    return flags


def has(mask: UInt32, flags: PixelFlag) -> Bool:
    """Where a mask carries any of `flags`."""
    carried: Bool = (mask & np.uint32(int(flags))) != 0
    return carried


def near(plane: Bool) -> Bool:
    """A plane with the pixels within `TOLERANCE` of it."""
    return binary_dilation(plane, np.ones((3, 3), bool), iterations=TOLERANCE) if plane.any() else plane


def count(tally: Tally, name: str, truth: UInt32, found: UInt32, rows: list[dict[str, Any]]) -> None:
    """Add what is found of every class and artefact of a field."""
    absent = has(truth, PixelFlag.NODATA)
    for label, kind in KINDS.items():
        own, same = near(has(found, kind.own)), near(has(found, kind.same))
        known = has(truth, kind.truth) & (np.True_ if label == "gap" else ~absent)
        places = [row for row in rows if row["kind"] == kind.row]
        of_class = np.zeros(truth.shape, bool)
        for row, inside in zip(places, footprints(kind.row, places, truth.shape, label == "low_exposure"), strict=True):
            hit = known & inside
            of_class |= hit
            if hit.any():
                tally.artefacts.append(
                    Found(
                        name, label, row["x"], row["y"], int(hit.sum()), int((hit & own).sum()), int((hit & same).sum())
                    )
                )
        _add(tally.truth, label, of_class.sum())
        _add(tally.own, label, (of_class & own).sum())
        _add(tally.same, label, (of_class & same).sum())
        flagged = has(found, kind.own)
        # A seam and a step, or a core and its bleed, are flagged alike; none of them is wrong on the other.
        alike = np.logical_or.reduce([has(truth, other.truth) for other in KINDS.values() if other.own & kind.own])
        _add(tally.flagged, label, flagged.sum())
        _add(tally.right, label, (flagged & near(alike)).sum())


def footprints(kind: str, rows: list[dict[str, Any]], shape: tuple[int, int], whole: bool = False) -> Iterator[Bool]:
    """Which truth pixels of a class may be each artefact's; those of stars go to the nearest, `whole` is any."""
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    if kind == "star":
        distances = [np.hypot(xx - row["x"], yy - row["y"]) for row in rows]
        nearest = np.argmin(distances, axis=0) if rows else np.zeros(shape)
        for index in range(len(rows)):
            yield nearest == index
        return
    for row in rows:
        dx, dy = xx - row["x"], yy - row["y"]
        angle = np.deg2rad(row["angle"])
        along = np.abs(dx * np.cos(angle) + dy * np.sin(angle))
        across = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
        match kind:
            case "seam" if whole:
                yield np.ones(shape, bool)
            case "ghost":
                yield np.hypot(dx, dy) <= 1.2 * row["half_length"] + 2
            case "trail":
                yield (across <= 5 * row["half_width"] + 2) & (along <= row["half_length"] + 1)
            case _:
                yield (across <= row["half_width"] + 1) & (along <= row["half_length"] + 1)


def count_clean(tally: Tally, truth: UInt32, found: UInt32, pixel_scale: float) -> None:
    """Add what is flagged where there is nothing."""
    distance = distance_transform_edt(truth == 0) if truth.any() else np.full(truth.shape, np.inf)
    for area, where in (("clean", ~near(truth != 0)), ("far", distance > FAR / pixel_scale)):
        _add(tally.areas, area, where.sum())
        sums = tally.false.setdefault(area, {})
        _add(sums, "any", (where & (found != 0)).sum())
        _add(sums, "fatal", (where & has(found, FATAL)).sum())
        for flag in PixelFlag:
            _add(sums, str(flag.name), (where & has(found, flag)).sum())


def count_lost(
    tally: Tally,
    name: str,
    what: str,
    places: Iterable[tuple[float, float]],
    truth: UInt32,
    found: UInt32,
    pixel_scale: float,
) -> None:
    """Add the objects whose stamps hold no truth, and those of them with a fatal flag on their centre."""
    half = round(CutoutsConfig().size / pixel_scale / 2)
    reach = int(np.ceil(LOST / pixel_scale))
    yy, xx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(yy, xx) <= LOST / pixel_scale
    dead = has(found, FATAL)
    lost = tally.lost.setdefault(what, [])
    for x, y in places:
        column, row = round(x), round(y)
        if not (half <= row < truth.shape[0] - half and half <= column < truth.shape[1] - half):
            continue
        if truth[row - half : row + half, column - half : column + half].any():
            continue
        _add(tally.looked_at, what, 1)
        if (dead[row - reach : row + reach + 1, column - reach : column + reach + 1] & disc).any():
            lost.append(f"{name} {column} {row}")


def _add(sums: dict[str, int], key: str, value: Any) -> None:
    sums[key] = sums.get(key, 0) + int(value)


def figures(tally: Tally) -> dict[str, Any]:
    """The tally as shares; null where there is nothing to share."""
    classes: dict[str, Any] = {}
    for label in KINDS:
        parts = [item for item in tally.artefacts if item.kind == label]
        classes[label] = {
            "artefacts": len(parts),
            "truth_pixels": tally.truth.get(label, 0),
            "pixels": _share(tally.own.get(label, 0), tally.truth.get(label, 0)),
            "by_artefact": _share(sum(item.own / item.pixels for item in parts), len(parts)),
            "same": _share(tally.same.get(label, 0), tally.truth.get(label, 0)),
            "whole": _share(sum(item.same >= WHOLE * item.pixels for item in parts), len(parts)),
            "precision": _share(tally.right.get(label, 0), tally.flagged.get(label, 0)),
        }
    false = {
        area: {flag: _share(number, tally.areas[area]) for flag, number in sums.items()}
        for area, sums in tally.false.items()
    }
    lost = {
        what: {"looked_at": number, "lost": len(tally.lost[what]), "share": _share(len(tally.lost[what]), number)}
        for what, number in tally.looked_at.items()
    }
    return {
        "tolerance_px": TOLERANCE,
        "classes": classes,
        "false_alarms": false,
        "lost": lost,
        "megapixels": sum(tally.areas.get(area, 0) for area in ("clean",)) / 1e6,
        "find_seconds": round(tally.seconds, 2),
    }


def _share(part: float, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    columns = ("artefacts", "truth_pixels", "pixels", "by_artefact", "same", "whole", "precision")
    lines = [f"{'':14s}" + "".join(f"{column:>13s}" for column in columns)]
    for label, row in result["classes"].items():
        cells = ["-" if row[column] is None else row[column] for column in columns]
        texts = (f"{cell:13.3f}" if isinstance(cell, float) else f"{cell:>13}" for cell in cells)
        lines.append(f"{label:14s}" + "".join(texts))
    for area, shares in result["false_alarms"].items():
        parts = ", ".join(f"{flag} {100 * share:.3f}" for flag, share in shares.items() if share)
        lines.append(f"flagged of the {area} area, %: {parts}")
    for what, row in result["lost"].items():
        lines.append(f"{what} lost: {row['lost']} of {row['looked_at']}")
    lines.append(f"find: {result['find_seconds']} s")
    return "\n".join(lines)


def run(tomls: Iterable[Path], config: MasksConfig | None = None) -> Tally:
    """A tally of synthetic surveys that were written with truth masks."""
    tally = Tally()
    for toml in tomls:
        measure(toml, config or MasksConfig(), tally)
    return tally


def written(config: str, seeds: Iterable[int], folder: Path) -> Iterator[Path]:
    """The surveys of a sky config and seeds, written below a folder unless they are there."""
    sky = load_sims(config)
    if not isinstance(sky, SkyConfig):
        raise TypeError(f"{config} is no sky")
    for seed in seeds:
        toml = folder / f"{config}-{seed}" / "survey.toml"
        if not toml.exists():
            write_survey(sky.model_copy(update={"truth_masks": True}), toml.parent, seed)
        yield toml


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--sky", type=Path, nargs="*", default=[], help="folders of written surveys, instead of seeds")
    parser.add_argument("--config", default="demo-sky")
    parser.add_argument("--missed", action="store_true", help="name what is not whole, and what is lost")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tomls = [sky / "survey.toml" for sky in options.sky] or written(options.config, options.seeds, Path(folder))
        tally = run(tomls)
    result = figures(tally)
    print(json.dumps(result, indent=2) if options.json else table(result))
    if options.missed:
        for item in tally.artefacts:
            if item.own < 0.95 * item.pixels and item.kind != "cosmic_ray":
                print(item)
        for what, names in tally.lost.items():
            print(what, names)


if __name__ == "__main__":
    main()
