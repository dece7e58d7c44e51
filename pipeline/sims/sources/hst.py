"""Real galaxies as sources: HST postage stamps, cleaned, with their colours and redshifts.

The stamps are those of the GalSim COSMOS sample (Mandelbaum et al. 2012, arXiv:1107.4629): ACS F814W, 0.03 arcsec a
pixel. They are not deconvolved: what they show is resolved to the ACS PSF of 0.1 arcsec (FWHM), times the factor by
which a source is made larger or smaller, which is well below the seeing of a ground-based survey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from numpy.random import Generator
from scipy.ndimage import binary_dilation, gaussian_filter, label

from pipeline.errors import ConfigError
from pipeline.sims.config.sources import SourcesConfig
from pipeline.sims.render.light import Float32, Float64
from pipeline.sims.render.textures import PlacedGalaxy
from pipeline.splits import split_of

IMAGES = "real_galaxy_images_extension.fits"
CATALOGUE = "real_galaxy_catalog_26_extension_example.fits"
PHOTOMETRY = "real_galaxy_catalog_26_extension_example_fits.fits"
TEXTURE = 64
"""Side in pixels of every galaxy's image; larger stamps are averaged down to it."""
_ZERO_POINT = 25.94
"""AB magnitude of one count a second in F814W, as the catalogue's magnitudes have it."""
_CORE_SMOOTHING, _FAINT_SMOOTHING = 1.0, 1.5
"""Gaussian widths in pixels: for finding the galaxy's outline, and for its pixels that are mostly noise."""
_OUTLINE, _TRUSTED = 2.0, 3.0
"""Noise (of smoothed pixels) that the outline is drawn at; S/N of a pixel at which half of it is kept as it is."""
_GROWN, _TAPER = 3, 1.5
"""Pixels that the outline is grown by, and the width of the taper at its edge."""


@dataclass(frozen=True)
class Galaxy:
    """A real galaxy.

    Attributes
    ----------
    source_id : int
        Of the HST catalogue; stable.
    texture : float32 (TEXTURE, TEXTURE)
        Its light, of sum 1, without background, neighbours or negative pixels, and 0 at the edge.
    width : arcsec
        Side of the texture on the sky.
    radius : arcsec
        Of the circle about its centroid that holds half its light; what the PSF adds is in it.
    magnitude : AB, r
    colours : (g - r, r - i, i - z), AB
    redshift : float
    snr : float
    """

    source_id: int
    texture: Float32
    width: float
    radius: float
    magnitude: float
    colours: tuple[float, float, float]
    redshift: float
    snr: float


def read_galaxies(config: SourcesConfig) -> tuple[Galaxy, ...]:
    """The galaxies of the config's split that are good enough, sorted by id; none where `hst` is empty.

    Raises
    ------
    ConfigError
        If the folder or a file of it is missing or damaged, or no galaxy is left.
    """
    if not config.hst or config.hst_share == 0:
        return ()
    folder = Path(config.hst)
    rows, photometry = _table(folder / CATALOGUE), _table(folder / PHOTOMETRY)
    if not np.array_equal(rows["IDENT"], photometry["IDENT"]):
        raise ConfigError(f"{folder}: {CATALOGUE} and {PHOTOMETRY} list different galaxies; copy both from one sample.")
    galaxies = []
    with _opened(folder / IMAGES) as images:
        for row, magnitudes in zip(rows, photometry, strict=True):
            if config.split == "all" or split_of(int(row["IDENT"]), config.shares) == config.split:
                galaxy = _galaxy(row, magnitudes, np.asarray(images[int(row["GAL_HDU"])].data, np.float64), config)
                if galaxy is not None:
                    galaxies.append(galaxy)
    if not galaxies:
        raise ConfigError(
            f"{folder}: no galaxy of split {config.split!r} passes sources' limits; widen redshift or lower least_snr."
        )
    return tuple(sorted(galaxies, key=lambda galaxy: galaxy.source_id))


def place(rng: Generator, galaxy: Galaxy, config: SourcesConfig, at: tuple[float, float]) -> PlacedGalaxy:
    """A galaxy of flux 1 at `at` (arcsec), turned, mirrored or not, and rescaled to a radius of the config's."""
    wanted = float(np.exp(rng.uniform(*np.log(config.radius))))
    zoom = min(wanted / galaxy.radius, config.largest_zoom)
    return PlacedGalaxy(
        galaxy.texture, at[0], at[1], galaxy.width * zoom, float(rng.uniform(0, 2 * np.pi)), bool(rng.random() < 0.5)
    )


