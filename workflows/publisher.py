"""Begins and publishes the products of one field, and remembers which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.io import products
from pipeline.io.places import Place


class Publisher:
    """The products of one field in one task.

    Parameters
    ----------
    output : Path or ObjectPath
    field_id : str
    wanted : mapping
        Stage -> fingerprint.
    provenance : mapping
        What every manifest carries.
    empty : bool
        Whether the field has no coverage.
    """

    def __init__(
        self,
        output: Place,
        field_id: str,
        wanted: Mapping[str, str],
        provenance: Mapping[str, Any],
        *,
        empty: bool = False,
    ) -> None:
        self._output = output
        self._field_id = field_id
        self._wanted = wanted
        self._provenance = provenance
        self._empty = empty
        self._generation: dict[str, str] = {}
        self.wrote: list[str] = []
        self.bytes = 0
        """Size of what was published."""

    def begin(self, stage: str, suffix: str = "") -> Place:
        """Make and give the folder of a new generation of a stage."""
        name = products.new_generation(self._output, stage, self._field_id, self._wanted[stage], suffix)
        return self.go_on(stage, name)

    def go_on(self, stage: str, generation: str) -> Place:
        """Take up a generation that earlier tasks have written to, and give its folder."""
        self._generation[stage] = generation
        folder = self._output / products.generation_place(stage, self._field_id, generation)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(
        self,
        stage: str,
        rows: int,
        counts: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
        *,
        amend: bool = False,
    ) -> None:
        """Make the generation begun live; one that amends what this or another task wrote is no further stage."""
        manifest = products.publish(
            self._output,
            field_id=self._field_id,
            stage=stage,
            fingerprint=self._wanted[stage],
            generation=self._generation[stage],
            rows=rows,
            provenance=self._provenance,
            empty=self._empty,
            counts=counts,
            notes=notes,
            amend=amend,
        )
        if not amend:
            self.wrote.append(stage)
        self.bytes += sum(manifest.files.values())
