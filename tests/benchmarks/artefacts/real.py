"""Recall and precision of the pixel finders against a survey's own mask plane, which is hidden from them.

    LENSSCAN_DATA=... python tests/benchmarks/artefacts/real.py [SURVEY ...] [--tolerance PX] [--json]

Any survey with a mask plane will do: a shipped name or the path of a TOML, such as the one that `lensscan simulate`
writes. The default is the real ones whose planes tell of pixel artefacts: decam-dq (single exposures) and hsc-mask
(a coadd). Each field is searched three times:

pixels
    The image alone: neither mask nor weights. The honest case, since many surveys give masked pixels no weight.
filled
    The weights too, but where they are zero they are taken from the nearest pixel that has some, and the image is
    as it stands in its file: what the weights say of noise, without what they say of masked pixels.
weights
    The weights as the survey gives them; their zeros are no data.

**What counts as right.** Surveys grow their planes by a pixel or several and so do we, so a match may be `tolerance`
pixels off (in both axes; 2 by default). A truth pixel is recalled when a found flag that its class accepts lies so
near; a found pixel is right when a truth pixel of a class that accepts it lies so near. What names what is partly
taste, hence three recalls: `strict` asks for the same flag, `recall` for one that the class accepts (below),
`masked` for any fatal or seam flag or no data. The goals hold for `recall` and precision; in the case `weights`, whose
zeros leave nothing to find, for `masked`.

========== ====================== ================================================================
class      truth                  accepted
========== ====================== ================================================================
saturation SATURATED              SATURATED, BLEED: where a core ends and its bleed begins is a convention
bleed      BLEED                  the same
cosmic ray COSMIC_RAY, and not    COSMIC_RAY, BADPIX: one hot pixel in one exposure looks like either
           INTERPOLATED
mended ray both                   the same. The survey has put its neighbours' light there (HSC before it coadds),
                                  so that pixels tell of nothing; kept apart, counted and not left out
bad pixel  BADPIX, BADCOLUMN      BADPIX, BADCOLUMN, COSMIC_RAY
seam       SEAM, CHIP_GAP, EDGE   SEAM, CHIP_GAP, EDGE: what a detector's edge left, by what betrays it
========== ====================== ================================================================

Precision is that of the flags a class is named for, over the fields of the survey; saturation and bleed share theirs.
A class without truth pixels has no recall, and what was found of it shows as false. `clean` is the share of pixels
further than the tolerance from any truth pixel that carry a found flag of these classes; seams count where the
survey's plane would tell of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter

from pipeline.field import Field, FieldImage, PixelBlock, sealed_block
from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import calibrated, find
from pipeline.scan_config import MasksConfig
from pipeline.surveys import open_survey
from pipeline.surveys.description import NOISE_PLANES
from pipeline.surveys.open import Survey

SURVEYS = ("decam-dq", "hsc-mask")
CASES = ("pixels", "filled", "weights")
TOLERANCE_PX = 2
RECALL_GOAL, PRECISION_GOAL = 0.9, 0.8
MEMORY_MB = 500.0

_BURNT = PixelFlag.SATURATED | PixelFlag.BLEED
_DEAD = PixelFlag.BADPIX | PixelFlag.BADCOLUMN
_RAY = PixelFlag.COSMIC_RAY | PixelFlag.BADPIX
_EDGES = PixelFlag.SEAM | PixelFlag.CHIP_GAP | PixelFlag.EDGE
_ANY = _BURNT | _DEAD | _EDGES | PixelFlag.COSMIC_RAY | PixelFlag.TRAIL | PixelFlag.GHOST


@dataclass(frozen=True)
class Kind:
    """A class of artefacts: the flags of its truth, those accepted for it, and those its precision is of.

    `mended` says whether its truth is interpolated (True), is not (False), or either (None).
    """

    name: str
    truth: PixelFlag
    accepted: PixelFlag
    named: PixelFlag
    mended: bool | None = None

    def pixels(self, mask: np.ndarray) -> np.ndarray:
        """The truth pixels of a survey's mask."""
        carried: np.ndarray = (mask & np.uint32(self.truth)) != 0
        if self.mended is not None:
            carried &= ((mask & np.uint32(PixelFlag.INTERPOLATED)) != 0) == self.mended
        return carried


KINDS = (
    Kind("saturation", PixelFlag.SATURATED, _BURNT, _BURNT),
    Kind("bleed", PixelFlag.BLEED, _BURNT, _BURNT),
    Kind("cosmic ray", PixelFlag.COSMIC_RAY, _RAY, PixelFlag.COSMIC_RAY, mended=False),
    Kind("mended ray", PixelFlag.COSMIC_RAY, _RAY, PixelFlag.COSMIC_RAY, mended=True),
    Kind("bad pixel", _DEAD, _DEAD | PixelFlag.COSMIC_RAY, _DEAD),
    Kind("seam", _EDGES, _EDGES, _EDGES),
)


