"""Real lenses against the point sources, and against the galaxies, of the same stamps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.anomalies.config import PointSourcesConfig
from pipeline.evaluate.anomalies.shapes import gaussian_fwhm
from pipeline.evaluate.config import BaselineConfig, RealLensesConfig
from pipeline.evaluate.samples.lenses import open_real_lenses, plain_name
from pipeline.evaluate.samples.sample import Sample
from pipeline.evaluate.samples.subset import subset
from pipeline.io.stamps import open_stamps
from pipeline.scan.stamp_objects import cut, detected

Float64 = npt.NDArray[np.float64]

_APART = 3.0
"""Arcsec within which two objects spoil one another's width."""


@dataclass(frozen=True)
class Widths:
    """FWHM of the sample's stamps, and of the PSF of the files that they are from, arcsec (n,); NaN where not known."""

    own: Float64
    psf: Float64

    def point(self, config: PointSourcesConfig) -> npt.NDArray[np.bool_]:
        """Which are as sharp as the PSF of their file, or, where none is known, as the sharper half of all stars."""
        return np.asarray(self.own <= self._limit(config, config.point))

    def extended(self, config: PointSourcesConfig) -> npt.NDArray[np.bool_]:
        """Which are clearly wider than a star; where no PSF is known, than the widest of all stars."""
        limit = np.where(np.isfinite(self.psf), config.extended * self.psf, config.fwhm[1])
        return np.asarray(self.own >= limit)

    def _limit(self, config: PointSourcesConfig, factor: float) -> Float64:
        return np.where(np.isfinite(self.psf), factor * self.psf, np.mean(config.fwhm))


def open_against_neighbours(
    config: RealLensesConfig, points: PointSourcesConfig, apertures: BaselineConfig, seed: int
) -> list[Sample]:
    """Two samples of the same lenses: against point sources, and against galaxies, among their neighbours.

    Raises
    ------
    ConfigError
        As `open_real_lenses`; if the stamps lack the band; or if there is no neighbour of a kind.
    """
    if points.band not in config.bands:
        raise ConfigError(
            f"sample {config.name!r}: points.band is {points.band!r}, but its stamps have {', '.join(config.bands)}."
        )
    sample = open_real_lenses(config, apertures, seed)
    widths = measured_widths(sample, config, points)
    chosen = {"point sources": widths.point(points), "galaxies": widths.extended(points)}
    answer = []
    for what, mine in chosen.items():
        others = mine & ~sample.lens
        if not others.any():
            raise ConfigError(f"sample {config.name!r}: none of its neighbours is among the {what}; change [points].")
        known = int(np.isfinite(widths.psf[others]).sum())
        note = (
            f"{int(others.sum())} of {int((~sample.lens).sum())} neighbours are {what} by their width, {known} of them "
            "against the PSF of their own file, the others against the survey's"
        )
        answer.append(subset(sample, sample.lens | others, f"{config.name} against {what}", (*sample.notes, note)))
    return answer


def measured_widths(sample: Sample, config: RealLensesConfig, points: PointSourcesConfig) -> Widths:
    """Widths of a sample of real lenses and their neighbours, and of the PSF in their files."""
    band = config.bands.index(points.band)
    own = np.concatenate([gaussian_fwhm(part.image[:, band], sample.pixel_scale) for part in sample.parts()])
    psf = {
        plain_name(stamp.name): psf_fwhm(stamp.pixels, config, points)
        for stamp in open_stamps(Path(config.stamps), config.bands, config.bands)
        if stamp.pixels is not None
    }
    return Widths(own, np.array([psf[name] for name in sample.truth["name"].tolist()]))


def psf_fwhm(pixels: npt.NDArray[np.float32], config: RealLensesConfig, points: PointSourcesConfig) -> float:
    """FWHM in arcsec of the PSF of one file: that of its sharpest object, away from the middle and alone.

    Parameters
    ----------
    pixels : float32 (band, y, x)
    config : RealLensesConfig
        Of detection and least distance.
    points : PointSourcesConfig

    Returns
    -------
    float
        NaN where no significant object is as sharp as a star.
    """
    plane = pixels[config.bands.index(points.band)]
    height, width = plane.shape
    found = detected(pixels, config.threshold, config.min_area_pix)
    x, y = np.asarray(found["x"]), np.asarray(found["y"])
    apart = np.hypot(x[:, None] - x, y[:, None] - y) * config.pixel_scale
    np.fill_diagonal(apart, np.inf)
    usable = (apart.min(axis=1, initial=np.inf) >= _APART) & (
        np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) * config.pixel_scale >= config.least_distance
    )
    finite = plane[np.isfinite(plane)]
    level = float(np.median(finite)) if finite.size else 0.0
    noise = 1.4826 * float(np.median(np.abs(finite - level))) if finite.size else 0.0
    side = 2 * round(2 * _APART / config.pixel_scale) + 1
    images = [cut(plane[None], float(b), float(a), side)[0] for a, b in zip(x[usable], y[usable], strict=True)]
    bright = [image for image in images if np.nanmax(image) - level >= points.least_snr * noise > 0]
    if not bright:
        return float("nan")
    widths = gaussian_fwhm(np.stack(bright), config.pixel_scale)
    stars = widths[(widths >= points.fwhm[0]) & (widths <= points.fwhm[1])]
    return float(stars.min()) if stars.size else float("nan")
