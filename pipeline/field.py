"""A field of a survey, and its pixels in row blocks.

Arrays are `(band, y, x)`; images are in nJy, `ivar` in nJy^-2; a pixel without data is NaN with
`PixelFlag.NODATA` and `ivar` 0. Pixel (0, 0) has its centre at (0, 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from pipeline.flags import PixelFlag

Float32 = npt.NDArray[np.float32]
UInt32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Field:
    """One sky unit of a survey release: the unit of submission, rerun and provenance.

    Attributes
    ----------
    survey, release, field_id : str
        Who it is. `field_id` is the survey's own name (brick, tract/patch, tile, pointing).
    planes : mapping
        band -> plane ("image", "ivar", "weight", "variance", "mask") -> path. A file that holds
        several planes appears several times.
    catalogue : str or None
        Path of this field's external catalogue, if the survey has one.
    """

    survey: str
    release: str
    field_id: str
    planes: Mapping[str, Mapping[str, str]]
    catalogue: str | None = None

    def files(self) -> list[str]:
        """Every input path of the field, each once, sorted."""
        paths = {path for planes in self.planes.values() for path in planes.values()}
        if self.catalogue is not None:
            paths.add(self.catalogue)
        return sorted(paths)


@dataclass(frozen=True)
class PixelBlock:
    """Rows `y0 : y0 + image.shape[1]` of a field, in memory.

    Attributes
    ----------
    y0 : int
        Row of the field that row 0 of the arrays is.
    image : float32 (band, y, x), nJy
    ivar : float32 (band, y, x), nJy^-2; 0 where there is no data
    mask : uint32 (band, y, x); see `pipeline.flags`
    """

    y0: int
    image: Float32
    ivar: Float32
    mask: UInt32

    @property
    def y1(self) -> int:
        """One past the last row of the field in this block."""
        return self.y0 + int(self.image.shape[1])


@dataclass(frozen=True)
class FieldImage:
    """A field's pixels, read lazily by rows.

    Attributes
    ----------
    field : Field
    bands : tuple of str
        Canonical bands in the order of the arrays' first axis.
    shape : (ny, nx)
    wcs : astropy.wcs.WCS
        Celestial, two axes, 0-based use (`origin=0`) throughout.
    pixel_scale : float
        arcsec a pixel, the square root of the pixel's area.
    read : callable (y0, y1) -> PixelBlock
        Rows y0 to y1 (exclusive), inside 0..ny.
    has_ivar : bool
        Whether the survey gives a weight of its own. Where not, `ivar` is 1 on valid pixels and the
        noise map of `scan.masks` stands in for it.
    may_lack_bands : bool
        Whether a field of this survey may have a band without a single usable pixel.
    meta : mapping
        Per-band scalars of the survey that the catalogue carries, such as seeing in arcsec
        (key "seeing") or gain in e-/nJy (key "gain"): name -> band -> value.
    """

    field: Field
    bands: tuple[str, ...]
    shape: tuple[int, int]
    wcs: WCS
    pixel_scale: float
    read: Callable[[int, int], PixelBlock]
    has_ivar: bool = True
    may_lack_bands: bool = False
    meta: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def blocks(self, rows: int) -> Iterator[PixelBlock]:
        """The whole field as consecutive blocks of at most `rows` rows, top index first to last."""
        for y0 in range(0, self.shape[0], rows):
            yield self.read(y0, min(y0 + rows, self.shape[0]))


def field_image_from_arrays(
    image: npt.NDArray[Any],
    wcs: WCS,
    bands: tuple[str, ...],
    *,
    ivar: npt.NDArray[Any] | None = None,
    mask: npt.NDArray[Any] | None = None,
    pixel_scale: float,
    field: Field | None = None,
    meta: Mapping[str, Mapping[str, float]] | None = None,
) -> FieldImage:
    """Wrap arrays that are in memory as a `FieldImage`; what tests and notebooks use.

    Parameters
    ----------
    image : (band, y, x), nJy
        NaN where there is no data.
    ivar : (band, y, x), nJy^-2, optional
    mask : (band, y, x), PixelFlag bits, optional
    pixel_scale : float, arcsec

    Raises
    ------
    ValueError
        If shapes differ or the number of bands is not that of `bands`.
    """
    data = np.ascontiguousarray(image, dtype=np.float32)
    if data.ndim != 3 or data.shape[0] != len(bands):
        raise ValueError(f"image has shape {data.shape}; expected ({len(bands)}, y, x) for bands {bands}")
    flags = np.zeros(data.shape, np.uint32) if mask is None else np.ascontiguousarray(mask, np.uint32)
    weight = np.ones(data.shape, np.float32) if ivar is None else np.ascontiguousarray(ivar, np.float32)
    if weight.shape != data.shape or flags.shape != data.shape:
        raise ValueError(f"image {data.shape}, ivar {weight.shape} and mask {flags.shape} differ in shape")

    def read(y0: int, y1: int) -> PixelBlock:
        return sealed_block(y0, data[:, y0:y1].copy(), weight[:, y0:y1].copy(), flags[:, y0:y1].copy())

    return FieldImage(
        field=field or Field("memory", "none", "field", {}),
        bands=bands,
        shape=(int(data.shape[1]), int(data.shape[2])),
        wcs=wcs,
        pixel_scale=pixel_scale,
        read=read,
        has_ivar=ivar is not None,
        meta=meta or {},
    )


_SUN = 1e24
"""nJy; the Sun has 2e23 in V (Willmer 2018: -26.76 mag). Files fill what they lack with 3e38 and the like."""


def sealed_block(y0: int, image: Float32, ivar: Float32, mask: UInt32) -> PixelBlock:
    """A block that keeps the rule of no data, changing the arrays given.

    A pixel whose image is not finite, or brighter than the Sun, or whose weight is not positive and finite becomes
    NaN with `ivar` 0 and `PixelFlag.NODATA` in the survey's half; so does one that is flagged NODATA.
    """
    nodata = np.uint32(PixelFlag.NODATA)
    absent = ~(np.abs(image) < _SUN) | ~np.isfinite(ivar) | (ivar <= 0) | ((mask & nodata) != 0)
    image[absent] = np.nan
    ivar[absent] = 0.0
    mask[absent] |= nodata
    return PixelBlock(y0, image, ivar, mask)
