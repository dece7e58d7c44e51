"""Begins and publishes the products of one field, and remembers which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.io import products
from pipeline.io.places import Place, place
from workflows.job import Job


class Publisher:
    """The products of one field in one task.

    Parameters
    ----------
    job : Job
        Its output gets the products, as long as its lease holds.
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
        job: Job,
        field_id: str,
        wanted: Mapping[str, str],
        provenance: Mapping[str, Any],
        *,
        empty: bool = False,
    ) -> None:
        self._output = place(job.output)
        self._lease = job.lease
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
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the generation begun live; one that amends what a task wrote before is no further stage.

        `about` goes into the manifest's provenance beside what every manifest carries.

        Raises
        ------
        LeaseLost
            If the task works for a process that no longer holds the output.
        """
        self._check()
        manifest = products.publish(
            self._output,
            field_id=self._field_id,
            stage=stage,
            fingerprint=self._wanted[stage],
            generation=self._generation[stage],
            rows=rows,
            provenance={**self._provenance, **(about or {})},
            empty=self._empty,
            counts=counts,
            notes=notes,
            amend=amend,
        )
        if not amend:
            self.wrote.append(stage)
        self.bytes += sum(manifest.files.values())

    def sweep(self, stages: tuple[str, ...]) -> None:
        """Remove what is superseded of the field's products; raises LeaseLost as `publish`."""
        self._check()
        products.sweep(self._output, self._field_id, stages)

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()
