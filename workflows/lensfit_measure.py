"""Lens parameters of a scan's rows, by the network and, where it is asked for, by fits that start from what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.io import products
from pipeline.io.cutout_store import Stamps
from pipeline.io.places import Place
from pipeline.models.fitter import Fitter
from pipeline.scan.parameters import fit_cutouts
from pipeline.scan.score import choose_device
from pipeline.scan_config import ScoreConfig, VetConfig
from workflows.lensfit_stamps import FieldStamps, field_stamps
from workflows.lensfit_table import Parameters
from workflows.setup import ScanSetup

if TYPE_CHECKING:
    from workflows.lensfit_classical import Classical

Rows = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Asked:
    """Rows of a catalogue, best first."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def by_field(self) -> Iterator[tuple[str, Rows]]:
        """Each field with columns of its rows, in order of the fields' names."""
        columns = {name: self.table[name].to_numpy(zero_copy_only=False) for name in self.table.column_names}
        names = np.asarray(self.table["field_id"].to_pylist(), object)
        columns["field_id"] = names
        for field_id in sorted(set(names)):
            yield field_id, {name: values[names == field_id] for name, values in columns.items()}


def in_order(tables: Sequence[pa.Table], asked: Asked) -> pa.Table:
    """One table of many, in the order in which the rows were asked for; what the network says of a row first."""
    whole = pa.concat_tables([table.unify_dictionaries() for table in tables]).combine_chunks()
    fields, ids = asked.table["field_id"].to_pylist(), asked.table["objid"].to_pylist()
    place = {key: number for number, key in enumerate(zip(fields, ids, strict=True))}
    keys = zip(whole["field_id"].to_pylist(), whole["objid"].to_pylist(), strict=True)
    order = np.lexsort(([method != "network" for method in whole["method"].to_pylist()], [place[key] for key in keys]))
    return whole.take(pa.array(order))


class Measuring:
    """Measures rows field by field, and counts.

    Parameters
    ----------
    fitter : Fitter
        The network.
    classical : Classical or None
        What fits and draws each object, from the network's posterior.

    Attributes
    ----------
    seconds : float
        That the network took.
    """

    def __init__(self, fitter: Fitter, classical: Classical | None = None) -> None:
        self._fitter, self._classical = fitter, classical
        self.seconds = 0.0

    @property
    def pictures(self) -> int:
        """How many were drawn."""
        return 0 if self._classical is None else self._classical.drawn

    def all(
        self, scanned: Place, asked: Asked, setup: ScanSetup | None, tell: Callable[[int], None]
    ) -> Iterator[Parameters]:
        """What is found of some rows at a time; `tell` hears how many are done.

        Raises
        ------
        ConfigError, ProductMismatch
            As `field_stamps`.
        ModelMismatch
            If the package can't read the bands.
        """
        done = 0
        for field_id, rows in asked.by_field():
            stamps = field_stamps(scanned, field_id, rows["objid"].tolist(), setup)
            score, vet = _asked_of(scanned, field_id)
            for mine, cutouts in stamps.shards():
                here = {name: values[mine] for name, values in rows.items()}
                found = self._ask(stamps, cutouts, here, score, vet)
                yield found
                fits = None if self._classical is None else self._classical.all(stamps, cutouts, found)
                if fits is not None:
                    yield fits
                done += len(mine)
                tell(done)

    def _ask(self, stamps: FieldStamps, cutouts: Stamps, rows: Rows, score: ScoreConfig, vet: VetConfig) -> Parameters:
        began = time.perf_counter()
        found = fit_cutouts(
            cutouts.image,
            cutouts.ivar,
            cutouts.mask,
            pixel_scale=stamps.pixel_scale,
            bands=stamps.bands,
            fitter=self._fitter,
            config=score,
            device=str(choose_device("auto")),
        )
        self.seconds += time.perf_counter() - began
        trusted = found.trusted(vet.unfamiliar_share, self._fitter.config)
        return Parameters(rows, "network", found.posterior, trusted)


def _asked_of(scanned: Place, field_id: str) -> tuple[ScoreConfig, VetConfig]:
    """How a field's scan decided which stamps can be scored, and which are strange."""
    manifest = products.live_manifest(scanned, field_id, "candidates")
    given = {} if manifest is None else manifest.provenance.get("config") or {}
    return ScoreConfig.model_validate(given.get("score", {})), VetConfig.model_validate(given.get("vet", {}))
