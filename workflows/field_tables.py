"""A field's products between memory and disk: masks, detections, stamp tables, score parts, catalogue rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import ProductMismatch
from pipeline.io import mask_store
from pipeline.io.places import Place, each
from pipeline.io.tables import build_table, read_table, write_table
from pipeline.models.ensemble import Ensemble
from pipeline.scan.background import Mesh
from pipeline.scan.cutouts_stats import StampStats
from pipeline.scan.detect import Detections
from pipeline.scan.masks import FieldMasks
from pipeline.scan.masks_flags import FoundFlags
from pipeline.scan.rows import ScoredRows, StampTable, flag_names, joined, joined_answers
from pipeline.scan.score import MemberAnswers
from pipeline.scan_config import ScanConfig
from pipeline.schema import (
    SCORE_PART,
    STAMPS,
    Column,
    detections_columns,
    flag_count_column,
    member_column,
    scores_columns,
)
from pipeline.schema_lenses import catalogue_parameters

DETECTIONS_FILE = "detections.parquet"
STAMPS_FILE = "stamps.parquet"
SCORES_FILE = "scores.parquet"
CANDIDATES_FILE = "candidates.parquet"
GATE = "gate_logit"


def write_masks(folder: Place, masks: FieldMasks) -> None:
    """Write what `find` knows of a field."""
    stored = mask_store.StoredMasks(
        bands=masks.bands,
        shape=masks.background.shape,
        background=masks.background.values,
        noise=masks.noise.values,
        strips=masks.found.strips,
    )
    mask_store.write_masks(folder, stored)


def read_masks(folder: Place) -> FieldMasks:
    """Read it back; raises ProductMismatch."""
    stored = mask_store.read_masks(folder)
    return FieldMasks(
        stored.bands,
        Mesh(stored.background, stored.shape),
        Mesh(stored.noise, stored.shape),
        FoundFlags(stored.strips, (len(stored.bands), *stored.shape)),
    )


def no_detections(bands: tuple[str, ...]) -> Detections:
    """The detections of a field without coverage."""
    floats, ids = np.empty(0, np.float64), np.empty(0, np.int64)
    mags = np.empty((0, len(bands)), np.float32)
    return Detections(ids, np.empty(0, object), floats, floats, floats, floats, mags, ids, bands)


def write_detections(folder: Place, detections: Detections) -> None:
    """Write a field's detections."""
    values = {
        "objid": detections.objid,
        "source_id": list(detections.source_id),
        "ra": detections.ra,
        "dec": detections.dec,
        "x": detections.x,
        "y": detections.y,
        "_healpix_29": detections.healpix29,
    }
    values |= {f"mag_{band}": detections.mags[:, column] for column, band in enumerate(detections.bands)}
    write_table(folder / DETECTIONS_FILE, build_table(detections_columns(detections.bands), values))


def read_detections(folder: Place, bands: tuple[str, ...]) -> Detections:
    """Read them back, with the magnitudes of `bands` (NaN where there is none); raises ProductMismatch."""
    table = read_table(folder / DETECTIONS_FILE)
    mags = np.full((len(table), len(bands)), np.nan, np.float32)
    for column, band in enumerate(bands):
        if f"mag_{band}" in table.column_names:
            mags[:, column] = _floats(table, f"mag_{band}")
    names = np.full(len(table), None, object)
    names[:] = table["source_id"].to_pylist()
    return Detections(
        objid=table["objid"].to_numpy(),
        source_id=names,
        ra=table["ra"].to_numpy(),
        dec=table["dec"].to_numpy(),
        x=table["x"].to_numpy(),
        y=table["y"].to_numpy(),
        mags=mags,
        healpix29=table["_healpix_29"].to_numpy(),
        bands=bands,
    )


def stamps_columns() -> tuple[Column, ...]:
    """Columns of a field's stamp table, in order."""
    return (*STAMPS, *(flag_count_column(name) for name in flag_names()))


def write_stamps(folder: Place, shards: Sequence[tuple[npt.NDArray[np.int64], StampStats]], size: int) -> None:
    """Write what vetting needs of a field's stamps, shard by shard in order."""
    stats = joined([part for _, part in shards])
    objid = np.concatenate([ids for ids, _ in shards] or [np.empty(0, np.int64)])
    values = {
        "objid": objid,
        "size": np.full(len(objid), size, np.int32),
        "row": np.arange(len(objid), dtype=np.int32),
        "artefact_fraction": stats.artefact_fraction,
        "valid_fraction": stats.valid_fraction,
        "centre_flags": stats.centre_flags,
        "bands_missing": stats.bands_missing,
    }
    values |= {f"npix_{name}": counts for name, counts in stats.npix.items()}
    write_table(folder / STAMPS_FILE, build_table(stamps_columns(), values))


def read_stamps(folder: Place) -> StampTable:
    """Read it back; raises ProductMismatch."""
    table = read_table(folder / STAMPS_FILE)
    stats = StampStats(
        table["artefact_fraction"].to_numpy(),
        table["valid_fraction"].to_numpy(),
        table["centre_flags"].to_numpy(),
        table["bands_missing"].to_numpy(),
        {name: table[f"npix_{name}"].to_numpy() for name in flag_names()},
    )
    size = int(table["size"][0].as_py()) if len(table) else 1
    return StampTable(table["objid"].to_numpy(), stats, size)


def part_name(index: int) -> str:
    """File of one shard's answers."""
    return f"part-{index:05d}.parquet"


