"""What a scan would do: a table of (field, stage, fingerprint, done?), made without opening a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.field import Field
from pipeline.geometry import FieldGeometry, overlaps
from pipeline.io import products
from pipeline.models.ensemble import Ensemble
from pipeline.provenance import STAGES, file_identity, software, stage_fingerprint
from pipeline.scan.cutouts import stamp_pixels
from pipeline.scan_config import ScanConfig
from pipeline.surveys import Survey

State = Literal["done", "empty", "stale", "missing", "failed"]


@dataclass(frozen=True)
class StagePlan:
    """One product of one field: the fingerprint wanted, and what is there."""

    stage: str
    fingerprint: str
    state: State


@dataclass(frozen=True)
class FieldPlan:
    """One field: its stages in order, its footprint and those of the fields around it.

    `reason` says why the field did not get through; a `blocked` one fails again until something changes.
    """

    field: Field
    stages: tuple[StagePlan, ...]
    geometry: FieldGeometry | None = None
    neighbours: tuple[FieldGeometry, ...] = ()
    provenance: Mapping[str, Any] | None = None
    reason: str | None = None
    blocked: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(stage.state in ("done", "empty") for stage in self.stages)

    @property
    def empty(self) -> bool:
        """Whether the field is done and has no coverage."""
        return self.finished and any(stage.state == "empty" for stage in self.stages)

    def fingerprint(self, stage: str) -> str:
        """The wanted fingerprint of one stage."""
        return next(plan.fingerprint for plan in self.stages if plan.stage == stage)


@dataclass(frozen=True)
class Plan:
    """A scan's fields in order of their ids, and those that were asked for."""

    fields: tuple[FieldPlan, ...]

    def named(self, names: Sequence[str] | None) -> tuple[FieldPlan, ...]:
        """The fields asked for; all of them if None.

        Raises
        ------
        ConfigError
            For a name that is no field of the survey, or none at all.
        """
        if names is None:
            return self.fields
        if not names:
            raise ConfigError("no field is named; name some, or leave --fields out for all.")
        known = {plan.field.field_id: plan for plan in self.fields}
        unknown = [name for name in names if name not in known]
        if unknown:
            shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
            raise ConfigError(f"no field {', '.join(map(repr, unknown))} in the survey; fields: {shown}")
        return tuple(known[name] for name in dict.fromkeys(names))


def stages_of(config: ScanConfig) -> tuple[str, ...]:
    """The stages that a scan runs: without an ensemble it stops after the cutouts."""
    return STAGES if config.ensemble is not None else STAGES[:3]


def make_plan(
    config: ScanConfig,
    raw: Mapping[str, Any],
    survey: Survey,
    ensemble: Ensemble | None,
    *,
    device: str,
    output: Path,
    retry_failed: bool = False,
) -> Plan:
    """Compare what a scan wants with what its output holds.

    Strategy: one listing of the manifests tells every product that is there; a field's files are looked at by
    size and time and its header is read for its footprint, since objects in overlaps belong to the field they
    lie deepest in. Each stage's fingerprint holds the one before, so a change redoes what rests on it and no more.

    Parameters
    ----------
    config : ScanConfig
    raw : mapping
        The config before expansion, for provenance.
    survey : Survey
    ensemble : Ensemble or None
    device : str
        Kind of device that will score; part of the scores' fingerprint.
    output : Path
    retry_failed : bool
        Plan quarantined fields again although nothing about them has changed.

    Raises
    ------
    ConfigError
        If the survey has no fields.
    ModelMismatch
        If the ensemble cannot read the survey's pixels or the stamps.
    """
    fields = survey.fields()
    if not fields:
        raise ConfigError(f"survey {survey.name!r} has no fields where its configuration looks for them.")
    geometries, broken = _footprints(survey, fields)
    if ensemble is not None and geometries:
        scale = max(geometry.pixel_scale for geometry in geometries.values())
        ensemble.check(config.bands, pixel_scale=scale, size_pix=stamp_pixels(config.cutouts, scale))
    around = overlaps(list(geometries.values()))
    listing = products.listing(output)
    quarantine = products.failures(output)
    base = _common_provenance(raw, survey, ensemble)
    plans = []
    for field in fields:
        name = field.field_id
        if name in broken:
            plans.append(_unreadable(field, config, broken[name]))
            continue
        neighbours = tuple(geometries[other] for other in around[name])
        wanted = _fingerprints(config, survey, ensemble, device, field, neighbours)
        stages = tuple(_compare(output, field, stage, wanted[stage], listing) for stage in stages_of(config))
        plan = FieldPlan(field, stages, geometries[name], neighbours, base)
        failure = quarantine.get(name)
        if failure and not plan.finished and wanted.get(failure["stage"]) == failure["fingerprint"]:
            plan = _failed_before(plan, failure, blocked=failure["again"] != "yes" and not retry_failed)
        plans.append(plan)
    return Plan(tuple(plans))


