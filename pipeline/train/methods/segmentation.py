"""Learning to draw where the lensed light is, and where an artefact."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.models.layers import ARTEFACT, LENS_LIGHT, MapHead
from pipeline.train.method_config import SegmentationConfig
from pipeline.train.methods import Batch, Context, Method
from pipeline.train.methods.label_loss import label_loss


class Segmentation(Method):
    """Cross-entropy and overlap of both maps, and the loss of the label.

    The overlap (Milletari et al. 2016, 3DV, equation 3, without squares) is of the whole batch and not of each stamp:
    most stamps have no lensed light, of which no overlap can be had.
    """

    def __init__(self, config: SegmentationConfig, channels: int, size: int) -> None:
        self.config = config

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """`lens_light` and `artefact` of the maps, `label` of the logit; raises ConfigError for a network without."""
        head = network.head
        if not isinstance(head, MapHead) or head.planes != 2:
            raise ConfigError('method "segmentation" trains a network that draws two maps: "unet" with maps = 2.')
        if batch.maps is None:
            raise ConfigError('method "segmentation" needs stamps that were read with their maps.')
        scales = network.encode(batch.channels)  # type: ignore[operator]
        drawn = head.draw_maps(scales)
        label = label_loss(head(scales), batch.labels, self.config).mean()
        light, artefact = (self._of_a_map(drawn[:, k], batch.maps[:, k]) for k in (LENS_LIGHT, ARTEFACT))
        return {
            "lens_light": light,
            "artefact": self.config.artefact_weight * artefact,
            "label": self.config.label_weight * label,
        }

    def _of_a_map(self, logits: Tensor, truth: Tensor) -> Tensor:
        pixels = functional.binary_cross_entropy_with_logits(logits, truth)
        drawn = logits.sigmoid()
        overlap = (2 * (drawn * truth).sum() + 1) / (drawn.sum() + truth.sum() + 1)
        return pixels + self.config.overlap * (1 - overlap)
