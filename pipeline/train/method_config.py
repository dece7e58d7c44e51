"""Which method trains, and its numbers: the section `[method]` of a training config.

Each method has its own keys; a key of another method is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config import StrictModel
from pipeline.flags import PixelFlag


class LabelConfig(StrictModel):
    """What a method's loss makes of the labels that there are.

    Attributes
    ----------
    loss : str
        See `pipeline.train.methods.label_loss`.
    focal_gamma : float
        Of the focal loss.
    positive_weight : float
        Weight on lenses of the weighted loss.
    gamma_lens, gamma_other, margin : float
        Of the asymmetric loss: focusing of lenses and of the rest, and the probability below which an easy
        non-lens counts nothing.
    smoothing : float
        Labels are this far from 0 and 1.
    """

    loss: Literal["bce", "focal", "weighted", "asymmetric"] = "bce"
    focal_gamma: float = Field(2.0, ge=0)
    positive_weight: float = Field(1.0, gt=0)
    gamma_lens: float = Field(0.0, ge=0)
    gamma_other: float = Field(2.0, ge=0)
    margin: float = Field(0.05, ge=0, lt=1)
    smoothing: float = Field(0.02, ge=0, lt=0.5)


class MixedLabelConfig(LabelConfig):
    """Labels of stamps of which pairs may be mixed.

    Attributes
    ----------
    mixup : float
        Parameter of the beta distribution by which they are; 0 mixes none.
    """

    mixup: float = Field(0.0, ge=0)


class SupervisedConfig(MixedLabelConfig):
    """Labels alone."""

    name: Literal["supervised"] = "supervised"


class UnlabelledConfig(LabelConfig):
    """What methods that read unlabelled stamps share.

    Attributes
    ----------
    ratio : float
        Unlabelled stamps in a step for each labelled one.
    weight : float
        Of the loss of the unlabelled stamps, once it has risen.
    ramp : float
        Share of the steps in which the weight rises from 0.
    """

    ratio: float = Field(1.0, gt=0)
    weight: float = Field(1.0, ge=0)
    ramp: float = Field(0.3, ge=0, le=1)


class OnePassConfig(UnlabelledConfig, MixedLabelConfig):
    """Stamps with labels, which may be mixed, and stamps without, in one pass."""


class AsymmetricConfig(OnePassConfig):
    """Unlabelled stamps taken for non-lenses; no ramp unless asked for."""

    name: Literal["asymmetric"]
    ramp: float = Field(0.0, ge=0, le=1)


class ConsistencyConfig(OnePassConfig):
    """Two looks at a stamp must agree.

    Attributes
    ----------
    target : str
        What the network is compared with: itself on another view ("pi-model"), the average of its weights
        there ("mean-teacher"), or itself before the perturbation that changes it most ("vat").
    distance : "mse" or "kl"
        Squared difference of the probabilities, or Kullback-Leibler divergence from the target's.
    radius : float
        VAT: length of the perturbation, root mean square over a stamp's pixels and channels.
    probe : float
        VAT: length, likewise, of the trial step that finds its direction; bfloat16 resolves nothing below
        a hundredth.
    """

    name: Literal["consistency"]
    target: Literal["pi-model", "mean-teacher", "vat"]
    distance: Literal["mse", "kl"] = "mse"
    weight: float = Field(10.0, ge=0)
    radius: float = Field(0.1, gt=0)
    probe: float = Field(0.03, gt=0)


class PseudoLabelConfig(OnePassConfig):
    """The network's own confident answers as labels; `threshold` is the probability of the likelier class."""

    name: Literal["pseudo_label"]
    threshold: float = Field(0.95, ge=0.5, lt=1)


class MixMatchConfig(UnlabelledConfig):
    """Guessed, sharpened labels and mixup of everything with everything.

    Attributes
    ----------
    augmentations : int
        Views of an unlabelled stamp that its guess is averaged over.
    temperature : float
        Of the sharpening; 1 leaves a guess as it is.
    alpha : float
        Of the beta distribution of the mixup.
    """

    name: Literal["mixmatch"]
    augmentations: int = Field(2, ge=1, le=8)
    temperature: float = Field(0.5, gt=0, le=1)
    alpha: float = Field(0.75, gt=0)
    weight: float = Field(2.0, ge=0)


