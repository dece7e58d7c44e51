"""How many of Source Extractor's sources our detection finds on kids-viking in r.

Needs Debian's `source-extractor` on the path and the real data in LENSSCAN_DATA; says so and stops without.

    python tests/benchmarks/bench_detection.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from pipeline.field import FieldImage
from pipeline.scan.detect import detect
from pipeline.scan.masks import find
from pipeline.scan_config import DetectConfig, MasksConfig
from pipeline.surveys import open_survey

BRIGHTER_THAN = 22.0
THRESHOLD = 5.0
MEMORY_MB = 500.0

PARAMETERS = "X_IMAGE\nY_IMAGE\nMAG_AUTO\nFLAGS\n"
KERNEL = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"
SETTINGS = """CATALOG_NAME sources.cat
CATALOG_TYPE ASCII_HEAD
PARAMETERS_NAME columns.param
FILTER Y
FILTER_NAME kernel.conv
DETECT_MINAREA 5
DETECT_THRESH {threshold}
ANALYSIS_THRESH {threshold}
DEBLEND_NTHRESH 32
DEBLEND_MINCONT 0.005
MAG_ZEROPOINT 31.4
WEIGHT_TYPE NONE
BACK_SIZE 88
SATUR_LEVEL 1e12
VERBOSE_TYPE QUIET
"""


def source_extractor(image: np.ndarray, binary: str, threshold: float) -> np.ndarray:
    """Source Extractor's catalogue of an image in nJy: columns x, y (0-based), magnitude, flags."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", image)
        (folder / "columns.param").write_text(PARAMETERS)
        (folder / "kernel.conv").write_text(KERNEL)
        (folder / "settings.sex").write_text(SETTINGS.format(threshold=threshold))
        subprocess.run([binary, "image.fits", "-c", "settings.sex"], cwd=folder, check=True, capture_output=True)
        table = np.loadtxt(folder / "sources.cat", ndmin=2)
    table[:, :2] -= 1.0
    return table


def matched_share(field_image: FieldImage, binary: str, threshold: float) -> tuple[int, int, int]:
    """Bright unflagged sources of Source Extractor, how many we have within one pixel, and our detections."""
    image = field_image.read(0, field_image.shape[0]).image[0]
    table = source_extractor(image, binary, threshold)
    bright = table[(table[:, 3] == 0) & (table[:, 2] < BRIGHTER_THAN)]
    masks = find(field_image, MasksConfig(), MEMORY_MB)
    ours = detect(field_image, masks, DetectConfig(threshold=THRESHOLD), MEMORY_MB)
    distance, _ = cKDTree(np.column_stack([ours.x, ours.y])).query(bright[:, :2])
    for x, y, magnitude, _ in bright[distance > 1.0]:
        print(f"  not matched: x {x:.1f} y {y:.1f} r {magnitude:.2f}")
    return len(bright), int((distance <= 1.0).sum()), len(ours)


def main() -> int:
    """Print the share for both fields, at our threshold and at Source Extractor's own default."""
    binary = shutil.which("source-extractor") or shutil.which("sex")
    if binary is None:
        print("skipped: source-extractor is not installed (apt install source-extractor)")
        return 0
    if "LENSSCAN_DATA" not in os.environ:
        print("skipped: LENSSCAN_DATA is not set")
        return 0
    survey = open_survey("kids-viking")
    for threshold in (THRESHOLD, 1.5):
        bright = matched = 0
        for field in survey.fields():
            counts = matched_share(survey.open(field, ("r",)), binary, threshold)
            print(
                f"{field.field_id} Source Extractor at {threshold} sigma: {counts[1]} of {counts[0]}; ours {counts[2]}"
            )
            bright, matched = bright + counts[0], matched + counts[1]
        print(f"at {threshold} sigma: {matched} of {bright} = {matched / bright:.3f} (r < {BRIGHTER_THAN}, FLAGS = 0)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
