"""A network that measures lenses: a posterior over the parameters of a stamp's lens, and whether there is one."""

from __future__ import annotations

from torch import Tensor

from pipeline.errors import ModelMismatch
from pipeline.models.posterior_flow import FlowHead
from pipeline.models.unet import Scales, UnetEncoder


class Lensnet(UnetEncoder):
    """The encoder of a U-Net, a map of its coarser scales that keeps its places, and a posterior on it.

    Amortised neural posterior estimation (Cranmer, Brehmer & Louppe 2020, PNAS 117, 30055), for lenses as by Hezaveh,
    Perreault Levasseur & Marshall 2017 (Nature 548, 555) and Wagner-Carena et al. 2021 (ApJ 909, 187): trained once on
    simulated lenses, it gives the posterior of a new one in one pass. Pooling over a stamp forgets where things are,
    and an Einstein radius is a distance: so the map is narrowed to few features and flattened instead. An encoder that
    was trained to draw lens light is a start that saves most of the training.

    Parameters
    ----------
    channels : int
        Input channels.
    size : int
        Side of the stamps in pixels, a multiple of 16.
    width : int
        Features of the encoder's first scale; see `UnetEncoder`.
    kept : int
        Features of each place of the flattened map, which has an eighth of the stamp's side.
    hidden : int
        Length of the embedding.
    context : int
        Length of the projection of it that the flow sees.
    flow : int
        Coupling layers of the flow; 0 for a normal distribution with all its covariances.
    dropout : float
        Share of the embedding that is dropped for the logit, in training.
    """

    def __init__(
        self,
        channels: int,
        size: int = 48,
        width: int = 24,
        kept: int = 24,
        hidden: int = 128,
        context: int = 32,
        flow: int = 4,
        dropout: float = 0.1,
    ) -> None:
        if size % 16:
            raise ValueError(f"a stamp of {size} px can't be halved four times; the side has to be a multiple of 16")
        super().__init__(channels, width)
        self.size = size
        self.head = FlowHead(self.widths, size // 8, kept, hidden, context, flow, dropout)

    def encode(self, x: Tensor) -> Scales:
        """Map (n, channels, size, size) to feature maps of 1/2, 1/4, 1/8 and 1/16 of the side."""
        if x.shape[-2:] != (self.size, self.size):
            raise ModelMismatch(
                f"the network was built for stamps of {self.size} x {self.size} px and can't read "
                f"{x.shape[-2]} x {x.shape[-1]}; give them that size."
            )
        return super().encode(x)
