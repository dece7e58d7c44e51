"""Why a row of one scan differs from that of another: what the rows, their logits and the manifests can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from pipeline.catalogue.field_rows import FieldRows, read_some
from pipeline.catalogue.scan_diff_changes import FieldChanges
from pipeline.catalogue.scan_diff_rows import Bools, Floats, Ints, Pairs, Side, aligned, at, table_columns
from pipeline.flags import VetFlag
from pipeline.io.places import Place, each

LOGIT_TOLERANCE = 1e-5
"""Change of a logit that counts: far less than what moves a score by the tolerance of scores, so that no score is put
down to its calibration whose logits moved."""


class Reason(IntFlag):
    """Causes of a difference; several where they can't be told apart, or each has a part in it."""

    WEIGHTS = 1 << 0
    MEMBERS = 1 << 1
    MASK = 1 << 2
    CUTOUTS = 1 << 3
    SCORING = 1 << 4
    GATE = 1 << 5
    CALIBRATION = 1 << 6
    PRIOR = 1 << 7
    FLOOR = 1 << 8
    DETECTION = 1 << 9
    COVERAGE = 1 << 10
    VETTING = 1 << 11
    UNKNOWN = 1 << 12


MEANINGS: Mapping[Reason, str] = {
    Reason.WEIGHTS: "a member whose logit moved has other weights",
    Reason.MEMBERS: "the ensembles have other members",
    Reason.MASK: "other pixels of the stamp are flagged, or the detection came or went with the masks",
    Reason.CUTOUTS: "the stamp is another one: its size, its place, or the survey's pixels",
    Reason.SCORING: "same weights and stamp, other logits: views, precision, back end or device",
    Reason.GATE: "a gate of the cascade stopped it in one scan",
    Reason.CALIBRATION: "same logits, other probability: calibration or rule of the ensemble",
    Reason.PRIOR: "the prior, by which the score moved as far as it says",
    Reason.FLOOR: "the score is the same, what makes a candidate is not",
    Reason.DETECTION: "only one scan has a detection there",
    Reason.COVERAGE: "the field has no coverage in one scan",
    Reason.VETTING: "the score is the same, the rules of vetting are not",
    Reason.UNKNOWN: "what there is does not tell",
}

_MASK_FLAGS = (
    VetFlag.CENTRE_MASKED
    | VetFlag.CHIP_GAP_CROSSES
    | VetFlag.TRAIL_CROSSES
    | VetFlag.PARTIAL_COVERAGE
    | VetFlag.MISSING_BAND
    | VetFlag.BRIGHT_STAR
    | VetFlag.SEAM
)
"""Vet flags that rest on the mask alone."""


@dataclass(frozen=True)
class Evidence:
    """What is known of pairs of rows beside their scores; n pairs, NaN and False where a side has no row.

    Attributes
    ----------
    moved : bool (n, members) or None
        Whose logits moved, of the members that both have; None where a side has no logits.
    members : tuple of str
        Those members.
    mask, place : bool (n,)
        Whether the stamp's flagged pixels differ, and whether it was taken at another pixel.
    """

    moved: Bools | None
    members: tuple[str, ...]
    mask: Bools
    place: Bools


def evidence(
    outputs: tuple[Place, Place],
    fields: tuple[FieldRows, FieldRows],
    sides: tuple[Side, Side],
    pairs: Pairs,
    changes: FieldChanges,
) -> Evidence:
    """Compare logits, stamps and pixels of a field's rows in two scans, as far as fingerprints leave it open.

    Raises
    ------
    ProductMismatch
        If a product can't be read.
    """
    members = tuple(name for name in sides[0].members if name in sides[1].members)
    objid = [at(side.objid, rows, 0) for side, rows in zip(sides, (pairs.first, pairs.second), strict=True)]
    both = pairs.both
    fractions = [at(side.fractions, rows, np.nan) for side, rows in _with_rows(sides, pairs)]
    mask = both & _differ(fractions[0], fractions[1], 1e-6)
    mask |= both & (((at(sides[0].flags, pairs.first, 0) ^ at(sides[1].flags, pairs.second, 0)) & _MASK_FLAGS) != 0)
    place = np.zeros(len(both), bool)
    if changes.known and not changes.same.get("cutouts", True):
        stamps = [_stamps(output, rows, ids) for output, rows, ids in zip(outputs, fields, objid, strict=True)]
        mask |= both & _differ(stamps[0], stamps[1], 0.5)
        pixels = [_pixels(output, rows, ids) for output, rows, ids in zip(outputs, fields, objid, strict=True)]
        place |= both & _differ(pixels[0], pixels[1], 0.5)
    if changes.same.get("masks"):
        mask[:] = False  # what lies under a stamp of another size or place is no change of the mask
    moved: Bools | None = None
    if changes.same.get("score"):
        moved = np.zeros((len(both), len(members)), bool)
    elif changes.known:
        logits = [
            _logits(output, rows, side, ids, members)
            for output, rows, side, ids in zip(outputs, fields, sides, objid, strict=True)
        ]
        if logits[0] is not None and logits[1] is not None:
            moved = _unlike(logits[0], logits[1], LOGIT_TOLERANCE) & both[:, None]
    return Evidence(moved, members, mask, place)


