"""The command `train`: a configuration and pools of stamps in, a model package out; or a recipe of an ensemble."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from workflows.console import reporting, show
from workflows.train_member import TrainResult, train_member


def run_training(
    config_reference: str, out: str | None = None, *, resume: bool = False, seed: int | None = None
) -> TrainResult:
    """Train by a config and write the package; progress goes to standard error.

    Parameters
    ----------
    config_reference : str
        Path of a training TOML or name of a shipped one.
    out : str, optional
        Folder that gets `<name>/` with the run and its package, instead of the config's `output`.
    resume : bool
        Go on from the run's checkpoint.
    seed : int, optional
        Instead of the config's; the run's folder is then `<name>-seed<seed>`.

    Raises
    ------
    ConfigError, ProductMismatch
        For a wrong configuration or pool, a checkpoint of another run, or, without `resume`, a package that is there.
    """
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.train.load import load_training

    path = find(config_reference, "training")
    config = load_training(path)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    folder = Path(out or config.output) / (config.name if seed is None else f"{config.name}-seed{seed}")
    if not resume and (folder / "package").is_dir():
        raise ConfigError(f"{folder} holds a trained package; train to another --out or --seed, or move it away.")
    command = f"lensscan train {path.name}" + ("" if seed is None else f" --seed {seed}")
    return train_member(config, folder, folder / "package", command, resume=resume)


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A training config or a recipe: a path, or a shipped name.")
    ],
    out: Annotated[str | None, typer.Option("--out", help="Folder of the run, instead of the config's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints of the run.")] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the config's; has its own folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Train a network on pools of stamps and write a model package; by a recipe, train a whole ensemble."""
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.train.recipe import is_recipe
    from workflows.train_ensemble import ensemble_text, train_ensemble

    with reporting(as_json):
        path = find(config, "training")
        if is_recipe(path):
            if seed is not None:
                raise ConfigError(f"{path} is a recipe: --seed is for one network; its members have their own.")
            made = train_ensemble(path, out, resume=resume)
            show(as_json, asdict(made), lambda: ensemble_text(made))
            return
        result = run_training(config, out, resume=resume, seed=seed)
        show(as_json, asdict(result), lambda: _text(result))


def _text(result: TrainResult) -> str:
    figures = "\n".join(f"  {name}: {value:.4f}" for name, value in result.metrics.items())
    return f"{result.package}: trained on {result.stamps:,} stamps\n{figures}"
