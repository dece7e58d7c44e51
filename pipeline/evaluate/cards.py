"""The figures of an evaluation on the cards of the members that it measured."""

from __future__ import annotations

from pipeline.evaluate.figures import Figure
from pipeline.evaluate.result import Evaluation
from pipeline.models.card import Metric, ModelCard

_AUROC, _COMPLETENESS = "AUROC", "completeness at FPR "


def with_figures(card: ModelCard, evaluation: Evaluation, command: str) -> ModelCard:
    """The card with AUROC and completeness on each sample, rounded, in place of those that the command gave before.

    Parameters
    ----------
    card : ModelCard
        Of a member of the evaluation.
    evaluation : Evaluation
    command : str
        What gives the figures; it ends every metric's `sample`, by which it finds its own again.

    Raises
    ------
    KeyError
        If the evaluation has no member of the card's name.
    """
    if card.name not in evaluation.members:
        raise KeyError(card.name)
    kept = [metric for metric in card.metrics if not metric.sample.endswith(f"; {command}")]
    found = [
        Metric(
            name=name,
            value=_rounded(figure.value),
            low=None if figure.low is None else _rounded(figure.low),
            high=None if figure.high is None else _rounded(figure.high),
            sample=_told(sample.name, figure, command),
        )
        for sample in evaluation.samples
        for scorer in sample.scorers
        if scorer.kind == "member" and scorer.name == card.name
        for figure in scorer.figures
        if (name := _metric(figure.name)) is not None and figure.value is not None
    ]
    return card.model_copy(update={"metrics": (*kept, *found)})


def _metric(figure: str) -> str | None:
    """A figure's name as cards have it; None for those that cards don't tell."""
    if figure == _AUROC:
        return "auroc"
    if figure.startswith(_COMPLETENESS):
        return f"completeness at {100 * float(figure.removeprefix(_COMPLETENESS)):g} % false positives"
    return None


def _rounded(value: float) -> float:
    """To four significant digits, more than any interval here asks for."""
    return float(f"{value:.4g}")


def _told(sample: str, figure: Figure, command: str) -> str:
    lenses = _counted(figure.n_lenses, figure.n_lens_groups, "lenses")
    return f"{sample}: {lenses}, {_counted(figure.n_others, figure.n_other_groups, 'others')}; {command}"


def _counted(number: int, groups: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if groups == number else f" in {groups:,} groups")
