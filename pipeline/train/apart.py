"""That training and validation share nothing: no stamp, no source galaxy, no place on the sky."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.spatial import cKDTree

from pipeline.errors import ConfigError
from pipeline.geometry import unit_vectors
from pipeline.train.data_config import AnySource, DataConfig, GradedConfig, PoolsConfig
from pipeline.train.held import Stamps
from pipeline.train.sources.graded import graded_positions
from pipeline.train.truth import read_truth

_SAME_PLACE = 1.0
"""Arcsec within which two positions are one object."""


def check_apart(config: DataConfig, stamps: Stamps, validation: Stamps) -> None:
    """Refuse a validation that holds what was trained on.

    Parameters
    ----------
    config : DataConfig
        Its pools' truth columns `source_id` (negative: none) and `ra`, `dec` are read, where they have them, and
        the positions of graded objects.
    stamps, validation : Stamps
        What was read for it.

    Raises
    ------
    ConfigError
        If a stamp is in both, to the pixel; or, unless `shared_sources` allows it, a lensed galaxy or a place
        on the sky is.
    """
    pairs = shared_stamps(stamps, validation)
    if len(pairs):
        raise ConfigError(
            f"data.validation: {len(pairs):,} of its {len(validation):,} stamps are in data.train too, to the pixel "
            f"(number {pairs[0, 1]} is number {pairs[0, 0]} there); give a validation of another seed or part."
        )
    if config.shared_sources == "allow":
        return
    first, second = (_truth(sources, stamps.bands) for sources in (config.train, config.validation))
    if first is None or second is None:
        return
    again = 'give both a split or part of their own ("train", "validation"), or set data.shared_sources = "allow"'
    galaxies = shared_sources(first, second)
    if galaxies.size:
        listed = ", ".join(map(str, galaxies[:5].tolist()))
        raise ConfigError(f"data: {galaxies.size} galaxies are lensed in train and validation ({listed}); {again}.")
    places = shared_places(first, second, _SAME_PLACE)
    if places.size:
        at = f"ra {second['ra'][int(places[0])]}, dec {second['dec'][int(places[0])]}"
        raise ConfigError(
            f"data: {places.size} validation stamps lie where a training stamp does (the first at {at}); {again}."
        )


def shared_stamps(first: Stamps, second: Stamps) -> npt.NDArray[np.int64]:
    """Pairs (row of the first, row of the second), (k, 2), of stamps that are the same to the pixel."""
    known = {digest: row for row, digest in enumerate(_pixel_digests(first))}
    pairs = [(known[digest], row) for row, digest in enumerate(_pixel_digests(second)) if digest in known]
    return np.array(pairs, np.int64).reshape(-1, 2)


def shared_sources(first: pa.Table, second: pa.Table) -> npt.NDArray[np.int64]:
    """Values of `source_id` that two truth tables share, sorted; negative and missing ones are no galaxy's."""
    ids: list[npt.NDArray[np.int64]] = []
    for table in (first, second):
        if "source_id" not in table.column_names:
            return np.empty(0, np.int64)
        values = table["source_id"].drop_null().to_numpy()
        ids.append(np.unique(values[values >= 0]))
    both: npt.NDArray[np.int64] = np.intersect1d(ids[0], ids[1]).astype(np.int64)
    return both


def shared_places(first: pa.Table, second: pa.Table, radius: float) -> npt.NDArray[np.int64]:
    """Rows of the second truth table within `radius` (arcsec) of a row of the first by `ra`, `dec` (ICRS degrees)."""
    vectors, rows = [], np.empty(0, np.int64)
    for table in (first, second):
        if not {"ra", "dec"} <= set(table.column_names):
            return np.empty(0, np.int64)
        ra, dec = (table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("ra", "dec"))
        rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        if not rows.size:
            return rows
        vectors.append(unit_vectors(ra[rows], dec[rows]))
    reach = 2 * np.sin(np.radians(radius / 3600) / 2)
    distance, _ = cKDTree(vectors[0]).query(vectors[1], distance_upper_bound=reach)
    near: npt.NDArray[np.int64] = rows[np.isfinite(distance)]
    return near


def _truth(sources: tuple[AnySource, ...], bands: tuple[str, ...]) -> pa.Table | None:
    """Truth of the pools among the sources, as far as their own limits go (all of a pool limited by class), and where
    graded objects lie.
    """
    pools = [source for source in sources if isinstance(source, PoolsConfig)]
    tables = [read_truth([pool.pattern], None if pool.by_class else pool.limit) for pool in pools]
    for source in sources:
        if isinstance(source, GradedConfig):
            ra, dec = graded_positions(source, bands)
            tables.append(pa.table({"ra": ra, "dec": dec}))
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _pixel_digests(stamps: Stamps) -> list[bytes]:
    digests = []
    for row in range(len(stamps)):
        digest = hashlib.blake2b(np.ascontiguousarray(stamps.image[row]).data, digest_size=16)
        if stamps.scale is not None:
            digest.update(stamps.scale[row].data)
        digests.append(digest.digest())
    return digests
