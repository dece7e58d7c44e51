"""Galaxies for an injection from a folder of real stamps: in their middles, or their neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag
from pipeline.io.cutout_store import Stamps
from pipeline.io.stamps import open_stamps
from pipeline.models.resample import resample
from pipeline.scan.stamp_objects import Neighbour, middle, neighbours
from pipeline.sims.config.folder import FolderConfig
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.inject.noise import gains
from pipeline.sims.inject.objects import FieldCutouts, HeldCutouts, Objects, at_most
from pipeline.sims.render.conditions import sky_sigma
from pipeline.sims.render.light import Float32, Float64
from pipeline.splits import in_split

_FWHM = 2.3548
_FRAME = 0.12
"""Width of the frame that background and noise are measured in, over a stamp's side."""
_LOWER_SIGMA = 0.15865525393145707
"""Share of a normal distribution below mean minus one sigma."""
_AB_NANOJANSKY = 31.4


@dataclass(frozen=True)
class _Found:
    """An object of a file: its position there in pixels, on the sky in degrees (NaN without WCS), its cutout."""

    name: str
    x: float
    y: float
    ra: float
    dec: float
    image: Float32


def read_folder(config: InjectionConfig, folder: FolderConfig) -> Objects:
    """Every object of a folder of stamps that an injection may use, in the order of the files' names.

    Backgrounds, the medians of the cutouts' frames, are taken off; inverse variances follow from the noise of the
    frames (median minus the lower 15.9 % quantile), and nothing is masked but what is missing.

    Returns
    -------
    Objects
        Of one field; `objid` is a hash of file name and position, `x` and `y` are pixels of the file, `ra` and `dec`
        NaN for files without WCS.

    Raises
    ------
    ConfigError
        If the folder holds no stamps, colour pictures or unreadable files, or no object is found.
    """
    found = list(_objects(config, folder))
    if not found:
        raise ConfigError(f"galaxies: no object in {folder.path}; lower threshold or least_distance.")
    scale = folder.grid or folder.pixel_scale
    cutouts = [_cutout(item, config, folder) for item in found]
    stamps = Stamps(
        np.stack([item.image for item in cutouts]),
        np.stack([item.ivar for item in cutouts]),
        np.stack([item.mask for item in cutouts]),
    )
    names = tuple(item.name for item in found)
    store = HeldCutouts(config.bands, scale, stamps, names)
    known = np.isfinite(stamps.image)
    count = len(found)
    return Objects(
        fields=(FieldCutouts(folder.path, Path(folder.path).name, store),),
        field=np.zeros(count, np.int64),
        row=np.arange(count),
        objid=np.array([_number(f"{item.name}/{item.x:.0f}/{item.y:.0f}") for item in found], np.int64),
        ra=np.array([item.ra for item in found]),
        dec=np.array([item.dec for item in found]),
        x=np.array([item.x for item in found]),
        y=np.array([item.y for item in found]),
        mags=_magnitudes(stamps.image, scale, folder.aperture),
        valid=known.mean(axis=(2, 3)).min(axis=1).astype(np.float32),
        centre_clear=np.asarray(known[:, :, store.size // 2, store.size // 2].all(axis=1)),
    )


def in_part(objects: Objects, config: InjectionConfig) -> Objects:
    """The objects whose files are in the config's split, by a hash of the files' names, with their cutouts alone.

    Raises
    ------
    ConfigError
        If there is none.
    """
    field, store = objects.fields[0], objects.fields[0].store
    if config.sky.split == "all" or not isinstance(store, HeldCutouts):
        return at_most(objects, config.most_objects)
    chosen = objects.take(in_split(store.names, config.sky.split, config.sky.shares))
    if not len(chosen):
        raise ConfigError(f"sky: no file of {field.scan} is in split {config.sky.split!r}; give it a larger share.")
    chosen = at_most(chosen, config.most_objects)
    held, rows = store.stamps, chosen.row
    kept = replace(
        store,
        stamps=Stamps(held.image[rows], held.ivar[rows], held.mask[rows]),
        names=tuple(store.names[row] for row in rows.tolist()),
    )
    return replace(chosen, fields=(replace(field, store=kept),), row=np.arange(len(chosen)))


def _objects(config: InjectionConfig, folder: FolderConfig) -> Iterator[_Found]:
    stamps = open_stamps(Path(folder.path), config.bands, config.bands, zero_point=folder.zero_point)
    if stamps.colour:
        raise ConfigError(f"galaxies: {folder.path} holds colour pictures; lenses are injected into FITS and arrays.")
    side = max(2, round(folder.size / folder.pixel_scale))
    unreadable: list[str] = []
    for index, stamp in enumerate(stamps):
        if stamp.pixels is None:
            unreadable.append(stamp.reason or stamp.name)
            continue
        wcs, height, width = stamps.wcs(index), *stamp.pixels.shape[-2:]
        if folder.which == "centre":
            places = [((width - 1) / 2, (height - 1) / 2, middle(stamp.pixels, side))]
        else:
            places = [(item.x, item.y, item.image) for item in _away(stamp.pixels, side, folder)]
        for x, y, image in places:
            ra, dec = (np.nan, np.nan) if wcs is None else wcs.pixel_to_world_values(x, y)
            yield _Found(stamp.name, x, y, float(ra), float(dec), image)
    if unreadable:
        raise ConfigError(
            f"galaxies: {len(unreadable)} of {len(stamps)} stamps in {folder.path} can't be read, such as "
            f"{unreadable[0]}; mend them or take them away."
        )


def _away(pixels: Float32, side: int, folder: FolderConfig) -> Iterator[Neighbour]:
    return neighbours(
        pixels,
        folder.pixel_scale,
        side,
        least_distance=folder.least_distance,
        most_missing=folder.most_missing,
        threshold=folder.threshold,
        min_area_pix=folder.min_area_pix,
    )


def _cutout(found: _Found, config: InjectionConfig, folder: FolderConfig) -> Stamps:
    """The cutout (band, y, x) of an object on the folder's grid, at its PSF and depth."""
    pixels = _brought(found.image, folder).astype(np.float64)
    known = np.isfinite(pixels)
    background, sigma = _frame(pixels)
    pixels -= background[:, None, None]
    scale = folder.grid or folder.pixel_scale
    if folder.depth and folder.seeing is not None:
        rng = np.random.default_rng(_number(found.name))
        limits = np.array([folder.depth[band] for band in config.bands])
        depth = limits[:, 0] + rng.random() * (limits[:, 1] - limits[:, 0])
        aim = sky_sigma(depth, np.array(folder.seeing.wanted), scale)
        gain = gains(config.noise, config.bands, aim, scale)
        # A shallower exposure of the same sky and source: what its photons add to the variance of the deeper one.
        added = np.maximum(1 - (sigma / aim) ** 2, 0)
        light = np.maximum(np.where(known, pixels, 0), 0)
        variance = added[:, None, None] * (aim[:, None, None] ** 2 + light / gain[:, None, None])
        pixels += rng.standard_normal(pixels.shape) * np.sqrt(variance)
        sigma = np.maximum(sigma, aim)
    ivar = np.where(known, (1 / sigma**2)[:, None, None], 0.0)
    mask = np.where(known, 0, int(PixelFlag.NODATA))
    return Stamps(pixels.astype(np.float32), ivar.astype(np.float32), mask.astype(np.uint32))


def _brought(image: Float32, folder: FolderConfig) -> Float32:
    """A cutout convolved to the wanted PSF and resampled to the grid.

    Resampling towards coarser pixels weighs with a triangle, which is a pixel's box twice; one of them is the pixel's
    own, and the variance of the other, grid^2 / 12, is taken off that of the Gaussian.
    """
    known = np.isfinite(image)
    if folder.seeing is not None:
        variance = (folder.seeing.wanted**2 - folder.seeing.own**2) / _FWHM**2
        if folder.grid is not None and folder.grid > folder.pixel_scale:
            variance -= folder.grid**2 / 12
        width = (0, *(np.sqrt(max(variance, 0)) / folder.pixel_scale,) * 2)
        weight = gaussian_filter(known.astype(np.float32), width)
        light = gaussian_filter(np.where(known, image, 0), width)
        image = np.where(known, light / np.maximum(weight, 1e-6), np.float32(np.nan))
    if folder.grid is None:
        return image
    size = int(image.shape[-1] * folder.pixel_scale / folder.grid)
    light, valid, _ = resample(
        torch.from_numpy(image)[None], torch.from_numpy(known)[None], folder.pixel_scale, size, folder.grid
    )
    answer: Float32 = np.where(valid[0].numpy(), light[0].numpy(), np.float32(np.nan))
    return answer


def _frame(image: Float64) -> tuple[Float64, Float64]:
    """Background and noise (band,) in the frame of a cutout, or in all of it where the frame is mostly missing."""
    width = max(2, round(_FRAME * image.shape[-1]))
    inner = np.zeros(image.shape[-2:], np.bool_)
    inner[width:-width, width:-width] = True
    background, sigma = np.zeros(len(image)), np.ones(len(image))
    for band, plane in enumerate(image):
        frame = plane[~inner & np.isfinite(plane)]
        pixels = frame if 4 * frame.size >= (~inner).sum() else plane[np.isfinite(plane)]
        if pixels.size:
            low, background[band] = np.quantile(pixels, [_LOWER_SIGMA, 0.5])
            sigma[band] = max(background[band] - low, 1e-6)
    return background, sigma


def _magnitudes(image: Float32, scale: float, aperture: float) -> Float32:
    """AB magnitudes (n, band) in a circle about the middle; NaN where there is no positive flux."""
    y, x = np.indices(image.shape[-2:]) - (image.shape[-1] - 1) / 2
    inside = image[..., np.hypot(x, y) * scale <= aperture]
    flux = np.nansum(inside, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mags = _AB_NANOJANSKY - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    return mags.astype(np.float32)


def _number(text: str) -> int:
    """A positive int64 of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
