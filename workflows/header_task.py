"""The task that reads the headers of some fields, on a worker."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import BadSurveyData
from pipeline.field import Field
from pipeline.geometry import Footprint
from workflows.job import Job
from workflows.remembered import geometry_of


def footprints_of(job: Job, fields: Sequence[Field]) -> dict[str, Footprint]:
    """Footprints by field, without those whose header is not to be read."""
    found = {}
    for field in fields:
        try:
            found[field.field_id] = geometry_of(job, field).footprint()
        except BadSurveyData:
            continue
    return found