class AdversarialConfig(MixedLabelConfig):
    """Lenses made by a generator, as more examples.

    Attributes
    ----------
    latent : int
        Random numbers that a stamp is generated of.
    width : int
        Features of the generator's last and the critic's first layer.
    penalty : float
        Weight of the critic's gradient penalty.
    critic_steps : int
        Steps of the critic for each of the generator.
    learning_rate : float
        Of generator and critic.
    start : float
        Share of the steps after which the classifier is shown generated lenses.
    share : float
        Generated lenses for each stamp of a batch.
    weight : float
        Of their loss.
    """

    name: Literal["adversarial"]
    latent: int = Field(64, ge=1)
    width: int = Field(16, ge=4)
    penalty: float = Field(10.0, ge=0)
    critic_steps: int = Field(5, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    start: float = Field(0.5, ge=0, le=1)
    share: float = Field(0.1, gt=0, le=1)
    weight: float = Field(0.5, ge=0)


class ContrastiveConfig(UnlabelledConfig):
    """Two views of an unlabelled stamp are told from those of all others; labels train a linear probe beside it.

    Attributes
    ----------
    temperature : float
        By which similarities are divided.
    hidden, projection : int
        Features of the projection's hidden layer and of its answer, in which views are compared.
    """

    name: Literal["contrastive"]
    ratio: float = Field(4.0, gt=0)
    ramp: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(0.2, gt=0)
    hidden: int = Field(128, ge=2)
    projection: int = Field(64, ge=2)


class FewShotConfig(StrictModel):
    """Episodes in which kinds of stamps are told by the means of a few examples.

    Attributes
    ----------
    ways, shots, queries : int
        Kinds of an episode, examples of each, and at most so many stamps of each that are asked about.
    temperature : float
        By which squared distances are divided.
    lenses : "apart" or "with"
        Whether lenses are in no episode, so that they stay a kind that the embedding was not trained on, or in all.
    metric : "euclidean" or "whitened"
        Of the support set that the package gets; see `pipeline.models.support_fit`.
    most : int
        Stamps of each other kind that the support set is made of; of lenses `shots` are.
    classes : int
        Kinds that a linear layer beside the episodes tells, all that there are in the pools; 0 for episodes alone.
    class_weight : float
        Of that layer's loss.
    """

    name: Literal["few_shot"]
    ways: int = Field(8, ge=2)
    shots: int = Field(5, ge=1)
    queries: int = Field(5, ge=1)
    temperature: float = Field(1.0, gt=0)
    lenses: Literal["apart", "with"] = "apart"
    metric: Literal["euclidean", "whitened"] = "euclidean"
    most: int = Field(50, ge=2)
    classes: int = Field(0, ge=0)
    class_weight: float = Field(1.0, ge=0)


class MapTargets(StrictModel):
    """What the two maps of a network are to show.

    Attributes
    ----------
    arc_band : str
        Band of the simulation's noiseless arc.
    arc_sigma : float
        Lens light is where the arc is above this many times the noise of a pixel.
    artefacts : tuple of str
        Names of the PixelFlags that count as artefact, in any band. Wings of bright stars and shallow parts are none.
    """

    arc_band: str = "r"
    arc_sigma: float = Field(1.0, gt=0)
    artefacts: tuple[str, ...] = (
        "NODATA",
        "CHIP_GAP",
        "EDGE",
        "BADPIX",
        "BADCOLUMN",
        "SATURATED",
        "BLEED",
        "COSMIC_RAY",
        "TRAIL",
        "SPIKE",
        "GHOST",
        "HALO",
        "SEAM",
    )

    @field_validator("artefacts")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in PixelFlag.__members__]:
            raise ValueError(f"no pixel flag {unknown[0]!r}; there are {', '.join(PixelFlag.__members__)}")
        return value


class SegmentationConfig(LabelConfig):
    """Two maps, lens light and artefact, and the label beside them.

    Attributes
    ----------
    maps : MapTargets
    overlap : float
        Weight of one minus the overlap (Dice) of drawn and true map, beside the cross-entropy of its pixels.
    artefact_weight : float
        Of the artefact map's losses, those of the lens light having 1.
    label_weight : float
        Of the label's loss, which keeps the encoder fit for a classifier.
    """

    name: Literal["segmentation"]
    maps: MapTargets = MapTargets()
    overlap: float = Field(1.0, ge=0)
    artefact_weight: float = Field(0.5, ge=0)
    label_weight: float = Field(0.2, ge=0)


class PosteriorConfig(LabelConfig):
    """The posterior of the lenses' parameters, and the label beside it.

    Attributes
    ----------
    label_weight : float
        Of the label's loss, the mean negative log posterior of a lens having 1.
    """

    name: Literal["posterior"]
    label_weight: float = Field(0.5, ge=0)


class ChoiceConfig(StrictModel):
    """Which dimensions of a variational autoencoder's embedding its distance is measured in.

    Attributes
    ----------
    bins : int
        Of the histograms that are compared.
    share : float
        A dimension is chosen whose excess of chi-squared over 1 is at least this share of the largest one's.
    most : int
        No more dimensions than this.
    sample : int
        Training stamps of each class that are looked at, at most.
    """

    bins: int = Field(20, ge=2)
    share: float = Field(0.3, ge=0, le=1)
    most: int = Field(8, ge=1)
    sample: int = Field(4000, ge=10)


class ElboConfig(LabelConfig):
    """The evidence lower bound of a variational autoencoder, in nats a pixel, and terms beside it.

    Attributes
    ----------
    kl : float
        Weight of the divergence from the prior; that of the reconstruction is 1.
    total_correlation : float
        What the total correlation weighs beside its weight in `kl`: beta - 1 of Chen et al. 2018.
    svdd : float
        Of the squared distance of normal stamps' latent means from the centre, a pixel.
    features, features_of : float, str
        Of the relative distance of deep features, and the package whose network they are of.
    labelled : float
        Of the labels' loss in nats a stamp; above 0, anomalies are learned from, too.
    ramp : float
        Share of the steps in which the weights of `kl` and `total_correlation` rise from 0.
    ratio : float
        Unlabelled stamps in a step for each labelled one.
    choice : ChoiceConfig
    """

    name: Literal["elbo"]
    kl: float = Field(1.0, ge=0)
    total_correlation: float = Field(0.0, ge=0)
    svdd: float = Field(0.0, ge=0)
    features: float = Field(0.0, ge=0)
    features_of: str = "ground_preact_resnet"
    labelled: float = Field(0.0, ge=0)
    ramp: float = Field(0.2, ge=0, le=1)
    ratio: float = Field(0.0, ge=0)
    choice: ChoiceConfig = ChoiceConfig()


MethodConfig = Annotated[
    SupervisedConfig
    | AsymmetricConfig
    | ConsistencyConfig
    | PseudoLabelConfig
    | MixMatchConfig
    | AdversarialConfig
    | ContrastiveConfig
    | FewShotConfig
    | SegmentationConfig
    | PosteriorConfig
    | ElboConfig,
    Field(discriminator="name"),
]
"""Any of them, told apart by `name`."""
