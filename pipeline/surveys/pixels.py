"""Pixels of a field on their way in: the survey's numbers become nJy, nJy^-2 and PixelFlag bits, by rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData
from pipeline.field import Float32, PixelBlock, UInt32, sealed_block
from pipeline.flags import PixelFlag
from pipeline.io.fits import FitsPlane
from pipeline.surveys.description import MaskPlane


@dataclass(frozen=True)
class MaskMeaning:
    """A mask's numbers, resolved for one file: PixelFlag -> the bits (or whole codes) that mean it."""

    bits: tuple[tuple[PixelFlag, int], ...] = ()
    codes: tuple[tuple[PixelFlag, tuple[int, ...]], ...] = ()

    def translate(self, stored: npt.NDArray[np.integer[Any]]) -> UInt32:
        """PixelFlag bits of a block of stored values, same shape.

        Only the pixels that are not 0 are looked at where 0 means nothing, since nearly all pixels are good.
        """
        flags = np.zeros(stored.shape, np.uint32)
        flat, values = flags.reshape(-1), stored.reshape(-1)
        marked = np.arange(values.size) if self._zero_means() else np.flatnonzero(values)
        chosen = values[marked].astype(np.int64)
        found = np.zeros(chosen.shape, np.uint32)
        raised = as_bits(chosen, stored.dtype.itemsize)
        for flag, bits in self.bits:
            found[(raised & bits) != 0] |= np.uint32(flag)
        for flag, codes in self.codes:
            found[np.isin(chosen, codes)] |= np.uint32(flag)
        flat[marked] = found
        return flags

    def _zero_means(self) -> bool:
        return any(0 in codes for _, codes in self.codes)


@dataclass(frozen=True)
class BandSource:
    """One band of a field: its planes and what their numbers mean.

    Attributes
    ----------
    image, noise, mask : FitsPlane
    kind : str
        Of the noise plane: "ivar", "variance", "rms" or "weight".
    factor : float
        nJy for a pixel value of 1 (after `asinh` is undone).
    weight_scale : float
        1 / (weight * variance in the image's unit); 1 for anything but a "weight".
    blank : float or None
        A pixel value that means no data.
    """

    image: FitsPlane
    noise: FitsPlane | None
    mask: FitsPlane | None
    kind: str | None
    factor: float
    meaning: MaskMeaning = MaskMeaning()
    weight_scale: float = 1.0
    blank: float | None = None
    image_asinh: tuple[float, float] | None = None
    noise_asinh: tuple[float, float] | None = None

    def read_image(self, y0: int, y1: int) -> Float32:
        """Rows in nJy; NaN where blank."""
        values = self.image.read(y0, y1)
        if self.blank is not None:
            values[values == np.float32(self.blank)] = np.nan
        if self.image_asinh is not None:
            values = from_asinh(values, *self.image_asinh)
        values *= np.float32(self.factor)
        return values

    def read_noise(self, y0: int, y1: int) -> Float32:
        """Rows of inverse variance in nJy^-2; 0 where the plane gives none, and 1 everywhere without a plane."""
        if self.noise is None:
            return np.ones((y1 - y0, self.image.shape[1]), np.float32)
        values = self.noise.read(y0, y1)
        if self.noise_asinh is not None:
            values = from_asinh(values, *self.noise_asinh)
        values[~(values > 0)] = 0.0
        scale = self.weight_scale / self.factor**2
        if self.kind in ("variance", "rms"):
            spread = values if self.kind == "variance" else values * values
            np.divide(1.0, spread, out=values, where=spread > 0)
        # A unit such as W Hz^-1 takes the square of the factor out of float32's range.
        exact = values if 1e-30 < scale < 1e30 else values.astype(np.float64)
        exact *= scale
        return np.asarray(exact, np.float32)

    def read_mask(self, y0: int, y1: int) -> UInt32:
        """Rows of PixelFlag bits; 0 without a plane."""
        if self.mask is None:
            return np.zeros((y1 - y0, self.image.shape[1]), np.uint32)
        return self.meaning.translate(self.mask.read_integers(y0, y1))


@dataclass(frozen=True)
class BlockReader:
    """Reads rows of all bands; a band that the field lacks (None) is NODATA throughout. Can be pickled."""

    sources: tuple[BandSource | None, ...]
    shape: tuple[int, int]

    def __call__(self, y0: int, y1: int) -> PixelBlock:
        """Rows `y0:y1` of the field as a sealed block.

        Raises
        ------
        ValueError
            If the rows are not inside the field.
        BadSurveyData
            If a file cannot be read (it may have changed since the field was opened).
        """
        if not 0 <= y0 <= y1 <= self.shape[0]:
            raise ValueError(f"rows {y0}:{y1} are not inside 0:{self.shape[0]}")
        size = (len(self.sources), y1 - y0, self.shape[1])
        image = np.full(size, np.nan, np.float32)
        ivar = np.zeros(size, np.float32)
        mask = np.zeros(size, np.uint32)
        for index, source in enumerate(self.sources):
            if source is not None:
                image[index] = source.read_image(y0, y1)
                ivar[index] = source.read_noise(y0, y1)
                mask[index] = source.read_mask(y0, y1)
        return sealed_block(y0, image, ivar, mask)


def as_bits(values: npt.NDArray[np.integer[Any]], itemsize: int | None = None) -> npt.NDArray[np.int64]:
    """Stored integers as the bits that they are, int64: a negative one has no bits beyond its own `itemsize` bytes."""
    width = 8 * (itemsize or values.dtype.itemsize)
    wide: npt.NDArray[np.int64] = values.astype(np.int64)
    return wide & ((1 << width) - 1) if width < 64 else wide


def from_asinh(values: Float32, offset: float, softening: float) -> Float32:
    """Undo Pan-STARRS's packing: BOFFSET + BSOFTEN (10^(0.4 v) - 10^(-0.4 v)); Waters et al. 2020, ApJS 251, 4."""
    exponent = values.astype(np.float64) * (0.4 * np.log(10.0))
    flux: Float32 = (offset + 2.0 * softening * np.sinh(exponent)).astype(np.float32)
    return flux


def mask_meaning(plane: FitsPlane, description: MaskPlane, extra: Mapping[str, Sequence[int | str]]) -> MaskMeaning:
    """Resolve a mask's description for one file; named planes are looked up in its header.

    Raises
    ------
    BadSurveyData
        If the header lacks a named plane that is not optional; the message lists the planes it has.
    """
    combined: dict[PixelFlag, int] = {}
    for source in (description.bits, extra):
        for name, bits in source.items():
            for bit in bits:
                number = bit if isinstance(bit, int) else _plane_number(plane, description, bit)
                if number is not None:
                    combined[PixelFlag[name]] = combined.get(PixelFlag[name], 0) | (1 << number)
    codes = tuple((PixelFlag[name], tuple(values)) for name, values in description.codes.items())
    return MaskMeaning(tuple(combined.items()), codes)


def _plane_number(plane: FitsPlane, description: MaskPlane, name: str) -> int | None:
    keyword = f"{description.plane_prefix}{name}"
    value = plane.header.get(keyword)
    if isinstance(value, int) and 0 <= value <= 62:
        return value
    if value is None and name in description.optional:
        return None
    known = sorted(key for key in plane.header if key.startswith(description.plane_prefix))
    raise BadSurveyData(
        f"{plane.where}: keyword {keyword} is {value!r} where a bit number is needed; its planes are "
        f"{', '.join(known) or 'none'}. Mend planes.mask.bits, or name it in planes.mask.optional."
    )
