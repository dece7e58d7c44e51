"""From a survey's zero point to nJy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import astropy.units as u

from pipeline.errors import BadSurveyData
from pipeline.io.fits import FitsPlane, open_plane
from pipeline.surveys.description import ZeroPoint

AB_ZERO_NJY = 31.4
"""AB magnitude of 1 nJy: 8.90 for 1 Jy (Oke & Gunn 1983; 3631 Jy to four digits), 22.5 mag more for 1e-9 of it."""

_MAGGIES = {"maggy": 0.0, "maggies": 0.0, "nanomaggy": 22.5, "nanomaggies": 22.5, "nmgy": 22.5}


def njy_per_magnitude_zero(magnitude: float) -> float:
    """Flux in nJy of a pixel value of 1 where that is `magnitude` AB; 0 or infinite beyond what a float holds."""
    try:
        return float(10.0 ** (0.4 * (AB_ZERO_NJY - magnitude)))
    except OverflowError:
        return math.inf


def njy_per_unit(unit: str) -> float:
    """Flux in nJy of 1 in a unit: astropy's ("uJy") or "nanomaggy", "maggy".

    Raises
    ------
    ValueError
        If it is not a flux density.
    """
    name = unit.strip()
    if name.lower() in _MAGGIES:
        return njy_per_magnitude_zero(_MAGGIES[name.lower()])
    try:
        return float(u.Unit(name).to("nJy"))
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise ValueError(f"{unit!r} is not a flux density such as nJy, uJy, Jy, nanomaggy or maggy") from error


def njy_per_value(plane: FitsPlane, alternatives: Sequence[ZeroPoint]) -> float:
    """Flux in nJy of a pixel value of 1: the first alternative that the headers have an answer for.

    Raises
    ------
    BadSurveyData
        If none has, naming what was tried, or if a keyword is there and holds no usable number, or one that
        makes pixels worth nothing or infinitely much.
    """
    tried = []
    for alternative in alternatives:
        factor = _factor(plane, alternative)
        if factor is not None:
            if not 0 < factor < math.inf:
                raise BadSurveyData(
                    f"{plane.where}: the zero point makes a pixel value of 1 worth {factor:g} nJy; "
                    "mend the header, or zero_point in the survey's TOML."
                )
            return factor
        tried.append(alternative.keyword or alternative.flux_keyword or alternative.unit_keyword or "?")
    raise BadSurveyData(
        f"{plane.where}: no zero point; keyword {', '.join(tried)} is not in its header. "
        "Mend the header or add an alternative to zero_point in the survey's TOML."
    )


def _factor(plane: FitsPlane, zero_point: ZeroPoint) -> float | None:
    source = plane if zero_point.hdu is None else open_plane_header(plane.path, zero_point.hdu)
    scale = float(10.0 ** (-0.4 * zero_point.offset))
    if zero_point.per == "second":
        scale /= _number(source, zero_point.exposure_keyword, positive=True, required=True) or math.nan
    if zero_point.magnitude is not None:
        return scale * njy_per_magnitude_zero(zero_point.magnitude)
    if zero_point.flux is not None:
        return scale * njy_per_magnitude_zero(0.0) / zero_point.flux
    if zero_point.keyword is not None:
        magnitude = _number(source, zero_point.keyword)
        return None if magnitude is None else scale * njy_per_magnitude_zero(magnitude)
    if zero_point.flux_keyword is not None:
        flux = _number(source, zero_point.flux_keyword, positive=True)
        return None if flux is None else scale * njy_per_magnitude_zero(0.0) / flux
    unit = zero_point.unit
    if unit is None:
        value = source.keyword(zero_point.unit_keyword or "")
        if value is None:
            return None
        unit = str(value)
    try:
        return scale * njy_per_unit(unit)
    except ValueError as error:
        raise BadSurveyData(f"{plane.where}: {error}; mend zero_point in the survey's TOML.") from error


def open_plane_header(path: str, hdu: int | str) -> FitsPlane:
    """The plane whose header a zero point names."""
    return open_plane(path, hdu)


def _number(plane: FitsPlane, keyword: str, *, positive: bool = False, required: bool = False) -> float | None:
    value = plane.keyword(keyword)
    if value is None and not required:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0):
        need = "a positive number" if positive else "a number"
        raise BadSurveyData(f"{plane.where}: keyword {keyword} is {value!r} where {need} is needed; mend the header.")
    return number
