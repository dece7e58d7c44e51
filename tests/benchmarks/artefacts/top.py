"""The share of artefacts among the best of a survey without mask planes, with the finders and without.

    LENSSCAN_DATA=... python tests/benchmarks/artefacts/top.py [--ensemble ground] [--top 100] [--pictures FOLDER]

`kids-viking` is scanned twice: as the shipped scan does it, and with every finder switched off. Primary rows are ranked
by score. Whether an artefact (detector edge, spike, saturated core, trail, bad column, cosmic ray) lies within 5 arcsec
of the centre was judged by eye on the pictures that `--pictures` writes (20 stamps a page; those without a flag have a
white frame), and stands in `top_labels.csv`: position, 1 for an artefact, 0 for none. A row with one of `TELLING` among
its vet flags counts as flagged.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.catalogue.colour import colour
from pipeline.catalogue.stamps import Stamp
from pipeline.field import FieldImage
from pipeline.flags import VetFlag
from pipeline.geometry import separation
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import Detections
from pipeline.scan.field_scan import scan_field
from pipeline.scan.masks import find
from pipeline.scan_config import CandidatesConfig, MasksConfig, ScanConfig
from pipeline.surveys import open_survey

Floats = npt.NDArray[np.float64]

BANDS = ("g", "r", "i")
LABELS = Path(__file__).parent / "top_labels.csv"
SAME_ARCSEC = 1.0
TELLING = (
    VetFlag.CENTRE_MASKED
    | VetFlag.CHIP_GAP_CROSSES
    | VetFlag.TRAIL_CROSSES
    | VetFlag.PARTIAL_COVERAGE
    | VetFlag.MISSING_BAND
    | VetFlag.BRIGHT_STAR
    | VetFlag.SEAM
    | VetFlag.ARTEFACT_LIKELY
)
"""Flags that tell of an artefact; the others tell of the ensemble."""

EVERYTHING_OFF = MasksConfig(
    gaps=False,
    low_exposure_fraction=0.0,
    steps=False,
    saturation=False,
    trails=False,
    cosmic_rays=False,
    bad_columns=False,
    seams=False,
    bright_stars=False,
)


@dataclass(frozen=True)
class Best:
    """The best primary rows of a run: positions, scores, vet flags and stamps, best first."""

    ra: Floats
    dec: Floats
    score: Floats
    vet_flags: npt.NDArray[np.uint32]
    overlap: Floats
    pictures: tuple[npt.NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Tally:
    """Counts among the best rows of a run; a row without a label counts as neither."""

    run: str
    rows: int
    labelled: int
    artefacts: int
    flagged: int
    unflagged: int
    artefacts_unflagged: int


def best_rows(ensemble: Ensemble, masks: MasksConfig, top: int) -> Best:
    """Scan both fields in memory, with maps of every row, and keep the best primary rows."""
    survey = open_survey("kids-viking")
    everything = CandidatesConfig(floor=0.0, max_fraction=1.0)
    config = ScanConfig(scan_id="top", survey="none", output="none", bands=BANDS, masks=masks, candidates=everything)
    fields = survey.fields()
    geometries = [survey.geometry(field) for field in fields]
    found: list[tuple[float, float, float, int, float, npt.NDArray[np.uint8]]] = []
    for field, geometry in zip(fields, geometries, strict=True):
        others = [other for other in geometries if other is not geometry]
        image = survey.open(field, BANDS)
        scored = scan_field(image, ensemble, config, neighbours=others)
        stamps = _stamps(image, scored.detections, config)
        for index in np.flatnonzero(scored.is_primary & np.isfinite(scored.score)):
            detections = scored.detections
            found.append(
                (
                    float(scored.score[index]),
                    float(detections.ra[index]),
                    float(detections.dec[index]),
                    int(scored.vet_flags[index]),
                    float(scored.maps.artefact_overlap[index]),
                    colour(stamps[scored.row[index]]),
                )
            )
    found.sort(key=lambda row: (-row[0], row[1]))
    score, ra, dec, flags, overlap, pictures = zip(*found[:top], strict=True)
    return Best(
        np.array(ra), np.array(dec), np.array(score), np.array(flags, np.uint32), np.array(overlap), tuple(pictures)
    )


def _stamps(field_image: FieldImage, detections: Detections, config: ScanConfig) -> list[Stamp]:
    """The stamps of a field's detections, in the order of their rows."""
    masks = find(field_image, config.masks, config.memory)
    return [
        Stamp(shard.image[k], shard.mask[k], field_image.bands, field_image.pixel_scale)
        for shard in cut(field_image, masks, detections, config.cutouts, config.vet, config.memory)
        for k in range(len(shard))
    ]


