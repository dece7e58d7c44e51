"""What a training run is asked to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, StrictModel
from pipeline.models.normalisation import Normalisation, NormalisationConfig
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.data_config import DataConfig
from pipeline.train.method_config import MethodConfig, SupervisedConfig


class NetworkConfig(StrictModel):
    """Which network, its arguments, and what it starts from.

    Attributes
    ----------
    architecture : str
        A name of `pipeline.models.ARCHITECTURES`.
    arguments : mapping
        The architecture's own.
    encoder : str, optional
        A package (its folder, or a shipped one's name) whose encoder's weights are the start.
    start : str, optional
        A package all of whose weights are the start, the head's included: the same network, trained further.
    frozen : "none" or "encoder"
        What keeps its weights.
    """

    architecture: str
    arguments: dict[str, int | float | str | bool] = Field(default_factory=dict)
    encoder: str | None = None
    start: str | None = None
    frozen: Literal["none", "encoder"] = "none"

    @model_validator(mode="after")
    def _one_beginning(self) -> NetworkConfig:
        if self.frozen == "encoder" and self.begins_with is None:
            raise ValueError('frozen = "encoder" keeps the weights of network.encoder, which is not given')
        if self.encoder is not None and self.start is not None:
            raise ValueError("network.start has an encoder of its own; leave network.encoder out, or network.start")
        return self

    @property
    def begins_with(self) -> str | None:
        """The package that weights come from at the start."""
        return self.start if self.start is not None else self.encoder


class PackageConfig(StrictModel):
    """What the package that comes out says about itself; see `pipeline.models.package.ModelCard`."""

    output: str = "log-odds that the object in the centre is a strong lens, at the training mix"
    bands: tuple[str, ...] = Field(min_length=1)
    pixel_scale: Arcsec
    size_pix: int = Field(ge=8, le=1024)
    licence: str = "BSD-3-Clause"
    reference: str
    notes: tuple[str, ...] = ()


class MiningConfig(StrictModel):
    """Hard negatives: non-lenses that score high are drawn more often in the next epoch.

    Attributes
    ----------
    share : float
        Share of the scored non-lenses that count as hard; 0 mines nothing.
    weight : float
        How much more often a hard one is drawn.
    sample : int
        Non-lenses scored after each epoch, drawn anew each time.
    """

    share: float = Field(0.0, ge=0, le=1)
    weight: float = Field(4.0, ge=1)
    sample: int = Field(4000, ge=1)


class SamplerConfig(StrictModel):
    """Which stamps a batch is made of, after the weights of `data.mix`.

    Attributes
    ----------
    lens_share : float, optional
        Share of lenses among the stamps drawn, whatever it is in the pools: 0.5 is class-balanced.
    stratified : bool
        Every batch has the same number of lenses, to within one.
    mining : MiningConfig
    """

    lens_share: float | None = Field(None, gt=0, lt=1)
    stratified: bool = False
    mining: MiningConfig = MiningConfig()


class OptimiserConfig(StrictModel):
    """AdamW with a linear warm-up and a cosine decay.

    Attributes
    ----------
    learning_rate : float
        At the end of the warm-up.
    batch : int
        Stamps a step.
    epochs : float
        How often as many stamps are drawn as the training pools hold.
    steps : int, optional
        Steps in all, instead of `epochs`: the same work for pools of any size.
    warmup : float
        Share of the steps in which the rate rises from 0.
    average : float
        Decay of the exponential moving average of the weights, which is what the package gets.
    clip : float
        Largest norm of the gradient.
    """

    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    batch: int = Field(128, ge=2)
    epochs: float = Field(6, gt=0)
    steps: int | None = Field(None, ge=1)
    warmup: float = Field(0.05, ge=0, lt=1)
    average: float = Field(0.998, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _one_length(self) -> OptimiserConfig:
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("give epochs or steps, not both")
        return self


class RunConfig(StrictModel):
    """How it runs; none of it belongs to the science, but threads and dtype move the last digits.

    Attributes
    ----------
    threads : int
    device, dtype : str
    checkpoint_steps, report_steps : int
        Steps between checkpoints, and between lines of progress.
    validation_steps : int, optional
        Steps between scorings of the validation stamps; an epoch's where it is not given.
    storage : str
        Type of the weights in the package's file; a network computes with what it reads in float32.
    """

    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpoint_steps: int = Field(200, ge=1)
    report_steps: int = Field(50, ge=1)
    validation_steps: int | None = Field(None, ge=1)
    storage: Literal["float32", "float16"] = "float32"


class TrainConfig(StrictModel):
    """One training run: `configs/training/*.toml`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(ge=0)
    output: str = "runs/training"
    network: NetworkConfig
    package: PackageConfig
    normalisation: Normalisation = NormalisationConfig()
    data: DataConfig
    sampler: SamplerConfig = SamplerConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    method: MethodConfig = SupervisedConfig()
    run: RunConfig = RunConfig()
