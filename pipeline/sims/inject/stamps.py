"""Stamps made by injection, turned, brought to the pool's grid and written with their truth."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.flags import PixelFlag, either
from pipeline.io.cutout_store import Stamps
from pipeline.models.resample import resample
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.inject.lens import Injection
from pipeline.sims.inject.plan import InjectionPlan
from pipeline.sims.inject.truth import InjectedStamps
from pipeline.sims.mass_truth import mass_truth, tell_mass
from pipeline.sims.render.light import Float32

UInt32 = npt.NDArray[np.uint32]
Pixel = TypeVar("Pixel", bound=np.generic)


def put_stamp(
    stamps: InjectedStamps,
    index: int,
    plan: InjectionPlan,
    row: int,
    cutout: Stamps,
    kind: int,
    turn: int,
    injected: Injection | None = None,
) -> None:
    """Turn a cutout, bring it to the pool's grid and write it with its truth.

    Parameters
    ----------
    stamps : InjectedStamps
        Changed in place.
    index : int
        Of the stamp.
    plan : InjectionPlan
    row : int
        Of the object in `plan.objects`.
    cutout : Stamps
        (band, y, x), with the arc where there is one.
    kind : int
        Index into `INJECTION_KINDS`.
    turn : int
        0 to 7.
    injected : Injection, optional
    """
    config, objects, truth = plan.config, plan.objects, stamps.truth
    number = int(objects.field[row])
    store = objects.fields[number].store
    there = Stamps(turned(cutout.image, turn), turned(cutout.ivar, turn), turned(cutout.mask, turn))
    image, ivar, mask = on_grid(there, store.pixel_scale, config.size, config.pixel_scale)
    stamps.image[index], stamps.ivar[index], stamps.mask[index] = image, ivar, mask
    stamps.label[index], truth.kind[index], truth.turn[index] = kind == 0, kind, turn
    truth.objid[index] = objects.objid[row]
    truth.field_id[index] = objects.fields[number].origin(int(objects.row[row]))
    truth.ra[index], truth.dec[index] = objects.ra[row], objects.dec[row]
    truth.true_pixel_scale[index] = store.pixel_scale
    psf = plan.skies[number].psf_at(float(objects.x[row]), float(objects.y[row]), store.pixel_scale)
    truth.seeing[index] = psf.fwhm
    truth.artefacts[index] = np.bitwise_or.reduce(either(mask), axis=None)
    galaxy = np.flatnonzero(plan.deflectors.index == row) if kind == 1 else np.empty(0, np.int64)
    if injected is not None:
        galaxy = np.array([injected.lens.deflector])
        lens, mass = injected.lens, injected.lens.source.deflector
        truth.theta_E[index], truth.arc_snr[index], truth.arc_share[index] = mass.theta_E, lens.snr, injected.share
        truth.source_mag[index], truth.dispersion[index] = injected.source_mag, lens.dispersion
        truth.lens_redshift[index], truth.source_redshift[index] = lens.redshift, lens.source_redshift
        truth.red_source[index], truth.source_id[index] = lens.red, lens.source_id
        tell_mass(truth, index, mass_truth(lens.source).turned(turn % 4, turn >= 4))
        along = turned_vector(np.cos(mass.angle), np.sin(mass.angle), turn)
        truth.q_mass[index], truth.angle_mass[index] = mass.q, np.arctan2(along[1], along[0]) % np.pi
        arc = injected.arc[config.bands.index(config.detection_band)]
        stamps.arc[index] = _light_on_grid(turned(arc, turn), store.pixel_scale, config)
    if len(galaxy):
        deflectors, which = plan.deflectors, int(galaxy[0])
        truth.lens_mag[index], truth.lens_redshift[index] = deflectors.magnitude[which], deflectors.redshift[which]
        x, y = turned_vector(float(deflectors.x[which]), float(deflectors.y[which]), turn)
        truth.centre_x[index], truth.centre_y[index] = x, y


def turned(values: npt.NDArray[Pixel], turn: int) -> npt.NDArray[Pixel]:
    """An image (..., y, x) in one of its eight guises: quarter turns, then mirrored along x where `turn` is over 3."""
    quarter = np.rot90(values, turn % 4, axes=(-2, -1))
    return np.ascontiguousarray(quarter[..., ::-1] if turn >= 4 else quarter)


def turned_vector(x: float, y: float, turn: int) -> tuple[float, float]:
    """Where `turned` takes a point (x, y) about the stamp's centre."""
    for _ in range(turn % 4):
        x, y = y, -x
    return (-x, y) if turn >= 4 else (x, y)


def on_grid(stamps: Stamps, pixel_scale: float, size: int, target_scale: float) -> tuple[Float32, Float32, UInt32]:
    """Stamps on another grid, the images as models resample them.

    Parameters
    ----------
    stamps : Stamps
        (band, y, x)
    pixel_scale, target_scale : arcsec
    size : int

    Returns
    -------
    image : float32 (band, size, size), nJy a pixel
        NaN where less than half of a pixel's weight has data.
    ivar : float32, nJy^-2
        Interpolated like the image and scaled by the pixels' areas, as if neighbours shared their noise: what
        interpolation averages away is not claimed. 0 where there is no data.
    mask : uint32
        Of the nearest pixel; NODATA beyond the cutout.
    """
    image, known = torch.from_numpy(stamps.image)[None], torch.from_numpy(np.isfinite(stamps.image))[None]
    light, valid, _ = resample(image, known, pixel_scale, size, target_scale)
    weight, _, _ = resample(torch.from_numpy(stamps.ivar)[None], known, pixel_scale, size, target_scale)
    kept = valid[0].numpy()
    # `resample` scales values by the ratio of areas; a variance scales by its square, and its inverse the other way.
    area = (target_scale / pixel_scale) ** 2
    ivar = np.where(kept, weight[0].numpy() / np.float32(area**3), np.float32(0))
    if abs(area - 1) < 2e-4:
        ivar = np.where(kept, weight[0].numpy(), np.float32(0))
    nearest = np.rint((np.arange(size) - (size - 1) / 2) * target_scale / pixel_scale + (stamps.mask.shape[-1] - 1) / 2)
    inside = (nearest >= 0) & (nearest < stamps.mask.shape[-1])
    columns = np.clip(nearest, 0, stamps.mask.shape[-1] - 1).astype(np.int64)
    mask = stamps.mask[:, columns][:, :, columns]
    beyond = ~(inside[:, None] & inside[None, :])
    mask = np.where(beyond, mask | np.uint32(PixelFlag.NODATA), mask).astype(np.uint32)
    return np.where(kept, light[0].numpy(), np.float32(np.nan)), ivar.astype(np.float32), mask


def _light_on_grid(light: Float32, pixel_scale: float, config: InjectionConfig) -> Float32:
    plane = torch.from_numpy(light)[None, None]
    values, _, _ = resample(
        plane, torch.ones_like(plane, dtype=torch.bool), pixel_scale, config.size, config.pixel_scale
    )
    answer: Float32 = values[0, 0].numpy()
    return answer
