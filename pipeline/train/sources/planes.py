"""FITS files of one image each."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from pipeline.errors import ConfigError


def first_plane(path: Path, remedy: str) -> npt.NDArray[np.float64]:
    """The first image of a file that has two axes.

    Parameters
    ----------
    path : Path
    remedy : str
        What to do about a file that has none or is damaged, for the error.

    Raises
    ------
    ConfigError
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False) as hdus:
                for hdu in hdus:
                    if getattr(hdu, "is_image", False) and len(hdu.shape) == 2:
                        return np.array(hdu.data, np.float64)
    except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
        raise ConfigError(f"{path}: {error}; {remedy}.") from error
    raise ConfigError(f"{path}: no two-dimensional image in it; {remedy}.")
