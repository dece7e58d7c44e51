"""The cutting step of realistic fields, by part: reading, each finder of masks, detection, cutouts, writing.

    python tests/benchmarks/bench_cutting.py [--rounds 3] [--json FILE] [--against REVISION]

The fields are those of `lensscan demo` (written first, four of 1200 x 1200 pixels in g, r, i), and the two of
kids-viking where LENSSCAN_DATA names its folder. A part's time is its own, without the parts inside it, in seconds of
the processor, so that other work on the machine doesn't count; medians of the rounds. Times are also given in units of
one reference, sorting a million random float32, measured before and after: that unit is what other machines are
compared by. `--against` runs the same on a checkout of another revision, the two taking turns, and says how many times
faster each part has become.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.field import FieldImage
from pipeline.io import cutout_store
from pipeline.io.cutout_store import Stamps
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import Detections
from pipeline.scan.masks import FieldMasks
from pipeline.scan_config import ScanConfig, load_scan
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from pipeline.surveys import open_survey
from workflows import field_tables
from workflows.allocator import keep_freed_memory

ROOT = Path(__file__).parents[2]

PARTS: tuple[tuple[str, str, str], ...] = (
    ("background", "pipeline.scan.masks_profile", "measure_cells"),
    ("background map", "pipeline.scan.background", "Mesh.band_rows"),
    ("lines", "pipeline.scan.masks_profile", "measure_lines"),
    ("first pass, other", "pipeline.scan.masks", "profile"),
    ("sharpness", "pipeline.scan.masks", "sharpness"),
    ("saturation levels", "pipeline.scan.masks", "saturation_levels"),
    ("steps", "pipeline.scan.masks", "find_steps"),
    ("trails", "pipeline.scan.masks", "find_trails"),
    ("seams", "pipeline.scan.masks", "find_seams"),
    ("weight seams", "pipeline.scan.masks", "find_weight_seams"),
    ("stars", "pipeline.scan.masks", "find_stars"),
    ("halos and spikes", "pipeline.scan.masks", "bright_stars"),
    ("ghosts", "pipeline.scan.masks", "find_ghosts"),
    ("gaps", "pipeline.scan.masks", "find_gaps"),
    ("saturation", "pipeline.scan.masks", "find_saturation"),
    ("bad columns", "pipeline.scan.masks", "find_bad_columns"),
    ("cosmic rays", "pipeline.scan.masks", "find_cosmic_rays"),
    ("packing", "pipeline.scan.masks", "packed"),
    ("unpacking", "pipeline.scan.masks_flags", "FoundFlags.rows"),
    ("painting", "pipeline.scan.masks_flags", "Shape.paint"),
    ("calibrating", "pipeline.scan.detect_sources", "calibrated"),
    ("calibrating", "pipeline.scan.cutouts", "calibrated"),
    ("stack", "pipeline.scan.detect_sources", "smoothed_stack"),
    ("deblending", "pipeline.scan.detect_sources", "_measure"),
    ("magnitudes", "pipeline.scan.detect", "aperture_magnitudes"),
    ("slicing", "pipeline.scan.cutouts", "slice_stamps"),
    ("statistics", "pipeline.scan.cutouts", "stamp_stats"),
    ("writing", "workflows.field_tables", "write_masks"),
    ("writing", "workflows.field_tables", "write_detections"),
    ("writing", "workflows.field_tables", "write_stamps"),
)
"""Name of a part, and the module and attribute that is timed for it."""


class Stopwatch:
    """Adds up the time of parts, each without those inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = [0.0]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - start
            self.seconds[name] += took - self._inner.pop()
            self._inner[-1] += took

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*args, **named)

        return run


def watch(stopwatch: Stopwatch) -> None:
    """Time the parts wherever they are called from; a part that this revision lacks is passed over."""
    for name, module, attribute in PARTS:
        place = importlib.import_module(module)
        holder, _, method = attribute.rpartition(".")
        owner = getattr(place, holder, None) if holder else place
        if owner is not None and hasattr(owner, method):
            setattr(owner, method, stopwatch.timed(name, getattr(owner, method)))


def cut_fields(
    config: ScanConfig, survey_path: str, stopwatch: Stopwatch, most: int | None = None
) -> tuple[int, float]:
    """The cutting step of the first fields of a survey, every one by default; detections, and seconds of all of it."""
    # Looked up here, so that what is timed is what `watch` has put in the place of these.
    detect = importlib.import_module("pipeline.scan.detect").detect
    find = importlib.import_module("pipeline.scan.masks").find
    survey = open_survey(survey_path)
    rows, start = 0, time.process_time()
    for field in list(survey.fields())[:most]:
        with stopwatch.part("opening"):
            image = survey.open(field, config.bands)
        image, memory = in_memory(replace(image, read=stopwatch.timed("reading", image.read)), config.memory)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with stopwatch.part("masks, other"):
                masks = find(image, config.masks, memory)
            field_tables.write_masks(folder, masks)
            with stopwatch.part("detection, other"):
                detections = detect(image, masks, config.detect, memory)
            field_tables.write_detections(folder, detections)
            with stopwatch.part("writing"):
                write(folder, config, image, masks, detections, memory)
            rows += len(detections)
    return rows, time.process_time() - start