def score_reasons(
    sides: tuple[Side, Side], pairs: Pairs, changes: FieldChanges, proof: Evidence, tolerance: float
) -> Ints:
    """Why the score of each pair moved, `Reason` bits; meaningless where it did not."""
    count = len(pairs.first)
    reasons = np.zeros(count, np.int64)
    score = [at(side.score, rows, np.nan) for side, rows in _with_rows(sides, pairs)]
    flags = [at(side.flags, rows, 0) for side, rows in _with_rows(sides, pairs)]
    stopped = ((flags[0] ^ flags[1]) & np.uint32(VetFlag.STOPPED_BY_GATE)) != 0
    reasons[stopped] |= Reason.GATE
    if set(sides[0].members) != set(sides[1].members):
        reasons |= Reason.MEMBERS
    if not changes.known:
        return _without_provenance(sides, pairs, proof, tolerance, reasons)
    as_prior = _as_at(score[0], changes.prior)
    settled = ~_unlike(as_prior, score[1], tolerance)
    if changes.prior[0] != changes.prior[1]:
        reasons |= Reason.PRIOR
    if proof.moved is None:
        reasons[~settled] |= Reason.WEIGHTS if changes.other_weights else Reason.UNKNOWN
        return reasons
    touched = np.asarray(proof.moved.any(axis=1), bool)
    reasons |= _moved_logits(changes, proof, touched)
    still = pairs.both & ~touched & ~settled & ~stopped & (reasons & Reason.MEMBERS == 0)
    reasons[still] |= Reason.CALIBRATION
    if still.any():
        # Rows whose logits stand still say it for those whose do not.
        reasons[touched] |= Reason.CALIBRATION
    return reasons


def _moved_logits(changes: FieldChanges, proof: Evidence, touched: Bools) -> Ints:
    """Causes of moved logits: weights, stamps, or how the networks were run."""
    reasons = np.zeros(len(touched), np.int64)
    moved = proof.moved if proof.moved is not None else np.zeros((len(touched), 0), bool)
    fresh = np.array([name in changes.other_weights for name in proof.members], bool)
    reasons[(moved & fresh).any(axis=1)] |= Reason.WEIGHTS
    # A member with the weights that it had says whether anything else moved its logits.
    other_stamps = not changes.same.get("cutouts", True)
    old = (moved & ~fresh).any(axis=1) if (~fresh).any() else touched & other_stamps
    if other_stamps:
        reasons[old & proof.mask] |= Reason.MASK
        reasons[old & (proof.place | _other_pixels(changes))] |= Reason.CUTOUTS
    if changes.reads_other("score", "score.", "threads"):
        reasons[old] |= Reason.SCORING
    elif changes.same.get("cutouts", False):
        reasons[old & touched] |= Reason.SCORING
    reasons[touched & (reasons == 0)] |= Reason.UNKNOWN
    return reasons


def list_reasons(
    sides: tuple[Side, Side], pairs: Pairs, changes: FieldChanges, moved: Bools, is_scan: tuple[bool, bool]
) -> Ints:
    """Why a row stands in one list alone, beside what moved its score."""
    reasons = np.zeros(len(pairs.first), np.int64)
    alone = ~pairs.both
    if all(is_scan):
        reasons[alone] |= Reason.DETECTION
        if changes.known and not changes.same.get("masks", True) and not changes.reads_other("detect", "detect."):
            reasons[alone] |= Reason.CUTOUTS if changes.reads_other("masks", "masks: other", "survey") else Reason.MASK
        if not len(sides[0]) or not len(sides[1]):
            reasons[alone] = Reason.COVERAGE
    else:
        # Exported candidates don't say whether the other scan has it below its floor.
        reasons[alone] |= Reason.UNKNOWN
    # Where the score stood still, the floor or the largest share of a field that may pass has moved.
    reasons[pairs.both & ~moved] |= Reason.FLOOR
    return reasons


def flag_reasons(sides: tuple[Side, Side], pairs: Pairs, changes: FieldChanges, proof: Evidence) -> Ints:
    """Why vet flags differ where the score does not, `Reason` bits; meaningless where they do not."""
    flags = [at(side.flags, rows, 0) for side, rows in _with_rows(sides, pairs)]
    by_mask = ((flags[0] ^ flags[1]) & np.uint32(_MASK_FLAGS)) != 0
    reasons = np.zeros(len(flags[0]), np.int64)
    if changes.known:
        rules = changes.reads_other("candidates", "vet")
        if not changes.same.get("cutouts", True):
            reasons[by_mask & proof.mask] |= Reason.MASK
            reasons[by_mask & (proof.place | _other_pixels(changes))] |= Reason.CUTOUTS
        if proof.moved is not None:
            touched = np.asarray(proof.moved.any(axis=1), bool)
            reasons[~by_mask] |= _moved_logits(changes, proof, touched)[~by_mask]
            if not rules:
                reasons[~by_mask & ~touched] |= Reason.CALIBRATION
        if rules:
            reasons |= Reason.VETTING
    else:
        reasons[by_mask & proof.mask] |= Reason.MASK
    reasons[reasons == 0] |= Reason.UNKNOWN
    return reasons