def part_columns(members: Sequence[str], familiar: Sequence[str] = (), gates: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of one shard's answers, in order: logits of all members, distances of the familiar ones, the gates'."""
    logits = (member_column(name, "logit") for name in members)
    distances = (member_column(name, "distance") for name in familiar)
    return (*SCORE_PART, *logits, *distances, *(member_column(name, GATE) for name in gates))


def write_score_part(
    folder: Place,
    index: int,
    objid: npt.NDArray[np.int64],
    first_row: int,
    answers: MemberAnswers,
    ensemble: Ensemble,
) -> None:
    """Write one shard's logits, distances of members that have a familiarity, and the gates' logits; NaN as null."""
    folder.mkdir(parents=True, exist_ok=True)
    members = ensemble.names
    familiar = [member.name for member in ensemble.members if member.familiarity is not None]
    values = {"objid": objid, "row": np.arange(first_row, first_row + len(objid), dtype=np.int32)}
    values |= {f"logit_{name}": answers.logits[:, column] for column, name in enumerate(members)}
    values |= {f"distance_{name}": answers.distances[:, members.index(name)] for name in familiar}
    gates = ensemble.gates().names if answers.gates is not None else ()
    if answers.gates is not None:
        values |= {f"{GATE}_{name}": answers.gates[:, column] for column, name in enumerate(gates)}
    write_table(folder / part_name(index), build_table(part_columns(members, familiar, gates), values))


def read_score_parts(folder: Place, members: Sequence[str]) -> tuple[npt.NDArray[np.int64], MemberAnswers]:
    """Every part of a field in order of rows: objid (n,) and the members' answers, NaN where null.

    Raises
    ------
    ProductMismatch
        If a part can't be read or lacks a member's logits.
    """
    paths: list[Place] = sorted(folder.glob("part-*.parquet"), key=str)
    tables = each(read_table, paths, folder)
    if not tables:
        return np.empty(0, np.int64), joined_answers((), len(members))
    table = pa.concat_tables(tables)
    lacking = [name for name in members if f"logit_{name}" not in table.column_names]
    if lacking:
        raise ProductMismatch(f"{folder}: no logits of {', '.join(lacking)}; run the scan with them in its ensemble.")
    logits = [_floats(table, f"logit_{name}") for name in members]
    unknown = np.full(len(table), np.nan, np.float32)
    distances = [
        _floats(table, f"distance_{name}") if f"distance_{name}" in table.column_names else unknown for name in members
    ]
    # Columns stand in the order of the gates.
    gates = [_floats(table, name) for name in table.column_names if name.startswith(f"{GATE}_")]
    return table["objid"].to_numpy(), MemberAnswers(
        np.stack(logits, axis=1), np.stack(distances, axis=1), np.stack(gates, axis=1) if gates else None
    )


def write_scored(folder: Place, scored: ScoredRows, config: ScanConfig, ensemble: Ensemble) -> None:
    """Write a field's scores, every row of them, and its candidates."""
    table = scored_table(scored, config.bands, ensemble.names, config.cutouts.keep)
    write_table(folder / SCORES_FILE, table)
    write_table(folder / CANDIDATES_FILE, table.filter(pa.array(scored.is_candidate)))


def scored_table(scored: ScoredRows, bands: tuple[str, ...], members: Sequence[str], keep: str = "all") -> pa.Table:
    """Catalogue rows as the score and candidate tables have them, in order of `_healpix_29` and `objid`.

    `keep` is that of the cutouts: the place of one that does not stay is null.
    """
    detections, origin = scored.detections, scored.origin
    count = len(detections)
    stays = np.full(count, True) if keep == "all" else scored.is_candidate & (keep == "candidates")
    values = {
        "objid": detections.objid,
        "survey": [origin.survey] * count,
        "release": [origin.release] * count,
        "field_id": [origin.field_id] * count,
        "scan_id": [origin.scan_id] * count,
        "ra": detections.ra,
        "dec": detections.dec,
        "score": scored.score,
        "score_std": scored.score_std,
        "ood": scored.ood,
        "gate_score": scored.gate_score,
        "vet_flags": scored.vet_flags,
        "artefact_fraction": scored.artefact_fraction,
        "valid_fraction": scored.valid_fraction,
        "joint_score": scored.maps.joint_score,
        "artefact_overlap": scored.maps.artefact_overlap,
        "lens_ra": scored.maps.lens_ra,
        "lens_dec": scored.maps.lens_dec,
        "arc_area": scored.maps.arc_area,
        "is_primary": scored.is_primary,
        "shard": [shard if there else None for shard, there in zip(scored.shard, stays, strict=True)],
        "row": np.ma.masked_array(scored.row, mask=~stays),
        "_healpix_29": detections.healpix29,
    }
    values |= {f"score_{name}": scored.member_scores[:, column] for column, name in enumerate(members)}
    values |= {f"mag_{band}": detections.mags[:, column] for column, band in enumerate(bands)}
    values |= {f"seeing_{band}": np.full(count, scored.seeing.get(band, np.nan), np.float32) for band in bands}
    parameters = () if scored.parameters is None else catalogue_parameters()
    if scored.parameters is not None:
        given = scored.parameters.columns()
        values |= {column.name: given[column.name] for column in parameters}
    return build_table(scores_columns(members, bands, parameters), values)


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """A nullable float column as float32, NaN where null."""
    values: npt.NDArray[np.float32] = table[name].to_numpy().astype(np.float32)
    return values
