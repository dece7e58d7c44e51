"""The schema: every column documented, stable types, and metadata that travels."""

from __future__ import annotations

import inspect

import pyarrow as pa
import pytest
from astropy import units

from pipeline import schema
from pipeline.models.posterior import PARAMETERS
from pipeline.schema import (
    Column,
    arrow_schema,
    detections_columns,
    embedding_columns,
    member_column,
    scores_columns,
)
from pipeline.schema_lenses import catalogue_parameters, lensfit_columns, parameter_names, sample_columns

TABLES = {
    name: value
    for name, value in inspect.getmembers(schema)
    if name.isupper() and not name.startswith("_") and isinstance(value, tuple)
} | {
    "scores of a scan": scores_columns(["cnn", "vit"], ["g", "Ks"]),
    "detections of a scan": detections_columns(["g", "VIS"]),
    "embeddings of a scan": embedding_columns(64),
    "scores with lens parameters": scores_columns(["cnn"], ["g"], catalogue_parameters()),
    "table of lensfit": lensfit_columns(),
    "samples of lensfit": sample_columns(),
}

# What a catalogue's users rely on: name -> type. Columns may be added; these stay.
SCORES = {
    "objid": "int64",
    "survey": "dictionary<values=string, indices=int32, ordered=0>",
    "release": "dictionary<values=string, indices=int32, ordered=0>",
    "field_id": "dictionary<values=string, indices=int32, ordered=0>",
    "scan_id": "dictionary<values=string, indices=int32, ordered=0>",
    "ra": "double",
    "dec": "double",
    "score": "float",
    "score_std": "float",
    "gate_score": "float",
    "ood": "float",
    "joint_score": "float",
    "vet_flags": "uint32",
    "artefact_fraction": "float",
    "valid_fraction": "float",
    "artefact_overlap": "float",
    "lens_ra": "double",
    "lens_dec": "double",
    "arc_area": "float",
    "is_primary": "bool",
    "score_cnn": "float",
    "score_vit": "float",
    "mag_g": "float",
    "mag_Ks": "float",
    "seeing_g": "float",
    "seeing_Ks": "float",
    "shard": "string",
    "row": "int32",
    "_healpix_29": "int64",
}


def test_the_tables_of_the_module_are_all_looked_at() -> None:
    assert {"DETECTIONS", "STAMPS", "SCORE_PART", "SCORES", "CANDIDATES", "FIELD_STATUS"} <= set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_description_a_ucd_and_a_unit_that_astropy_reads(name: str) -> None:
    for column in TABLES[name]:
        assert isinstance(column, Column)
        assert column.description, column
        assert column.ucd, column
        units.Unit(column.unit)


@pytest.mark.parametrize("name", TABLES)
def test_names_stand_once_and_ids_are_never_null(name: str) -> None:
    names = [column.name for column in TABLES[name]]
    assert len(set(names)) == len(names)
    for column in TABLES[name]:
        if column.name in ("objid", "field_id", "_healpix_29", "vet_flags"):
            assert not column.nullable
        if column.name == "objid":
            assert column.type == pa.int64()


def test_the_catalogues_columns_keep_their_names_types_and_order() -> None:
    assert {column.name: str(column.type) for column in scores_columns(["cnn", "vit"], ["g", "Ks"])} == SCORES
    assert [column.name for column in scores_columns(["cnn", "vit"], ["g", "Ks"])] == list(SCORES)


def test_every_score_and_measurement_may_be_missing() -> None:
    for column in scores_columns(["cnn"], ["g"]):
        if column.name.startswith(("score", "mag_", "seeing_")):
            assert column.nullable, column.name


def test_the_arrow_schema_carries_what_a_column_says() -> None:
    columns = scores_columns(["cnn"], ["g"])
    made = arrow_schema(columns)
    assert made.names == [column.name for column in columns]
    for column in columns:
        field = made.field(column.name)
        assert (field.type, field.nullable) == (column.type, column.nullable)
        assert {key.decode(): value.decode() for key, value in field.metadata.items()} == {
            "unit": column.unit,
            "ucd": column.ucd,
            "description": column.description,
        }


@pytest.mark.parametrize("name", ["CNN", "1st", "a b", "a-b", "", "é", 'x"; DROP'])
def test_a_member_whose_name_can_be_no_column_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="use lower-case letters, digits and underscores"):
        member_column(name)


def test_logits_and_scores_of_a_member_are_told_apart() -> None:
    assert member_column("cnn").name == "score_cnn"
    assert member_column("cnn", "logit").name == "logit_cnn"
    assert "logit" in member_column("cnn", "logit").description


def test_lens_parameters_are_those_of_the_networks_in_their_order_and_units() -> None:
    # In the catalogue their names stand beside a hundred others: an ellipticity says whose it is.
    assert [name.removeprefix("mass_") for name in parameter_names()] == [one.name for one in PARAMETERS]
    units_of = {column.name: column.unit for column in lensfit_columns()}
    assert [units_of[name] for name in parameter_names()] == [one.unit for one in PARAMETERS]