def _other_pixels(changes: FieldChanges) -> bool:
    """Whether every stamp of a field is another one."""
    of_masks = changes.reads_other("masks", "masks: other input", "survey", "bands")
    return of_masks or changes.reads_other("cutouts", "cutouts.", "bands")


def words(bits: int) -> str:
    """Names of a set of reasons, joined by a plus."""
    return "+".join(str(reason.name).lower() for reason in Reason if bits & reason)


def _without_provenance(
    sides: tuple[Side, Side], pairs: Pairs, proof: Evidence, tolerance: float, reasons: Ints
) -> Ints:
    """Exported rows: the members' scores and the mask's traces are all there is."""
    columns = [[side.members.index(name) for name in proof.members] for side in sides]
    parts = [
        at(side.member_scores[:, chosen], rows, np.nan)
        for (side, rows), chosen in zip(_with_rows(sides, pairs), columns, strict=True)
    ]
    members_moved = _unlike(parts[0], parts[1], tolerance).any(axis=1)
    if proof.members and set(sides[0].members) == set(sides[1].members):
        reasons[~members_moved] |= Reason.CALIBRATION
    reasons[members_moved & proof.mask] |= Reason.MASK
    reasons[reasons == 0] |= Reason.UNKNOWN
    return reasons


def _as_at(score: Floats, prior: tuple[float, float]) -> Floats:
    """Scores as they would be at another prior: log-odds shifted by the difference of the priors' log-odds."""
    if prior[0] == prior[1]:
        return score
    shift = np.log(prior[1] / (1 - prior[1])) - np.log(prior[0] / (1 - prior[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(score) - np.log1p(-score) + shift
        return np.asarray(1 / (1 + np.exp(-odds)))


def _with_rows(sides: tuple[Side, Side], pairs: Pairs) -> list[tuple[Side, Ints]]:
    return [(sides[0], pairs.first), (sides[1], pairs.second)]


def _differ(first: Floats, second: Floats, tolerance: float) -> Bools:
    """Rows in which any column differs; what either lacks differs in nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(first - second) > tolerance).any(axis=1))


def _unlike(first: Floats, second: Floats, tolerance: float) -> Bools:
    """Where numbers differ, or one is missing and the other is not."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(first - second) > tolerance) | (np.isnan(first) != np.isnan(second)))


def _stamps(output: Place, rows: FieldRows, objid: Ints) -> Floats:
    """Numbers of flagged pixels of each stamp and what lies at its centre, in the order of ids; NaN where unknown."""
    manifest = rows.live.get("cutouts")
    if manifest is None or "stamps.parquet" not in manifest.files:
        return np.full((len(objid), 1), np.nan)
    table = read_some(output / manifest.place / "stamps.parquet", None)
    names = sorted(name for name in table.column_names if name.startswith("npix_"))
    columns = [*names, "centre_flags", "bands_missing"]
    sizes = table["size"].to_numpy().astype(np.float64)[:, None] ** 2
    # Stamps of two sizes are compared by their shares, in units of a hundred thousandth.
    values = table_columns(table, names) / np.maximum(sizes, 1) * 1e5
    return aligned(np.hstack([values, table_columns(table, columns[-2:])]), table["objid"].to_numpy(), objid)


def _pixels(output: Place, rows: FieldRows, objid: Ints) -> Floats:
    """The pixel in the middle of each stamp."""
    manifest = rows.live.get("detect")
    if manifest is None or "detections.parquet" not in manifest.files:
        return np.full((len(objid), 2), np.nan)
    table = read_some(output / manifest.place / "detections.parquet", ["objid", "x", "y"])
    return aligned(np.floor(table_columns(table, ["x", "y"]) + 0.5), table["objid"].to_numpy(), objid)


def _logits(output: Place, rows: FieldRows, side: Side, objid: Ints, members: tuple[str, ...]) -> Floats | None:
    """Logits (n, members) in the order of ids; None where the scan keeps none, or none of these rows.

    A field that is being redone may have new logits beside the old catalogue, for as long as it takes.
    """
    manifest = rows.live.get("score")
    if manifest is None:
        return None
    parts = sorted(name for name in manifest.files if name.endswith(".parquet"))
    names = [f"logit_{name}" for name in members]
    tables = each(lambda name: read_some(output / manifest.place / name, ["objid", *names]), parts, output)
    ids = np.concatenate([table["objid"].to_numpy() for table in tables]) if tables else np.empty(0, np.int64)
    if not np.array_equal(np.sort(ids), np.sort(side.objid)):
        return None
    if not tables:
        return np.full((len(objid), len(members)), np.nan)
    return aligned(np.concatenate([table_columns(table, names) for table in tables]), ids, objid)
