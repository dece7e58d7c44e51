"""The networks of the Open University's lens search for Euclid, in the form that their weights are published."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.layers import Classifier, Network


class _Layout(NamedTuple):
    """Features and kernel of each convolution, which of them are pooled, and the linear layers' inputs."""

    features: tuple[int, ...]
    kernels: tuple[int, ...]
    pooled: tuple[int, ...]
    flat: int
    hidden: int


LAYOUTS = {
    66: _Layout((50, 50, 50, 50, 40, 40, 40, 40, 30), (3,) * 9, (0, 4, 8), 120, 500),
    200: _Layout((50, 40, 30, 20, 20, 20), (5, 5, 3, 3, 3, 3), (0, 1, 2, 3), 720, 350),
}
"""By the side of the stamps in pixels."""


class OuCnn(Network):
    """Convolutions without padding, pooling and one hidden layer.

    The networks OU-66 and OU-200 of Wilde et al. 2022 (MNRAS 512, 3464), and those of the same two layouts with
    fewer bands. Their two outputs, "other" and "lens" under a softmax, become one logit: the difference. Weights
    of the published files come by `pipeline.models.ou_import`.

    Parameters
    ----------
    channels : int
        Input channels: one a band, scaled as `min_max` does.
    size : int
        Side of the stamps, 66 or 200 pixels; no other size fits the linear layers.
    dropout : float
        Share of features dropped after each convolution in training.

    Raises
    ------
    ConfigError
        For another size.
    """

    def __init__(self, channels: int, size: int = 66, dropout: float = 0.2) -> None:
        super().__init__()
        if size not in LAYOUTS:
            raise ConfigError(f"architecture 'ou_cnn' reads stamps of 66 or 200 px, not {size}; set `size` to one.")
        self.size = size
        layout = LAYOUTS[size]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise((channels, *layout.features))):
            pool = nn.MaxPool2d(2) if index in layout.pooled else nn.Identity()
            convolve = nn.Conv2d(inputs, outputs, layout.kernels[index])
            layers.append(nn.Sequential(convolve, nn.ReLU(), pool, nn.Dropout(dropout)))
        self.layers = nn.Sequential(*layers)
        self.head = PairHead(layout.flat, layout.hidden)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, size, size) to a feature map.

        Raises
        ------
        ModelMismatch
            For stamps of another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            height, width = x.shape[-2:]
            raise ModelMismatch(
                f"ou_cnn: stamps of {height} x {width} px; these weights read {self.size} x {self.size}: "
                f"set size_pix to {self.size}."
            )
        features: Tensor = self.layers(x)
        return features


class PairHead(Classifier):
    """One hidden layer and two outputs, of which the difference is the logit."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.out = nn.Linear(hidden, 2)

    def embed(self, x: Tensor) -> Tensor:
        """Map a feature map to float32 (n, hidden)."""
        hidden: Tensor = self.hidden(x.flatten(1))
        return hidden.relu().float()

    def pair(self, embedding: Tensor) -> Tensor:
        """Map (n, hidden) to the published networks' two outputs, float32 (n, 2): other, lens."""
        outputs: Tensor = self.out(embedding)
        return outputs.float()

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, hidden) to float32 logits (n,), whose sigmoid is the softmax's second entry."""
        outputs = self.pair(embedding)
        return outputs[:, 1] - outputs[:, 0]
