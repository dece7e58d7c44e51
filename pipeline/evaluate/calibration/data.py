"""Labelled logits to calibrate on: of pools of stamps, or of a table that has them already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.evaluate.realism.probe import embeddings
from pipeline.evaluate.samples.pools import object_groups, read_heads, read_parts
from pipeline.io.tables import read_table
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.familiarity_fit import fit_familiarity
from pipeline.models.posterior import PosteriorHead
from pipeline.scan.maps import LensLight, joined_light, map_cutouts, measure_light
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledLogits:
    """Stamps with labels and the members' raw outputs.

    Attributes
    ----------
    logits : float32 (n, members); NaN where not scorable
    lens : bool (n,)
    what : str
        Where they are from.
    familiarity : dict of member to Familiarity
        Where it was asked for.
    group : (n,), or None
        Equal where stamps show the same object; None: each stands for itself.
    light : LensLight, or None
        What the ensemble's maps show, where it draws any and the pixels are at hand.
    """

    logits: Float32
    lens: npt.NDArray[np.bool_]
    what: str
    familiarity: dict[str, Familiarity]
    group: npt.NDArray[Any] | None = None
    light: LensLight | None = None


def logits_of_pools(
    patterns: Sequence[str],
    ensemble: Ensemble,
    *,
    limit: int | None = None,
    familiarity: bool = False,
    report: Callable[[str], None] | None = None,
) -> LabelledLogits:
    """Put pools of stamps through an ensemble.

    Parameters
    ----------
    patterns : sequence of str
        Glob patterns of `.npz` shards, as `lensscan simulate` writes them.
    ensemble : Ensemble
    limit : int, optional
        Only so many stamps, the first.
    familiarity : bool
        Whether to fit what each member finds familiar: on every other stamp, its distances on the rest.
    report : callable (str), optional
        Told of progress.

    Raises
    ------
    ConfigError
        If a pattern matches nothing, or a shard is damaged or of other bands or pixel scale than the first.
    ModelMismatch
        If a member can't read the stamps.
    """
    heads = read_heads(tuple(patterns), limit)
    first, what = heads[0], f"{', '.join(patterns)}"
    embedded: dict[str, list[Float32]] = {member.name: [] for member in ensemble.members}
    parts: list[Float32] = []
    drawn: list[LensLight] = []
    done = 0
    for head in heads:
        if (head.bands, head.pixel_scale) != (first.bands, first.pixel_scale):
            raise ConfigError(
                f"{head.path}: bands {', '.join(head.bands)} at {head.pixel_scale:g} arcsec; {first.path} has "
                f"{', '.join(first.bands)} at {first.pixel_scale:g}. Calibrate on one kind of stamp at a time."
            )
        for part in read_parts(head, masks=True):
            ensemble.check(head.bands, pixel_scale=head.pixel_scale, size_pix=min(part.image.shape[-2:]))
            parts.append(
                score_cutouts(
                    part.image,
                    part.ivar,
                    part.mask,
                    pixel_scale=head.pixel_scale,
                    bands=head.bands,
                    ensemble=ensemble,
                    config=ScoreConfig(),
                )
            )
            if ensemble.mapper is not None:
                maps = map_cutouts(
                    part.image,
                    part.ivar,
                    part.mask,
                    pixel_scale=head.pixel_scale,
                    bands=head.bands,
                    mapper=ensemble.mapper,
                )
                drawn.append(measure_light(maps.lens_light, head.pixel_scale))
            for member in ensemble.members if familiarity else ():
                embedded[member.name].append(embeddings(part, member, bands=head.bands, pixel_scale=head.pixel_scale))
            done += len(part.image)
        if report is not None:
            report(f"{done:,}/{sum(len(one.lens) for one in heads):,} stamps scored")
    lens = np.concatenate([head.lens for head in heads])
    return LabelledLogits(
        np.concatenate(parts),
        lens,
        what,
        _familiarities(ensemble, embedded, lens, what) if familiarity else {},
        object_groups(heads),
        joined_light(drawn) if drawn else None,
    )


def logits_of_table(path: Path, ensemble: Ensemble, labels: Path | None = None) -> LabelledLogits:
    """Read logits that are in a table, such as the `scores.parquet` of `lensscan evaluate`.

    Parameters
    ----------
    path : Path
        Parquet or CSV with `logit_<member>` for every member of the rule, and `label` (true or 1: a lens) or `objid`;
        rows of one `group`, where there is such a column, belong together. Logits of members beside the rule are read
        where they are there, and are NaN where not.
    ensemble : Ensemble
    labels : Path, optional
        Parquet or CSV with `objid` and `label`, one row an object; every one of its ids must be in the first.
        Rows without a label are left out.

    Raises
    ------
    ConfigError
        If a file can't be read, a column is missing, a label is neither true nor false, or ids don't match.
    """
    table = _read(path)
    _require(path, table, [f"logit_{ensemble.names[number]}" for number in ensemble.ruling])
    if labels is None:
        _require(path, table, ["label"])
        truth, what = _truth(path, table["label"]), str(path)
    else:
        table, truth = _joined(path, table, labels, _read(labels))
        what = f"{path} with {labels}"
    logits = np.full((len(table), len(ensemble.names)), np.nan, np.float32)
    for column, name in enumerate(ensemble.names):
        if f"logit_{name}" in table.column_names:
            logits[:, column] = table[f"logit_{name}"].to_numpy(zero_copy_only=False)
    group = table["group"].to_numpy(zero_copy_only=False) if "group" in table.column_names else None
    return LabelledLogits(logits, truth, what, {}, group)


def _familiarities(
    ensemble: Ensemble, embedded: dict[str, list[Float32]], lens: npt.NDArray[np.bool_], what: str
) -> dict[str, Familiarity]:
    """Fitted on even rows, the distances of odd ones; lenses alone are familiar to a network that measures them."""
    answer = {}
    for member in ensemble.members:
        if parts := embedded[member.name]:
            measures = isinstance(member.network.head, PosteriorHead)
            rows, stamp = (np.flatnonzero(lens), "lens") if measures else (np.arange(len(lens)), "stamp")
            values, labels = np.concatenate(parts)[rows], lens[rows]
            fitted_on = f"every other {stamp} of {what}"
            answer[member.name] = fit_familiarity(values[::2], labels[::2], values[1::2], fitted_on)
    return answer


def _joined(path: Path, table: pa.Table, labels_path: Path, labels: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Rows of the table that have a label, and the labels."""
    _require(path, table, ["objid"])
    _require(labels_path, labels, ["objid", "label"])
    for where, ids in ((path, table["objid"]), (labels_path, labels["objid"])):
        if not pa.types.is_integer(ids.type) or ids.null_count:
            raise ConfigError(f"{where}: objid must be whole numbers without gaps, not {ids.type}.")
        if len(pc.unique(ids)) != len(ids):
            raise ConfigError(f"{where}: an objid stands there twice; give one row an object.")
    place = {int(objid): row for row, objid in enumerate(table["objid"].to_pylist())}
    wanted = labels["objid"].to_pylist()
    strangers = [objid for objid in wanted if objid not in place]
    if strangers:
        raise ConfigError(
            f"{labels_path}: {len(strangers):,} of {len(wanted):,} ids are not in {path}, such as {strangers[0]}; "
            f"are both of one scan?"
        )
    return table.take(pa.array([place[objid] for objid in wanted])), _truth(labels_path, labels["label"])


def _truth(path: Path, column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    values = column.to_pylist()
    wrong = [value for value in values if value not in (0, 1, True, False)]
    if wrong:
        raise ConfigError(f"{path}: label must be 0 or 1, true or false; got {wrong[0]!r}.")
    return np.array(values, dtype=bool)


def _require(path: Path, table: pa.Table, names: Sequence[str]) -> None:
    lacking = [name for name in names if name not in table.column_names]
    if lacking:
        raise ConfigError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(table.column_names)}.")


def _read(path: Path) -> pa.Table:
    try:
        return csv.read_csv(path) if path.suffix == ".csv" else read_table(path)
    except (OSError, pa.ArrowException, ProductMismatch) as error:
        raise ConfigError(f"{path}: can't be read as a table, CSV or Parquet ({error}).") from error