def _footprints(survey: Survey, fields: Sequence[Field]) -> tuple[dict[str, FieldGeometry], dict[str, str]]:
    geometries, broken = {}, {}
    for field in fields:
        try:
            geometries[field.field_id] = survey.geometry(field)
        except BadSurveyData as error:
            broken[field.field_id] = str(error)
    return geometries, broken


def pixel_files(config: ScanConfig, field: Field) -> list[str]:
    """The files that the bands of a scan are read from, sorted; other bands and catalogues are not among them."""
    return sorted({path for band in config.bands for path in field.planes.get(band, {}).values()})


def _fingerprints(
    config: ScanConfig,
    survey: Survey,
    ensemble: Ensemble | None,
    device: str,
    field: Field,
    neighbours: Sequence[FieldGeometry],
) -> dict[str, str]:
    """The wanted fingerprint of every stage of a field, each resting on the one before."""
    files = [file_identity(path) for path in pixel_files(config, field)]
    masks = stage_fingerprint(
        "masks",
        {"masks": config.masks.model_dump(mode="json"), "bands": config.bands},
        {"survey": survey.provenance(), "files": files, "field": [field.survey, field.release, field.field_id]},
    )
    catalogue: list[Any] = []
    if config.detect.method == "catalogue":
        catalogue = [survey.catalogue_provenance(), [file_identity(path) for path in survey.catalogue_files(field)]]
    detect = stage_fingerprint("detect", config.detect.model_dump(mode="json"), [masks, catalogue])
    cutouts = stage_fingerprint("cutouts", [config.cutouts.model_dump(mode="json"), config.vet.centre_radius], detect)
    wanted = {"masks": masks, "detect": detect, "cutouts": cutouts}
    if ensemble is not None:
        score_config = config.score.model_dump(mode="json", exclude={"device", "cascade", "backend"})
        asked = ensemble.fingerprint(cascade=config.score.cascade)
        score = stage_fingerprint(
            "score", [score_config, config.threads], [cutouts, asked, device, config.score.backend]
        )
        maps = [] if ensemble.mapper is None else [ensemble.mapper.fingerprint(), device]
        candidates = stage_fingerprint(
            "candidates",
            [config.scan_id, config.vet.model_dump(mode="json"), config.candidates.model_dump(mode="json")],
            [score, ensemble.calibration_fingerprint(), [near.token() for near in neighbours], *maps],
        )
        wanted |= {"score": score, "candidates": candidates}
    return wanted


def _compare(
    output: Path, field: Field, stage: str, wanted: str, listing: Mapping[str, Mapping[str, list[str]]]
) -> StagePlan:
    names = dict(listing.get(field.field_id, {}))
    live = products.live_fingerprint(output, field.field_id, stage, names)
    if live is None:
        return StagePlan(stage, wanted, "missing")
    if live != wanted:
        return StagePlan(stage, wanted, "stale")
    return StagePlan(stage, wanted, "done")


def mark_empty(output: Path, plan: FieldPlan) -> FieldPlan:
    """Tell stages that are done because there is nothing in the field from those that are done; opens manifests."""
    stages = []
    for stage in plan.stages:
        manifest = products.live_manifest(output, plan.field.field_id, stage.stage) if stage.state == "done" else None
        stages.append(replace(stage, state="empty") if manifest is not None and manifest.empty else stage)
    return replace(plan, stages=tuple(stages))


def _common_provenance(raw: Mapping[str, Any], survey: Survey, ensemble: Ensemble | None) -> dict[str, Any]:
    """What every manifest of a scan carries; no output place, cluster, host or time."""
    return {
        "config": {key: value for key, value in raw.items() if key != "output"},
        "survey": survey.provenance(),
        "software": dict(software()),
        "packages": _packages(ensemble) if ensemble is not None else {},
    }


def _packages(ensemble: Ensemble) -> dict[str, str]:
    """The sha256 of the weights of members and of the network that draws maps, by name."""
    drawers = [] if ensemble.mapper is None else [ensemble.mapper.package]
    return {**ensemble.package_digests(), **{package.name: package.weights_sha256 for package in drawers}}


def _unreadable(field: Field, config: ScanConfig, reason: str) -> FieldPlan:
    stages = tuple(StagePlan(stage, "", "failed" if stage == "masks" else "missing") for stage in stages_of(config))
    return FieldPlan(field, stages, reason=reason, blocked=True)


def _failed_before(plan: FieldPlan, failure: Mapping[str, str], blocked: bool) -> FieldPlan:
    stages = tuple(
        replace(stage, state="failed") if stage.stage == failure["stage"] and stage.state != "done" else stage
        for stage in plan.stages
    )
    return replace(plan, stages=stages, reason=failure["reason"], blocked=blocked)
