"""What a scan would do: a table of (field, stage, fingerprint, done?), made without opening a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.field import Field
from pipeline.geometry import Footprint, Overlaps
from pipeline.io import products
from pipeline.io.footprints import read_footprints, write_footprints
from pipeline.io.places import Place
from pipeline.models.described_ensemble import DescribedEnsemble
from pipeline.provenance import software
from pipeline.scan_config import ScanConfig
from pipeline.surveys import Survey
from workflows.wanted import Wanted, header_identity, header_key, stages_of

State = Literal["done", "empty", "stale", "missing", "failed"]

_STATES: tuple[State, ...] = get_args(State)
_CODE = {state: code for code, state in enumerate(_STATES)}


@dataclass(frozen=True)
class StagePlan:
    """One product of one field: the fingerprint wanted, and what is there."""

    stage: str
    fingerprint: str
    state: State


@dataclass(frozen=True)
class FieldSketch:
    """What a plan knows of a field without looking at its files again: where it is, and the state of its stages.

    `footprint` is None for a field whose header can't be read; a `blocked` one fails again until something changes.
    """

    field: Field
    footprint: Footprint | None
    states: Mapping[str, State]
    blocked: bool

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(state in ("done", "empty") for state in self.states.values())


@dataclass(frozen=True)
class FieldPlan:
    """One field: its stages in order, and the fields around it with the paths of their images alone.

    `area` is in arcmin². `reason` says why the field did not get through; a `blocked` one fails again until something
    changes.
    """

    field: Field
    stages: tuple[StagePlan, ...]
    area: float = 0.0
    near: tuple[Field, ...] = ()
    provenance: Mapping[str, Any] | None = None
    reason: str | None = None
    blocked: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(stage.state in ("done", "empty") for stage in self.stages)

    def fingerprint(self, stage: str) -> str:
        """The wanted fingerprint of one stage."""
        return next(plan.fingerprint for plan in self.stages if plan.stage == stage)


@dataclass
class _Table:
    """What the plan of a whole survey holds: a few numbers a field, in order of the fields' ids."""

    fields: list[Field]
    stages: tuple[str, ...]
    footprints: Mapping[str, Footprint]
    overlaps: Overlaps
    wanted: Wanted
    provenance: Mapping[str, Any]
    states: npt.NDArray[np.uint8]
    blocked: npt.NDArray[np.bool_]
    reasons: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = {one.field_id: number for number, one in enumerate(self.fields)}

    def fingerprints(self, number: int) -> dict[str, str]:
        """Of every stage of a field whose header could be read."""
        near = self.overlaps.around(self.fields[number].field_id)
        return self.wanted.of(self.fields[number], [self.footprints[name].token for name in near])

    def sketch(self, number: int) -> FieldSketch:
        own = self.fields[number]
        states = {stage: _STATES[code] for stage, code in zip(self.stages, self.states[number], strict=True)}
        return FieldSketch(own, self.footprints.get(own.field_id), states, bool(self.blocked[number]))

    def plan(self, number: int) -> FieldPlan:
        sketch = self.sketch(number)
        name = sketch.field.field_id
        near: tuple[Field, ...] = ()
        wanted = dict.fromkeys(self.stages, "")
        if sketch.footprint is not None:
            near = tuple(_image_paths(self.fields[self.index[other]]) for other in self.overlaps.around(name))
            wanted = self.fingerprints(number)
        return FieldPlan(
            field=sketch.field,
            stages=tuple(StagePlan(stage, wanted[stage], state) for stage, state in sketch.states.items()),
            area=sketch.footprint.area if sketch.footprint is not None else 0.0,
            near=near,
            provenance=self.provenance,
            reason=self.reasons.get(number),
            blocked=sketch.blocked,
        )


