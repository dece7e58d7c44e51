"""A scan's configuration, survey and ensemble, opened and checked against each other before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import find, portable
from pipeline.errors import ConfigError
from pipeline.io.lease import LeaseMark
from pipeline.io.places import Place, place
from pipeline.io.storage_check import check
from pipeline.models.described_ensemble import DescribedEnsemble, describe_ensemble
from pipeline.scan_config import ScanConfig, load_scan
from pipeline.surveys import Survey, open_survey
from workflows.job import Job
from workflows.keys import ensemble_key, survey_key
from workflows.plan import Plan, make_plan


@dataclass(frozen=True)
class ScanSetup:
    """Everything that a scan needs to start.

    Attributes
    ----------
    config : ScanConfig
    raw : mapping
        The file's values before expansion.
    survey : Survey
    survey_path, ensemble_path : Path
        Where they came from; workers open the same files.
    ensemble : DescribedEnsemble or None
    output : Path or ObjectPath
        Absolute.
    """

    config: ScanConfig
    raw: Mapping[str, Any]
    survey: Survey
    survey_path: Path
    ensemble: DescribedEnsemble | None
    ensemble_path: Path | None
    output: Place

    @property
    def files(self) -> tuple[str, ...]:
        """Configs that workers open and that are not shipped with the package."""
        job = self.job()
        return tuple(one for one in (job.survey, job.ensemble) if one is not None and Path(one).is_absolute())

    def job(self, lease: LeaseMark | None = None) -> Job:
        """What every task is told; only who holds the lease gets anything published."""
        return Job(
            output=str(self.output),
            config=self.config,
            survey=portable(self.survey_path, "surveys"),
            survey_key=survey_key(self.survey),
            ensemble=portable(self.ensemble_path, "ensembles") if self.ensemble_path is not None else None,
            ensemble_key=ensemble_key(self.ensemble) if self.ensemble is not None else "",
            measures=self.ensemble is not None and bool(self.ensemble.measurers()),
            lease=lease,
        )

    def plan(self, device: str, *, retry_failed: bool = False, remember: bool = False) -> Plan:
        """Compare the output with what the scan wants; see `make_plan`."""
        return make_plan(
            self.config,
            self.raw,
            self.survey,
            self.ensemble,
            device=device,
            output=self.output,
            retry_failed=retry_failed,
            remember=remember,
        )


def open_scan(
    reference: str, out: str | None = None, *, ensemble: str | None = None, prior: float | None = None
) -> ScanSetup:
    """Read a scan's config and everything that it refers to.

    Parameters
    ----------
    reference : str
        Path of a scan TOML, or the name of a shipped one.
    out : str, optional
        Overrides the config's output.
    ensemble : str, optional
        Path or name of an ensemble that takes the place of the config's.
    prior : float, optional
        Takes the place of `candidates.prior`.

    Raises
    ------
    ConfigError, ModelMismatch
        If a file is wrong, or the ensemble does not fit the bands or the stamps.
    """
    path = find(reference, "scans")
    config, written = load_scan(path, out)
    raw: Mapping[str, Any] = written
    if prior is not None:
        config, raw = _with_prior(config, raw, prior)
    survey_path = find(config.survey, "surveys", path.parent)
    survey = open_survey(survey_path)
    lacking = [band for band in config.bands if band not in survey.bands]
    if lacking:
        raise ConfigError(
            f"{path}: survey {survey.name!r} has no band {', '.join(lacking)}; it has {', '.join(survey.bands)}."
        )
    if ensemble is not None:
        ensemble_path: Path | None = find(ensemble, "ensembles").absolute()
        config, raw = config.model_copy(update={"ensemble": ensemble}), {**raw, "ensemble": ensemble}
    else:
        ensemble_path = find(config.ensemble, "ensembles", path.parent) if config.ensemble is not None else None
    opened = describe_ensemble(ensemble_path) if ensemble_path is not None else None
    if opened is not None:
        opened.check(config.bands)
    if config.detect.method == "catalogue" and survey.catalogue_kind == "none":
        raise ConfigError(f'{path}: detect.method = "catalogue", but survey {survey.name!r} declares no catalogue.')
    output = place(config.output).expanduser().absolute()
    for needed in (survey.root, output):
        check(needed)
    return ScanSetup(config, raw, survey, survey_path.absolute(), opened, ensemble_path, output)


def _with_prior(config: ScanConfig, raw: Mapping[str, Any], prior: float) -> tuple[ScanConfig, Mapping[str, Any]]:
    if not 0 < prior < 1:
        raise ConfigError(f"prior {prior!r}: a share of lenses lies between 0 and 1.")
    candidates = config.candidates.model_copy(update={"prior": prior})
    return config.model_copy(update={"candidates": candidates}), {
        **raw,
        "candidates": {**raw.get("candidates", {}), "prior": prior},
    }
