"""What a process keeps from one task to the next: the survey, the ensemble, and the number of threads."""

from __future__ import annotations

from functools import lru_cache

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.field import Field
from pipeline.geometry import FieldGeometry
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.provenance import fingerprint
from pipeline.surveys import Survey, open_survey
from workflows.job import Job


def survey_of(job: Job) -> Survey:
    """The survey of a scan; raises ConfigError if it is no longer as it was planned."""
    return _survey(job.survey, job.survey_key)


def ensemble_of(job: Job) -> Ensemble:
    """The ensemble of a scan; raises ModelMismatch if it is no longer as it was planned."""
    return _ensemble(str(job.ensemble), job.ensemble_key)


def geometry_of(job: Job, field: Field) -> FieldGeometry:
    """Shape and WCS of a field."""
    return survey_of(job).geometry(field)


def fix_threads(threads: int) -> None:
    """The number of threads is part of what makes bytes equal."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def warm_up(job: Job) -> None:
    """Load what every task of this process will need, and make the first, slower, use of it."""
    survey_of(job)
    if job.ensemble is not None:
        fix_threads(job.config.threads)
        ensemble_of(job)


def survey_key(survey: Survey) -> str:
    """Hash of what pixels, masks and detections depend on beside the files."""
    return fingerprint([survey.provenance(), survey.catalogue_provenance(), str(survey.root)])


def ensemble_key(ensemble: Ensemble) -> str:
    """Hash of what scores depend on: networks, weights, calibration and rule."""
    maps = [] if ensemble.mapper is None else [ensemble.mapper.fingerprint()]
    return fingerprint([ensemble.fingerprint(), ensemble.calibration_fingerprint(), *maps])


@lru_cache(maxsize=2)
def _survey(path: str, key: str) -> Survey:
    survey = open_survey(path)
    if survey_key(survey) != key:
        raise ConfigError(f"{path}: changed while the scan runs, or differs on this worker; run the scan again.")
    return survey


@lru_cache(maxsize=2)
def _ensemble(path: str, key: str) -> Ensemble:
    ensemble = load_ensemble(path)
    if ensemble_key(ensemble) != key:
        raise ModelMismatch(f"{path}: its packages changed while the scan runs, or differ on this worker; run again.")
    return ensemble
