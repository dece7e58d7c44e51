"""The evaluation kind `few_shot`: linear probes, fine-tuning and training from scratch on few labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import RenderableType
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.evaluate.few_shot.config import FewShotEvaluation, NetworkConfig
    from pipeline.evaluate.few_shot.result import FewShotResult, Line
    from pipeline.models.package import ModelPackage
    from pipeline.train.config import TrainConfig
    from pipeline.train.data import Stamps
    from workflows.evaluate_kinds import Told

Report = Callable[[str], None]

TRAININGS = "trainings"
"""Folder of the answers of networks that were trained on few labels."""


@dataclass(frozen=True)
class _Samples:
    """Stamps of each use, the test's last."""

    labelled: Stamps
    choice: Stamps
    unlabelled: Stamps
    test: Stamps


@dataclass(frozen=True)
class _Trial:
    """Trainings of one network: its name in the table, from what it starts, draws of labels, steps for each number."""

    name: str
    how: str
    draws: int
    steps: tuple[int, ...]


def evaluate_few_shot(path: Path, out: Path | None, report: Report) -> Told:
    """Evaluate by a config of kind `few_shot`, and write `evaluation.json` and `report.html`.

    The answers of every training are kept in the folder, so that an evaluation that was stopped, or gets another
    network, trains no more than what is missing. A network whose package is not there is "not measured".

    Parameters
    ----------
    path : Path
        The evaluation's TOML.
    out : Path, optional
        Folder of the results; `runs/evaluations/<name>` if None.
    report : callable
        Told how far it is.

    Raises
    ------
    ConfigError
        For a wrong configuration or pool, too few labels of a class, stamps of the choice or test among those that
        labels are drawn from, or no network that is there.
    """
    from pipeline.config import expand, read_toml, validate
    from pipeline.errors import ConfigError
    from pipeline.evaluate.few_shot.config import FewShotEvaluation
    from pipeline.evaluate.few_shot.page import goal_text, page
    from pipeline.evaluate.few_shot.result import FewShotResult, goal_of
    from pipeline.evaluate.result import plain
    from pipeline.io.writing import atomic_write, write_json
    from pipeline.provenance import software
    from workflows.evaluate_kinds import Told

    config = validate(FewShotEvaluation, expand(read_toml(path), str(path)), str(path))
    folder = out or Path("runs/evaluations") / config.name
    recipes = [_training(scratch.training, path) for scratch in config.scratch]
    samples = _read(config, recipes[0])
    folder.mkdir(parents=True, exist_ok=True)
    lines = _from_scratch(config, recipes, samples, folder, report)
    pretrained, episodes, absent = _pretrained(config, recipes[0], samples, folder, report)
    if not episodes:
        raise ConfigError(f"{path}: none of the networks is there:\n" + "\n".join(absent.values()))
    lines += pretrained
    result = FewShotResult(
        name=config.name,
        description=config.description,
        config=config.model_dump(mode="json"),
        version=" ".join(software().values()),
        rate=config.rate,
        samples={
            name: (int(stamps.lens.sum()), int((~stamps.lens).sum()))
            for name, stamps in (("labelled", samples.labelled), ("choice", samples.choice), ("test", samples.test))
        },
        lines=tuple(lines),
        episodes=episodes,
        goal=goal_of(lines, *config.goal),
        not_measured=absent,
    )
    atomic_write(folder / "report.html", page(result).encode())
    write_json(folder / "evaluation.json", plain(result))
    values: dict[str, Any] = {**plain(result), "goal_reached": result.goal.reached, "output": str(folder)}
    return Told(values, _text(result, goal_text(result)))


def _from_scratch(
    config: FewShotEvaluation, recipes: list[TrainConfig], samples: _Samples, folder: Path, report: Report
) -> list[Line]:
    from pipeline.evaluate.few_shot.result import SCRATCH

    lines = []
    for scratch, training in zip(config.scratch, recipes, strict=True):
        trial = _Trial(training.network.architecture, SCRATCH, scratch.draws, scratch.steps)
        lines += _trained(config, training, samples, folder, trial, report)
    return lines


