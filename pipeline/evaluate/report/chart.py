"""Curves as SVG, drawn by hand so that the report needs nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 460.0, 320.0, 52.0, 42.0, 12.0, 12.0


@dataclass(frozen=True)
class Series:
    """Points of one curve.

    Attributes
    ----------
    name : str
        For the key.
    x, y : sequence of float
        Points that are not finite, or not positive on a logarithmic axis, are left out.
    low, high : sequence of float
        Interval of y; empty for none.
    style : int
        Which of the page's colours; 0 is the strongest.
    dots : bool
        Points instead of a line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: int = 0
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether it is logarithmic, and its ends where the data shall not decide."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies between the ends; held inside them."""
        if self.log:
            value = math.log10(max(value, 1e-300))
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self) -> list[tuple[float, str]]:
        """Values and labels."""
        if self.log:
            span = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            every = max(1, math.ceil(len(span) / 7))
            return [(10.0**power, _power(power)) for power in span if power % every == 0]
        step = _step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [((first + index) * step, f"{(first + index) * step:.6g}") for index in range(count)]


def chart(title: str, series: Sequence[Series], x: Axis, y: Axis, *, diagonal: bool = False) -> str:
    """One plot with its key, as a `<figure>`; says so where there is no point to draw."""
    drawn = [_usable(item, x, y) for item in series]
    drawn = [item for item in drawn if len(item.x)]
    if not drawn:
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="none">nothing measured</p></figure>'
    across = _scale([value for item in drawn for value in item.x], x)
    up = _scale([value for item in drawn for value in (*item.y, *item.low, *item.high)], y)
    body = _frame(across, up, x, y)
    if diagonal:
        ends = max(across.low, up.low), min(across.high, up.high)
        path = "L".join(_at(across, up, *([10**end] * 2 if x.log else [end] * 2)) for end in ends)
        body += f'<path class="guide" d="M{path}"/>'
    body += "".join(_drawn(item, across, up) for item in reversed(drawn))
    key = "".join(f'<span class="s{item.style}">{escape(item.name)}</span>' for item in drawn)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="plot" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">{body}</svg>'
        f'<p class="key">{key if len(drawn) > 1 else ""}</p></figure>'
    )


def _usable(item: Series, x: Axis, y: Axis) -> Series:
    across, up = np.asarray(item.x, dtype=np.float64), np.asarray(item.y, dtype=np.float64)
    good = np.isfinite(across) & np.isfinite(up)
    good &= (across > 0) if x.log else True
    good &= (up > 0) if y.log else True
    low, high = (
        np.asarray(ends, dtype=np.float64)[good].tolist() if len(ends) else [] for ends in (item.low, item.high)
    )
    return Series(item.name, across[good].tolist(), up[good].tolist(), low, high, item.style, item.dots)


def _scale(values: Sequence[float], axis: Axis) -> _Scale:
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)]
    low = axis.low if axis.low is not None else min(finite)
    high = axis.high if axis.high is not None else max(finite)
    if axis.log:
        low, high = math.log10(low), math.log10(high)
    margin = 0.04 * (high - low)
    low, high = low - margin * (axis.low is None), high + margin * (axis.high is None)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return _Scale(low, high, axis.log)


def _at(across: _Scale, up: _Scale, x: float, y: float) -> str:
    return f"{_x(across, x):.1f} {_y(up, y):.1f}"


def _x(scale: _Scale, value: float) -> float:
    return _LEFT + scale.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(scale: _Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.share(value) * (_HEIGHT - _BOTTOM - _TOP)


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis) -> str:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = "".join(
        f'<path class="grid" d="M{_LEFT} {_y(up, value):.1f}H{right}"/>'
        f'<text class="side" x="{_LEFT - 6}" y="{_y(up, value) + 4:.1f}">{label}</text>'
        for value, label in up.ticks()
    )
    lines += "".join(
        f'<path class="grid" d="M{_x(across, value):.1f} {_TOP}V{floor}"/>'
        f'<text x="{_x(across, value):.1f}" y="{floor + 16}">{label}</text>'
        for value, label in across.ticks()
    )
    middle = (_TOP + floor) / 2
    return (
        f'{lines}<path d="M{_LEFT} {_TOP}V{floor}H{right}"/>'
        f'<text x="{(_LEFT + right) / 2:g}" y="{_HEIGHT - 6:g}">{escape(x.label)}</text>'
        f'<text transform="translate(11 {middle:g}) rotate(-90)">{escape(y.label)}</text>'
    )


def _drawn(item: Series, across: _Scale, up: _Scale) -> str:
    points = [_at(across, up, *point) for point in zip(item.x, item.y, strict=True)]
    bars = (
        "".join(
            f"M{_x(across, x):.1f} {_y(up, low):.1f}V{_y(up, high):.1f}"
            for x, low, high in zip(item.x, item.low, item.high, strict=True)
            if math.isfinite(low) and math.isfinite(high)
        )
        if item.low
        else ""
    )
    error = f'<path class="curve s{item.style}" d="{bars}"/>' if bars else ""
    if item.dots or len(points) == 1:
        marks = "".join(
            f'<circle class="s{item.style}" cx="{point.split()[0]}" cy="{point.split()[1]}" r="3"/>' for point in points
        )
        return error + marks
    return f'{error}<path class="curve s{item.style}" d="M{"L".join(points)}"/>'


def _step(span: float) -> float:
    """A round step that divides a span into four to eight."""
    rough = span / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _power(exponent: int) -> str:
    if exponent in (0, 1):
        return str(10**exponent)
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
