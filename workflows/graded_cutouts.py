"""Cutouts of graded candidates that the scan did not keep, cut once more from the survey's images.

They go into a folder that looks like the scan's output as far as training reads it: cutouts and detections of the
fields concerned, with the scan's own names. The scan's output is only read.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.train.data_config import DataConfig, GradedConfig

if TYPE_CHECKING:
    from pipeline.io.products import Manifest
    from pipeline.train.sources.graded import Placed
    from workflows.setup import ScanSetup


def with_cutouts(data: DataConfig, bands: tuple[str, ...], folder: Path) -> DataConfig:
    """The sources of a training, with graded ones reading what was cut again where they ask for that.

    Parameters
    ----------
    data : DataConfig
    bands : tuple of str
    folder : Path
        Gets `graded-<number>` for each such source; what an earlier run left there is replaced.

    Raises
    ------
    ConfigError
        If a source's `cut_again` is not the config of its scan, or a field can't be cut.
    """
    number = 0
    found = {}
    for name in ("train", "validation"):
        sources = []
        for source in getattr(data, name):
            if isinstance(source, GradedConfig) and source.cut_again is not None:
                sources.append(_cut(source, bands, folder / f"graded-{number}"))
                number += 1
            else:
                sources.append(source)
        found[name] = tuple(sources)
    return data.model_copy(update=found) if number else data


def _cut(source: GradedConfig, bands: tuple[str, ...], folder: Path) -> GradedConfig:
    """Cut what a source lacks, and make it read that; the source itself where it lacks nothing."""
    from pipeline.io import ownership
    from pipeline.train.sources.cutouts import kept
    from pipeline.train.sources.graded import place_graded
    from workflows.cut_again import require_same_scan
    from workflows.setup import open_scan

    placed = place_graded(source, bands)
    if kept(placed.fields, placed.numbers, placed.places).all():
        return source
    setup = open_scan(str(source.cut_again), source.scan)
    require_same_scan(setup, Path(source.scan), str(source.cut_again), "cut_again")
    shutil.rmtree(folder, ignore_errors=True)
    ownership.claim(folder, setup.config.scan_id, setup.survey.name, setup.survey.release)
    for number in np.unique(placed.numbers).tolist():
        try:
            _cut_field(setup, placed, number, folder)
        except (ProductMismatch, OSError) as error:
            field = placed.fields[number].field_id
            raise ConfigError(f"field {field} can't be cut again: {error}") from error
    return source.model_copy(update={"scan": str(folder)})


def _cut_field(setup: ScanSetup, placed: Placed, number: int, folder: Path) -> None:
    """The graded cutouts of one field, with the field's own tables of stamps and detections."""
    from pipeline.io import cutout_store, products
    from workflows.cut_again import reopened
    from workflows.field_cutouts import shards_of
    from workflows.field_cutting import live

    name, job = placed.fields[number].field_id, setup.job()
    output = Path(job.output)
    rows = sorted(set(placed.places[placed.numbers == number].tolist()))
    cut, detected = (live(job, name, stage) for stage in ("cutouts", "detect"))
    fresh = reopened(setup, name)
    place = _copied(output, folder, name, cut, "cutouts")
    store = fresh.create(place, kept=rows)
    cutout_store.write_kept(store, fresh.shards(shards_of(rows, store.shard)))
    _copied(output, folder, name, detected, "detect")
    for stage, manifest in (("cutouts", cut), ("detect", detected)):
        products.publish(
            folder,
            field_id=name,
            stage=stage,
            fingerprint=manifest.fingerprint,
            generation=Path(manifest.place).name,
            rows=manifest.rows,
            provenance=manifest.provenance,
        )


def _copied(output: Path, folder: Path, field_id: str, manifest: Manifest, stage: str) -> Path:
    """A folder for a stage's product of a field, with the tables of the scan's own."""
    place = folder / manifest.place
    place.mkdir(parents=True)
    for table in (output / manifest.place).glob("*.parquet"):
        shutil.copy(table, place / table.name)
    return place
