"""Maps of candidates: where a stamp shows lensed light, where an artefact, and what the score rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.flags import valid_pixels
from pipeline.models.ensemble import Ensemble
from pipeline.models.layers import ARTEFACT, LENS_LIGHT
from pipeline.models.mapper import Mapper
from pipeline.models.normalise import normalise
from pipeline.models.resample import resample, resample_values
from pipeline.models.saliency import ensemble_saliency

Float32 = npt.NDArray[np.float32]

_BATCH = 64
"""Stamps at a time, the last batch padded, so that what is in a batch is a function of the call alone."""

_FAINT_LIGHT = 0.02
"""Lens light that every pixel is taken to have at least: a score can rest on what the map doesn't show."""


_DIRECTIONS = 12


@dataclass(frozen=True)
class Maps:
    """Probabilities on the cutouts' own pixels, float32 (n, y, x) each; NaN beyond what the network reads.

    Attributes
    ----------
    lens_light
        That lensed light above the noise of a pixel is there.
    artefact
        That an artefact touches the pixel, in any band.
    """

    lens_light: Float32
    artefact: Float32


@dataclass(frozen=True)
class LensLight:
    """What is measured on the lens-light maps of n cutouts, float32 (n,) each; NaN where one has no valid pixel.

    Attributes
    ----------
    peak
        Highest probability.
    light
        Sum of the probabilities, arcsec^2.
    area
        Where the probability is above one half, arcsec^2.
    x, y
        Pixels of the cutout: centre of light of the 3 x 3 pixels about the highest one; NaN where `area` is 0.
    sides
        Share of twelve directions from the cutout's centre with at least a tenth of the light of the brightest one.
    off_centre
        Distance of the map's centre of light from the cutout's centre, arcsec.
    """

    peak: Float32
    light: Float32
    area: Float32
    x: Float32
    y: Float32
    sides: Float32
    off_centre: Float32

    def features(self) -> npt.NDArray[np.float64]:
        """What the joint criterion reads, float64 (n, 3): see `pipeline.models.mapper.Joint`."""
        return np.stack([np.log1p(self.light), self.sides, self.off_centre], axis=1).astype(np.float64)


@dataclass(frozen=True)
class MapMeasures:
    """What is measured on both maps of n cutouts.

    Attributes
    ----------
    lens : LensLight
    artefact_overlap : float32 (n,)
        Share of what the score rests on that the artefact map covers: the mean of the artefact map weighted by
        lens-light map times saliency. NaN where no member finds anything that speaks for a lens.
    """

    lens: LensLight
    artefact_overlap: Float32


def map_cutouts(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    mapper: Mapper,
    device: str = "cpu",
) -> Maps:
    """Draw the maps of cutouts of any size and pixel scale.

    Parameters
    ----------
    image : (n, band, y, x), nJy
        NaN where there is no data; y = x.
    ivar : (n, band, y, x), nJy^-2, or None
    mask : uint32 (n, band, y, x) of PixelFlag bits in both halves, or None
    pixel_scale : float, arcsec
    bands : tuple of str
        Canonical names along axis 1.
    mapper : Mapper
    device : str
        A torch device.

    Raises
    ------
    ModelMismatch
        If the network needs a band that `bands` lacks.
    ValueError
        If the cutouts are not square, or there are not as many bands as names.
    """
    if image.ndim != 4 or image.shape[1] != len(bands) or image.shape[2] != image.shape[3]:
        raise ValueError(f"image has shape {image.shape}; expected (n, {len(bands)}, side, side) for bands {bands}")
    card = mapper.package.card
    mapper.package.check_bands(bands, "draws maps of")
    order = [bands.index(band) for band in card.bands]
    side = int(image.shape[-1])
    drawn = np.full((2, len(image), side, side), np.nan, np.float32)
    mapper.package.network.to(device)
    for start in range(0, len(image), _BATCH):
        rows = slice(start, min(start + _BATCH, len(image)))
        count = rows.stop - rows.start
        pixels = np.zeros((_BATCH, len(order), side, side), np.float32)
        valid = np.zeros(pixels.shape, np.bool_)
        pixels[:count] = image[rows][:, order]
        valid[:count] = valid_pixels(
            pixels[:count],
            None if ivar is None else np.asarray(ivar[rows])[:, order],
            None if mask is None else np.asarray(mask[rows])[:, order],
        )
        with torch.inference_mode():
            light, kept, _ = resample(
                torch.from_numpy(pixels).to(device),
                torch.from_numpy(valid).to(device),
                pixel_scale,
                card.size_pix,
                card.pixel_scale,
            )
            channels = normalise(light, kept, card.normalisation, card.pixel_scale)
            channels = channels.contiguous(memory_format=torch.channels_last)
            back = _on_cutout(mapper.draw(channels), card.pixel_scale, side, pixel_scale)[:count].cpu().numpy()
        back[~valid[:count].any(axis=(1, 2, 3))] = np.nan
        drawn[:, rows] = back.swapaxes(0, 1)
    return Maps(drawn[LENS_LIGHT], drawn[ARTEFACT])


