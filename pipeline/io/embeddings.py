"""The file `embeddings.parquet` of a field: what one network made of each stamp, a vector a row, in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ProductMismatch
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.tables import ROW_GROUP
from pipeline.io.writing import atomic_write
from pipeline.schema import EMBEDDING, arrow_schema, embedding_columns

EMBEDDINGS_FILE = "embeddings.parquet"

Float16 = npt.NDArray[np.float16]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddingKind:
    """What vectors are of. Those of one `identity` can be compared, whatever fields they stand in.

    Attributes
    ----------
    member : str
        Whose network made them.
    identity : str
        Hash of network, weights, grid, bands and normalisation.
    of : str
        Whose they are: "candidates" or "all" detections that are scored.
    """

    member: str
    identity: str
    of: str


@dataclass(frozen=True)
class Embeddings:
    """Vectors of some detections, in the order of their table.

    Attributes
    ----------
    kind : EmbeddingKind
    objid : int64 (n,)
    vectors : float16 (n, d)
        NaN throughout where there is none.
    """

    kind: EmbeddingKind
    objid: Int64
    vectors: Float16


def write_embeddings(path: Place, embeddings: Embeddings) -> None:
    """Write vectors as Parquet, all of it or nothing; the same rows give the same bytes.

    Parameters
    ----------
    path : Path or ObjectPath
    embeddings : Embeddings
        A row with a NaN becomes null.

    Raises
    ------
    ValueError
        If ids and vectors are not equally many.
    """
    vectors = np.ascontiguousarray(embeddings.vectors)
    if len(vectors) != len(embeddings.objid):
        raise ValueError(f"{len(vectors)} vectors of {len(embeddings.objid)} detections")
    width = vectors.shape[1]
    kind = embeddings.kind
    schema = arrow_schema(embedding_columns(width)).with_metadata(
        {"member": kind.member, "identity": kind.identity, "of": kind.of}
    )
    missing = pa.array(np.isnan(vectors).any(axis=1))
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field(EMBEDDING).type, mask=missing)
    table = pa.Table.from_arrays([pa.array(embeddings.objid), rows], schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=ROW_GROUP,
        version="2.6",
        use_dictionary=False,
        use_byte_stream_split=[f"{EMBEDDING}.list.element"],
    )
    atomic_write(path, sink.getvalue().to_pybytes())


class EmbeddingFile:
    """An open file of vectors, of which a block of rows is in memory at a time.

    Parameters
    ----------
    path : Path or ObjectPath

    Raises
    ------
    ProductMismatch
        If the file is missing or unreadable, or is no file of vectors.
    StoreUnavailable
        If an object store does not give it.
    """

    def __init__(self, path: Place) -> None:
        self._path = path
        try:
            source = pa.BufferReader(path.read_bytes()) if isinstance(path, ObjectPath) else path
            self._file = pq.ParquetFile(source, memory_map=False)
            schema = self._file.schema_arrow
        except StoreUnavailable:
            raise
        except (OSError, pa.ArrowException) as error:
            raise self._broken(str(error)) from error
        told = {
            key.decode(): value.decode() for key, value in (schema.metadata or {}).items() if key != b"ARROW:schema"
        }
        at = schema.get_field_index(EMBEDDING)
        kind = schema.field(at).type if at >= 0 else pa.null()
        fit = pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float16() and "objid" in schema.names
        if not fit or not {"member", "identity", "of"} <= told.keys():
            raise self._broken(f"it has columns {', '.join(schema.names)}")
        self.width: int = kind.list_size
        self.kind = EmbeddingKind(told["member"], told["identity"], told["of"])
        self.rows: int = self._file.metadata.num_rows

    def blocks(self) -> Iterator[tuple[int, Int64, Float16]]:
        """The rows in order, some at a time: number of the first, objid (n,), vectors (n, d), NaN where null."""
        first = 0
        try:
            for batch in self._file.iter_batches(batch_size=ROW_GROUP, columns=["objid", EMBEDDING]):
                column = batch.column(EMBEDDING)
                vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.width)
                if column.null_count:
                    known, there = column.is_valid().to_numpy(zero_copy_only=False), vectors
                    vectors = np.full((len(batch), self.width), np.nan, np.float16)
                    vectors[known] = there
                yield first, batch.column("objid").to_numpy(), vectors
                first += len(batch)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._broken(str(error)) from error

    def objid(self) -> Int64:
        """Ids of all rows, in order."""
        try:
            ids: Int64 = self._file.read(columns=["objid"])["objid"].to_numpy()
        except (OSError, pa.ArrowException) as error:
            raise self._broken(str(error)) from error
        return ids

    def whole(self) -> Embeddings:
        """All rows."""
        parts = [vectors for _, _, vectors in self.blocks()]
        none = np.empty((0, self.width), np.float16)
        return Embeddings(self.kind, self.objid(), np.concatenate([none, *parts]))

    def _broken(self, why: str) -> ProductMismatch:
        return ProductMismatch(f"{self._path}: not a readable file of embeddings ({why}); rerun its field.")
