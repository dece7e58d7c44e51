"""A U-Net with two maps, lens light and artefact, and a classifier on its encoder."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, MapHead, Network, Stem, convolution

Scales = tuple[Tensor, ...]
"""Feature maps from fine to coarse, each half as wide as the one before."""


class UnetEncoder(Network):
    """An encoder that halves the grid four times, the first time by folding (`Stem`); networks differ in their heads.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first scale; the next have two, three and four times as many (`widths`).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widths = [width, 2 * width, 3 * width, 4 * width]
        self.stem = Stem(channels, width)
        self.first = _Block(width, width, 1)
        self.stages = nn.ModuleList(_Block(inputs, outputs, 2) for inputs, outputs in pairwise(self.widths))

    def encode(self, x: Tensor) -> Scales:
        """Map (n, channels, y, x), sides multiples of 16, to feature maps of 1/2, 1/4, 1/8 and 1/16 of the side."""
        scales = [self.first(self.stem(x))]
        for stage in self.stages:
            scales.append(stage(nn.functional.max_pool2d(scales[-1], 2)))
        return tuple(scales)


class Unet(UnetEncoder):
    """Encoder and decoder with skip connections (Ronneberger et al. 2015, MICCAI), small enough for stamps.

    The decoder goes back up and its last step unfolds to the pixels of the stamp. It belongs to the head: cut off
    (`maps = 0`), what is left is the encoder with a classifier, whose weights are those of an encoder that was trained
    to draw maps.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first scale; the next have two, three and four times as many.
    maps : int
        Planes that the decoder draws, see `pipeline.models.layers.MapHead`; 0 for no decoder.
    dropout : float
        Share of the classifier's hidden features dropped in training.
    """

    def __init__(self, channels: int, width: int = 32, maps: int = 2, dropout: float = 0.2) -> None:
        super().__init__(channels, width)
        self.head = UnetHead(self.widths, maps, dropout)


class UnetHead(MapHead):
    """A decoder of all scales, and a classifier of the two coarsest."""

    def __init__(self, widths: list[int], maps: int, dropout: float) -> None:
        super().__init__()
        self.planes = maps
        self.mix = _Block(widths[-2] + widths[-1], widths[-1], 1)
        self.classifier = Head(widths[-1], 64, dropout)
        if maps:
            rising = widths[::-1]
            self.ascent = nn.ModuleList(_Block(coarse + fine, fine, 1) for coarse, fine in pairwise(rising))
            self.draw = nn.Conv2d(widths[0], 4 * maps, 3, padding=1)

    def embed(self, x: Scales) -> Tensor:
        """Map the encoder's scales to float32 (n, 64)."""
        joined = torch.cat([nn.functional.max_pool2d(x[-2], 2), x[-1]], dim=1)
        return self.classifier.embed(self.mix(joined))

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, 64) to float32 logits (n,)."""
        return self.classifier.classify(embedding)

    def draw_maps(self, x: Scales) -> Tensor:
        """Map the encoder's scales to float32 logits (n, planes, y, x) on the pixels of the stamp."""
        light = x[-1]
        for block, finer in zip(self.ascent, x[-2::-1], strict=True):
            risen = nn.functional.interpolate(light, scale_factor=2.0, mode="bilinear", align_corners=False)
            light = block(torch.cat([risen, finer], dim=1))
        return nn.functional.pixel_shuffle(self.draw(light), 2).float()


class _Block(nn.Module):
    """One or two convolutions, each normalised and cut at zero."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(depth):
            layers += [
                convolution(outputs if place else inputs, outputs),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer
