"""Stamps as pictures: colour by the asinh stretch of Lupton et al. (2004), and the outline of what is masked."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from astropy.visualization import make_lupton_rgb
from PIL import Image

from pipeline.catalogue.stamps import Stamp
from pipeline.flags import PixelFlag, either, fatal

_WAVELENGTH = {
    "FUV": 0.15, "NUV": 0.23, "u": 0.36, "g": 0.48, "r": 0.62, "i": 0.76, "I": 0.8, "VIS": 0.7, "z": 0.9, "Z": 0.88,
    "y": 0.97, "Y": 1.02, "J": 1.25, "H": 1.65, "K": 2.2, "Ks": 2.15,
}  # fmt: skip
"""Rough effective wavelength in micrometres, by canonical band: the order of colours and their balance."""

STRETCH_SIGMA = 8.0
"""Linear part of the stretch, in units of the sky's noise."""
SOFTENING = 8.0
"""Q of the asinh stretch."""
BALANCE = 1.3
"""Bands are weighted by wavelength to the power of minus this, so that an average galaxy is near white."""
ABSENT = (128, 128, 128)
"""Grey of pixels without data."""


def choose_bands(bands: Sequence[str]) -> tuple[str, str, str]:
    """Bands for red, green and blue: i, r, g where there are; else the reddest, the middle and the bluest."""
    if {"g", "r", "i"} <= set(bands):
        return ("i", "r", "g")
    ordered = sorted(bands, key=lambda band: _WAVELENGTH.get(band, 10.0))
    return (ordered[-1], ordered[len(ordered) // 2], ordered[0])


def wavelength(band: str) -> float:
    """Rough effective wavelength of a canonical band in micrometres; 10 for one that is not known."""
    return _WAVELENGTH.get(band, 10.0)


def colour(
    stamp: Stamp,
    names: tuple[str, str, str] | None = None,
    *,
    stretch: float = STRETCH_SIGMA,
    softening: float = SOFTENING,
) -> npt.NDArray[np.uint8]:
    """A stamp as red, green and blue.

    Parameters
    ----------
    stamp : Stamp
    names : (red, green, blue), optional
        Bands of the stamp, one three times for a grey picture; those of `choose_bands` if None.
    stretch : float
        Linear part of the stretch, in units of the sky's noise.
    softening : float
        Q of the asinh stretch; towards 0 it is linear.

    Returns
    -------
    uint8 (y, x, 3)
        Row 0 is the stamp's row 0 (the bottom of the sky's picture where the WCS is not mirrored). A pixel
        without data in any of the bands used is `ABSENT`.
    """
    names = choose_bands(stamp.bands) if names is None else names
    nodata = (either(stamp.mask) & np.uint32(PixelFlag.NODATA)) != 0
    used = [stamp.bands.index(name) for name in names]
    absent: npt.NDArray[np.bool_] = np.any(~np.isfinite(stamp.image[used]) | nodata[used], axis=0)
    planes = stamp.image[used].astype(np.float64)
    picture = np.full((*absent.shape, 3), ABSENT, np.uint8)
    if absent.all():
        return picture
    middle = _WAVELENGTH.get(names[1], 1.0)
    weights = [(_WAVELENGTH.get(name, middle) / middle) ** -BALANCE for name in names]
    sky = np.median(planes[:, ~absent], axis=1)
    planes = np.where(absent, 0.0, (planes - sky[:, None, None]) * np.array(weights)[:, None, None])
    # Half of the pixels of a stamp are sky, so the spread below the median is the sky's.
    below = np.minimum(planes, 0.0)[:, ~absent]
    noise = max(float(np.median(np.sqrt((below**2).mean(axis=1) * 2))), 1e-12)
    rgb = make_lupton_rgb(*planes, minimum=-noise, stretch=stretch * noise, Q=softening)
    picture[~absent] = rgb[~absent]
    return picture


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture (y, x, 3) as PNG, with row 0 at the bottom."""
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[::-1])).save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def fatal_outline(mask: npt.NDArray[np.uint32]) -> str:
    """The edge of what is fatally flagged in any band, as an SVG path in pixels from the top left; empty if nothing.

    Parameters
    ----------
    mask : uint32 (band, y, x)
    """
    bad: npt.NDArray[np.bool_] = np.asarray(fatal(mask).any(axis=0))
    return outline(bad)


def outline(chosen: npt.NDArray[np.bool_]) -> str:
    """The edge of chosen pixels (y, x), as an SVG path in pixels from the top left; empty if none is."""
    chosen = np.flipud(chosen)
    ny, nx = chosen.shape
    framed = np.zeros((ny + 2, nx + 2), bool)
    framed[1:-1, 1:-1] = chosen
    across = framed[1:, 1:-1] != framed[:-1, 1:-1]
    down = (framed[1:-1, 1:] != framed[1:-1, :-1]).T
    parts = [f"M{start} {line}h{length}" for line, start, length in _runs(across)]
    parts += [f"M{line} {start}v{length}" for line, start, length in _runs(down)]
    return "".join(parts)


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Stretches of True in each row: (row, start, length)."""
    padded = np.zeros((edges.shape[0], edges.shape[1] + 2), np.int8)
    padded[:, 1:-1] = edges
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    _, stop = np.nonzero(change == -1)
    return [(int(line), int(first), int(last - first)) for line, first, last in zip(row, start, stop, strict=True)]