def cleaned(stamp: Float64, noise: float) -> tuple[Float64, float]:
    """A galaxy alone: without background, neighbours and most of the noise.

    The background is the median of the stamp's border; the galaxy is the connected region about the centre above
    2 sigma of the smoothed image, grown and tapered; inside it, pixels are kept as far as they are above the noise
    and smoothed as far as they are not (weight s^2 / (s^2 + (3 sigma)^2)); what is negative then is set to 0.

    Parameters
    ----------
    stamp : float64 (y, x), counts
    noise : float
        Standard deviation of a pixel.

    Returns
    -------
    image : float64 (y, x), counts
        All 0 where nothing stands in the middle.
    snr : float
        Of the sum inside the outline.
    """
    border = np.concatenate([stamp[:2].ravel(), stamp[-2:].ravel(), stamp[:, :2].ravel(), stamp[:, -2:].ravel()])
    light = stamp - np.median(border)
    smooth = gaussian_filter(light, _CORE_SMOOTHING)
    # Smoothing by a Gaussian of width s leaves sigma / (2 sqrt(pi) s) of white noise.
    regions, _ = label(smooth > _OUTLINE * noise / (2 * np.sqrt(np.pi) * _CORE_SMOOTHING))
    middle = tuple(length // 2 for length in stamp.shape)
    near = regions[middle[0] - 2 : middle[0] + 3, middle[1] - 2 : middle[1] + 3]
    if not near.any():
        return np.zeros_like(stamp), 0.0
    own = regions == np.bincount(near[near > 0]).argmax()
    snr = float(light[own].sum() / (noise * np.sqrt(own.sum())))
    others = binary_dilation((regions > 0) & ~own, iterations=_GROWN)
    outline = binary_dilation(own, iterations=_GROWN) & (own | ~others)
    faint = np.maximum(gaussian_filter(light, _FAINT_SMOOTHING), 0)
    weight = faint**2 / (faint**2 + (_TRUSTED * noise) ** 2)
    taper = np.where(outline, gaussian_filter(outline.astype(np.float64), _TAPER, mode="constant"), 0)
    return np.maximum(weight * light + (1 - weight) * faint, 0) * taper, snr


def _galaxy(row: Any, magnitudes: Any, stamp: Float64, config: SourcesConfig) -> Galaxy | None:
    """One row of the catalogue, or None where it is left out."""
    redshift = float(magnitudes["ZPHOT"])
    g, r, i, z = (float(magnitudes[f"HSC_{band}"]) for band in "griz")
    image, snr = cleaned(stamp, float(np.sqrt(row["NOISE_VARIANCE"])))
    total = float(image.sum())
    if not config.redshift[0] <= redshift <= config.redshift[1] or snr < config.least_snr or total <= 0:
        return None
    if not np.all(np.isfinite([g, r, i, z])) or not np.all(np.abs(np.diff([g, r, i, z])) < 4):
        return None
    seen = _ZERO_POINT - 2.5 * np.log10(total)
    if abs(seen - i) > config.largest_difference or _edge_share(image) > config.largest_edge_share:
        return None
    texture, step = _texture(image, float(row["PIXEL_SCALE"]))
    return Galaxy(
        source_id=int(row["IDENT"]),
        texture=texture,
        width=TEXTURE * step,
        radius=_half_light_radius(texture) * step,
        magnitude=r,
        colours=(g - r, r - i, i - z),
        redshift=redshift,
        snr=snr,
    )


def _edge_share(image: Float64) -> float:
    return float(1 - image[2:-2, 2:-2].sum() / image.sum())


def _texture(image: Float64, scale: float) -> tuple[Float32, float]:
    """The image about its centroid on TEXTURE pixels, of sum 1, and arcsec a pixel of it."""
    y, x = np.indices(image.shape)
    row, column = (round(float((axis * image).sum() / image.sum())) for axis in (y, x))
    reach = max(row, column, image.shape[0] - 1 - row, image.shape[1] - 1 - column) + 1
    # Blocks of whole pixels keep the flux; the texture's own border stays dark, so that nothing is cut by it.
    block = -(-2 * reach // (TEXTURE - 2))
    side = block * TEXTURE
    square = np.zeros((side, side))
    top, left = side // 2 - row, side // 2 - column
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    texture = square.reshape(TEXTURE, block, TEXTURE, block).sum(axis=(1, 3))
    return (texture / texture.sum()).astype(np.float32), scale * block


def _half_light_radius(texture: Float32) -> float:
    """Pixels, about the centroid, interpolated between pixels' own radii."""
    y, x = np.indices(texture.shape)
    total = float(texture.sum())
    row, column = float((y * texture).sum()) / total, float((x * texture).sum()) / total
    radius = np.hypot(y - row, x - column).ravel()
    order = np.argsort(radius)
    grown = np.cumsum(texture.ravel()[order], dtype=np.float64) / total
    return float(np.interp(0.5, grown, radius[order]))


def _opened(path: Path) -> Any:
    try:
        return fits.open(path)
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"sources.hst: {path} cannot be read ({error}); give the folder of the HST galaxies, or hst_share = 0."
        ) from error


def _table(path: Path) -> npt.NDArray[Any]:
    with _opened(path) as hdus:
        data = hdus[1].data if len(hdus) > 1 else None
        if data is None:
            raise ConfigError(f"sources.hst: {path} holds no table; give the folder of the HST galaxies.")
        return np.array(data)
