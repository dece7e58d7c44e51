"""What a process keeps from one task to the next: the survey, the ensemble, and the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

from pipeline.config import find
from pipeline.errors import ConfigError, ModelMismatch
from pipeline.field import Field
from pipeline.geometry import FieldGeometry
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.rehearsal import rehearse
from pipeline.surveys import Survey, open_survey
from workflows.job import Job
from workflows.keys import ensemble_key, survey_key

_DEVICE = Lock()
_LOADING = Lock()


def survey_of(job: Job) -> Survey:
    """The survey of a scan; raises ConfigError if it is no longer as it was planned."""
    return _survey(job.survey, job.survey_key)


def ensemble_of(job: Job) -> Ensemble:
    """The ensemble of a scan; raises ModelMismatch if it is no longer as it was planned."""
    with _LOADING:
        return _ensemble(str(job.ensemble), job.ensemble_key)


def geometry_of(job: Job, field: Field) -> FieldGeometry:
    """Shape and WCS of a field."""
    return survey_of(job).geometry(field)


@contextmanager
def computing(job: Job) -> Iterator[Ensemble]:
    """Have the device and the ensemble, with the number of threads that is part of what makes bytes equal.

    A worker with a GPU has two tasks under way: one at a time computes, while the other reads or writes.
    """
    import torch

    with _DEVICE:
        if torch.get_num_threads() != job.config.threads:
            torch.set_num_threads(job.config.threads)
        yield ensemble_of(job)


def warm_up(job: Job) -> None:
    """Load, and where that has not been done yet compile, what every task of this process will need."""
    survey_of(job)
    rehearse(job.config.masks)
    if job.ensemble is not None:
        with computing(job):
            pass


@lru_cache(maxsize=2)
def _survey(path: str, key: str) -> Survey:
    survey = open_survey(find(path, "surveys"))
    if survey_key(survey) != key:
        raise ConfigError(f"{path}: changed while the scan runs, or differs on this worker; run the scan again.")
    return survey


@lru_cache(maxsize=2)
def _ensemble(path: str, key: str) -> Ensemble:
    ensemble = load_ensemble(find(path, "ensembles"))
    if ensemble_key(ensemble) != key:
        raise ModelMismatch(f"{path}: its packages changed while the scan runs, or differ on this worker; run again.")
    return ensemble
