"""How the planes of cutouts lie in the arrays of a store: as they are, or quantised.

`quantised` keeps of every pixel of the image its whole number of steps, int16. A step is a sixteenth of the noise of
that cutout and band, so that what is lost is a pixel's noise times 0.018 (1 / (16 sqrt 12)), or larger where the
brightest pixel would not fit into 32767 of them. -32768 is no data. The numbers are stored folded (0, -1, 1, -2, ...
become 0, 1, 2, 3, ...), since then the upper byte of nearly all is 0. Weights and masks come back bit for bit: of a
weight the difference to its left neighbour is stored, as bits, which is small or 0 where weights are even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr.codecs

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]

STEPS_PER_SIGMA = 16
"""Steps in one standard deviation of a pixel's noise; the codec's name in a config stands for this number too."""

_LARGEST = 32767
_NO_DATA = np.uint16(65535)
"""-32768, folded."""

_SAMPLE = 4
"""Of a plane of weights every so many rows and columns are looked at for the noise of a cutout."""

_TOGETHER = 8
"""Cutouts that are worked through at a time: they stay in a core's cache."""


@dataclass(frozen=True)
class Stamps:
    """Cutouts in memory.

    Attributes
    ----------
    image : float32 (cutout, band, y, x), nJy; NaN where there is no data
    ivar : float32 (cutout, band, y, x), nJy^-2; 0 where there is no data
    mask : uint32 (cutout, band, y, x); see `pipeline.flags`
    """

    image: Float32
    ivar: Float32
    mask: UInt32


@dataclass(frozen=True)
class ArraySpec:
    """One array of a store: its type, the value of what is not there, whether it has pixels, its compressor."""

    name: str
    dtype: str
    fill: float
    pixels: bool
    compressor: Any


def array_specs(codec: str) -> tuple[ArraySpec, ...]:
    """The arrays of a store with codec "lz4", "zstd", "none" or "quantised"."""
    if codec == "quantised":
        zstd, lz4 = (
            zarr.codecs.BloscCodec(cname=name, clevel=1, shuffle=zarr.codecs.BloscShuffle.shuffle)
            for name in ("zstd", "lz4")
        )
        return (
            ArraySpec("image", "uint16", int(_NO_DATA), True, zstd),
            ArraySpec("step", "float32", 1.0, False, zstd),
            ArraySpec("ivar", "uint32", 0, True, lz4),
            ArraySpec("mask", "uint32", 1, True, zarr.codecs.ZstdCodec(level=1)),
        )
    compressor = {
        "lz4": zarr.codecs.BloscCodec(cname="lz4", clevel=1, shuffle=zarr.codecs.BloscShuffle.shuffle),
        "zstd": zarr.codecs.ZstdCodec(level=1),
        "none": None,
    }[codec]
    return (
        ArraySpec("image", "float32", float("nan"), True, compressor),
        ArraySpec("ivar", "float32", 0.0, True, compressor),
        ArraySpec("mask", "uint32", 1, True, compressor),
    )


@dataclass(frozen=True)
class Packed:
    """Cutouts as the arrays of a store, by name."""

    arrays: Mapping[str, npt.NDArray[Any]]
    quantised: bool

    def stamps(self) -> Stamps:
        """The cutouts as a reader has them: what is scored, whether or not they are stored."""
        if not self.quantised:
            return Stamps(self.arrays["image"], self.arrays["ivar"], self.arrays["mask"])
        image = dequantise(self.arrays["image"], self.arrays["step"])
        return Stamps(image, summed(self.arrays["ivar"]), self.arrays["mask"])


def pack(stamps: Stamps, quantised: bool) -> Packed:
    """Cutouts as the arrays of a store."""
    if not quantised:
        return Packed({"image": stamps.image, "ivar": stamps.ivar, "mask": stamps.mask}, False)
    numbers, step = quantise(stamps.image, stamps.ivar)
    arrays: dict[str, npt.NDArray[Any]] = {
        "image": numbers,
        "step": step,
        "ivar": differences(stamps.ivar),
        "mask": stamps.mask,
    }
    return Packed(arrays, True)


def quantise(image: Float32, ivar: Float32) -> tuple[UInt16, Float32]:
    """Pixels as folded whole numbers of steps.

    Parameters
    ----------
    image : float32 (cutout, band, y, x)
        NaN for no data; not infinite.
    ivar : float32 (cutout, band, y, x)
        The noise is that of the median weight over a sixteenth of the pixels, those without weight left out.

    Returns
    -------
    numbers : uint16 (cutout, band, y, x)
    step : float32 (cutout, band)
        In the unit of the image; 1 where a cutout has no data in a band, or is 0 throughout without a weight.
    """
    numbers = np.empty(image.shape, np.uint16)
    step = np.empty(image.shape[:2], np.float32)
    for start in range(0, len(image), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        pixels = image[part]
        flat = pixels.reshape(*pixels.shape[:2], -1)
        peak = np.fmax.reduce(np.abs(flat), axis=2, initial=0.0)
        widest = np.maximum(_noise(ivar[part]) / np.float32(STEPS_PER_SIGMA), peak / np.float32(_LARGEST))
        step[part] = np.where(widest > 0, widest, np.float32(1.0))
        counts = pixels / step[part][:, :, None, None]
        np.rint(counts, out=counts)
        absent = np.isnan(counts)
        counts[absent] = -_LARGEST - 1
        whole = counts.astype(np.int16)
        numbers[part] = ((whole << 1) ^ (whole >> 15)).view(np.uint16)
    return numbers, step


def dequantise(numbers: UInt16, step: Float32) -> Float32:
    """The image of `quantise`'s answer; float32 (cutout, band, y, x)."""
    image = np.empty(numbers.shape, np.float32)
    for start in range(0, len(numbers), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        folded = numbers[part]
        whole = (folded >> np.uint16(1)).view(np.int16) ^ -(folded & np.uint16(1)).view(np.int16)
        np.multiply(whole, step[part][:, :, None, None], out=image[part], dtype=np.float32)
        image[part][folded == _NO_DATA] = np.nan
    return image


def differences(ivar: Float32) -> UInt32:
    """The bits of weights less those of their left neighbours, modulo 2^32."""
    bits = np.ascontiguousarray(ivar).view(np.uint32)
    less = bits.copy()
    less[..., 1:] -= bits[..., :-1]
    return less


def summed(less: UInt32) -> Float32:
    """The weights that `differences` were taken of, to the last bit."""
    return np.cumsum(less, axis=-1, dtype=np.uint32).view(np.float32)


def _noise(ivar: Float32) -> Float32:
    """Standard deviation of a pixel of each cutout and band, 0 where no weight tells; float32 (cutout, band)."""
    sample = ivar[:, :, ::_SAMPLE, ::_SAMPLE]
    sample = np.sort(sample.reshape(*sample.shape[:2], -1), axis=2)
    known = (sample > 0).sum(axis=2)
    middle = sample.shape[2] - known + known // 2
    weight = np.take_along_axis(sample, np.minimum(middle, sample.shape[2] - 1)[:, :, None], axis=2)[:, :, 0]
    noise = np.zeros(weight.shape, np.float32)
    np.divide(1.0, np.sqrt(weight), out=noise, where=(known > 0) & np.isfinite(weight), casting="same_kind")
    return noise