@dataclass(frozen=True)
class ClassResult:
    """Sums over the fields and bands of a survey for one class and case; pixels.

    `strict`, `accepted` and `masked` count truth pixels, `right` counts found ones.
    """

    survey: str
    case: str
    name: str
    truth: int = 0
    strict: int = 0
    accepted: int = 0
    masked: int = 0
    found: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of truth pixels near a flag that the class accepts; NaN without truth."""
        return _share(self.accepted, self.truth)

    @property
    def precision(self) -> float:
        """Share of found pixels near truth that accepts them; NaN where nothing was found."""
        return _share(self.right, self.found)

    @property
    def passed(self) -> bool | None:
        """Whether both goals are met; None where there is no truth to judge by."""
        if not self.truth:
            return None
        if self.case == "weights":
            return _share(self.masked, self.truth) >= RECALL_GOAL
        return self.recall >= RECALL_GOAL and self.precision >= PRECISION_GOAL

    def row(self) -> dict[str, object]:
        """As JSON has it; shares that do not exist are null."""
        shares = {
            "recall": self.recall,
            "recall_strict": _share(self.strict, self.truth),
            "recall_masked": _share(self.masked, self.truth),
            "precision": self.precision,
        }
        known = {name: None if math.isnan(value) else round(value, 4) for name, value in shares.items()}
        pixels = {"truth_px": self.truth, "found_px": self.found}
        return {"survey": self.survey, "case": self.case, "class": self.name, **pixels, **known, "passed": self.passed}


@dataclass(frozen=True)
class SurveyResult:
    """One survey in one case: its classes, and the share of clean pixels that were flagged all the same."""

    survey: str
    case: str
    classes: tuple[ClassResult, ...]
    clean: float


def measure(
    survey: Survey, case: str, config: MasksConfig | None = None, tolerance: int = TOLERANCE_PX
) -> SurveyResult:
    """Search every field of a survey without its mask plane and compare with that plane.

    Holds a whole field in memory.

    Parameters
    ----------
    survey : Survey
        With a mask plane, in any number of bands.
    case : "pixels", "filled" or "weights"
        What of the weights is shown; see the head of this file.
    tolerance : int, pixels

    Raises
    ------
    ValueError
        If the survey has no mask plane.
    """
    if survey.description.planes.mask is None:
        raise ValueError(f"survey {survey.name} has no mask plane to compare with; name one that has.")
    classes = {kind.name: ClassResult(survey.name, case, kind.name) for kind in KINDS}
    flagged = clean = 0
    counted = _BURNT | _DEAD | PixelFlag.COSMIC_RAY | (_EDGES if _tells_of_edges(survey) else PixelFlag(0))
    for field in survey.fields():
        bands = _bands(field)
        truth = survey.open(field, bands)
        hidden = without_mask(survey, field, bands, case)
        planes = truth.read(0, truth.shape[0]).mask
        masks = find(hidden, config or MasksConfig(), MEMORY_MB)
        seen = calibrated(hidden, masks, 0, hidden.shape[0]).mask
        for real, ours in zip(planes, seen, strict=True):
            for kind in KINDS:
                classes[kind.name] = _added(classes[kind.name], kind, real, ours, tolerance)
            far = ~near((real & np.uint32(_ANY)) != 0, tolerance)
            clean += int(far.sum())
            flagged += int((far & _found(ours, counted)).sum())
    return SurveyResult(survey.name, case, tuple(classes.values()), _share(flagged, clean))


def without_mask(survey: Survey, field: Field, bands: tuple[str, ...], case: str) -> FieldImage:
    """A field as a survey would give it that has no mask plane, and weights as the case says."""
    hidden: dict[str, None] = {"mask": None}
    if case != "weights":
        hidden |= dict.fromkeys(NOISE_PLANES)
    planes = survey.description.planes.model_copy(update=hidden)
    bare = Survey(survey.description.model_copy(update={"planes": planes}), survey.path).open(field, bands)
    if case != "filled" or survey.description.planes.noise is None:
        return bare
    image = bare.read(0, bare.shape[0]).image
    weights = survey.open(field, bands).read(0, bare.shape[0]).ivar
    ivar = np.stack([_filled(plane) for plane in weights])

    def read(y0: int, y1: int) -> PixelBlock:
        mask = np.zeros((len(bands), y1 - y0, bare.shape[1]), np.uint32)
        return sealed_block(y0, image[:, y0:y1].copy(), ivar[:, y0:y1].copy(), mask)

    return dataclasses.replace(bare, read=read, has_ivar=True)


def near(plane: np.ndarray, tolerance: int) -> np.ndarray:
    """Pixels with one of `plane` within `tolerance` pixels in x and in y."""
    grown: np.ndarray = maximum_filter(plane, 2 * tolerance + 1, mode="constant", cval=False)
    return grown


def _added(sums: ClassResult, kind: Kind, real: np.ndarray, ours: np.ndarray, tolerance: int) -> ClassResult:
    truth = kind.pixels(real)
    named = _found(ours, kind.named)
    accepting = PixelFlag(0)
    for other in KINDS:
        if other.accepted & kind.named:
            accepting |= other.truth
    strict = np.zeros_like(truth)
    for flag in PixelFlag:
        if flag & kind.truth:
            strict |= truth & ((real & np.uint32(flag)) != 0) & near(_found(ours, flag), tolerance)
    masked = near(_found(ours, _ANY), tolerance) | ((ours & np.uint32(PixelFlag.NODATA)) != 0)
    right = named & near((real & np.uint32(accepting)) != 0, tolerance)
    return dataclasses.replace(
        sums,
        truth=sums.truth + int(truth.sum()),
        strict=sums.strict + int(strict.sum()),
        accepted=sums.accepted + int((truth & near(_found(ours, kind.accepted), tolerance)).sum()),
        masked=sums.masked + int((truth & masked).sum()),
        found=sums.found + int(named.sum()),
        right=sums.right + int(right.sum()),
    )


def _found(mask: np.ndarray, flags: PixelFlag) -> np.ndarray:
    carried: np.ndarray = (mask >> np.uint32(FOUND_SHIFT) & np.uint32(flags)) != 0
    return carried


def _tells_of_edges(survey: Survey) -> bool:
    plane = survey.description.planes.mask
    if plane is None:
        return False
    names = {
        *plane.bits,
        *plane.codes,
        *(name for band in survey.description.bands.values() for name in band.mask_bits),
    }
    return any(PixelFlag[name] & _EDGES for name in names)


def _filled(ivar: np.ndarray) -> np.ndarray:
    """Weights whose zeros are those of the nearest pixel that has one; ones where none has."""
    absent = ~(ivar > 0)
    if absent.all():
        return np.ones_like(ivar)
    nearest = distance_transform_edt(absent, return_distances=False, return_indices=True)
    filled: np.ndarray = ivar[tuple(nearest)]
    return filled


def _bands(field: Field) -> tuple[str, ...]:
    """The bands of a field that have a file."""
    return tuple(band for band, planes in field.planes.items() if Path(planes["image"]).is_file())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def table(results: Iterable[SurveyResult]) -> str:
    """The results as text, one line a class."""
    head = f"{'survey':12s} {'case':8s} {'class':11s} {'truth px':>9s} {'recall':>7s} {'strict':>7s} {'masked':>7s} "
    lines = [head + f"{'found px':>9s} {'precision':>9s}"]
    for result in results:
        for item in result.classes:
            row = item.row()
            shares = [row[name] for name in ("recall", "recall_strict", "recall_masked")]
            texts = ["-" if share is None else f"{share:.3f}" for share in (*shares, row["precision"])]
            verdict = {True: "", False: "  missed", None: "  no truth"}[item.passed]
            lines.append(
                f"{item.survey:12s} {item.case:8s} {item.name:11s} {item.truth:9d} "
                + " ".join(f"{text:>7s}" for text in texts[:3])
                + f" {item.found:9d} {texts[3]:>9s}{verdict}"
            )
        lines.append(f"{result.survey:12s} {result.case:8s} clean pixels flagged: {result.clean:.2%}")
    return "\n".join(lines)


def main() -> int:
    """Print the table, or JSON; exit code 1 where a class with truth missed its goal in the case `filled`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surveys", nargs="*", default=SURVEYS, metavar="SURVEY")
    parser.add_argument("--tolerance", type=int, default=TOLERANCE_PX, help="pixels that a match may be off")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.surveys) & set(SURVEYS) and "LENSSCAN_DATA" not in os.environ:
        print("skipped: LENSSCAN_DATA is not set")
        return 0
    surveys = [open_survey(name) for name in arguments.surveys]
    results = [measure(survey, case, tolerance=arguments.tolerance) for survey in surveys for case in CASES]
    if arguments.json:
        rows = [item.row() for result in results for item in result.classes]
        clean = [{"survey": item.survey, "case": item.case, "clean_flagged": item.clean} for item in results]
        print(json.dumps({"tolerance_px": arguments.tolerance, "classes": rows, "clean": clean}, indent=1))
    else:
        print(table(results))
    missed = [item for result in results if result.case == "filled" for item in result.classes if item.passed is False]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
