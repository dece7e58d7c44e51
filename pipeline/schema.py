"""Every table, column by column: type, unit, UCD and description, in one place.

`arrow_schema` makes the Arrow schema that a table is written with; readers, exports and the
documentation take units and descriptions from its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

_MEMBER = re.compile(r"^[a-z][a-z0-9_]*$")
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())

_SPECTRUM = {
    "u": "em.opt.U",
    "g": "em.opt.B",
    "r": "em.opt.R",
    "i": "em.opt.I",
    "z": "em.opt.I",
    "Z": "em.opt.I",
    "VIS": "em.opt",
    "y": "em.opt.I",
    "Y": "em.IR.J",
    "J": "em.IR.J",
    "H": "em.IR.H",
    "K": "em.IR.K",
    "Ks": "em.IR.K",
}
"""Name of a band -> the UCD word for where it lies: those of UCD1+ are ranges of wavelength, not filters."""

_OF_A_MEMBER = {
    "score": ("stat.probability", "calibrated score"),
    "logit": ("stat.probability", "raw logit"),
    "gate_logit": ("stat.probability", "raw logit, as a gate of the cascade,"),
    "distance": ("stat.value", "distance, in standard deviations of the embedding, from the training stamps"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table; `nullable` means that a missing number is null (never NaN)."""

    name: str
    type: pa.DataType
    unit: str
    ucd: str
    description: str
    nullable: bool = False


_IDENTITY = (
    Column(
        "objid",
        pa.int64(),
        "",
        "meta.id;meta.main",
        "unique in its field and among primary rows",
    ),
    Column("survey", _DICTIONARY, "", "meta.id", "imaging survey"),
    Column("release", _DICTIONARY, "", "meta.version", "data release of the survey"),
    Column("field_id", _DICTIONARY, "", "meta.id;obs.field", "the survey's sky unit that the stamp was cut from"),
    Column("scan_id", _DICTIONARY, "", "meta.id;meta.dataset", "the scan that made the row"),
)
_POSITION = (
    Column("ra", pa.float64(), "deg", "pos.eq.ra;meta.main", "right ascension, ICRS"),
    Column("dec", pa.float64(), "deg", "pos.eq.dec;meta.main", "declination, ICRS"),
)
_PLACE = (
    Column(
        "shard",
        pa.string(),
        "",
        "meta.id",
        "cutout shard, as <field_id>/<number>; null: cutout not kept",
        nullable=True,
    ),
    Column(
        "row",
        pa.int32(),
        "",
        "meta.record",
        "row of the cutout in the field's arrays; null: cutout not kept",
        nullable=True,
    ),
)

DETECTIONS = (
    Column("objid", pa.int64(), "", "meta.id;meta.main", "unique within survey, release and field"),
    Column("source_id", pa.string(), "", "meta.id", "the survey's own id where that is a string", nullable=True),
    *_POSITION,
    Column("x", pa.float64(), "pix", "pos.cartesian.x;instr.det", "0-based column of the field's grid"),
    Column("y", pa.float64(), "pix", "pos.cartesian.y;instr.det", "0-based row of the field's grid"),
    Column("_healpix_29", pa.int64(), "", "pos.healpix", "nested HEALPix index of order 29"),
)
"""Sorted by `_healpix_29`, then `objid`; `mag_<band>` columns are added."""

STAMPS = (
    Column("objid", pa.int64(), "", "meta.id;meta.main", "of the detection"),
    Column("row", pa.int32(), "", "meta.record", "row of the cutout in the field's cutout arrays"),
    Column("size", pa.int32(), "pix", "phys.size", "side of the stamp"),
    Column("artefact_fraction", pa.float32(), "", "stat.value", "share of the stamp under a fatal pixel flag"),
    Column("valid_fraction", pa.float32(), "", "stat.value", "share of valid pixels, the smallest over the bands"),
    Column("centre_flags", pa.uint32(), "", "meta.code", "PixelFlag bits of any band within the centre radius"),
    Column("bands_missing", pa.uint32(), "", "meta.code", "bit b set: band b of the scan is empty here"),
)
"""What vetting needs of a stamp's pixels; `npix_<flag>` (int32, largest over the bands) columns are added."""

