"""Stamps in memory: half the bytes of float32, at no loss that their noise would notice."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.train.donors import Donors

KIND = np.dtype("U32")
"""How kinds are held."""

_LARGEST = 60000.0
"""Of a float16, with some room."""

_SMALLEST = np.float32(2.0**-100)
"""Units below this would leave the range of a float32."""


@dataclass(frozen=True)
class Stamps:
    """Stamps in memory.

    Attributes
    ----------
    image : float16 (n, band, y, x), in units of `scale`; or float32, nJy, where `scale` is None
        NaN where there is no data.
    flagged : uint8 (n, band, y, ceil(x / 8))
        Pixels with a fatal flag, eight a byte as `numpy.packbits` has them along x.
    lens : bool (n,)
        False throughout where there are no labels.
    kind : str (n,)
        What each stamp shows, in the words of the simulation.
    bands : tuple of str
    pixel_scale : float, arcsec
    digest : str
        Hash of what is held.
    scale : float32 (n, band), nJy, optional
        See `packed`.
    weight : float64 (n,), optional
        How often each is drawn, from its source's weight; 1 each where None.
    maps : uint8 (n, plane, y, ceil(x / 8)), optional
        What a network that draws maps should draw (`pipeline.models.layers.MapHead`), packed as `flagged` is.
    donors : Donors, optional
        Real artefacts that training puts into some of these stamps.
    parameters : float32 (n, p), optional
        Of `pipeline.models.posterior.PARAMETERS`; NaN where there is no lens.
    """

    image: npt.NDArray[np.float16] | npt.NDArray[np.float32]
    flagged: npt.NDArray[np.uint8]
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    bands: tuple[str, ...]
    pixel_scale: float
    digest: str
    scale: npt.NDArray[np.float32] | None = None
    weight: npt.NDArray[np.float64] | None = None
    maps: npt.NDArray[np.uint8] | None = None
    donors: Donors | None = None
    parameters: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.lens)

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return int(self.image.shape[-1])

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        arrays = (self.image, self.flagged, self.lens, self.kind, self.scale, self.weight, self.maps, self.parameters)
        return sum(array.nbytes for array in arrays if array is not None)

    def take(self, rows: npt.NDArray[np.int64], told: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor, Tensor]:
        """Image (float32, nJy; NaN where there is no data), validity and label (float32) of some rows.

        Tensors of their own, which the caller may change.

        Parameters
        ----------
        rows : (m,)
        told : bool (m,)
            Where the mask is told of: flagged pixels are invalid. Elsewhere artefacts stand unmasked in the
            stamp, as they do where no finder has caught them.
        """
        chosen = torch.from_numpy(np.asarray(rows, np.int64))
        image = torch.from_numpy(self.image).index_select(0, chosen).float()
        if self.scale is not None:
            image.mul_(torch.from_numpy(self.scale[rows])[:, :, None, None])
        # numpy is twenty times as fast at this as torch.
        valid = torch.from_numpy(np.isfinite(image.numpy()))
        flagged = self.flagged[rows]
        touched = np.flatnonzero(told & flagged.any(axis=(1, 2, 3)))
        if touched.size:
            hidden = np.unpackbits(flagged[touched], axis=-1, count=self.size).astype(np.bool_)
            valid[torch.from_numpy(touched)] &= torch.from_numpy(~hidden)
        return image, valid, torch.from_numpy(self.lens[rows].astype(np.float32))

    def take_maps(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """The maps of some rows, float32 (m, plane, y, x) of 0 and 1; raises ValueError where none are held."""
        if self.maps is None:
            raise ValueError("these stamps were read without maps")
        return torch.from_numpy(np.unpackbits(self.maps[rows], axis=-1, count=self.size).astype(np.float32))

    def take_parameters(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """The lens parameters of some rows, float32 (m, p); raises ValueError where none are held."""
        if self.parameters is None:
            raise ValueError("these stamps were read without lens parameters")
        return torch.from_numpy(self.parameters[rows])


def some_of(stamps: Stamps, rows: npt.NDArray[np.int64]) -> Stamps:
    """Some rows of stamps, copied, with a digest of their own; donors stay as they are."""
    held = {item.name: getattr(stamps, item.name) for item in fields(stamps)}
    chosen: dict[str, Any] = {name: array[rows] for name, array in held.items() if isinstance(array, np.ndarray)}
    part = replace(stamps, **chosen)
    return replace(part, digest=digest_of(part, part.weight))


def room_for(
    n: int, bands: tuple[str, ...], size: int, pixel_scale: float, planes: int = 0, parameters: int = 0
) -> Stamps:
    """Empty arrays for n packed stamps, to be filled in place: joining parts would take their memory twice."""
    return Stamps(
        image=np.empty((n, len(bands), size, size), np.float16),
        flagged=np.empty((n, len(bands), size, -(-size // 8)), np.uint8),
        lens=np.zeros(n, np.bool_),
        kind=np.empty(n, KIND),
        bands=bands,
        pixel_scale=pixel_scale,
        digest="",
        scale=np.empty((n, len(bands)), np.float32),
        weight=np.ones(n, np.float64),
        maps=np.empty((n, planes, size, -(-size // 8)), np.uint8) if planes else None,
        parameters=np.full((n, parameters), np.nan, np.float32) if parameters else None,
    )


def packed(image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    """Stamps as float16 in units of about their noise.

    A float16 keeps 11 binary digits from 6e-5 to 65,504: a pixel of s sigma is kept to s / 2048 sigma or
    better, the noise to a two-thousandth of itself and a core of 1,000 sigma, where photon noise is larger,
    to half a sigma. The noise is measured from differences between next-but-one pixels of every fourth row. The
    unit is the power of two above it (so that a stamp that is packed twice is the same), and more where the
    brightest pixel would not fit.

    Parameters
    ----------
    image : float32 (n, band, y, x)
        Pixels that are not finite become NaN.

    Returns
    -------
    image : float16, the same shape
    scale : float32 (n, band)
        The product of both is the image.
    """
    known = np.isfinite(image)
    values = np.where(known, image, np.float32(np.nan))
    # A stamp of zeros, or of nothing, has any unit.
    peak = np.abs(values).max(axis=(2, 3), initial=0.0, where=known)
    unit = np.maximum(_sigma(values), peak / np.float32(_LARGEST))
    exponent = np.frexp(np.where(unit > 0, np.maximum(unit, _SMALLEST), 1.0))[1]
    scale = np.ldexp(np.float32(1), exponent)
    return (values / scale[:, :, None, None]).astype(np.float16), scale


def digest_of(stamps: Stamps, weight: npt.NDArray[np.float64] | None = None) -> str:
    """The sha256 of pixels, flags, labels and kinds in the order of the rows.

    Parameters
    ----------
    stamps : Stamps
    weight : float64 (n,), optional
        Taken along where it comes from the data: a source's own weight is known from the config.
    """
    digest = hashlib.sha256()
    donors = None if stamps.donors is None else stamps.donors.excess
    held = (stamps.image, stamps.scale, stamps.flagged, stamps.lens, stamps.kind, stamps.maps)
    for array in (*held, donors, weight, stamps.parameters):
        if array is not None:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sigma(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Noise (n, band) of values without infinities; 0 where it can't be measured."""
    steps = np.abs(values[..., ::4, 2::2] - values[..., ::4, :-2:2]).reshape(*values.shape[:2], -1)
    if steps.shape[-1] == 0:
        return np.zeros(values.shape[:2], np.float32)
    # NaN sorts last, so that the median of what is known stands at half its number.
    steps.sort(axis=-1)
    number = np.isfinite(steps).sum(axis=-1, keepdims=True)
    middle = np.take_along_axis(steps, np.maximum(number - 1, 0) // 2, axis=-1)[..., 0]
    sigma: npt.NDArray[np.float32] = np.nan_to_num(middle) * np.float32(1.4826 / math.sqrt(2))
    return sigma
