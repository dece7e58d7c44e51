"""What is looked at before a field is believed: its WCS, its grids, its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, WcsError

from pipeline.errors import BadSurveyData
from pipeline.field import Float32
from pipeline.flags import PixelFlag
from pipeline.geometry import to_sky
from pipeline.io.fits import FitsPlane
from pipeline.surveys.pixels import BandSource

GRID_TOLERANCE_PIX = 0.05
"""Two bands are on one grid if no corner and not the centre is further apart than this."""

_CHECK_ROWS = 256


def celestial_wcs(plane: FitsPlane) -> WCS:
    """The WCS of an image, ready for `all_pix2world`; SIP, TPV, ZPN and the like are kept.

    Raises
    ------
    BadSurveyData
        If there is none, if its axes are not (RA, Dec) in an equatorial frame near ICRS, or if it is singular.
    """
    next_step = "write a WCS into the header, or leave the field out"
    if "CTYPE1" not in plane.header or "CTYPE2" not in plane.header:
        raise BadSurveyData(f"{plane.where}: no WCS (no CTYPE1, CTYPE2); {next_step}.")
    kinds = tuple(str(plane.header[key]).strip() for key in ("CTYPE1", "CTYPE2"))
    if not (kinds[0].startswith("RA--") and kinds[1].startswith("DEC-")):
        raise BadSurveyData(f"{plane.where}: axes {kinds} are not (RA, Dec); {next_step}.")
    frame = str(plane.header.get("RADESYS", plane.header.get("RADECSYS", "ICRS"))).strip().upper()
    if frame.startswith("FK4"):
        raise BadSurveyData(f"{plane.where}: positions are in {frame}, not ICRS or FK5; precess the WCS first.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)
            wcs = WCS(plane.header, naxis=2)
            corners = _corners(wcs, plane.shape)
    except (WcsError, ValueError, np.linalg.LinAlgError, MemoryError, TypeError, fits.VerifyError) as error:
        raise BadSurveyData(f"{plane.where}: singular or invalid WCS ({_first_line(error)}); {next_step}.") from error
    matrix = wcs.pixel_scale_matrix
    if not np.isfinite(corners).all() or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-20:
        raise BadSurveyData(f"{plane.where}: singular or invalid WCS (matrix {matrix.tolist()}); {next_step}.")
    return wcs


def check_same_grid(first: FitsPlane, first_wcs: WCS, other: FitsPlane, other_wcs: WCS) -> None:
    """Raise BadSurveyData, naming both files, unless two images have one shape and one WCS."""
    check_same_shape(first, other)
    here, there = _corners(first_wcs, first.shape), _corners(other_wcs, other.shape)
    back = np.stack(other_wcs.all_world2pix(here[0], here[1], 0, quiet=True))
    start = np.stack(_corner_pixels(first.shape))
    apart = float(np.hypot(*(back - start)).max()) if np.isfinite(there).all() else np.inf
    if not apart <= GRID_TOLERANCE_PIX:
        raise BadSurveyData(
            f"{other.where}: is on another grid than {first.where}, up to {apart:.3g} pixels apart; resample the bands "
            "onto one grid first, or scan them apart."
        )


def check_same_shape(first: FitsPlane, other: FitsPlane) -> None:
    """Raise BadSurveyData, naming both files, unless two planes have one shape."""
    if first.shape != other.shape:
        raise BadSurveyData(
            f"{other.where}: shape {other.shape} differs from {first.shape} of {first.where}; all bands and planes "
            "of a field must be on one grid. Resample them first, or mend the path or hdu in the survey's TOML."
        )


def has_pixels(source: BandSource) -> bool:
    """Whether a band has any valid pixel; reads until it has seen one, the middle of the field first.

    Raises
    ------
    BadSurveyData
        If every valid pixel has one and the same value, or if weights are negative and none is positive.
    """
    value: np.float32 | None = None
    negative = False
    for y0, y1 in _middle_out(source.image.shape[0]):
        if source.noise is not None:
            raw = source.noise.read(y0, y1)
            negative = negative or bool((raw < 0).any())
        values = _valid_values(source, y0, y1)
        if values.size:
            value = values[0] if value is None else value
            if (values != value).any():
                return True
    if value is not None:
        raise BadSurveyData(
            f"{source.image.where}: every valid pixel is {float(value):g} nJy; fetch the file again or leave it out."
        )
    if negative and source.noise is not None:
        raise BadSurveyData(
            f"{source.noise.where}: weights are negative and none is positive; check hdu and kind of the noise plane."
        )
    return False


def weight_scale(source: BandSource) -> float:
    """The factor that makes a relative weight the inverse variance, in the image's own unit.

    image * sqrt(weight) has one scatter over the whole band; its square is 1 / factor. The scatter is that of
    differences of neighbours three pixels apart along rows (correlated noise of a resampled image has died down
    there, and sky and galaxies cancel), as 1.4826 median absolute deviations / sqrt(2), over up to eight blocks of
    rows. 1 where nothing is valid.
    """
    samples = []
    for y0, y1 in list(_middle_out(source.image.shape[0], 64))[::8][:8] or [(0, source.image.shape[0])]:
        if source.noise is None:
            return 1.0
        image = source.read_image(y0, y1).astype(np.float64) / source.factor
        weight = source.noise.read(y0, y1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            level = np.where(weight > 0, image * np.sqrt(weight), np.nan)
        step = level[:, 3:] - level[:, :-3]
        samples.append(step[np.isfinite(step)])
    steps = np.concatenate(samples)
    if steps.size == 0:
        return 1.0
    spread = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / np.sqrt(2.0)
    return 1.0 / spread**2 if spread > 0 else 1.0


def _valid_values(source: BandSource, y0: int, y1: int) -> Float32:
    image = source.read_image(y0, y1)
    absent = (source.read_mask(y0, y1) & np.uint32(PixelFlag.NODATA)) != 0
    valid: Float32 = image[np.isfinite(image) & (source.read_noise(y0, y1) > 0) & ~absent]
    return valid


def _middle_out(ny: int, rows: int = _CHECK_ROWS) -> Iterator[tuple[int, int]]:
    starts = sorted(range(0, ny, rows), key=lambda y0: abs(y0 + rows / 2 - ny / 2))
    for y0 in starts:
        yield y0, min(y0 + rows, ny)


def _corner_pixels(shape: tuple[int, int]) -> tuple[list[float], list[float]]:
    ny, nx = shape
    return [0.0, nx - 1.0, 0.0, nx - 1.0, (nx - 1) / 2], [0.0, 0.0, ny - 1.0, ny - 1.0, (ny - 1) / 2]


def _corners(wcs: WCS, shape: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.stack(to_sky(wcs, *_corner_pixels(shape)))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