def _pretrained(
    config: FewShotEvaluation, recipe: TrainConfig, samples: _Samples, folder: Path, report: Report
) -> tuple[list[Line], dict[str, list[Any]], dict[str, str]]:
    """Lines and episodes of the pre-trained networks, and why some were not measured."""
    from pipeline.errors import ConfigError
    from pipeline.evaluate.few_shot.result import TUNED
    from pipeline.models.card import find_package

    lines: list[Line] = []
    episodes: dict[str, list[Any]] = {}
    absent: dict[str, str] = {}
    for network in config.networks:
        try:
            find_package(network.package)
        except ConfigError:
            absent[network.name] = f"no package {network.package}; train it, as the evaluation's TOML says"
            report(f"NOT MEASURED: {network.name}: {absent[network.name]}")
            continue
        probed, episodes[network.name] = _probed(config, network, recipe, samples, report)
        lines += probed
        if network.draws:
            tuned = _as_packaged(recipe, _package(network, recipe))
            trial = _Trial(network.name, TUNED, network.draws, config.scratch[0].steps)
            lines += _trained(config, tuned, samples, folder, trial, report)
    return lines, episodes, absent


def _training(reference: str, path: Path) -> TrainConfig:
    from pipeline.config import find
    from pipeline.train.load import load_training

    return load_training(find(reference, "training", relative_to=path.parent))


def _read(config: FewShotEvaluation, recipe: TrainConfig) -> _Samples:
    from pipeline.errors import ConfigError
    from pipeline.train.apart import shared_stamps
    from pipeline.train.data import read_stamps

    def read(patterns: tuple[str, ...], limit: int | None, both: bool = True) -> Stamps:
        bands, scale = recipe.package.bands, recipe.package.pixel_scale
        return read_stamps(patterns, bands, scale, limit=limit, both_classes=both)

    labelled, choice = read(config.labelled, config.limit), read(config.choice, config.limit)
    samples = _Samples(labelled, choice, read(config.unlabelled, config.limit, False), read(config.test, None))
    held = (("choice", samples.choice), ("labelled", labelled), ("unlabelled", samples.unlabelled))
    for ours, apart, others in (("test", samples.test, held), ("choice", choice, held[1:2])):
        for name, stamps in others:
            if len(pairs := shared_stamps(apart, stamps)):
                raise ConfigError(
                    f"{len(pairs):,} stamps of {ours} are in {name} too, to the pixel; give another seed's."
                )
    return samples


def _probed(
    config: FewShotEvaluation, network: NetworkConfig, recipe: TrainConfig, samples: _Samples, report: Report
) -> tuple[list[Line], list[Any]]:
    """Lines of the linear probes of a network, and the accuracies of its episodes."""
    from pipeline.evaluate.few_shot.episodes import episode_accuracies
    from pipeline.evaluate.few_shot.probe import Embedded, Spread, draw_labels, probe
    from pipeline.evaluate.few_shot.result import PROBE, Line

    package = _package(network, recipe)
    report(f"{network.name}: embedding {sum(map(len, vars(samples).values())):,} stamps")
    labelled, choice, unlabelled, test = (
        Embedded(_embedded(package, recipe, stamps), stamps.lens) for stamps in vars(samples).values()
    )
    lines = []
    for number in config.labels:
        drawn = draw_labels(labelled.lens, number, config.lens_share, config.draws, config.seed)
        found = probe(labelled, unlabelled.embedding, choice, test, drawn, config.rate)
        spreads = Spread.of(found.completeness), Spread.of(found.auroc)
        lines.append(Line(network.name, PROBE, number, config.draws, found.form, *spreads))
    accuracies = episode_accuracies(
        (choice.embedding, samples.choice.kind),
        (test.embedding, samples.test.kind),
        unlabelled.embedding,
        config.episodes,
        config.seed,
    )
    return lines, accuracies


def _package(network: NetworkConfig, recipe: TrainConfig) -> ModelPackage:
    from pipeline.errors import ModelMismatch
    from pipeline.models.card import find_package
    from pipeline.models.package import load_package

    package = load_package(find_package(network.package))
    here, there = recipe.package, package.card
    if (there.bands, there.pixel_scale) != (here.bands, here.pixel_scale):
        raise ModelMismatch(
            f"{network.package}: reads {', '.join(there.bands)} at {there.pixel_scale:g} arcsec; the evaluation is of "
            f"{', '.join(here.bands)} at {here.pixel_scale:g}."
        )
    return package


