"""What a scan would do: a table of (field, stage, fingerprint, done?), made without opening a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.field import Field
from pipeline.geometry import Footprint, Footprints, Overlaps
from pipeline.io import products
from pipeline.io.footprints import read_footprints, write_footprints
from pipeline.io.places import Place
from pipeline.models.described_ensemble import DescribedEnsemble
from pipeline.provenance import software
from pipeline.scan_config import ScanConfig
from pipeline.surveys import FieldList, Survey
from workflows.wanted import Wanted, header_identities, stages_of

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

    field_id: str
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

    fields: FieldList
    stages: tuple[str, ...]
    footprints: Footprints
    overlaps: Overlaps
    wanted: Wanted
    provenance: Mapping[str, Any]
    states: npt.NDArray[np.uint8]
    blocked: npt.NDArray[np.bool_]
    reasons: dict[int, str] = field(default_factory=dict)

    def fingerprints(self, number: int) -> dict[str, str]:
        """Of every stage of a field whose header could be read."""
        return self._fingerprints(self.fields[number], self.overlaps.around(number))

    def _fingerprints(self, own: Field, near: Sequence[int]) -> dict[str, str]:
        return self.wanted.of(own, [self.footprints.token[other].decode() for other in near])

    def sketch(self, number: int) -> FieldSketch:
        states = {stage: _STATES[code] for stage, code in zip(self.stages, self.states[number], strict=True)}
        return FieldSketch(self.fields.ids[number], self.footprints.get(number), states, bool(self.blocked[number]))

    def plan(self, number: int) -> FieldPlan:
        sketch = self.sketch(number)
        own = self.fields[number]
        near: tuple[int, ...] = ()
        wanted = dict.fromkeys(self.stages, "")
        if sketch.footprint is not None:
            near = self.overlaps.around(number)
            wanted = self._fingerprints(own, near)
        return FieldPlan(
            field=own,
            stages=tuple(StagePlan(stage, wanted[stage], state) for stage, state in sketch.states.items()),
            area=sketch.footprint.area if sketch.footprint is not None else 0.0,
            near=tuple(_image_paths(self.fields[other]) for other in near),
            provenance=self.provenance,
            reason=self.reasons.get(number),
            blocked=sketch.blocked,
        )


class Plan(Sequence[FieldPlan]):
    """A scan's fields in order of their ids, or those of them that were asked for.

    A `FieldPlan`, with its fingerprints, is made when it is asked for and kept by nobody: a survey has a million.
    """

    def __init__(self, table: _Table, chosen: Iterable[int] | None = None) -> None:
        self._table = table
        self._chosen = np.arange(len(table.fields)) if chosen is None else np.fromiter(chosen, np.intp)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        """The plan of one field, or the plan of a slice of them."""
        if isinstance(index, slice):
            return Plan(self._table, self._chosen[index])
        return self._table.plan(int(self._chosen[index]))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do in any field."""
        done = np.isin(self._table.states[self._chosen], [_CODE["done"], _CODE["empty"]])
        return bool(done.all())

    def fields(self, names: Iterable[str]) -> Iterator[Field]:
        """The fields of these names, with the paths of their files."""
        return (self._table.fields[number] for number in map(self._table.fields.number, names) if number is not None)

    def sketches(self) -> Iterator[FieldSketch]:
        """Every field without its fingerprints, which take a look at its files."""
        return (self._table.sketch(number) for number in self._chosen)

    def where(self, wanted: Callable[[FieldSketch], bool]) -> Plan:
        """The fields that fulfil a condition."""
        return Plan(self._table, (number for number in self._chosen if wanted(self._table.sketch(number))))

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
        ids = self._table.fields.ids
        numbers = {name: self._table.fields.number(name) for name in names}
        unknown = [name for name in names if numbers[name] is None]
        if unknown:
            shown = ", ".join(ids[:8]) + (" ..." if len(ids) > 8 else "")
            raise ConfigError(f"no field {', '.join(map(repr, unknown))} in the survey; fields: {shown}")
        return Plan(self._table, (number for number in numbers.values() if number is not None))


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
    footprints, broken = _footprints(survey, output, remember)
    if ensemble is not None and footprints.known.any():
        scale = float(footprints.pixel_scale[footprints.known].max())
        ensemble.check(config.bands, pixel_scale=scale, size_pix=config.cutouts.stamp_pixels(scale))
    stages = stages_of(config)
    table = _Table(
        fields=fields,
        stages=stages,
        footprints=footprints,
        overlaps=Overlaps(footprints),
        wanted=Wanted(config, survey, ensemble, device),
        provenance=_common_provenance(raw, survey, ensemble),
        states=np.full((len(fields), len(stages)), _CODE["missing"], np.uint8),
        blocked=np.zeros(len(fields), bool),
    )
    table.reasons |= broken
    table.states[list(broken), 0] = _CODE["failed"]
    table.blocked[list(broken)] = True
    quarantine = products.failures(output)
    for name, names in products.listings(output):
        number = fields.number(name)
        if number is not None and number not in broken:
            _compare(table, number, output, names, quarantine.pop(name, None), retry_failed)
    for name, failure in quarantine.items():
        number = fields.number(name)
        if number is not None and number not in broken:
            _compare(table, number, output, {}, failure, retry_failed)
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
    field_id = table.fields.ids[number]
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


def _footprints(survey: Survey, output: Place, remember: bool) -> tuple[Footprints, dict[int, str]]:
    """Footprints, and by number why there is none; headers are opened where nothing is remembered of the same files."""
    fields = survey.fields()
    identities = header_identities(survey)
    remembered = read_footprints(output)
    footprints = remembered.of(identities, fields.ids)
    broken: dict[int, str] = {}
    for number in np.flatnonzero(~footprints.known).tolist():
        try:
            footprints.put(number, survey.geometry(fields[number]).footprint())
        except BadSurveyData as error:
            broken[number] = str(error)
    if remember and not remembered.holds(identities, footprints):
        write_footprints(output, identities, footprints)
    return footprints, broken


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
    """The sha256 of the weights of members, and of the networks that draw maps and give lens parameters, by name."""
    measurers = {package.name: package.weights_sha256 for package in ensemble.measurers()}
    return {**ensemble.package_digests(), **measurers}