FOOTPRINTS = (
    Column("identity", pa.string(), "", "meta.id", "hash of the files that the header was looked for in"),
    Column("field_id", pa.string(), "", "meta.id;obs.field", "the survey's sky unit"),
    Column("ny", pa.int32(), "pix", "pos.cartesian.y;instr.det", "rows of the field's grid"),
    Column("nx", pa.int32(), "pix", "pos.cartesian.x;instr.det", "columns of the field's grid"),
    Column("pixel_scale", pa.float64(), "arcsec/pix", "instr.scale", "square root of a pixel's area"),
    *(Column(axis, pa.float64(), "", f"pos.cartesian.{axis}", "unit vector to the field's middle") for axis in "xyz"),
    Column("radius", pa.float64(), "rad", "pos.angDistance", "of a circle that holds the field"),
    Column("token", pa.string(), "", "meta.id", "hash of shape and WCS"),
)
"""What a plan remembers of headers, so that the next one opens none."""

SCORE_PART = (
    Column("objid", pa.int64(), "", "meta.id;meta.main", "of the detection"),
    Column("row", pa.int32(), "", "meta.record", "row of the cutout in the field's cutout arrays"),
)
"""One shard's answers before calibration; `logit_<member>` (float32, nullable) columns are added,
`distance_<member>` for members with a familiarity, and `gate_logit_<network>` where a cascade was on."""

SCORES = (
    *_IDENTITY,
    *_POSITION,
    Column(
        "score",
        pa.float32(),
        "",
        "stat.probability",
        "ensemble probability at the survey prior; null: no score",
        nullable=True,
    ),
    Column("score_std", pa.float32(), "", "stat.stdev", "spread of the members' calibrated scores", nullable=True),
    Column(
        "gate_score",
        pa.float32(),
        "",
        "stat.probability",
        "probability by the cascade's gates alone; null: no gate",
        nullable=True,
    ),
    Column(
        "ood",
        pa.float32(),
        "",
        "stat.value",
        "out of distribution: share of validation stamps more familiar",
        nullable=True,
    ),
    Column(
        "joint_score",
        pa.float32(),
        "",
        "stat.probability",
        "probability by score and lens-light map; null: no maps",
        nullable=True,
    ),
    Column("vet_flags", pa.uint32(), "", "meta.code.qual", "VetFlag bits: reasons to distrust the score"),
    Column("artefact_fraction", pa.float32(), "", "stat.value", "share of the stamp under a fatal pixel flag"),
    Column("valid_fraction", pa.float32(), "", "stat.value", "share of valid pixels, the smallest over the bands used"),
    Column(
        "artefact_overlap",
        pa.float32(),
        "",
        "stat.value",
        "share of what the score rests on under the artefact map",
        nullable=True,
    ),
    Column("lens_ra", pa.float64(), "deg", "pos.eq.ra", "peak of the lens-light map, ICRS", nullable=True),
    Column("lens_dec", pa.float64(), "deg", "pos.eq.dec", "peak of the lens-light map, ICRS", nullable=True),
    Column(
        "arc_area", pa.float32(), "arcsec2", "phys.angArea", "where the lens-light map is above one half", nullable=True
    ),
    Column("is_primary", pa.bool_(), "", "meta.code", "the one copy of the object in overlapping fields"),
    *_PLACE,
    Column("_healpix_29", pa.int64(), "", "pos.healpix", "nested HEALPix index of order 29"),
)
"""One row a detection; `score_<member>`, `mag_<band>` and `seeing_<band>` columns are added before `shard`, and before
them, where the ensemble gives lens parameters, those of `pipeline.schema_lenses.catalogue_parameters`."""

CANDIDATES = SCORES
"""The same columns; the rows whose score passes the floor."""

EMBEDDING = "embedding"
"""Name of the column of vectors."""

SIMILARITY = Column(
    "similarity", pa.float32(), "", "stat.value", "cosine between the embeddings of the row and of the example"
)

GRADED = (
    Column(
        "grade", pa.string(), "", "meta.code", "consensus: A sure, B likely, C possible lens, X none", nullable=True
    ),
    Column("n_grades", pa.int32(), "", "meta.number", "graders who gave a grade"),
    Column(
        "disagreement",
        pa.float32(),
        "",
        "stat.value",
        "mean distance of two graders' grades, in steps; null: fewer than two",
        nullable=True,
    ),
    *(
        Column(f"p_{grade}", pa.float32(), "", "stat.probability", f"probability of grade {grade}", nullable=True)
        for grade in "ABCX"
    ),
    Column("p_lens", pa.float32(), "", "stat.probability", "probability of grade A or B", nullable=True),
)
"""What graders say of a candidate, behind its position; columns of `grader_columns` follow for each grader."""

