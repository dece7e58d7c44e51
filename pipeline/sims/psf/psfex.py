"""PSFEx models: a PSF that varies over an image as a polynomial of position (Bertin 2011, ASPC 442, 435)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.sims.psf.images import ImagePsf, image_psf
from pipeline.sims.render.light import Float64


@dataclass(frozen=True)
class PsfexModel:
    """One `.psf` file.

    Attributes
    ----------
    basis : float64 (coefficient, k, k)
        PSF_MASK: one image a term of the polynomial, in order 1, x, x^2, ..., y, xy, ..., y^2, ...
    degree : int
        0 for a PSF that is the same everywhere; the terms are those of total degree up to it.
    zero, scale : (x, y)
        POLZERO and POLSCAL: 1-based pixel coordinates are shifted and divided by them.
    sampling : float
        PSF_SAMP: pixels of the image between the model's samples.
    """

    basis: Float64
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]
    sampling: float

    def at(self, x: float, y: float) -> Float64:
        """The effective PSF at a 0-based position, (k, k), of sum 1."""
        u, v = (x + 1 - self.zero[0]) / self.scale[0], (y + 1 - self.zero[1]) / self.scale[1]
        terms = [u**i * v**j for j in range(self.degree + 1) for i in range(self.degree + 1 - j)]
        image = np.tensordot(np.array(terms), self.basis, axes=1)
        return np.asarray(image / image.sum())


def read_psfex(path: Path) -> PsfexModel:
    """Read a `.psf` file.

    Raises
    ------
    ConfigError
        If it is missing, no PSFEx file, or of a polynomial in anything but position.
    """
    try:
        with fits.open(path) as hdus:
            table = next((hdu for hdu in hdus[1:] if _has_mask(hdu)), None)
            if table is None:
                raise ConfigError(f"{path}: no PSF_MASK in it; give a .psf file of PSFEx.")
            header, basis = table.header, np.asarray(table.data["PSF_MASK"][0], np.float64)
    except (OSError, IndexError) as error:
        raise ConfigError(f"{path}: not a readable PSFEx file ({error}); give a .psf file of PSFEx.") from error
    names = [str(header[f"POLNAME{axis}"]).strip() for axis in range(1, int(header["POLNAXIS"]) + 1)]
    place = [name for name in names if name.startswith(("X", "Y"))]
    if names != place or len(names) not in (0, 2):
        raise ConfigError(f"{path}: a PSF that varies with {', '.join(names)}; only (x, y) can be evaluated.")
    degree = int(header["POLDEG1"]) if names else 0
    terms = (degree + 1) * (degree + 2) // 2
    if basis.ndim != 3 or len(basis) != terms:
        raise ConfigError(f"{path}: PSF_MASK of shape {basis.shape}; degree {degree} needs {terms} images.")
    axes = (1, 2) if names else ()
    zero = [float(header[f"POLZERO{axis}"]) for axis in axes] or [0.0, 0.0]
    scale = [float(header[f"POLSCAL{axis}"]) for axis in axes] or [1.0, 1.0]
    return PsfexModel(basis, degree, (zero[0], zero[1]), (scale[0], scale[1]), float(header["PSF_SAMP"]))


def _has_mask(hdu: object) -> bool:
    return isinstance(hdu, fits.BinTableHDU) and "PSF_MASK" in hdu.columns.names


def psfex_at(models: Sequence[PsfexModel], x: float, y: float, pixel_scale: float) -> ImagePsf:
    """The PSFs of several bands at a 0-based position.

    Raises
    ------
    ConfigError
        If the models' images differ in size or sampling.
    """
    kinds = {(model.basis.shape[1:], round(model.sampling, 6)) for model in models}
    if len(kinds) > 1:
        raise ConfigError(f"PSFEx models of one field differ in size or sampling: {sorted(kinds)}; run PSFEx alike.")
    return image_psf(np.stack([model.at(x, y) for model in models]), models[0].sampling * pixel_scale)