def in_memory(image: FieldImage, memory: float) -> tuple[FieldImage, float]:
    """The field as the scan goes through it; a revision without `held` reads it again for every step."""
    try:
        return importlib.import_module("pipeline.scan.held").held(image, memory)  # type: ignore[no-any-return]
    except ModuleNotFoundError:
        return image, memory


def write(
    folder: Path, config: ScanConfig, image: FieldImage, masks: FieldMasks, detections: Detections, memory: float
) -> None:
    """Cut a field into a store with its table of stamps, as a scan does."""
    store = cutout_store.create(
        folder,
        bands=image.bands,
        pixel_scale=image.pixel_scale,
        rows=len(detections),
        size=config.cutouts.stamp_pixels(image.pixel_scale),
        chunk=config.cutouts.chunk,
        shard=config.cutouts.shard,
        codec=config.cutouts.codec,
        seeing={},
    )
    shards = []

    def stamps() -> Iterator[Stamps]:
        for cutouts in cut(image, masks, detections, config.cutouts, config.vet, memory):
            shards.append((cutouts.objid, cutouts.stats))
            yield Stamps(cutouts.image, cutouts.ivar, cutouts.mask)

    cutout_store.write(store, stamps())
    field_tables.write_stamps(folder, shards, store.size)


def reference() -> float:
    """Seconds to sort a million random float32."""
    values = np.random.default_rng(0).standard_normal(1_000_000, np.float32)
    start = time.process_time()
    np.sort(values)
    return time.process_time() - start


def surveys(folder: Path) -> dict[str, tuple[ScanConfig, str]]:
    """Name -> scan and survey: the demo's sky, written to `folder`, and kids-viking where it is."""
    sky = load_sims("demo-sky")
    assert isinstance(sky, SkyConfig)
    if not (folder / "survey.toml").exists():
        write_survey(sky, folder, 1, progress=lambda line: print(line, file=sys.stderr))
    survey = str(folder / "survey.toml")
    config = ScanConfig(scan_id="bench", survey=survey, output="unused", bands=("g", "r", "i"))
    found = {"demo": (config, survey)}
    data = os.environ.get("LENSSCAN_DATA")
    if data and (Path(data) / "kids-viking").is_dir():
        config, _ = load_scan(ROOT / "configs" / "scans" / "kids-viking.toml")
        found["kids-viking"] = (config, str(ROOT / "configs" / "surveys" / "kids-viking.toml"))
    return found


def measure(folder: Path) -> dict[str, Any]:
    """One round on every survey: rows, seconds, and seconds by part."""
    keep_freed_memory()
    stopwatch = Stopwatch()
    watch(stopwatch)
    given = surveys(folder)
    answer: dict[str, Any] = {}
    for name, (config, survey) in given.items():
        # One field without counting: modules are imported, and what is compiled has been.
        cut_fields(config, survey, stopwatch, most=1)
        stopwatch.seconds.clear()
        unit = reference()
        rows, seconds = cut_fields(config, survey, stopwatch)
        unit = (unit + reference()) / 2
        answer[name] = {"rows": rows, "seconds": seconds, "reference": unit, "parts": dict(stopwatch.seconds)}
    return answer


def in_checkout(root: Path, folder: Path) -> dict[str, Any]:
    """One round in a process of its own, with the packages of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, by survey."""
    answer = {}
    for name in rounds[0]:
        given = [one[name] for one in rounds]
        parts = {part: statistics.median(one["parts"].get(part, 0.0) for one in given) for part in given[0]["parts"]}
        seconds = statistics.median(one["seconds"] for one in given)
        answer[name] = {
            "rows": given[0]["rows"],
            "seconds": seconds,
            "rows_per_second": given[0]["rows"] / seconds,
            "in_references": statistics.median(one["seconds"] / one["reference"] for one in given),
            "parts": dict(sorted(parts.items(), key=lambda item: -item[1])),
        }
    return answer


def show(now: dict[str, Any], before: dict[str, Any] | None) -> None:
    for survey, result in now.items():
        print(f"\n{survey}: {result['rows']} detections, {result['rows_per_second']:,.0f} a second", end="")
        print(f", {result['in_references']:.1f} references")
        old = before[survey] if before else None
        if old:
            ratio = old["in_references"] / result["in_references"]
            print(f"  {ratio:.2f} times as fast as before ({old['rows_per_second']:,.0f} a second)")
        for part, seconds in result["parts"].items():
            line = f"  {part:20s} {1000 * seconds:8.1f} ms {seconds / result['seconds']:6.1%}"
            if old and part in old["parts"]:
                line += f"   was {1000 * old['parts'][part]:8.1f} ms"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", help="a revision of this repository")
    parser.add_argument("--sky", type=Path, help="folder of the demo's sky, written there unless it is there")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.sky or Path(name) / "sky"
        surveys(folder)
        other = Path(name) / "other"
        if options.against:
            add = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(other), options.against]
            subprocess.run(add, check=True, capture_output=True)
        try:
            now, before = [], []
            for _ in range(options.rounds):
                now.append(in_checkout(ROOT, folder))
                if options.against:
                    before.append(in_checkout(other, folder))
        finally:
            if options.against:
                remove = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(other)]
                subprocess.run(remove, check=True, capture_output=True)
    result, old = middle(now), middle(before) if before else None
    show(result, old)
    if options.json:
        options.json.write_text(json.dumps({"now": result, "before": old}, indent=1) + "\n")


if __name__ == "__main__":
    main()
