"""A convolutional network of three blocks, the plain baseline of ground-based lens searches."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class Cnn(Network):
    """Three blocks of two convolutions, each followed by pooling over 2 x 2.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first block; the second and third have two and three times as many.
    dropout : float
        Share of hidden features dropped in training.
    masks : int
        Number of the last channels that the first convolution is renormalised by (`Stem`).
    """

    def __init__(self, channels: int, width: int = 24, dropout: float = 0.2, masks: int = 0) -> None:
        super().__init__()
        self.stem = Stem(channels, width, masks)
        widths = (width, width, 2 * width, 3 * width)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    convolution(inputs, outputs),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                    convolution(outputs, outputs),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                    nn.MaxPool2d(2),
                )
                for inputs, outputs in pairwise(widths)
            )
        )
        self.head = Head(widths[-1], 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, features, y/16, x/16)."""
        features: Tensor = self.blocks(self.stem(x))
        return features
