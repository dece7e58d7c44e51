"""What a training run is asked to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.config import Arcsec, StrictModel
from pipeline.models.normalise import NormalisationConfig


class NetworkConfig(StrictModel):
    """Which network, and its arguments."""

    architecture: str
    arguments: dict[str, int | float | str | bool] = Field(default_factory=dict)


class PackageConfig(StrictModel):
    """What the package that comes out says about itself; see `pipeline.models.package.ModelCard`."""

    output: str = "log-odds that the object in the centre is a strong lens, at the training mix"
    bands: tuple[str, ...] = Field(min_length=1)
    pixel_scale: Arcsec
    size_pix: int = Field(ge=8, le=1024)
    licence: str = "BSD-3-Clause"
    reference: str
    notes: tuple[str, ...] = ()


class DataConfig(StrictModel):
    """Pools of stamps, as `lensscan simulate` writes them.

    Attributes
    ----------
    train, validation : tuple of str
        Patterns of pool files, relative to the working directory. What a validation pool holds must not
        come from the seeds of a training pool.
    mix : mapping
        How often a kind of stamp is drawn compared with its share of the pools; a kind that is not
        named counts 1, and 0 leaves it out.
    validation_limit : int
        Stamps of the validation pools that are scored after each epoch, the first ones.
    """

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = Field(min_length=1)
    mix: dict[str, float] = Field(default_factory=dict)
    validation_limit: int = Field(6000, ge=20)

    @field_validator("mix")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        negative = [kind for kind, weight in value.items() if weight < 0]
        if negative:
            raise ValueError(f"weights of {negative} are negative")
        return value


class AugmentConfig(StrictModel):
    """How a batch is varied; every stamp keeps its label.

    Attributes
    ----------
    flips : bool
        Turns by 90 degrees and mirror images.
    shift : arcsec
        Largest shift of the centre in each axis.
    zoom : float
        Largest factor by which a stamp is taken for one of larger or smaller pixels and resampled.
    zoom_share, noise_share, blur_share, gap_share : float
        Share of the stamps (for zoom and blur, of slices of the batch) that it happens to.
    noise : float
        Most noise added to a band, in units of the noise that it has.
    gain, band_gain : float
        Standard deviation of the natural logarithm of a factor on all bands, and on each.
    mask_share : float
        Share of the stamps whose artefacts are masked; in the others they stand as they are.
    gap : arcsec
        Widest synthetic gap; gaps are invalid strips at any place and angle, in one band or all.
    """

    flips: bool = True
    shift: Arcsec = Field("0.6 arcsec", validate_default=True)
    zoom: float = Field(1.25, ge=1, le=2)
    zoom_share: float = Field(0.5, ge=0, le=1)
    noise: float = Field(1.0, ge=0)
    noise_share: float = Field(0.3, ge=0, le=1)
    blur_share: float = Field(0.15, ge=0, le=1)
    gain: float = Field(0.3, ge=0)
    band_gain: float = Field(0.1, ge=0)
    mask_share: float = Field(0.6, ge=0, le=1)
    gap: Arcsec = Field("4 arcsec", validate_default=True)
    gap_share: float = Field(0.2, ge=0, le=1)


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
    warmup: float = Field(0.05, ge=0, lt=1)
    average: float = Field(0.998, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)


class MethodConfig(StrictModel):
    """What the losses of a batch are; `name` is one of `pipeline.train.methods.METHODS`."""

    name: str = "supervised"
    loss: Literal["bce", "focal", "weighted"] = "bce"
    focal_gamma: float = Field(2.0, ge=0)
    positive_weight: float = Field(1.0, gt=0)
    smoothing: float = Field(0.02, ge=0, lt=0.5)


class RunConfig(StrictModel):
    """How it runs; none of it belongs to the science, but threads and dtype move the last digits."""

    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpoint_steps: int = Field(200, ge=1)
    report_steps: int = Field(50, ge=1)


class TrainConfig(StrictModel):
    """One training run: `configs/training/*.toml`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(ge=0)
    output: str = "runs/training"
    network: NetworkConfig
    package: PackageConfig
    normalisation: NormalisationConfig = NormalisationConfig()
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    method: MethodConfig = MethodConfig()
    run: RunConfig = RunConfig()