def _embedded(package: ModelPackage, recipe: TrainConfig, stamps: Stamps) -> npt.NDArray[np.float32]:
    from pipeline.train.loop import embed

    return embed(package.network, stamps, _as_packaged(recipe, package), np.arange(len(stamps)))


def _as_packaged(recipe: TrainConfig, package: ModelPackage) -> TrainConfig:
    """The training of a package's network: its architecture, size and normalisation, and no support set."""
    from pipeline.models import SUPPORT

    card = package.card
    arguments = {name: value for name, value in card.arguments.items() if name != SUPPORT}
    changed = {"architecture": card.architecture, "arguments": arguments, "encoder": str(package.path)}
    return recipe.model_copy(
        update={
            "network": recipe.network.model_copy(update=changed),
            "package": recipe.package.model_copy(update={"size_pix": card.size_pix}),
            "normalisation": card.normalisation,
        }
    )


def _trained(
    config: FewShotEvaluation,
    training: TrainConfig,
    samples: _Samples,
    folder: Path,
    trial: _Trial,
    report: Report,
) -> list[Line]:
    """Lines of a network that is trained on each draw of labels."""
    from pipeline.evaluate.few_shot.probe import Spread, draw_labels
    from pipeline.evaluate.few_shot.result import Line
    from pipeline.evaluate.metrics import auroc, completeness_at_fpr

    name, how, draws = trial.name, trial.how, trial.draws
    lines = []
    for number, steps in zip(config.labels, trial.steps, strict=True):
        drawn = draw_labels(samples.labelled.lens, number, config.lens_share, draws, config.seed)
        figures = []
        for draw, rows in enumerate(drawn):
            report(f"{name}, {how}: {number:,} labels, draw {draw + 1} of {draws}")
            place = folder / TRAININGS / f"{name}-{how.replace(' ', '-')}-{number}-{draw}"
            optimiser = training.optimiser.model_copy(update={"steps": steps})
            changed = training.model_copy(update={"optimiser": optimiser, "seed": draw})
            logits = _answers(changed, samples, rows, place)
            lens = samples.test.lens
            figures.append((completeness_at_fpr(logits, lens, config.rate).value, auroc(logits, lens).value))
        completeness, area = np.array(figures).T
        lines.append(Line(name, how, number, draws, "", Spread.of(completeness), Spread.of(area)))
    return lines


def _answers(
    training: TrainConfig, samples: _Samples, rows: npt.NDArray[np.int64], place: Path
) -> npt.NDArray[np.float32]:
    """Logits (n,) of the test by a network trained on some labels; those of before where all was the same."""
    from pipeline.io.npz import open_archive
    from pipeline.provenance import fingerprint
    from pipeline.train.finish import training_fingerprint
    from pipeline.train.held import some_of
    from pipeline.train.loop import score, train

    stamps = some_of(samples.labelled, rows)
    identity = fingerprint([training_fingerprint(training, stamps), samples.test.digest])
    kept = place / f"{identity[:16]}.npz"
    if kept.is_file():
        with open_archive(str(kept)) as archive:
            known: npt.NDArray[np.float32] = archive.whole("logits")
        return known
    trained = train(training, stamps, stamps, place)
    logits = score(trained.network, samples.test, training)
    np.savez(kept, logits=logits)
    (place / "checkpoint.pt").unlink(missing_ok=True)
    return logits


def _text(result: FewShotResult, goal: str) -> RenderableType:
    from rich.console import Group

    counts = sorted({line.labels for line in result.lines})
    at = f"completeness at {100 * result.rate:g} % false positives (AUROC)"
    table = Table("network", "trained", *(f"{count:,} labels" for count in counts), title=at)
    for network, how in dict.fromkeys((line.network, line.how) for line in result.lines):
        mine = {line.labels: line for line in result.lines if (line.network, line.how) == (network, how)}
        table.add_row(network, how, *(_cell(mine[count]) for count in counts))
    return Group(table, goal)


def _cell(line: Line) -> str:
    return f"{line.completeness.value:.3f} ({line.auroc.value:.3f})"
