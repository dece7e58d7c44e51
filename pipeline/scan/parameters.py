"""Lens parameters of cutouts, with their posteriors, and whether to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.models.fitter import Fitter
from pipeline.models.fitter_config import FitterConfig
from pipeline.models.posterior import PARAMETERS, Posterior, trustworthy
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.scan_config import ScoreConfig

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

_BATCH = 64
"""Stamps at a time, the last batch padded, so that what is in a batch is a function of the call alone."""


@dataclass(frozen=True)
class Fitted:
    """Lens parameters of n cutouts.

    Attributes
    ----------
    posterior : Posterior
        Of a lens: of a stamp without one it means nothing. NaN where a stamp can't be scored.
    unfamiliar : float32 (n,)
        Share of the network's validation stamps that lie nearer to what it was trained on; NaN where it has no
        posterior, or the package no familiarity.
    beyond : float32 (n,)
        Share of the samples beyond the ends of what the network was trained on, the largest over the parameters; NaN
        where there is no posterior.
    lens : float32 (n,)
        Probability of there being a lens, by this network alone at the mix of its training; NaN where there is no
        posterior.
    """

    posterior: Posterior
    unfamiliar: Float32
    beyond: Float32
    lens: Float32

    def trusted(self, unfamiliar_share: float, config: FitterConfig) -> Bool:
        """Which posteriors (n,) are to be trusted, see `trustworthy`; False where there is none.

        Parameters
        ----------
        unfamiliar_share : float
            `vet.unfamiliar_share` of a scan.
        config : FitterConfig
            Says the other limits.
        """
        return trustworthy(
            self.lens,
            self.unfamiliar,
            self.beyond,
            least_lens=config.least_lens,
            unfamiliar_share=unfamiliar_share,
            beyond_share=config.beyond_share,
        )


def fit_cutouts(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    fitter: Fitter,
    config: ScoreConfig | None = None,
    device: str = "cpu",
) -> Fitted:
    """Posteriors of lens parameters of cutouts of any size and pixel scale.

    Which stamps can be scored is decided as `pipeline.scan.score.ask_members` does. Every stamp's samples are made of
    the same standard normal numbers, so that the same call gives the same bytes.

    Parameters
    ----------
    image : (n, band, y, x), nJy
        NaN where there is no data.
    ivar : (n, band, y, x), nJy^-2, or None
    mask : uint32 (n, band, y, x) of PixelFlag bits in both halves, or None
    pixel_scale : float, arcsec
    bands : tuple of str
        Canonical names along axis 1.
    fitter : Fitter
    config : ScoreConfig, optional
        How much of a stamp must be valid, as a scan has it.
    device : str
        A torch device.

    Raises
    ------
    ModelMismatch
        If the network needs a band that `bands` lacks.
    ValueError
        If shapes don't agree.
    """
    cutouts = Cutouts(image, ivar, mask, bands, pixel_scale)
    card = fitter.package.card
    fitter.package.check_bands(bands, "gives lens parameters of")
    samples = np.full((len(image), fitter.config.samples, len(PARAMETERS)), np.nan, np.float32)
    distances, beyond, lens = np.full((3, len(image)), np.nan, np.float32)
    place = torch.device(device)
    network = fitter.package.network.to(place)
    known = fitter.package.familiarity
    familiarity = None if known is None else known.to(place)
    low, high = fitter.head.support
    with torch.inference_mode():
        for batch in batches(cutouts, np.arange(len(image)), _BATCH):
            inputs = Prepared(batch.to(place), cutouts, config or ScoreConfig())
            (channels,) = inputs.views(card, 1)
            embedding = network.embed(channels)
            drawn = fitter.draw(embedding)
            outside = ((drawn < low) | (drawn > high)).float().mean(1).amax(1)
            answers = [(samples, drawn), (beyond, outside), (lens, fitter.head.classify(embedding).sigmoid())]
            if familiarity is not None:
                answers.append((distances, familiarity.distance(embedding)))
            # Of a network gone wild a sample may be infinite, which is no parameter.
            scorable = inputs.scorable(card) & drawn.isfinite().flatten(1).all(1)
            for array, values in answers:
                of_stamps = values.where(scorable.reshape(-1, *[1] * (values.ndim - 1)), torch.nan)
                array[batch.rows] = of_stamps[: len(batch.rows)].cpu().numpy()
    unfamiliar = distances if known is None else known.share_nearer(distances)
    return Fitted(Posterior(samples), unfamiliar, beyond, lens)
