"""Which scan a catalogue is of, so that grades of one are never taken for another's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import pyarrow.dataset as ds

from pipeline.catalogue.sources import open_source
from pipeline.errors import GradeError
from pipeline.io import ownership
from pipeline.io.places import Place


@dataclass(frozen=True)
class CatalogueIdentity:
    """A scan by its names."""

    survey: str
    release: str
    scan_id: str

    def __str__(self) -> str:
        return f"scan {self.scan_id!r} of {self.survey} {self.release}"

    def as_dict(self) -> dict[str, str]:
        """The names by their words."""
        return asdict(self)


def catalogue_identity(catalogue: Place) -> CatalogueIdentity:
    """The scan that a scan's output, or Parquet exported from one, is of.

    Parameters
    ----------
    catalogue : Path or ObjectPath

    Raises
    ------
    GradeError
        If exported Parquet doesn't say, or holds rows of several scans.
    QueryError
        If there is no catalogue.
    """
    if (catalogue / "scan.json").is_file():
        said = ownership.identity(catalogue)
        return CatalogueIdentity(str(said["survey"]), str(said["release"]), str(said["scan_id"]))
    source = open_source(catalogue)
    names = ("survey", "release", "scan_id")
    absent = [name for name in names if name not in source.columns]
    if absent:
        raise GradeError(
            f"{catalogue}: no column {', '.join(absent)} to tell which scan it is of; export it with all columns."
        )
    return _only(catalogue, source.dataset, names)


def grades_folder(catalogue: Place) -> Path:
    """Where a catalogue's grades lie by default: `<its name>-grades` beside it, or here if it is in a store."""
    if isinstance(catalogue, Path):
        whole = catalogue.resolve()
        return whole.with_name(f"{whole.name}-grades")
    return Path(f"{PurePosixPath(str(catalogue)).name}-grades")


def _only(catalogue: Place, dataset: ds.Dataset, names: tuple[str, ...]) -> CatalogueIdentity:
    found: set[tuple[str, ...]] = set()
    for batch in dataset.to_batches(columns=list(names)):
        found |= set(zip(*(batch.column(name).to_pylist() for name in names), strict=True))
        if len(found) > 1:
            listed = ", ".join(sorted(str(scan[2]) for scan in found))
            raise GradeError(f"{catalogue} holds rows of several scans ({listed}); grade each scan by itself.")
    if not found:
        raise GradeError(f"{catalogue} has no row: there is nothing to grade.")
    return CatalogueIdentity(*map(str, found.pop()))
