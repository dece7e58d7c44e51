"""Another ensemble for a scan that is done: only its candidates are made again, from the logits that are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.purity import PurityRow, expected_purity
from pipeline.config import find
from pipeline.errors import ModelMismatch, ProductMismatch
from pipeline.io import ownership, products
from pipeline.io.places import Place
from pipeline.io.tables import read_table
from pipeline.models.ensemble import Ensemble
from pipeline.scan_config import load_scan
from workflows import field_tables
from workflows.results import Failure
from workflows.run import run_candidates
from workflows.setup import open_scan


@dataclass(frozen=True)
class RecombineOutcome:
    """What was made again.

    Attributes
    ----------
    fields : int
        Whose candidates are by the ensemble now.
    ran : int
        Of them, made again by this call.
    waiting : tuple of str
        Fields that need a scan first: nothing of theirs was touched.
    failures : tuple of Failure
    candidates : int
    purity : tuple of PurityRow
        Of the primary rows.
    output : str
    """

    fields: int
    ran: int
    waiting: tuple[str, ...]
    failures: tuple[Failure, ...]
    candidates: int
    purity: tuple[PurityRow, ...]
    output: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def recombine(
    scan: str, ensemble: str, *, prior: float | None = None, out: Path | None = None, quiet: bool = False
) -> RecombineOutcome:
    """Make the candidates and scores of a scan again by another ensemble of the same members.

    Masks, detections, cutouts and logits keep their bytes; candidates get new generations and manifests, as from any
    scan. The scan's config still names the old ensemble, and a later `lensscan scan` goes back to it: to stay with the
    new one, name it there.

    Parameters
    ----------
    scan : str
        Path of a scan TOML, or the name of a shipped one.
    ensemble : str
        Path of an ensemble TOML, or the name of a shipped one; its members are those of the scan, in their order.
    prior : float, optional
        Share of lenses among the detections; the config's if None.
    out : Path, optional
        The scan's output, instead of its config's.
    quiet : bool
        Show no progress.

    Raises
    ------
    ConfigError
        If the prior or a file is wrong.
    ProductMismatch
        If no field has logits of these members under this config.
    """
    setup = open_scan(scan, None if out is None else str(out), ensemble=ensemble, prior=prior)
    made = run_candidates(setup, quiet=quiet)
    return RecombineOutcome(
        fields=made.summary.done + made.summary.empty,
        ran=made.summary.ran,
        waiting=made.waiting,
        failures=made.failures,
        candidates=made.summary.candidates,
        purity=expected_purity(_primary_scores(setup.output)),
        output=str(setup.output),
    )


def scan_output(reference: str) -> Path:
    """The output of a scan: the folder itself, or what a scan's config names; raises ConfigError."""
    if Path(reference).is_dir():
        return Path(reference)
    return Path(load_scan(find(reference, "scans"))[0].output).expanduser()


def scan_logits(output: Place, ensemble: Ensemble) -> npt.NDArray[np.float32]:
    """Logits (n, members) of every detection of a scan that is scored; NaN where not scorable.

    Raises
    ------
    ProductMismatch
        If the folder is no scan's output, no field of it is scored, or one was scored behind gates.
    ModelMismatch
        If the scores are of other members or weights.
    """
    ownership.identity(output)
    parts = []
    for field_id in sorted(products.listing(output)):
        manifest = products.live_manifest(output, field_id, "score")
        if manifest is None:
            continue
        packages, wanted = manifest.provenance.get("packages", {}), ensemble.package_digests()
        strange = [name for name, digest in wanted.items() if packages.get(name) != digest]
        if strange:
            raise ModelMismatch(
                f"{output}: field {field_id} was scored by {', '.join(packages) or 'nobody'}, not by these weights of "
                f"{', '.join(strange)}; run the scan with this ensemble first."
            )
        answers = field_tables.read_score_parts(output / manifest.place, ensemble.names)[1]
        if answers.gates is not None:
            raise ProductMismatch(
                f"{output}: field {field_id} was scored behind gates, so that most detections have no logits; run the "
                "scan into another output with score.cascade = false first."
            )
        parts.append(answers.logits)
    if not parts:
        raise ProductMismatch(f"{output}: no field is scored; run `lensscan scan` with an ensemble first.")
    return np.concatenate(parts)


def _primary_scores(output: Place) -> Iterator[npt.NDArray[np.float32]]:
    for path in products.live_files(output, "candidates", field_tables.SCORES_FILE).values():
        table = read_table(path)
        yield table.filter(table["is_primary"])["score"].to_numpy()
