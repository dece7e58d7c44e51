"""The command `calibrate`: new calibrations, rules or gates for an ensemble, or another ensemble for a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.calibrate_result import DETECTIONS, CalibrateResult, CascadeResult, FitOptions
from workflows.console import exit_if, reporting, show

if TYPE_CHECKING:
    from pipeline.evaluate.calibration.data import LabelledLogits
    from pipeline.models.cascade_config import Views
    from pipeline.models.ensemble import Ensemble
    from pipeline.models.package import ModelPackage

RESULT = "calibration.json"


def run_fit(
    ensemble: Ensemble, sample: LabelledLogits, folder: Path, options: FitOptions, command: str
) -> CalibrateResult:
    """Calibrate on labelled stamps, compare the rules on held-out folds, and write an ensemble a rule.

    Raises
    ------
    ConfigError
        If the sample has fewer than ten of either class in a fold, or a member ranks it backwards.
    """
    from dataclasses import replace

    from pipeline.evaluate.calibration.compare import compare_rules, held_out_evidence
    from pipeline.evaluate.calibration.ensemble import fit_ensemble, known_rows, scorable
    from pipeline.evaluate.calibration.joint import FEWEST_MAPPED, with_joint, without_joint
    from pipeline.evaluate.calibration.purity import labelled_purity
    from pipeline.models.calibration import logit, sigmoid
    from pipeline.models.ensemble_publish import save_ensemble

    ruled = ensemble.ruled(sample.logits)
    values, lens = scorable(ruled, sample.lens, sample.what)
    groups = None if sample.group is None else sample.group[known_rows(ruled)]
    told = replace(ensemble, members=_familiar(ensemble, sample))
    held = held_out_evidence(
        told.without_beside(),
        values,
        lens,
        sample.what,
        rules=options.rules,
        method=options.method,
        prior=options.weigh,
        folds=options.folds,
        seed=options.seed,
        groups=groups,
    )
    lines = compare_rules(
        told.without_beside(), lens, held, groups=groups, survey_prior=options.prior, seed=options.seed
    )
    best = min((line for line in lines if line.is_rule), key=lambda line: line.log_loss.value or 0.0).name
    scores = sigmoid(held[best] + logit(options.prior))
    written = []
    for rule in options.rules:
        fitted = fit_ensemble(
            told, sample.logits, sample.lens, sample.what, rule=rule, method=options.method, prior=options.weigh
        )
        # What gates lose was fitted to the candidates of the rule before.
        fitted = replace(without_joint(fitted), cascade=None)
        if sample.light is not None:
            fitted = with_joint(fitted, sample.logits, sample.light, sample.lens, sample.what, options.weigh)
        if fitted.mapper is not None and fitted.mapper.joint is None:
            _report(f"{rule}: no joint criterion; it needs pixels (--pools) and {FEWEST_MAPPED} lenses and others.")
        named = replace(fitted, name=f"{ensemble.name}_{rule}")
        save_ensemble(folder / f"{rule}.toml", named, f"{ensemble.name}, {rule}: {command}")
        written.append(str(folder / f"{rule}.toml"))
    purity = labelled_purity(scores, lens, prior=options.prior, detections=DETECTIONS)
    return _kept(folder, CalibrateResult(tuple(written), lines, best, purity))


def run_survey_fit(
    ensemble: Ensemble,
    scan: Path,
    lenses: LabelledLogits | None,
    folder: Path,
    options: FitOptions,
    command: str,
) -> CalibrateResult:
    """Calibrate on a scan's own detections, with injected lenses or without; see `calibration.survey`.

    Raises
    ------
    ConfigError, ProductMismatch, ModelMismatch
        If there are too few detections, or the scan has no logits of these members.
    """
    from dataclasses import replace

    from pipeline.catalogue.purity import expected_purity
    from pipeline.evaluate.calibration.joint import without_joint
    from pipeline.evaluate.calibration.shift import fit_survey_ensemble, shift_ensemble
    from pipeline.models.ensemble_publish import save_ensemble
    from workflows.recombine import scan_logits

    detections = scan_logits(scan, ensemble)
    what = f"all {len(detections):,} detections of {scan}, {options.prior:g} of them lenses"
    shifts: dict[str, tuple[float, float, float]] | None = None
    fitted: list[Ensemble] = []
    if lenses is None:
        moved = shift_ensemble(ensemble, detections, options.prior, what)
        fitted, shifts = [moved.ensemble], {name: (one.moved, one.low, one.high) for name, one in moved.shifts.items()}
    else:
        injected = lenses.logits[lenses.lens]
        fitted = [
            fit_survey_ensemble(
                ensemble,
                injected,
                detections,
                options.prior,
                f"{what}, against the lenses of {lenses.what}",
                rule=rule,
                method=options.method,
                weigh=options.weigh,
            )
            for rule in options.rules
        ]
    written = []
    for one in fitted:
        path = folder / f"{one.rule}.toml"
        named = without_joint(replace(one, name=f"{ensemble.name}_{one.rule}", cascade=None))
        save_ensemble(path, named, f"{ensemble.name}: {command}")
        written.append(str(path))
    purity = expected_purity([fitted[0].score(detections, options.prior).score])
    return _kept(folder, CalibrateResult(tuple(written), best=fitted[0].rule, shifts=shifts, scan_purity=purity))


def run_cascade_fit(
    ensemble: Ensemble,
    patterns: Sequence[str],
    folder: Path,
    options: FitOptions,
    *,
    gates: tuple[ModelPackage, ...],
    views: Views,
    loss: float,
    limit: int | None,
) -> CalibrateResult:
    """Fit gates on labelled stamps; the ensemble's calibrations and rule stay.

    Raises
    ------
    ConfigError
        If there are too few lenses for the loss.
    """
    from pipeline.evaluate.calibration import cascade
    from pipeline.models.ensemble_publish import save_ensemble
    from pipeline.scan_config import CandidatesConfig

    sample, logits = cascade.sample_of_pools(patterns, ensemble, gates, views, limit=limit, report=_report)
    floor = CandidatesConfig().floor
    fitted = cascade.fit_cascade(
        ensemble, gates, sample, logits, views=views, loss=loss, prior=options.prior, floor=floor
    )
    made = fitted.gates()
    path = folder / "cascade.toml"
    named = (*(f"--gate {name}" for name in made.names), *(f"--pools {one}" for one in patterns))
    save_ensemble(path, fitted, " ".join([f"lensscan calibrate {ensemble.name} --cascade {loss:g}", *named]))
    told = CascadeResult(
        made.names,
        tuple(gate.threshold for gate in made.config.gates),
        cascade.cascade_figures(fitted, sample, logits),
        cascade.held_out_loss(fitted, sample, logits, folds=options.folds, seed=options.seed),
    )
    return _kept(folder, CalibrateResult((str(path),), cascade=told))


def calibrate(
    ensemble: Annotated[str, typer.Argument(metavar="ENSEMBLE", help="An ensemble: a path, or a shipped name.")],
    pools: Annotated[
        list[str] | None, typer.Option("--pools", help="Labelled stamps: a glob of .npz shards; may be repeated.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Instead: a table with logit_<member> and label, CSV or Parquet.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A table of objid and label, for --scores with objid alone.")
    ] = None,
    scan: Annotated[
        str | None,
        typer.Option("--scan", help="A scan (config or output) whose detections, all taken for others, calibrate."),
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option("--apply", metavar="SCAN.toml", help="Redo a scan's candidates with this ensemble; fits nothing."),
    ] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="A rule, or all; the ensemble's own if not told.")] = None,
    method: Annotated[str, typer.Option("--method", help="Of the calibrations: platt or beta.")] = "platt",
    weigh: Annotated[
        float, typer.Option("--weigh", help="Share of lenses, by weight, in the fits: small is right at the top.")
    ] = 0.01,
    prior: Annotated[float | None, typer.Option("--prior", help="Share of lenses among a survey's detections.")] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts that the comparison is held out in.")] = 5,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many stamps of the pools.")] = None,
    familiarity: Annotated[
        bool, typer.Option("--familiarity", help="Also fit, on the pools, what each member finds familiar.")
    ] = False,
    cascade: Annotated[
        float | None,
        typer.Option("--cascade", metavar="LOSS", help="Instead: fit gates that lose this share of the lenses."),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", help="With --cascade, a package that looks first; repeated, one behind the other."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the new ensembles; with --apply, of the scan, instead of its config's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Fit calibrations and a rule of combination, or give a scan's stored logits to another ensemble."""
    from pipeline.errors import ConfigError
    from pipeline.models.ensemble import load_ensemble
    from workflows.calibrate_text import calibrate_text, recombine_text
    from workflows.recombine import recombine, scan_output

    with reporting(as_json):
        if apply is not None:
            _refuse_with_apply(pools=pools, scores=scores, labels=labels, scan=scan, rule=rule, familiarity=familiarity)
            outcome = recombine(apply, ensemble, prior=prior, out=out)
            show(as_json, outcome.as_dict(), lambda: recombine_text(outcome, apply, ensemble))
            exit_if(bool(outcome.failures))
            return
        loaded = load_ensemble(ensemble)
        options = _options(loaded, rule, method, weigh, prior, folds)
        folder = out or Path("runs/calibrations") / loaded.name
        if cascade is not None or gate:
            gates, views, loss = _gates(loaded, cascade, gate)
            if not pools:
                raise ConfigError("--cascade needs pixels: give stamps with --pools.")
            result = run_cascade_fit(loaded, pools, folder, options, gates=gates, views=views, loss=loss, limit=limit)
            show(as_json, result.as_dict(), lambda: calibrate_text(result, options))
            return
        sample = _sample(loaded, pools, scores, labels, limit, familiarity, alone=scan is None)
        command = _command(ensemble, pools, scores, scan, options)
        if scan is not None:
            result = run_survey_fit(loaded, scan_output(scan), sample, folder, options, command)
        else:
            result = run_fit(loaded, sample, folder, options, command)  # type: ignore[arg-type]
        show(as_json, result.as_dict(), lambda: calibrate_text(result, options))


