"""Small synthetic fields whose truth is known because it was put there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.wcs import WCS

from pipeline.field import FieldImage, field_image_from_arrays

PIXEL_SCALE = 0.3


def tangent_wcs(shape: tuple[int, int], pixel_scale: float = PIXEL_SCALE) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [shape[1] / 2, shape[0] / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    return wcs


def gaussian(shape: tuple[int, int], x: float, y: float, flux: float, fwhm: float = 3.5) -> np.ndarray:
    """A round star or galaxy on an empty plane; flux is the sum of its pixels."""
    sigma = fwhm / 2.3548
    yy = np.arange(shape[0])[:, None] - y
    xx = np.arange(shape[1])[None, :] - x
    return flux * np.exp(-(xx**2 + yy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def sky(
    bands: int = 2,
    shape: tuple[int, int] = (400, 500),
    sources: int = 60,
    seed: int = 1,
    noise: float = 1.0,
    background: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Image (band, y, x) of noise and round sources, and their positions (n, 2) as x, y."""
    random = np.random.default_rng(seed)
    image = background + noise * random.normal(size=(bands, *shape))
    places = random.uniform((15, 15), (shape[1] - 15, shape[0] - 15), (sources, 2))
    for x, y in places:
        flux = 10 ** random.uniform(2.3, 3.5) * noise
        width = random.uniform(3.2, 5.0)
        low_y, low_x = max(int(y) - 25, 0), max(int(x) - 25, 0)
        part = (slice(low_y, int(y) + 26), slice(low_x, int(x) + 26))
        stamp_shape = image[0][part].shape
        for band in range(bands):
            image[band][part] += gaussian(stamp_shape, x - low_x, y - low_y, flux, width)
    return image.astype(np.float32), places


@pytest.fixture(scope="session")
def make_sky() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return sky


@pytest.fixture(scope="session")
def make_gaussian() -> Callable[..., np.ndarray]:
    return gaussian


@pytest.fixture(scope="session")
def make_field() -> Callable[..., FieldImage]:
    """A FieldImage of an array, with bands named g, r, i, z."""

    def make(image: np.ndarray, **planes: np.ndarray) -> FieldImage:
        return field_image_from_arrays(
            image,
            tangent_wcs(image.shape[1:]),
            ("g", "r", "i", "z")[: image.shape[0]],
            pixel_scale=PIXEL_SCALE,
            **planes,
        )

    return make
