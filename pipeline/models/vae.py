"""A variational autoencoder whose logit says how unlike normal stamps a stamp is."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.layers import Classifier, Network, Stem, convolution
from pipeline.models.resnet import stages_of
from pipeline.models.vae_decoder import Decoder
from pipeline.models.vae_prior import Prior
from pipeline.models.vae_residual import FIGURES, RINGS, figures, valid_of

Encoder = Literal["plain", "resnet18"]
Distance = Literal["mahalanobis", "contrast", "svdd", "reconstruction", "mixture"]

Seen = tuple[Tensor, Tensor]
"""The encoder's feature map, and the stamp itself, which the reconstruction is compared with."""


class Vae(Network):
    """Encoder, latent normal distribution and decoder (Kingma & Welling 2014, ICLR), with a distance as its logit.

    Its embedding is the latent mean and a few figures of the reconstruction (`pipeline.models.vae_residual`); its logit
    is the logarithm of a distance from normal stamps in the chosen ones of these dimensions, or a log-odds. Which are
    chosen, and where normal stamps lie there, is set after training by `VaeHead.keep`.

    Parameters
    ----------
    channels : int
        Input channels; the first `drawn` are reconstructed, the last `masks` are validity.
    encoder : "plain" or "resnet18"
        Three convolutions, or the four stages of `pipeline.models.resnet` with two blocks each.
    width : int
        Features of the encoder's first stage and of the decoder's last.
    latent : int
        Latent dimensions.
    components : int
        Of the prior: 1 is a standard normal distribution, more are a mixture with learned means, widths and shares.
    anomalous : int
        How many of them, the last ones, are of anomalies; 0 where the network learns without labels.
    distance : "mahalanobis", "contrast", "svdd", "reconstruction" or "mixture"
        What the logit is made of; see `VaeHead.classify`.
    size : int
        Side in pixels of the central square that is reconstructed, a multiple of 8. Stamps may be larger: all of them
        is read, but latent means come from the cells in this square.
    drawn : int
        Channels that are reconstructed: the faint stretches of `adaptive_asinh`, one a band.
    masks : int
        As in `pipeline.models.layers.Stem`: 1 for the share of bands that are valid, `drawn` for one a
        band, 0 for none.
    noise : float
        Standard deviation of the sky in the drawn channels: 0.1 in `adaptive_asinh`, whose faint stretch is a tenth of
        a pixel's signal-to-noise ratio near 0. Above `noise_softening` it grows like the logarithm, so that an error of
        a bright pixel counts relative to its brightness.

    Raises
    ------
    ConfigError
        For an argument that can't be.
    """

    head: VaeHead

    def __init__(
        self,
        channels: int,
        encoder: str = "plain",
        width: int = 16,
        latent: int = 16,
        components: int = 1,
        anomalous: int = 0,
        distance: str = "mahalanobis",
        size: int = 40,
        drawn: int = 3,
        masks: int = 1,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        _check(encoder, distance, size, drawn, masks, channels)
        self.drawn, self.masks, self.size = drawn, masks, size
        self.stem = Stem(channels, width, masks)
        self.stages = _stages(encoder, width)
        folded = 16 if encoder == "resnet18" else 8
        features = 8 * width if encoder == "resnet18" else 4 * width
        prior = Prior(latent, components, anomalous)
        self.head = VaeHead(features, -(-size // folded), prior, Decoder(latent, width, drawn, size), distance, noise)
        self.head.drawn, self.head.masks = drawn, masks

    def encode(self, x: Tensor) -> Seen:
        """Map (n, channels, y, x), sides even and at least `size`, to a feature map of 1/8 or 1/16, and x itself."""
        if min(x.shape[-2:]) < self.size:
            raise ModelMismatch(
                f"the network draws {self.size} x {self.size} px, the stamp has {x.shape[-2]} x {x.shape[-1]}; give it "
                "larger ones, or train it with a smaller size."
            )
        features: Tensor = self.stages(self.stem(x))
        return features, x

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, float32 (n, d) each, of stamps (n, channels, y, x)."""
        return self.head.latent(self.encode(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The stamp's drawn channels as the latent mean gives them back.

        Parameters
        ----------
        x : float32 (n, channels, y, x)

        Returns
        -------
        float32 (n, drawn, y, x)
            0, the level of the sky, beyond the central square that the network draws.
        """
        image = self.head.draw(self.latent(x)[0])
        margins = [(side - self.size, (side - self.size) // 2) for side in (x.shape[-1], x.shape[-2])]
        pads = [part for margin, before in margins for part in (before, margin - before)]
        return nn.functional.pad(image, pads)


class VaeHead(Classifier):
    """From the feature map to latent means, from these to a picture, and from both to a distance.

    Attributes
    ----------
    drawn, masks : int
        Of the network.
    prior : Prior
    names : tuple of str
        Of the dimensions of the embedding: `latent_0` and on, then `pipeline.models.vae_residual.FIGURES`.
    centre : (d,)
        Of normal latent means, a running mean in training: where an SVDD term draws them to.
    chi_squared, chosen : (w,)
        Of each dimension of the embedding: how much normal stamps and anomalies differ in it
        (`pipeline.models.vae_choice`), and 1 where the distance is measured in it, 0 elsewhere.
    mean, whitening : (w,), (w, w)
        Of normal stamps in the chosen dimensions; 0 in the others.
    anomaly_mean, anomaly_whitening : (w,), (w, w)
        Likewise of the anomalies that the dimensions were chosen with.
    """

    drawn: int
    masks: int
    centre: Tensor
    chi_squared: Tensor
    chosen: Tensor
    mean: Tensor
    whitening: Tensor
    anomaly_mean: Tensor
    anomaly_whitening: Tensor

    def __init__(self, features: int, cells: int, prior: Prior, decoder: Decoder, distance: str, noise: float) -> None:
        super().__init__()
        self.cells, self.distance, self.noise = cells, distance, noise
        self.to_latent = nn.Linear(features * cells**2, 2 * prior.latent)
        self.prior, self.draw = prior, decoder
        self.names = (*(f"latent_{number}" for number in range(prior.latent)), *FIGURES)
        wide = len(self.names)
        self.register_buffer("centre", torch.zeros(prior.latent))
        self.register_buffer("chi_squared", torch.zeros(wide))
        self.register_buffer("chosen", torch.ones(wide))
        for whose in ("", "anomaly_"):
            self.register_buffer(f"{whose}mean", torch.zeros(wide))
            self.register_buffer(f"{whose}whitening", torch.eye(wide))

    def latent(self, x: Seen) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, float32 (n, d) each; the latter between -10 and 10."""
        features = x[0]
        top, left = (features.shape[-2] - self.cells) // 2, (features.shape[-1] - self.cells) // 2
        square = features[..., top : top + self.cells, left : left + self.cells]
        mean, log_variance = self.to_latent(square.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def target(self, x: Seen) -> tuple[Tensor, Tensor]:
        """What is to be drawn (n, drawn, size, size), and where it is known, as 0 and 1 of the same shape."""
        stamp, size = x[1], self.draw.size
        top, left = (stamp.shape[-2] - size) // 2, (stamp.shape[-1] - size) // 2
        square = stamp[..., top : top + size, left : left + size].float()
        return square[:, : self.drawn], valid_of(square, self.drawn, self.masks)

    def residual(self, x: Seen, latent: Tensor) -> Tensor:
        """Stamp minus picture in units of the noise, float32 (n, drawn, size, size); 0 where the stamp isn't known."""
        wanted, valid = self.target(x)
        left: Tensor = (wanted - self.draw(latent)) / self.noise * valid
        return left

    def embed(self, x: Seen) -> Tensor:
        """The latent mean and figures of its reconstruction, float32 (n, d + figures)."""
        mean, log_variance = self.latent(x)
        _, valid = self.target(x)
        surprise = self.prior.divergence(mean, log_variance, mean)
        return torch.cat([mean, figures(self.residual(x, mean), valid, surprise)], dim=1)

    def classify(self, embedding: Tensor) -> Tensor:
        """How unlike normal stamps each is, float32 (n,), in the chosen dimensions.

        * `mahalanobis`: logarithm of the squared distance from the mean of normal stamps, each direction in units of
          their scatter;
        * `contrast`: half of that squared distance minus half of the one from the mean of the anomalies, in units of
          theirs: but for a constant the log-ratio of two normal distributions. Weights are as free of anomalies as
          with the other distances; what is read of simulated ones is where they lie in the chosen dimensions;
        * `svdd`: logarithm of the squared distance of the latent mean from the centre;
        * `reconstruction`: mean of the logarithms of the chosen rings' chi-squared;
        * `mixture`: minus the log-density of the prior at the latent mean, or, where the prior has components of
          anomalies, the log-odds of these against the others.
        """
        latent = self.prior.latent
        answer: Tensor
        match self.distance:
            case "reconstruction":
                rings = slice(latent, latent + RINGS)
                answer = (embedding[:, rings] * self.chosen[rings]).sum(1) / self.chosen[rings].sum()
            case "mixture":
                answer = self.prior.surprise(embedding[:, :latent], self.chosen[:latent])
            case "contrast":
                normal = self._squared(embedding, self.mean, self.whitening)
                answer = 0.5 * (normal - self._squared(embedding, self.anomaly_mean, self.anomaly_whitening))
            case _:
                answer = self._squared(embedding, self.mean, self.whitening).clamp_min(1e-12).log()
        return answer

    def _squared(self, embedding: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
        """Squared distance (n,) in the chosen dimensions; not by a matrix product, which autocast would round."""
        away: Tensor = (((embedding - mean) * self.chosen)[:, :, None] * whitening).sum(1)
        return away.square().sum(1)

    def may_choose(self) -> Tensor:
        """Of which dimensions of the embedding the distance can be made, bool (w,)."""
        place = torch.arange(len(self.names))
        latent = self.prior.latent
        match self.distance:
            case "mahalanobis" | "contrast":
                return place >= 0
            case "reconstruction":
                return (place >= latent) & (place < latent + RINGS)
            case _:
                return place < latent

    def keep(self, **kept: Tensor) -> None:
        """Take over a choice of dimensions: `chi_squared`, `chosen`, `mean` and the other buffers of that name.

        An SVDD keeps its own centre for a mean, and its latent dimensions as they are.
        """
        if self.distance == "svdd":
            kept["mean"] = torch.cat([self.centre, self.centre.new_zeros(len(FIGURES))])
            kept["whitening"] = torch.eye(len(self.names))
        with torch.no_grad():
            for name, value in kept.items():
                getattr(self, name).copy_(value)


def _stages(encoder: str, width: int) -> nn.Sequential:
    if encoder == "resnet18":
        return stages_of(width, 2, 4)
    return nn.Sequential(*(_Step(width * 2**stage, width * 2 ** (stage + 1)) for stage in range(2)))


class _Step(nn.Sequential):
    """A convolution that halves the grid, normalised and cut at zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            convolution(inputs, outputs, 3, stride=2), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1, inplace=True)
        )


def _check(encoder: str, distance: str, size: int, drawn: int, masks: int, channels: int) -> None:
    """Refuse what can't be, naming what could."""
    if encoder not in get_args(Encoder):
        raise ConfigError(f"vae: encoder is {encoder!r}; there are {', '.join(get_args(Encoder))}.")
    if distance not in get_args(Distance):
        raise ConfigError(f"vae: distance is {distance!r}; there are {', '.join(get_args(Distance))}.")
    if size % 8:
        raise ConfigError(f"vae: it draws a multiple of 8 px, not size = {size}.")
    if masks not in (0, 1, drawn) or drawn + masks > channels:
        raise ConfigError(
            f"vae: of {channels} channels it can't draw {drawn} and take {masks} for validity; masks is 0, 1 or drawn, "
            "as normalisation.validity says."
        )