def _gates(
    ensemble: Ensemble, loss: float | None, named: Sequence[str] | None
) -> tuple[tuple[ModelPackage, ...], Views, float]:
    """The gates, their quarter turns and their loss: those that are named look once, else the ensemble's own."""
    from pipeline.errors import ConfigError
    from pipeline.models.card import find_package
    from pipeline.models.package import load_package

    if loss is None or not 0 < loss < 1:
        raise ConfigError(f"--cascade {loss!r}: give the share of lenses that the gates may lose, such as 0.0005.")
    if named:
        return tuple(load_package(find_package(name)) for name in named), 1, loss
    if ensemble.cascade is None:
        raise ConfigError(f"--cascade: {ensemble.name} has no gate yet; name one with --gate, such as a member.")
    return ensemble.cascade.packages, ensemble.cascade.config.views, loss


def _sample(
    ensemble: Ensemble,
    pools: Sequence[str] | None,
    scores: Path | None,
    labels: Path | None,
    limit: int | None,
    familiarity: bool,
    *,
    alone: bool,
) -> LabelledLogits | None:
    """The labelled sample that the options name; None where a scan's detections are enough."""
    from pipeline.errors import ConfigError
    from pipeline.evaluate.calibration.data import logits_of_pools, logits_of_table

    if pools and scores is not None:
        raise ConfigError("--pools and --scores are two samples; give one.")
    if familiarity and not pools:
        raise ConfigError("--familiarity needs pixels: give stamps with --pools.")
    if labels is not None and scores is None:
        raise ConfigError("--labels go with --scores, the table of logits.")
    if pools:
        return logits_of_pools(pools, ensemble, limit=limit, familiarity=familiarity, report=_report)
    if scores is not None:
        return logits_of_table(scores, ensemble, labels)
    if alone:
        raise ConfigError("nothing to calibrate on: give --pools, --scores or --scan, or --apply SCAN.toml.")
    return None


