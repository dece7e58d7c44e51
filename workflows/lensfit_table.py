"""Lens parameters of catalogue rows as tables: one row an object and method, and samples beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.io.tables import build_table
from pipeline.models.posterior import Posterior
from pipeline.schema import arrow_schema
from pipeline.schema_lenses import TRUSTED, lensfit_columns, parameter_names, sample_columns

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """Lens parameters of some rows of a catalogue, by one method.

    Attributes
    ----------
    rows : mapping
        Columns `objid`, `field_id`, `ra`, `dec` and `score`, n values each.
    method : str
        "network", "map" or "nuts".
    posterior : Posterior
        Of n objects; NaN where there is none.
    trusted : bool (n,)
    """

    rows: Mapping[str, npt.NDArray[Any]]
    method: str
    posterior: Posterior
    trusted: npt.NDArray[np.bool_]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which of the rows (n,) have parameters."""
        return np.asarray(np.isfinite(self.posterior.samples).all(axis=(1, 2)), np.bool_)

    def table(self) -> pa.Table:
        """One row an object, null where it has no parameters."""
        values: dict[str, Any] = {name: list(column) if name == "field_id" else column for name, column in self._rows()}
        mean, std = self.posterior.mean, self.posterior.std
        for number, name in enumerate(parameter_names()):
            values |= {name: mean[:, number], f"{name}_std": std[:, number]}
        values[TRUSTED.name] = np.ma.masked_array(self.trusted, mask=~self.known)
        return build_table(lensfit_columns(), values)

    def samples(self) -> pa.Table:
        """The samples of the objects that have any."""
        chosen = np.flatnonzero(self.known)
        drawn = self.posterior.samples[chosen]
        values: dict[str, Any] = {name: column[chosen] for name, column in self._rows()}
        ends = np.arange(len(chosen) + 1, dtype=np.int32) * drawn.shape[1]
        for number, name in enumerate(parameter_names()):
            flat = pa.array(np.ascontiguousarray(drawn[:, :, number]).ravel(), pa.float32())
            values[name] = pa.ListArray.from_arrays(pa.array(ends), flat)
        schema = arrow_schema(sample_columns())
        return pa.table({field.name: _array(values[field.name], field.type) for field in schema}, schema=schema)

    def _rows(self) -> list[tuple[str, npt.NDArray[Any]]]:
        return [*self.rows.items(), ("method", np.full(len(self.trusted), self.method, object))]


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    """As the schema has it, with text that repeats as a dictionary."""
    if isinstance(values, pa.Array):
        return values
    plain = pa.array(values.tolist() if values.dtype == object else values)
    return plain.cast(pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)