class Plan(Sequence[FieldPlan]):
    """A scan's fields in order of their ids, or those of them that were asked for.

    A `FieldPlan`, with its fingerprints, is made when it is asked for and kept by nobody: a survey has a million.
    """

    def __init__(self, table: _Table, chosen: Sequence[int] | None = None) -> None:
        self._table = table
        self._chosen: Sequence[int] = range(len(table.fields)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        """The plan of one field, or the plan of a slice of them."""
        if isinstance(index, slice):
            return Plan(self._table, self._chosen[index])
        return self._table.plan(self._chosen[index])

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do in any field."""
        done = np.isin(self._table.states[list(self._chosen)], [_CODE["done"], _CODE["empty"]])
        return bool(done.all())

    def sketches(self) -> Iterator[FieldSketch]:
        """Every field without its fingerprints, which take a look at its files."""
        return (self._table.sketch(number) for number in self._chosen)

    def where(self, wanted: Callable[[FieldSketch], bool]) -> Plan:
        """The fields that fulfil a condition."""
        return Plan(self._table, [number for number in self._chosen if wanted(self._table.sketch(number))])

    def named(self, names: Sequence[str] | None) -> Plan:
        """The fields asked for; all of them if None.

        Raises
        ------
        ConfigError
            For a name that is no field of the survey, or none at all.
        """
        if names is None:
            return self
        if not names:
            raise ConfigError("no field is named; name some, or leave --fields out for all.")
        index = self._table.index
        unknown = [name for name in names if name not in index]
        if unknown:
            shown = ", ".join(list(index)[:8]) + (" ..." if len(index) > 8 else "")
            raise ConfigError(f"no field {', '.join(map(repr, unknown))} in the survey; fields: {shown}")
        return Plan(self._table, [index[name] for name in dict.fromkeys(names)])


def make_plan(
    config: ScanConfig,
    raw: Mapping[str, Any],
    survey: Survey,
    ensemble: DescribedEnsemble | None,
    *,
    device: str,
    output: Place,
    retry_failed: bool = False,
    remember: bool = False,
) -> Plan:
    """Compare what a scan wants with what its output holds.

    Strategy: one listing of the manifests tells every product that is there. Objects in overlaps belong to the field
    they lie deepest in, so the header of every field is read for its footprint, once, and remembered in the output.
    Each stage's fingerprint holds the one before, so a change redoes what rests on it and no more; those of fields of
    which nothing is there are worked out when their turn comes.

    Parameters
    ----------
    config : ScanConfig
    raw : mapping
        The config before expansion, for provenance.
    survey : Survey
    ensemble : DescribedEnsemble or None
    device : str
        Kind of device that will score; part of the scores' fingerprint.
    output : Path or ObjectPath
    retry_failed : bool
        Plan quarantined fields again although nothing about them has changed.
    remember : bool
        Write down the footprints that are new; only who holds the output may.

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
    footprints, broken = _footprints(survey, fields, output, remember)
    if ensemble is not None and footprints:
        scale = max(footprint.pixel_scale for footprint in footprints.values())
        ensemble.check(config.bands, pixel_scale=scale, size_pix=config.cutouts.stamp_pixels(scale))
    stages = stages_of(config)
    table = _Table(
        fields=fields,
        stages=stages,
        footprints=footprints,
        overlaps=Overlaps(list(footprints.values())),
        wanted=Wanted(config, survey, ensemble, device),
        provenance=_common_provenance(raw, survey, ensemble),
        states=np.full((len(fields), len(stages)), _CODE["missing"], np.uint8),
        blocked=np.zeros(len(fields), bool),
    )
    listing = products.listing(output)
    quarantine = products.failures(output)
    for number, one in enumerate(fields):
        name = one.field_id
        if name in broken:
            table.states[number, 0] = _CODE["failed"]
            table.blocked[number], table.reasons[number] = True, broken[name]
        elif name in listing or name in quarantine:
            _compare(table, number, output, listing.get(name, {}), quarantine.get(name), retry_failed)
    return Plan(table)


def _compare(
    table: _Table,
    number: int,
    output: Place,
    names: Mapping[str, list[str]],
    failure: Mapping[str, str] | None,
    retry_failed: bool,
) -> None:
    """Fill in what is there of a field, and what failed of the same fingerprint."""
    field_id = table.fields[number].field_id
    wanted = table.fingerprints(number)
    for column, stage in enumerate(table.stages):
        live = products.live_fingerprint(output, field_id, stage, names)
        if live is not None:
            table.states[number, column] = _CODE["done" if live == wanted[stage] else "stale"]
    if failure is None or table.sketch(number).finished or wanted.get(failure["stage"]) != failure["fingerprint"]:
        return
    column = table.stages.index(failure["stage"])
    if table.states[number, column] != _CODE["done"]:
        table.states[number, column] = _CODE["failed"]
    table.reasons[number] = failure["reason"]
    table.blocked[number] = failure["again"] != "yes" and not retry_failed


def _footprints(
    survey: Survey, fields: Sequence[Field], output: Place, remember: bool
) -> tuple[dict[str, Footprint], dict[str, str]]:
    """Footprints by field, and why there is none; headers are opened where nothing is remembered of the same files."""
    known = read_footprints(output)
    key = header_key(survey)
    found: dict[str, Footprint] = {}
    broken: dict[str, str] = {}
    kept: dict[str, Footprint] = {}
    for one in fields:
        identity = header_identity(key, survey, one)
        try:
            kept[identity] = found[one.field_id] = known.get(identity) or survey.geometry(one).footprint()
        except BadSurveyData as error:
            broken[one.field_id] = str(error)
    if remember and kept.keys() != known.keys():
        write_footprints(output, kept)
    return found, broken


def _image_paths(whole: Field) -> Field:
    """As much of a field as its geometry is read from."""
    images = {band: {"image": planes["image"]} for band, planes in whole.planes.items()}
    return replace(whole, planes=images, catalogue=None)


def mark_empty(plan: FieldPlan, live: Mapping[str, products.Manifest]) -> FieldPlan:
    """Tell stages that are done because there is nothing in the field from those that are done, by its manifests."""
    stages = (
        replace(stage, state="empty")
        if stage.state == "done" and stage.stage in live and live[stage.stage].empty
        else stage
        for stage in plan.stages
    )
    return replace(plan, stages=tuple(stages))


def _common_provenance(raw: Mapping[str, Any], survey: Survey, ensemble: DescribedEnsemble | None) -> dict[str, Any]:
    """What every manifest of a scan carries; no output place, cluster, host or time."""
    return {
        "config": {key: value for key, value in raw.items() if key != "output"},
        "survey": survey.provenance(),
        "software": dict(software()),
        "packages": _packages(ensemble) if ensemble is not None else {},
    }


def _packages(ensemble: DescribedEnsemble) -> dict[str, str]:
    """The sha256 of the weights of members and of the network that draws maps, by name."""
    drawers = [] if ensemble.mapper is None else [ensemble.mapper.package]
    return {**ensemble.package_digests(), **{package.name: package.weights_sha256 for package in drawers}}