def _options(
    ensemble: Ensemble, rule: str | None, method: str, weigh: float, prior: float | None, folds: int
) -> FitOptions:
    from pipeline.errors import ConfigError
    from pipeline.models.combination import RULES
    from pipeline.scan_config import CandidatesConfig

    wanted = prior if prior is not None else CandidatesConfig().prior
    for name, value in (("--weigh", weigh), ("--prior", wanted)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} {value!r}: a share of lenses lies between 0 and 1.")
    if method not in ("platt", "beta"):
        raise ConfigError(f"--method {method!r}: there are platt and beta.")
    chosen = RULES if rule == "all" else tuple(one for one in RULES if one == (rule or ensemble.rule))
    if not chosen:
        raise ConfigError(f"--rule {rule!r}: there are all, {', '.join(RULES)}.")
    return FitOptions(chosen, "beta" if method == "beta" else "platt", weigh, wanted, folds)


def _refuse_with_apply(**given: object) -> None:
    from pipeline.errors import ConfigError

    named = [f"--{name}" for name, value in given.items() if value]
    if named:
        raise ConfigError(f"--apply fits nothing: leave {', '.join(named)} out, or fit first and apply what comes out.")


def _familiar(ensemble: Ensemble, sample: LabelledLogits) -> tuple[Any, ...]:
    """The members, with the familiarity fitted on the sample where there is one."""
    from dataclasses import replace

    return tuple(
        replace(member, familiarity=sample.familiarity.get(member.name, member.familiarity))
        for member in ensemble.members
    )


def _kept(folder: Path, result: CalibrateResult) -> CalibrateResult:
    from pipeline.io.writing import write_json

    write_json(folder / RESULT, result.as_dict())
    return result


def _command(
    ensemble: str, pools: Sequence[str] | None, scores: Path | None, scan: str | None, options: FitOptions
) -> str:
    parts = [f"lensscan calibrate {ensemble}", *(f"--pools {one}" for one in pools or ())]
    parts += [f"--scores {scores}"] if scores is not None else []
    parts += [f"--scan {scan}"] if scan is not None else []
    rule = "all" if len(options.rules) > 1 else options.rules[0]
    return " ".join([*parts, f"--rule {rule} --method {options.method} --weigh {options.weigh:g}"])


def _report(message: str) -> None:
    typer.echo(message, err=True)