def labels_of(best: Best, path: Path = LABELS) -> npt.NDArray[np.int8]:
    """1 for an artefact, 0 for none, -1 for a row that nobody has judged."""
    with path.open(newline="") as stream:
        rows = [(float(row["ra"]), float(row["dec"]), int(row["artefact"])) for row in csv.DictReader(stream)]
    ra, dec, judged = (np.array(column) for column in zip(*rows, strict=True))
    answer = np.full(len(best.ra), -1, np.int8)
    for index, (x, y) in enumerate(zip(best.ra, best.dec, strict=True)):
        apart = separation(ra, dec, x, y) * 3600
        nearest = int(np.argmin(apart))
        if apart[nearest] < SAME_ARCSEC:
            answer[index] = judged[nearest]
    return answer


def tally(run: str, best: Best) -> Tally:
    """Count a run's rows."""
    judged = labels_of(best)
    flagged = (best.vet_flags & np.uint32(TELLING)) != 0
    return Tally(
        run,
        len(judged),
        int((judged >= 0).sum()),
        int((judged == 1).sum()),
        int(flagged.sum()),
        int((~flagged).sum()),
        int(((judged == 1) & ~flagged).sum()),
    )


def draw(best: Best, folder: Path, name: str, zoom: int = 4, columns: int = 5) -> None:
    """Pages of 20 stamps with their number, score and position; those without a telling flag framed white."""
    folder.mkdir(parents=True, exist_ok=True)
    judged = labels_of(best) if LABELS.is_file() else np.full(len(best.ra), -1)
    for page, start in enumerate(range(0, len(best.ra), 4 * columns)):
        side = best.pictures[start].shape[0] * zoom + 30
        sheet = Image.new("RGB", (columns * side, 4 * side), "black")
        pen = ImageDraw.Draw(sheet)
        for place, index in enumerate(range(start, min(start + 4 * columns, len(best.ra)))):
            y, x = divmod(place, columns)
            picture = Image.fromarray(np.ascontiguousarray(best.pictures[index][::-1]))
            wide = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
            sheet.paste(wide, (x * side + 4, y * side + 24))
            clear = not int(best.vet_flags[index]) & int(TELLING)
            if clear:
                pen.rectangle(
                    (x * side + 2, y * side + 22, x * side + wide.width + 5, y * side + wide.height + 25),
                    outline="white",
                )
            text = f"{index} {best.score[index]:.1e} a{best.overlap[index]:.2f} {judged[index]}"
            pen.text((x * side + 4, y * side + 6), text, fill="white" if clear else "orange")
        sheet.save(folder / f"{name}-{page}.png")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if "LENSSCAN_DATA" not in os.environ:
        raise SystemExit("skipped: LENSSCAN_DATA is not set")
    tallies = []
    for run, masks in (("finders on", MasksConfig()), ("finders off", EVERYTHING_OFF)):
        best = best_rows(load_ensemble(args.ensemble), masks, args.top)
        if args.pictures is not None:
            draw(best, args.pictures, run.replace(" ", "-"))
            rows = zip(best.ra, best.dec, strict=True)
            text = "".join(f"{number},{ra:.6f},{dec:.6f}\n" for number, (ra, dec) in enumerate(rows))
            (args.pictures / f"{run.replace(' ', '-')}.csv").write_text("number,ra,dec\n" + text)
        if LABELS.is_file():
            tallies.append(tally(run, best))
    if args.json:
        json.dump([asdict(one) for one in tallies], sys.stdout, indent=1)
        return
    for one in tallies:
        print(
            f"{one.run}: of the best {one.rows}, {one.labelled} judged by eye, {one.artefacts} are artefacts; "
            f"{one.flagged} flagged; {one.artefacts_unflagged} artefacts among the {one.unflagged} without a flag"
        )


if __name__ == "__main__":
    main()