def measure_maps(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    ensemble: Ensemble,
    device: str = "cpu",
) -> MapMeasures:
    """Draw maps and saliency of cutouts and measure them; parameters and errors as `map_cutouts`.

    Parameters
    ----------
    ensemble : Ensemble
        With a mapper.

    Raises
    ------
    ValueError
        If the ensemble has no mapper.
    """
    if ensemble.mapper is None:
        raise ValueError(f"ensemble {ensemble.name!r} has no network that draws maps")
    maps = map_cutouts(image, ivar, mask, pixel_scale=pixel_scale, bands=bands, mapper=ensemble.mapper, device=device)
    found = ensemble_saliency(image, ivar, mask, pixel_scale=pixel_scale, bands=bands, ensemble=ensemble, device=device)
    return measures(maps, found, pixel_scale)


def measures(maps: Maps, saliency: Float32, pixel_scale: float) -> MapMeasures:
    """What `MapMeasures` says, of maps and saliency (n, y, x) on the same pixels of `pixel_scale` arcsec."""
    known = np.isfinite(maps.lens_light)
    light = np.where(known, maps.lens_light, np.float32(0))
    weight = np.nan_to_num(saliency) * (light + np.float32(_FAINT_LIGHT)) * known
    total = weight.sum(axis=(1, 2))
    covered = (weight * np.nan_to_num(maps.artefact)).sum(axis=(1, 2))
    overlap = np.divide(covered, total, out=np.full(len(total), np.nan, np.float32), where=total > 0)
    return MapMeasures(measure_light(maps.lens_light, pixel_scale), overlap)


def measure_light(lens_light: Float32, pixel_scale: float) -> LensLight:
    """What `LensLight` says, of maps (n, y, x) on pixels of `pixel_scale` arcsec."""
    known = np.isfinite(lens_light)
    light = np.where(known, lens_light, np.float32(0))
    unknown = np.asarray(~known.any(axis=(1, 2)), np.bool_)
    cell = pixel_scale**2
    area = (light > 0.5).sum(axis=(1, 2)) * cell
    x, y = _peaks(light)
    sides, off_centre = _spread(light)
    dark = unknown | (area == 0)
    return LensLight(
        peak=_float(light.max(axis=(1, 2), initial=0.0), unknown),
        light=_float(light.sum(axis=(1, 2)) * cell, unknown),
        area=_float(area, unknown),
        x=_float(x, dark),
        y=_float(y, dark),
        sides=_float(sides, unknown),
        off_centre=_float(off_centre * pixel_scale, unknown),
    )


def joined_light(parts: Sequence[LensLight]) -> LensLight:
    """The measures of several calls as one; at least one part."""
    names = ("peak", "light", "area", "x", "y", "sides", "off_centre")
    return LensLight(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _on_cutout(maps: Tensor, scale: float, side: int, target: float) -> Tensor:
    """Probabilities (n, plane, y, x) on the cutout's grid; NaN beyond the network's."""
    moved, kept = resample_values(maps, scale, side, target)
    return torch.where(kept, moved, torch.nan)


def _peaks(light: Float32) -> tuple[Float32, Float32]:
    """Column and row (n,) of the centre of light about each map's highest pixel, the first of equal ones."""
    n, height, width = light.shape
    if n == 0:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    top, left = np.divmod(light.reshape(n, -1).argmax(axis=1), width)
    step = np.arange(-1, 2)
    ys = np.clip(top[:, None] + step, 0, height - 1)
    xs = np.clip(left[:, None] + step, 0, width - 1)
    near = light[np.arange(n)[:, None, None], ys[:, :, None], xs[:, None, :]]
    total = np.maximum(near.sum(axis=(1, 2)), 1e-12)
    y = (near.sum(axis=2) * ys).sum(axis=1) / total
    x = (near.sum(axis=1) * xs).sum(axis=1) / total
    return x.astype(np.float32), y.astype(np.float32)


def _spread(light: Float32) -> tuple[Float32, Float32]:
    """Share of lit directions (n,), and pixels from the centre of the cutout to that of the light (n,)."""
    height, width = light.shape[1:]
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    angle = np.arctan2(y[:, None], x[None, :])
    sector = ((angle + np.pi) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
    amounts = np.stack([light[:, sector == number].sum(axis=1) for number in range(_DIRECTIONS)], axis=1)
    brightest = amounts.max(axis=1, initial=0.0)
    sides = (amounts > 0.1 * brightest[:, None]).mean(axis=1)
    total = np.maximum(light.sum(axis=(1, 2)), 1e-6)
    away = np.hypot((light.sum(axis=1) * x).sum(axis=1), (light.sum(axis=2) * y).sum(axis=1)) / total
    return sides.astype(np.float32), away.astype(np.float32)


def _float(values: npt.NDArray[Any], unknown: npt.NDArray[np.bool_]) -> Float32:
    answer: Float32 = np.where(unknown, np.nan, values).astype(np.float32)
    return answer
