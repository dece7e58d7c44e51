"""What an evaluation of few labels is asked to do: an evaluation TOML with `kind = "few_shot"`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config import StrictModel

Rate = Annotated[float, Field(gt=0, lt=1)]


class NetworkConfig(StrictModel):
    """A pre-trained network.

    Attributes
    ----------
    name : str
        In the table.
    package : str
        Its folder, or a shipped one's name.
    draws : int
        Draws of labels with which it is fine-tuned; 0 for a linear probe alone.
    """

    name: str = Field(min_length=1)
    package: str
    draws: int = Field(0, ge=0)


class TrainedConfig(StrictModel):
    """How a network is trained on the labels alone.

    Attributes
    ----------
    training : str
        A training config (path or shipped name), whose sources and length are replaced. Pre-trained networks are
        fine-tuned as the first of these says.
    draws : int
        Draws of labels of the training from scratch.
    steps : tuple of int
        Steps for each number of labels.
    """

    training: str
    draws: int = Field(3, ge=1)
    steps: tuple[int, ...]


class EpisodesConfig(StrictModel):
    """Episodes of k ways and n shots: `number` of each, with so many queries a kind."""

    ways: int = Field(5, ge=2)
    shots: tuple[int, ...] = (1, 5)
    queries: int = Field(10, ge=1)
    number: int = Field(200, ge=2)


class FewShotEvaluation(StrictModel):
    """One evaluation of few labels.

    Attributes
    ----------
    name, description : str
    seed : int
        Of all draws.
    labels : tuple of int
        Numbers of labels.
    lens_share : float
        Of the labels that are drawn, lenses.
    draws : int
        Draws of labels for the linear probes.
    rate : float
        False-positive rate at which completeness is given.
    goal : (int, int)
        With the first number of labels, a pre-trained network should find what training from scratch finds with the
        second.
    bands : tuple of str
    labelled, choice, test : tuple of str
        Pools that labels are drawn from, that the probe's form is chosen on, and that figures are of. No network may
        have been trained on the last two.
    unlabelled : tuple of str
        Pools whose stamps say, without their labels, how embeddings scatter.
    limit : int
        No more stamps than this of `labelled`, `choice` and `unlabelled` each.
    networks, scratch, episodes
    """

    kind: Literal["few_shot"]
    name: str
    description: str = ""
    seed: int = Field(1, ge=0)
    labels: tuple[int, ...] = (10, 100, 1000)
    lens_share: Rate = 0.5
    draws: int = Field(20, ge=2)
    rate: Rate = 0.01
    goal: tuple[int, int] = (10, 100)
    labelled: tuple[str, ...] = Field(min_length=1)
    choice: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = Field(min_length=1)
    unlabelled: tuple[str, ...] = Field(min_length=1)
    limit: int = Field(4000, ge=100)
    networks: tuple[NetworkConfig, ...] = Field(min_length=1)
    scratch: tuple[TrainedConfig, ...] = Field(min_length=1)
    episodes: EpisodesConfig = EpisodesConfig()

    @model_validator(mode="after")
    def _fits(self) -> FewShotEvaluation:
        names = [network.name for network in self.networks]
        if len(set(names)) != len(names):
            raise ValueError("networks: two have one name")
        if any(len(scratch.steps) != len(self.labels) for scratch in self.scratch):
            raise ValueError(f"scratch.steps needs a number of steps for each of labels = {list(self.labels)}")
        if not set(self.goal) <= set(self.labels):
            raise ValueError(f"goal {list(self.goal)} is not among labels = {list(self.labels)}")
        return self
