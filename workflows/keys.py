"""What a scan was planned with, in a hash each: a worker compares it with what it finds in the files."""

from __future__ import annotations

from pipeline.models.described_ensemble import DescribedEnsemble
from pipeline.provenance import fingerprint
from pipeline.surveys import Survey


def survey_key(survey: Survey) -> str:
    """Hash of what pixels, masks and detections depend on beside the files."""
    return fingerprint([survey.provenance(), survey.catalogue_provenance(), str(survey.root)])


def ensemble_key(ensemble: DescribedEnsemble) -> str:
    """Hash of what catalogue rows depend on: networks, weights, calibration and rule."""
    maps = [] if ensemble.mapper is None else [ensemble.mapper.fingerprint()]
    fits = [] if ensemble.fitter is None else [ensemble.fitter.fingerprint()]
    logits = ensemble.fingerprint(cascade=ensemble.cascade is not None)
    return fingerprint([logits, ensemble.calibration_fingerprint(), *maps, *fits])
