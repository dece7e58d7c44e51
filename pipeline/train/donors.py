"""Real artefacts: pixels that a survey's own mask tells of, put into other stamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.models.layers import ARTEFACT
from pipeline.models.resample import resample
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_pixels import chosen, sigma_of
from pipeline.train.data_config import DonorsConfig
from pipeline.train.held import Stamps, digest_of
from pipeline.train.sources import open_rows

_LARGEST = 3e4
"""Times the noise; a float16 holds twice that."""


@dataclass(frozen=True)
class Donors:
    """Artefacts of single bands.

    Attributes
    ----------
    excess : float16 (n, y, x)
        Light above the background in units of the donor's noise; NaN where there is no artefact.
    """

    excess: npt.NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.excess)


def read_donors(sources: Sequence[DonorsConfig], pixel_scale: float, size: int) -> Donors | None:
    """Every band of every cutout with an artefact that leaves half of the stamp alone; None without a source.

    Background and noise are those of the pixels without a fatal flag: their median, and their median absolute
    deviation as a standard deviation.

    Raises
    ------
    ConfigError
        If a source is no scan's output, lacks a band, or holds no artefact.
    """
    planes: list[npt.NDArray[np.float16]] = []
    for source in sources:
        try:
            opened = open_rows(source, source.bands, pixel_scale)
        except ConfigError as error:
            raise ConfigError(f"data.artefacts: {str(error).replace('package.bands', 'bands')}") from error
        before = len(planes)
        for part in opened.read(opened.some(source.limit)):
            if part.flagged is not None:
                planes += _excess(part.image, part.flagged, part.pixel_scale, pixel_scale, size)
        if len(planes) == before:
            raise ConfigError(f"{source}: no cutout with a fatal flag in {', '.join(source.bands)}; leave it out.")
    return Donors(np.stack(planes)) if planes else None


def with_donors(stamps: Stamps, donors: Donors | None) -> Stamps:
    """The stamps with the artefacts that training may put into them; their digest knows."""
    joined = replace(stamps, donors=donors)
    return replace(joined, digest=digest_of(joined))


def paste(
    image: Tensor, valid: Tensor, maps: Tensor, donors: Donors, config: AugmentConfig, generator: torch.Generator
) -> None:
    """Add an artefact to one band of some stamps; `image`, `valid` and `maps` are changed.

    Some of those stamps (`mask_share`) know of it: its pixels are invalid there.

    Parameters
    ----------
    image : float32 (n, band, y, x), nJy
    valid : bool (n, band, y, x)
    maps : float32 (n, 2, y, x)
    donors : Donors
        Of the same side.
    config : AugmentConfig
    generator : torch.Generator
    """
    rows = chosen(len(image), config.donor_share, generator)
    if not len(rows):
        return
    bands = torch.randint(0, image.shape[1], (len(rows),), generator=generator)
    picked = torch.randint(0, len(donors), (len(rows),), generator=generator)
    turns = torch.randint(0, 4, (len(rows),), generator=generator).tolist()
    told = torch.rand(len(rows), generator=generator) < config.mask_share
    planes = donors.excess[picked.numpy()].astype(np.float32)
    excess = torch.from_numpy(np.stack([np.rot90(plane, turn) for plane, turn in zip(planes, turns, strict=True)]))
    touched = torch.isfinite(excess)
    noise = sigma_of(image[rows])[torch.arange(len(rows)), bands]
    image[rows, bands] += torch.where(touched, excess * noise, 0.0)
    maps[rows, ARTEFACT] = torch.maximum(maps[rows, ARTEFACT], touched.float())
    valid[rows, bands] &= ~(touched & told[:, None, None])


def _excess(
    image: npt.NDArray[np.float32], flagged: npt.NDArray[np.bool_], scale: float, target: float, size: int
) -> list[npt.NDArray[np.float16]]:
    """Donor planes (size, size) of some stamps, on the wanted grid."""
    light = torch.from_numpy(np.ascontiguousarray(image)).flatten(0, 1)[:, None]
    finite = torch.isfinite(light)
    hit = torch.from_numpy(np.ascontiguousarray(flagged)).flatten(0, 1)[:, None] & finite
    planes = []
    for one, known, struck in zip(light, finite & ~hit, hit, strict=True):
        if not struck.any() or 2 * int(known.sum()) < known.numel():
            continue
        sky = one[known]
        level = sky.median()
        noise = float((sky - level).abs().median()) * 1.4826
        if noise <= 0:
            continue
        # On a finer grid a struck pixel becomes several; on a coarser one it shares its light with what is beside it.
        excess, kept, _ = resample(((one - level) / noise)[None], struck[None], scale, size, target)
        excess *= (scale / target) ** 2
        plane = torch.where(kept, excess.clamp(-_LARGEST, _LARGEST), torch.nan)[0, 0]
        if bool(kept.any()):
            planes.append(plane.numpy().astype(np.float16))
    return planes
