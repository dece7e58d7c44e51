"""The members of a recipe: each trained once, one after the other or several at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from workflows.children import children

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.train.recipe import MemberPlan, Recipe
    from workflows.train_member import TrainResult


def train_members(recipe: Recipe, *, resume: bool) -> list[TrainResult]:
    """Train the members that have no package of this training yet.

    With `parallel` members at a time each runs in a process and thread of its own: two networks of one thread learn
    faster on two cores than one network of two threads after another. The bytes of the weights are the same.

    Parameters
    ----------
    recipe : Recipe
    resume : bool
        Go on from the checkpoint of a member that was stopped, instead of from its start.

    Raises
    ------
    ConfigError, ProductMismatch, ModelMismatch
        Of the first member that can't be trained; the others that had begun are finished.
    """
    for member in recipe.members:
        _write_config(recipe, member)
    together = min(recipe.config.parallel, len(recipe.members))
    if together == 1:
        return [_train(recipe, member, resume) for member in recipe.members]
    with children(together) as pool:
        jobs = [pool.submit(_train, recipe, member, resume, 1) for member in recipe.members]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def package_folder(recipe: Recipe, member: MemberPlan) -> Path:
    """Where a member's package goes."""
    return recipe.output / "packages" / member.config.name


def run_folder(recipe: Recipe, member: MemberPlan) -> Path:
    """Where a member's run, its checkpoint and its history are."""
    return recipe.output / "runs" / member.config.name


def _train(recipe: Recipe, member: MemberPlan, resume: bool, threads: int | None = None) -> TrainResult:
    from workflows.train_member import train_member

    config = member.config
    if threads is not None:
        config = config.model_copy(update={"run": config.run.model_copy(update={"threads": threads})})
    typer.echo(f"member {config.name}: {config.network.architecture}, method {config.method.name}", err=True)
    return train_member(
        config,
        run_folder(recipe, member),
        package_folder(recipe, member),
        f"lensscan train {recipe.path.name} (member {config.name})",
        resume=resume,
        keep=True,
        said_by=f"{config.name}: ",
    )


def _write_config(recipe: Recipe, member: MemberPlan) -> None:
    """Leave the member's training config beside its run, for a reader and for `lensscan train` of it alone."""
    from pipeline.models.publish import write_toml

    write_toml(run_folder(recipe, member) / "training.toml", member.values)
