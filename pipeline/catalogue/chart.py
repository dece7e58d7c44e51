"""Charts of probabilities as SVG files of their own: axes in log-odds, lines, bands, points. No script, no font."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INKS = ("#1c2024", "#1f6fb2", "#b3261e", "#2e7d4f", "#8a5a00", "#6b4fa0")
"""Colours of series, told apart by those who see no red or green too."""

_TICKS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#4a535b}text.title{font-size:15px;fill:#1c2024;font-weight:600}"
    ".grid{stroke:#e3e6e8;fill:none}.frame{stroke:#98a1a9;fill:none}.middle{text-anchor:middle}.end{text-anchor:end}"
)


def log_odds(probability: npt.ArrayLike, least: float = 1e-9) -> Floats:
    """Log-odds to base 10 of probabilities, which are kept `least` away from 0 and 1; NaN stays."""
    p = np.clip(np.asarray(probability, np.float64), least, 1 - least)
    return np.asarray(np.log10(p / (1 - p)))


@dataclass
class Chart:
    """A frame with a probability along x, and along y another one or a share of 0 to 1.

    Attributes
    ----------
    title, x_label, y_label : str
    x_range : (low, high)
        Probabilities.
    y_range : (low, high), optional
        Probabilities; None for a linear axis from 0 to 1.
    margin : float
        Width in pixels of strips within the frame, at the left and at the bottom, for what has no x or no y.
    """

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float] | None = None
    margin: float = 0.0
    width: float = 720.0
    height: float = 480.0
    _parts: list[str] = field(default_factory=list)
    _keys: list[tuple[str, str]] = field(default_factory=list)

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the frame in pixels."""
        return 66.0, 44.0, self.width - 20.0, self.height - 76.0

    def x(self, probability: npt.ArrayLike) -> Floats:
        """Pixels of probabilities; NaN is in the middle of the strip at the left."""
        left, _, right, _ = self.frame
        low, high = log_odds(self.x_range)
        share = np.clip((log_odds(probability) - low) / (high - low), 0, 1)
        return np.where(
            np.isnan(share), left + self.margin / 2, left + self.margin + share * (right - left - self.margin)
        )

    def y(self, value: npt.ArrayLike) -> Floats:
        """Pixels of values along y; NaN is in the middle of the strip at the bottom."""
        _, top, _, bottom = self.frame
        values = np.asarray(value, np.float64)
        if self.y_range is None:
            share = np.clip(values, 0, 1)
        else:
            low, high = log_odds(self.y_range)
            share = np.clip((log_odds(values) - low) / (high - low), 0, 1)
        full = bottom - top - self.margin
        return np.where(np.isnan(share), bottom - self.margin / 2, bottom - self.margin - share * full)

    def line(self, x: npt.ArrayLike, y: npt.ArrayLike, ink: str, label: str = "", dash: str = "") -> None:
        """A line through points."""
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.x(x), self.y(y), strict=True))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.8"{dashed}/>')
        if label:
            self._keys.append((ink, label))

    def band(self, x: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, ink: str) -> None:
        """An area between two lines."""
        along = self.x(x)
        edge = [*zip(along, self.y(high), strict=True), *reversed(list(zip(along, self.y(low), strict=True)))]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge)
        self._parts.append(f'<polygon points="{path}" fill="{ink}" fill-opacity="0.13" stroke="none"/>')

    def points(self, x: npt.ArrayLike, y: npt.ArrayLike, ink: str, label: str = "", size: float = 2.6) -> None:
        """Dots; a NaN lies in a strip."""
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(self.x(x), self.y(y), strict=True))
        if path:
            self._parts.append(
                f'<path d="{path}" stroke="{ink}" stroke-width="{2 * size:g}" stroke-linecap="round" '
                'stroke-opacity="0.75"/>'
            )
        if label:
            self._keys.append((ink, label))

    def cells(self, x: Floats, y: Floats, counts: npt.NDArray[np.int64], ink: str, label: str = "") -> None:
        """Numbers of points in cells between edges, the darker the more (by logarithm); `counts` is (x, y)."""
        most = float(np.log1p(counts.max(initial=1)))
        across, up = self.x(x), self.y(y)
        for i, j in np.argwhere(counts > 0):
            shade = 0.12 + 0.6 * float(np.log1p(counts[i, j])) / most
            self._parts.append(
                f'<rect x="{across[i]:.1f}" y="{up[j + 1]:.1f}" width="{across[i + 1] - across[i]:.1f}" '
                f'height="{up[j] - up[j + 1]:.1f}" fill="{ink}" fill-opacity="{shade:.2f}"/>'
            )
        if label:
            self._keys.append((ink, label))

    def svg(self, description: str) -> bytes:
        """The file; `description` says in words what the chart shows."""
        left, top, right, bottom = self.frame
        frame = f'<rect class="frame" x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"/>'
        names = (
            f'<text class="title" x="{left:g}" y="26">{escape(self.title)}</text>'
            f'<text class="middle" x="{(left + right) / 2:g}" y="{bottom + 38:g}">{escape(self.x_label)}</text>'
            f'<text class="middle" transform="translate(18 {(top + bottom) / 2:g}) rotate(-90)">'
            f"{escape(self.y_label)}</text>"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img"><title>{escape(self.title)}</title>'
            f"<desc>{escape(description)}</desc><style>{_STYLE}</style>"
            f'<rect width="100%" height="100%" fill="#fff"/>{self._axes()}{"".join(self._parts)}{frame}{names}'
            f"{self._key()}</svg>\n"
        ).encode()

    def _axes(self) -> str:
        left, top, right, bottom = self.frame
        parts = []
        for tick in _ticks(self.x_range):
            at = float(self.x(tick))
            parts.append(f'<path class="grid" d="M{at:.1f} {top:g}V{bottom:g}"/>')
            if not self.margin or at > left + self.margin + 30:  # else it would run into the strip's own label
                parts.append(f'<text class="middle" x="{at:.1f}" y="{bottom + 18:g}">{_number(tick)}</text>')
        levels: Sequence[float] = np.linspace(0, 1, 6).tolist() if self.y_range is None else _ticks(self.y_range)
        for tick in levels:
            at = float(self.y(tick))
            word = f"{tick:g}" if self.y_range is None else _number(tick)
            parts.append(
                f'<path class="grid" d="M{left:g} {at:.1f}H{right:g}"/>'
                f'<text class="end" x="{left - 8:g}" y="{at + 4:.1f}">{word}</text>'
            )
        if self.margin:
            across, up = left + self.margin, bottom - self.margin
            parts.append(
                f'<path class="frame" d="M{across:g} {top:g}V{up:g}H{right:g}"/>'
                f'<text class="middle" x="{left + self.margin / 2:g}" y="{bottom + 18:g}">none</text>'
                f'<text class="end" x="{left - 8:g}" y="{bottom - self.margin / 2 + 4:g}">none</text>'
            )
        return "".join(parts)

    def _key(self) -> str:
        left, _, _, bottom = self.frame
        parts, at = [], left
        for ink, label in self._keys:
            parts.append(
                f'<rect x="{at:.0f}" y="{bottom + 52:g}" width="11" height="11" fill="{ink}"/>'
                f'<text x="{at + 16:.0f}" y="{bottom + 62:g}">{escape(label)}</text>'
            )
            at += 34 + 6.6 * len(label)
        return "".join(parts)


def _ticks(span: tuple[float, float]) -> list[float]:
    return [tick for tick in _TICKS if span[0] <= tick <= span[1]]


def _number(tick: float) -> str:
    return (
        f"{tick:g}"
        if tick >= 1e-4
        else "10" + str(round(np.log10(tick))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )
