"""A scan's output made by hand: candidates with scores and cutouts, without a pipeline having run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.flags import PixelFlag
from pipeline.io import cutout_store, ownership, products
from pipeline.io.embeddings import EmbeddingKind, Embeddings, write_embeddings
from pipeline.io.tables import write_table
from tests.catalogue.conftest import make_table

BANDS = ("g", "r", "i")
PIXEL_SCALE = 0.25


def made_scan(
    output: Path,
    fields: Sequence[str] = ("A/1", "B"),
    each: int = 30,
    *,
    size: int = 32,
    kept: int | None = None,
    embedded: bool = False,
    later_flags: bool = False,
) -> Path:
    """`each` candidates a field, of falling scores: red galaxies, every third with a blue arc, every fifth masked.

    With `later_flags` all have a vet flag that this version does not know.
    """
    rng = np.random.default_rng(4)
    for number, field_id in enumerate(fields):
        objid = 2**53 + 1 + np.arange(each) + 10_000_000 * number
        ra, dec = 150 + 0.002 * np.arange(each) + number, 2 + 0.001 * (np.arange(each) % 17)
        score = np.linspace(0.99, 0.01, each) - 0.003 * number
        flags = np.where(np.arange(each) % 5 == 0, 2, 0) | (1 << 27 if later_flags else 0)
        table = make_table(field_id, objid.tolist(), ra.tolist(), dec.tolist(), score.tolist(), flags.tolist())
        if kept is not None:
            row = table.schema.get_field_index("row")
            values = [value if value < kept else None for value in table["row"].to_pylist()]
            table = table.set_column(row, table.schema.field(row), pa.array(values, pa.int32()))
        _publish_candidates(output, field_id, table, _embeddings(rng, objid, table) if embedded else None)
        _publish_cutouts(output, field_id, objid, _images(rng, each, size), kept)
    return output


def _embeddings(rng: np.random.Generator, objid: npt.NDArray[np.int64], table: pa.Table) -> Embeddings:
    """Those with an arc point one way, the others another."""
    way = np.where((np.arange(len(objid)) % 3 == 0)[:, None], [1.0, 0, 0, 0], [0, 1.0, 0, 0])
    vectors = way + rng.uniform(0, 0.1, way.shape)
    rows = table["objid"].to_numpy()
    ordered = vectors[np.searchsorted(objid, rows)]
    return Embeddings(EmbeddingKind("cnn", "identity", "candidates"), rows, ordered.astype(np.float16))


def cut_again(output: Path, field_id: str, objid: npt.NDArray[np.int64], *, size: int = 32) -> None:
    """New cutouts of a field's objects, in the order given; the ones before are removed."""
    before = products.live_manifest(output, field_id, "cutouts")
    if before is not None:
        (output / before.place).mkdir(parents=True, exist_ok=True)  # its name is taken, removed or not
    _publish_cutouts(output, field_id, objid, _images(np.random.default_rng(9), len(objid), size), None)
    products.sweep(output, field_id, ("cutouts",))


def _publish_candidates(output: Path, field_id: str, table: pa.Table, embeddings: Embeddings | None) -> None:
    if not (output / "scan.json").is_file():
        ownership.claim(output, "test", "sky", "dr1")
    generation = products.new_generation(output, "candidates", field_id, "f1")
    folder = output / products.generation_place("candidates", field_id, generation)
    write_table(folder / "scores.parquet", table)
    write_table(folder / "candidates.parquet", table)
    if embeddings is not None:
        write_embeddings(folder / "embeddings.parquet", embeddings)
    products.publish(
        output, field_id=field_id, stage="candidates", fingerprint="f1", generation=generation, rows=len(table),
        provenance={}, counts={"detections": len(table), "candidates": len(table)},
    )  # fmt: skip


def _images(rng: np.random.Generator, each: int, size: int) -> npt.NDArray[np.float32]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    galaxy = np.exp(-radius / 3)
    arc = np.exp(-(((radius - size / 4) / 1.2) ** 2)) * (np.cos(angle - 0.6) > 0.3)
    red, blue = np.array([1.0, 2.5, 4.0]), np.array([1.2, 0.9, 0.7])
    image = rng.normal(0, 0.05, (each, 3, size, size))
    image += galaxy * red[:, None, None]
    image[::3] += arc * blue[:, None, None]
    return image.astype(np.float32)


def _publish_cutouts(
    output: Path, field_id: str, objid: npt.NDArray[np.int64], image: npt.NDArray[np.float32], kept: int | None
) -> None:
    each, size = len(image), image.shape[-1]
    mask = np.zeros(image.shape, np.uint32)
    mask[::5, :, :, : size // 4] = int(PixelFlag.CHIP_GAP)
    generation = products.new_generation(output, "cutouts", field_id, "cut")
    folder = output / products.generation_place("cutouts", field_id, generation)
    rows = None if kept is None else list(range(min(kept, each)))
    store = cutout_store.create(
        folder, bands=BANDS, pixel_scale=PIXEL_SCALE, rows=each, size=size, chunk=1, shard=each, codec="lz4",
        seeing={"r": 0.8}, kept=rows,
    )  # fmt: skip
    stamps = cutout_store.Stamps(image, np.full(image.shape, 400, np.float32), mask)
    if rows is None:
        cutout_store.write(store, [stamps])
    else:
        cutout_store.write_kept(store, [(0, cutout_store.pack(stamps, False))])
    write_table(folder / "stamps.parquet", pa.table({"objid": objid}))
    products.publish(
        output, field_id=field_id, stage="cutouts", fingerprint="cut", generation=generation, rows=each, provenance={}
    )
