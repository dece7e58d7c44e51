"""The sky on a flat drawing: a projection that fits what there is to draw, its grid, and polygons on it.

A patch is drawn about its own middle by Lambert's azimuthal equal-area projection, what is larger than that in
Hammer's projection of the whole sky, cut where the least is (Snyder 1987, USGS Professional Paper 1395, chapter 24;
Calabretta & Greisen 2002, A&A 395, 1077). Both keep areas, so that a density looks like one. East is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WIDTH = 480.0
"""Of the drawing, in its own units, which are CSS pixels where there is room."""
_LARGEST_PATCH = 50.0
_TALLEST, _FLATTEST = 0.75, 0.2
_MARGIN = 26.0
_STEPS = (30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


@dataclass(frozen=True)
class Line:
    """A line of equal right ascension or declination (SVG path), and where its label stands."""

    path: str
    label: str
    x: float
    y: float
    side: bool


@dataclass(frozen=True)
class Chart:
    """A projection onto a drawing `WIDTH` wide and `height` high.

    Attributes
    ----------
    whole : bool
        Whether it is of the whole sky.
    ra, dec : float, deg
        The middle.
    scale : float
        Units of the drawing a radian.
    x, y : float
        Where the middle is drawn.
    """

    whole: bool
    ra: float
    dec: float
    scale: float
    x: float
    y: float
    height: float

    def xy(self, ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Positions (deg) on the drawing, of any shape; of the whole sky, within half a turn of the middle."""
        plane = _hammer if self.whole else _lambert
        x, y = plane(wrapped(np.asarray(ra, np.float64) - self.ra), np.asarray(dec, np.float64), self.dec)
        return self.x - self.scale * x, self.y - self.scale * y

    def polygons(self, ra: Floats, dec: Floats) -> list[str]:
        """SVG paths of polygons with corners (n, k) in degrees; what reaches over the cut of the sky ends there."""
        if self.whole:
            middle = wrapped(ra[:, :1] - self.ra)
            offset = np.clip(middle + wrapped(ra - ra[:, :1]), -180.0, 180.0)
            # Half a turn east and west are one place: which side is meant is said by the first corner.
            x, y = _hammer(offset, dec, self.dec)
            x, y = self.x - self.scale * x, self.y - self.scale * y
        else:
            x, y = self.xy(ra, dec)
        return [
            "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(row_x, row_y, strict=True)) + "Z"
            for row_x, row_y in zip(x.tolist(), y.tolist(), strict=True)
        ]

    def frame(self) -> str:
        """The edge of the whole sky; empty for a patch."""
        if not self.whole:
            return ""
        dec = np.linspace(-90, 90, 61)
        x, y = _hammer(np.concatenate([np.full(61, 180.0), np.full(61, -180.0)]), np.concatenate([dec, dec[::-1]]), 0.0)
        return _path(self.x - self.scale * x, self.y - self.scale * y) + "Z"

    def grid(self) -> list[Line]:
        """Lines of equal declination and right ascension, with labels where they leave the drawing."""
        if self.whole:
            across = [self._line(None, dec, np.linspace(-180, 180, 73) + self.ra) for dec in (-60, -30, 30, 60, 0)]
            down = [self._line(ra, None, np.linspace(-90, 90, 37)) for ra in range(0, 360, 60)]
            return _apart([line for line in (*across, *down) if line is not None])
        span = np.degrees(self.height / self.scale)
        step = _nice(span / 3)
        lowest, highest = max(-90.0, self.dec - 1.5 * span), min(90.0, self.dec + 1.5 * span)
        decs = [dec for dec in _ticks(lowest, highest, step) if abs(dec) < 90]
        reach = np.degrees(WIDTH / self.scale) / max(np.cos(np.radians(self.dec)), 0.02)
        polar = abs(self.dec) + span > 88 or reach > 180
        ra_step = 30.0 if polar else _nice(reach / 5)
        ras = _ticks(0, 359.9, 30.0) if polar else _ticks(self.ra - reach, self.ra + reach, ra_step)
        around = np.linspace(-180, 180, 181) if polar else np.linspace(-1, 1, 361) * reach
        lines = [self._line(None, dec, self.ra + around, step) for dec in decs]
        lines += [self._line(ra, None, np.linspace(lowest, highest, 361), ra_step) for ra in ras]
        return _apart([line for line in lines if line is not None])

    def _line(self, ra: float | None, dec: float | None, along: Floats, step: float = 1.0) -> Line | None:
        """One line of the grid, None where it does not cross the drawing."""
        if ra is None:
            x, y = self.xy(np.clip(along, self.ra - 179.999, self.ra + 179.999), np.full(len(along), dec))
            text = f"{dec or 0.0:+.{_digits(step)}f}°" if dec or not self.whole else ""
        else:
            x, y = self.xy(np.full(len(along), ra), along)
            text = f"{ra % 360:.{_digits(step)}f}°"
        inside = np.flatnonzero((x >= 0) & (x <= WIDTH) & (y >= 0) & (y <= self.height))
        if not len(inside):
            return None
        shown = slice(max(inside[0] - 1, 0), inside[-1] + 2)
        if self.whole:
            at = inside[len(inside) // 2] if ra is not None else inside[x[inside].argmin()]
        else:
            at = inside[x[inside].argmin()] if ra is None else inside[y[inside].argmax()]
        # A line that leaves below is cut between two of its points: its label stands on the edge as the others do.
        low = self.height if ra is not None and y[at] > 0.93 * self.height else float(y[at])
        return Line(_path(x[shown], y[shown]), text, float(x[at]), low, ra is None)


def chart_of(ra: Floats, dec: Floats) -> Chart:
    """A chart on which these positions (deg, finite, one at least) are all to be seen."""
    middle = unit(ra, dec).mean(axis=0)
    length = float(np.linalg.norm(middle))
    if length > 1e-6:
        ra0, dec0 = float(np.degrees(np.arctan2(middle[1], middle[0]))) % 360, float(_dec_of(middle))
        if _separation(ra, dec, ra0, dec0).max() <= _LARGEST_PATCH:
            return _patch(ra, dec, ra0, dec0)
    scale = (WIDTH - 2) / (4 * np.sqrt(2))
    height = 2 * np.sqrt(2) * scale + 2
    return Chart(True, _widest_gap(ra), 0.0, scale, WIDTH / 2, height / 2, height)


def rectangles(ra: Floats, dec: Floats, width: Floats, height: Floats, turn: Floats) -> tuple[Floats, Floats]:
    """Corners (n, 4) of rectangles about positions, all in degrees, from their tangent planes.

    Their height lies `turn` from north through east, and their width across.
    """
    across = np.radians(width / 2)[:, None] * np.array([-1, 1, 1, -1])
    along = np.radians(height / 2)[:, None] * np.array([-1, -1, 1, 1])
    cos, sin = np.cos(np.radians(turn))[:, None], np.sin(np.radians(turn))[:, None]
    half_x, half_y = across * cos + along * sin, along * cos - across * sin
    dec0 = np.radians(dec)[:, None]
    z = np.cos(dec0) - half_y * np.sin(dec0)
    corner_ra = ra[:, None] + np.degrees(np.arctan2(half_x, z))
    corner_dec = np.degrees(np.arctan2(np.sin(dec0) + half_y * np.cos(dec0), np.hypot(half_x, z)))
    return corner_ra, corner_dec


def unit(ra: Floats, dec: Floats) -> Floats:
    """Unit vectors (n, 3) of positions in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def wrapped(degrees: Floats) -> Floats:
    """Angles in -180 to 180 degrees."""
    answer: Floats = (degrees + 180.0) % 360.0 - 180.0
    return answer


def _patch(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Chart:
    x, y = _lambert(wrapped(ra - ra0), dec, dec0)
    wide, high = max(float(np.ptp(x)), 1e-6), max(float(np.ptp(y)), 1e-6)
    height = float(np.clip(WIDTH * high / wide, WIDTH * _FLATTEST, WIDTH * _TALLEST))
    scale = min((WIDTH - 2 * _MARGIN) / wide, (height - 2 * _MARGIN) / high)
    middle_x, middle_y = float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2
    return Chart(False, ra0, dec0, scale, WIDTH / 2 + scale * middle_x, height / 2 + scale * middle_y, height)


def _lambert(offset: Floats, dec: Floats, dec0: float) -> tuple[Floats, Floats]:
    """Offsets to the east and to the north of (offset, dec) in degrees, in radians of arc near the middle."""
    a, d, d0 = np.radians(offset), np.radians(dec), np.radians(dec0)
    towards = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    k = np.sqrt(2 / np.maximum(1 + towards, 1e-9))
    return k * np.cos(d) * np.sin(a), k * (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a))


def _hammer(offset: Floats, dec: Floats, dec0: float) -> tuple[Floats, Floats]:
    """The whole sky in an ellipse of half axes 2 sqrt 2 and sqrt 2; `dec0` is always 0."""
    a, d = np.radians(offset) / 2, np.radians(dec)
    k = np.sqrt(2 / (1 + np.cos(d) * np.cos(a)))
    return 2 * k * np.cos(d) * np.sin(a), k * np.sin(d)


def _widest_gap(ra: Floats) -> float:
    """The right ascension opposite to the middle of the widest gap, in whole degrees."""
    ordered = np.unique(np.round(ra % 360))
    gaps = np.diff(np.append(ordered, ordered[0] + 360))
    widest = int(gaps.argmax())
    return float(np.round(ordered[widest] + gaps[widest] / 2 + 180) % 360)


def _separation(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Floats:
    towards = unit(ra, dec) @ unit(np.array(ra0), np.array(dec0))
    answer: Floats = np.degrees(np.arccos(np.clip(towards, -1, 1)))
    return answer


def _dec_of(vector: Floats) -> float:
    return float(np.degrees(np.arctan2(vector[2], np.hypot(vector[0], vector[1]))))


def _nice(step: float) -> float:
    return next((nice for nice in _STEPS if nice <= step), _STEPS[-1])


def _ticks(low: float, high: float, step: float) -> list[float]:
    first = int(np.ceil(low / step))
    return [number * step for number in range(first, int(np.floor(high / step)) + 1)]


def _digits(step: float) -> int:
    return max(0, int(np.ceil(-np.log10(step) - 1e-9)))


def _apart(lines: Sequence[Line]) -> list[Line]:
    """Lines whose labels would stand on another's, or be cut by the edge, lose theirs."""
    kept: list[Line] = []
    for line in lines:
        cut = line.y < 16 or (not line.side and not 26 < line.x < WIDTH - 26)
        near = cut or any(abs(line.x - other.x) < 52 and abs(line.y - other.y) < 18 for other in kept if other.label)
        kept.append(Line(line.path, "" if near else line.label, line.x, line.y, line.side))
    return kept


def _path(x: Floats, y: Floats) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
