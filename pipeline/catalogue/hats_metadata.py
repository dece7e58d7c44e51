"""What HATS keeps beside the Parquet files, written by HATS's own tools and judged by HATS's own validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.hats_pixels import ALL_SKY, COUNT_ORDER, Pixels
from pipeline.errors import ConfigError, ProductMismatch

Int64 = npt.NDArray[np.int64]


def check_installed() -> None:
    """See whether the package `hats` is there.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import hats  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"publishing needs the package hats ({error}): run `./install.sh hats` in lensscan's folder."
        ) from error


def margin_order(arcsec: float) -> int:
    """The highest order whose cells are everywhere wider than a margin, as HATS reckons."""
    import hats.pixel_math.healpix_shim as shapes

    return int(shapes.margin2order(arcsec / 60))


def write_catalogue_metadata(
    catalogue: Path,
    name: str,
    schema: pa.Schema,
    pixels: Pixels,
    *,
    rows: int,
    most: int,
    cells: tuple[Int64, Int64],
    said: Mapping[str, Any],
) -> None:
    """Properties, partitions, footers, thumbnail and the map of rows (HATS's MOC) of a catalogue whose files are there.

    Parameters
    ----------
    catalogue : Path
    name : str
    schema : pyarrow.Schema
    pixels : Pixels
    rows, most : int
        In all partitions, and in the largest.
    cells : (int64 (n,), int64 (n,))
        Cells of `COUNT_ORDER` with rows, and how many.
    said : mapping
        Further properties.
    """
    from hats.io.file_io import write_fits_image
    from hats.io.paths import get_point_map_file_pointer
    from hats.io.skymap import write_skymap

    sky = np.zeros(ALL_SKY << (2 * COUNT_ORDER), np.int64)
    sky[cells[0]] = cells[1]
    write_fits_image(sky, get_point_map_file_pointer(catalogue))
    write_skymap(sky, catalogue)
    _write_footers(catalogue, schema, pixels)
    _write_properties(
        catalogue,
        pixels,
        catalog_name=name,
        catalog_type="object",
        total_rows=rows,
        hats_max_rows=most,
        skymap_order=COUNT_ORDER,
        **said,
    )


def write_margin_metadata(
    margin: Path,
    name: str,
    schema: pa.Schema,
    pixels: Pixels,
    *,
    rows: int,
    most: int,
    primary: str,
    arcsec: float,
    said: Mapping[str, Any],
) -> None:
    """The same of the margin cache of the catalogue `primary`; it has no map."""
    _write_footers(margin, schema, pixels)
    _write_properties(
        margin,
        pixels,
        catalog_name=name,
        catalog_type="margin",
        total_rows=rows,
        hats_max_rows=most,
        primary_catalog=primary,
        margin_threshold=arcsec,
        **said,
    )


def write_collection(folder: Path, name: str, margin: str, said: Mapping[str, Any]) -> None:
    """Say that a folder is a catalogue with a margin cache."""
    from hats.catalog.dataset.collection_properties import CollectionProperties

    CollectionProperties(
        obs_collection=name,
        hats_primary_table_url=name,
        all_margins=[margin],
        default_margin=margin,
        **_provenance(folder),
        **said,
    ).to_properties_file(folder)


def validate(folder: Path) -> None:
    """Have HATS look at a collection as strictly as it can.

    Raises
    ------
    ProductMismatch
        With what it said, if it does not accept it.
    """
    from hats.io.validation import is_valid_collection

    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                said.append(record.getMessage())

    listener, root = Listener(), logging.getLogger()
    root.addHandler(listener)
    try:
        valid = is_valid_collection(folder, strict=True)
    finally:
        root.removeHandler(listener)
    if not valid:
        raise ProductMismatch(f"HATS does not accept what was written: {'; '.join(said)}. Nothing is published.")


def _write_footers(catalogue: Path, schema: pa.Schema, pixels: Pixels) -> None:
    from hats.catalog import PartitionInfo
    from hats.io import write_parquet_metadata
    from hats.pixel_math import HealpixPixel

    listed = [HealpixPixel(int(order), int(pixel)) for order, pixel in zip(pixels.order, pixels.pixel, strict=True)]
    (catalogue / "dataset").mkdir(parents=True, exist_ok=True)
    PartitionInfo(listed).write_to_file(catalogue / "partition_info.csv")
    if len(pixels):
        write_parquet_metadata(
            catalogue, create_thumbnail=True, thumbnail_threshold=len(pixels), create_per_partition_stats=True
        )
        return
    for name in ("_metadata", "_common_metadata"):
        pq.write_metadata(schema, catalogue / "dataset" / name)


def _write_properties(catalogue: Path, pixels: Pixels, **properties: Any) -> None:
    from hats.catalog import TableProperties

    area = float((4.0 ** -pixels.order.astype(np.float64)).sum() / ALL_SKY)
    TableProperties(
        ra_column="ra",
        dec_column="dec",
        healpix_column="_healpix_29",
        healpix_order=29,
        hats_order=int(pixels.order.max(initial=0)),
        moc_sky_fraction=float(f"{area:.5g}"),
        **_provenance(catalogue),
        **properties,
    ).to_properties_file(catalogue)


def _provenance(folder: Path) -> dict[str, Any]:
    from hats.catalog import HatsProperties

    from pipeline.provenance import software

    made: dict[str, Any] = HatsProperties.new_provenance_dict(folder, builder=f"lensscan v{software()['version']}")
    return made
