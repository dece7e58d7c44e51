"""The parts that the networks share: what a network promises, the way in, the way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch

LENS_LIGHT, ARTEFACT = 0, 1
"""Planes of a network's maps."""


class Classifier(nn.Module, ABC):
    """The last part of a network: from the encoder's answer to an embedding, from that to a logit.

    Attributes
    ----------
    length : int or None
        Length of the embedding; None where the head doesn't say.
    """

    length: int | None = None

    @abstractmethod
    def embed(self, x: Any) -> Tensor:
        """Map the encoder's answer to float32 (n, d)."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, d) to float32 logits (n,); what is dropped out in training is dropped here."""

    def forward(self, x: Any) -> Tensor:
        """Map the encoder's answer to float32 logits (n,)."""
        return self.classify(self.embed(x))


class MapHead(Classifier):
    """A head that draws maps of the stamp beside its logit.

    Attributes
    ----------
    planes : int
        How many it draws: `LENS_LIGHT` and `ARTEFACT` in this order, or 0.
    """

    planes: int

    @abstractmethod
    def draw_maps(self, x: Any) -> Tensor:
        """Map the encoder's answer to float32 logits (n, planes, y, x) on the stamp's pixels."""


class Network(nn.Module, ABC):
    """What every registered network is: an encoder, and a `head` that is all the rest.

    Parameters named `head.` belong to the head, all others to the encoder, in order from input to output.
    """

    head: Classifier

    @abstractmethod
    def encode(self, x: Tensor) -> Any:
        """Map float32 (n, channels, y, x) to what the head takes: a feature map, tokens, or maps of several scales."""

    def embed(self, x: Tensor) -> Tensor:
        """The penultimate features.

        Parameters
        ----------
        x : float32 (n, channels, y, x)
            Finite: NaN spreads through its stamp.

        Returns
        -------
        float32 (n, d)
            Under autocast rounded to its type; `head.classify` of it is what `forward` gives.
        """
        return self.head.embed(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 (n, channels, y, x) to float32 logits (n,)."""
        return self.head.classify(self.embed(x))


class Stem(nn.Module):
    """Input channels and the distance from the centre, folded 2 x 2 into channels, then convolved.

    Folding (space to depth) halves the grid without throwing pixels away, and costs a quarter of a
    convolution at full resolution. The distance channel tells the network where the deflector is, which
    average pooling would otherwise forget.

    Parameters
    ----------
    channels, width : int
        Of the input and of the answer.
    masks : int
        Number of the input's last channels that are validity, 1 or a share where there is data and 0 where there is
        none, and that the convolution is renormalised by: what it gathers from valid pixels is scaled up to a whole
        window, and is 0 where the window has none (partial convolution: Liu et al. 2018, ECCV, 11215, 89). 0: they
        are read like all others.
    """

    def __init__(self, channels: int, width: int, masks: int = 0) -> None:
        super().__init__()
        if not 0 <= masks < channels:
            raise ValueError(f"{masks} of {channels} channels can't be masks")
        self.masks = masks
        channels -= masks
        self.convolve = nn.Conv2d(4 * (channels + 1), width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x) to (n, width, y/2, x/2); raises ModelMismatch for an odd side."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            raise ModelMismatch(f"the network folds 2 x 2 px and can't read {height} x {width} px; give it even sides.")
        rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)
        columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
        radius = (rows[:, None].square() + columns[None, :].square()).sqrt()
        far = radius.expand(x.shape[0], 1, height, width)
        seen, told = x[:, : x.shape[1] - self.masks], x[:, x.shape[1] - self.masks :]
        if self.masks:
            far = far * told.mean(1, keepdim=True)
        folded = nn.functional.pixel_unshuffle(torch.cat([seen, far], 1), 2)
        gathered = self.convolve(folded.contiguous(memory_format=torch.channels_last))
        if self.masks:
            gathered = gathered * _whole_over_valid(told).to(gathered.dtype)
        answer: Tensor = torch.relu(self.norm(gathered))
        return answer


def _whole_over_valid(told: Tensor) -> Tensor:
    """By what each 3 x 3 window of 2 x 2 px is scaled up, float32 (n, 1, y/2, x/2); 0 where nothing in it is valid.

    Beyond the edge of the stamp counts for nothing, in the window and in the whole of it alike.
    """
    valid = nn.functional.avg_pool2d(told.float().mean(1, keepdim=True), 2)
    share = nn.functional.avg_pool2d(valid, 3, 1, 1, count_include_pad=False)
    return torch.where(share > 0, 1 / share.clamp_min(1e-3), 0.0)


class Head(Classifier):
    """Mean, maximum and the mean of the centre of a feature map, through one hidden layer to a logit."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.length = hidden
        self.hidden = nn.Linear(3 * features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)

    def embed(self, x: Tensor) -> Tensor:
        """Map a feature map (n, features, y, x) to float32 (n, hidden)."""
        height, width = x.shape[-2:]
        centre = x[..., height // 4 : height - height // 4, width // 4 : width - width // 4]
        pooled = torch.cat([x.mean((-2, -1)), x.amax((-2, -1)), centre.mean((-2, -1))], dim=1)
        return torch.relu(self.hidden(pooled)).float()

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, hidden) to float32 logits (n,)."""
        logits: Tensor = self.out(self.dropout(embedding))
        return logits[:, 0].float()


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the grid (but for its stride)."""
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=dilation * (size // 2), dilation=dilation, bias=False
    )