GRADES = (
    Column("objid", pa.int64(), "", "meta.id;meta.main", "of the object graded"),
    Column("field_id", pa.string(), "", "meta.id;obs.field", "its field"),
    Column("grader", pa.string(), "", "meta.id", "who gave the grade"),
    Column("grade", pa.string(), "", "meta.code", "A, B, C or X; null: a comment alone", nullable=True),
    Column("comment", pa.string(), "", "meta.note", "the grader's words", nullable=True),
)
"""One row a grade that holds; a column `time` is added where it is asked for."""

PLANTED = Column("planted", pa.string(), "", "meta.code", "planted as lens or dud; null: a candidate", nullable=True)

FIELD_STATUS = (
    Column("field_id", pa.string(), "", "meta.id;obs.field", "the survey's sky unit"),
    Column("stage", pa.string(), "", "meta.id", "stage of the scan"),
    Column("state", pa.string(), "", "meta.code", "done, empty, stale, missing, failed or running"),
    Column("reason", pa.string(), "", "meta.note", "why it failed", nullable=True),
)


def member_column(member: str, prefix: str = "score") -> Column:
    """The column of one member's calibrated score (or raw logit, or distance from its training stamps).

    Raises
    ------
    ValueError
        If the member's name can't be a column: lower-case letters, digits and underscores only.
    """
    if not _MEMBER.match(member):
        raise ValueError(f"member {member!r}: use lower-case letters, digits and underscores, a letter first")
    ucd, what = _OF_A_MEMBER[prefix]
    return Column(f"{prefix}_{member}", pa.float32(), "", ucd, f"{what} of member {member}", nullable=True)


def flag_count_column(flag: str) -> Column:
    """Pixels of a stamp under one pixel flag, the largest number over the bands; `flag` in lower case."""
    return Column(f"npix_{flag}", pa.int32(), "pix", "meta.number", f"pixels under {flag.upper()}, most of any band")


def magnitude_column(band: str) -> Column:
    """AB magnitude of a detection in one band; null where the flux is not positive."""
    return Column(
        f"mag_{band}",
        pa.float32(),
        "mag",
        f"phot.mag;{_SPECTRUM[band]}" if band in _SPECTRUM else "phot.mag",
        f"AB magnitude in {band}",
        nullable=True,
    )


def seeing_column(band: str) -> Column:
    """Seeing of the field in one band; null where the survey does not say."""
    return Column(
        f"seeing_{band}", pa.float32(), "arcsec", "instr.obsty.seeing", f"seeing FWHM in {band}", nullable=True
    )


def scores_columns(
    members: Sequence[str], bands: Sequence[str], parameters: Sequence[Column] = ()
) -> tuple[Column, ...]:
    """Columns of the score and candidate tables of one scan, in order; those of lens parameters where it has any."""
    tail = next(index for index, column in enumerate(SCORES) if column.name == "shard")
    extra = [*parameters, *(member_column(member) for member in members)]
    extra += [magnitude_column(band) for band in bands]
    extra += [seeing_column(band) for band in bands]
    return (*SCORES[:tail], *extra, *SCORES[tail:])


def embedding_columns(width: int) -> tuple[Column, ...]:
    """Columns of a field's embeddings, vectors of `width` numbers, in the order of its candidates or scores."""
    about = f"{width} numbers before the last layer of one member's network, stamp upright; null: it could not look"
    return (
        Column("objid", pa.int64(), "", "meta.id;meta.main", "of the detection"),
        Column(EMBEDDING, pa.list_(pa.float16(), width), "", "stat.value", about, nullable=True),
    )


def grade_time_column(grader: str | None = None) -> Column:
    """When a grade was given; of one grader's, or in a table of one row a grade."""
    name, whose = ("time", "the grade") if grader is None else (f"time_{grader}", f"{grader}'s grade")
    return Column(name, pa.string(), "", "time.epoch", f"when {whose} was given, UTC", nullable=True)


def grader_columns(grader: str, *, times: bool = False) -> tuple[Column, ...]:
    """What one grader says of a candidate: grade, comment and, where asked for, the time."""
    columns = (
        Column(f"grade_{grader}", pa.string(), "", "meta.code", f"grade by {grader}", nullable=True),
        Column(f"comment_{grader}", pa.string(), "", "meta.note", f"comment by {grader}", nullable=True),
    )
    return (*columns, grade_time_column(grader)) if times else columns


def detections_columns(bands: Sequence[str]) -> tuple[Column, ...]:
    """Columns of a field's detection table, in order."""
    return (*DETECTIONS[:-1], *(magnitude_column(band) for band in bands), DETECTIONS[-1])


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of columns, with unit, ucd and description as field metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                column.type,
                nullable=column.nullable,
                metadata={"unit": column.unit, "ucd": column.ucd, "description": column.description},
            )
            for column in columns
        ]
    )
