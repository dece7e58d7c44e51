"""Unlensed light: Sersic profiles, spirals, rings and points, drawn onto a fine grid of arcseconds.

Every object carries its total flux in each band in nJy; a profile is drawn once and scaled to the bands.
Positions are arcsec from the stamp's centre, x to the right and y up, angles radians from x towards y.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gamma, gammaincinv

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_CORE = 2
"""Pixels on each side of a profile's centre that are averaged over subpixels, where a cusp isn't resolved."""
_SUBPIXELS = 7
_CUSPY, _RESOLVED = 1.2, 2.0
"""Sersic index up to which, and radius in fine pixels from which on, a profile's centre needs no subpixels."""
_SIDE = 2 * _CORE + 1
_AVERAGE = np.kron(np.eye(_SIDE), np.full(_SUBPIXELS, 1 / _SUBPIXELS)).astype(np.float32)
"""Rows that average subpixels to pixels."""


@dataclass(frozen=True)
class Sersic:
    """An elliptical Sersic profile, with log-spiral arms where `arms` is not 0.

    Attributes
    ----------
    x, y, radius : arcsec
        `radius` is the effective radius, the geometric mean of the half-light ellipse's semi-axes.
    n, q, angle : float
        Sersic index, axis ratio, radians.
    flux : float64 (band,), nJy
        To infinity.
    arms : float
        Depth of the arms' modulation, 0 to 1.
    pitch, phase : radians
        Pitch angle of the two arms, and where they start.
    """

    x: float
    y: float
    radius: float
    n: float
    q: float
    angle: float
    flux: Float64
    arms: float = 0.0
    pitch: float = 0.3
    phase: float = 0.0


@dataclass(frozen=True)
class Ring:
    """A ring, or the part of one about `window_angle`: rings of galaxies, tidal tails.

    A Gaussian of standard deviation `width` across, times exp(sharpness (cos(angle - window_angle) - 1)) along.
    """

    x: float
    y: float
    radius: float
    width: float
    q: float
    angle: float
    window_angle: float
    sharpness: float
    flux: Float64


@dataclass(frozen=True)
class Point:
    """A star, of which only the PSF is seen."""

    x: float
    y: float
    flux: Float64


@dataclass(frozen=True)
class Light:
    """Everything in a stamp that isn't lensed."""

    sersics: tuple[Sersic, ...] = ()
    rings: tuple[Ring, ...] = ()
    points: tuple[Point, ...] = ()

    def __add__(self, other: Light) -> Light:
        return Light(self.sersics + other.sersics, self.rings + other.rings, self.points + other.points)

    def moved(self, dx: float, dy: float) -> Light:
        """The same light, shifted by (dx, dy) arcsec."""
        return Light(
            tuple(replace(item, x=item.x + dx, y=item.y + dy) for item in self.sersics),
            tuple(replace(item, x=item.x + dx, y=item.y + dy) for item in self.rings),
            tuple(replace(item, x=item.x + dx, y=item.y + dy) for item in self.points),
        )

    def flux(self, band: int) -> float:
        """Total flux in a band, nJy."""
        items = (*(s.flux for s in self.sersics), *(r.flux for r in self.rings), *(p.flux for p in self.points))
        return float(sum(flux[band] for flux in items))

    def brighter(self, factor: float) -> Light:
        """The same light, `factor` times as bright."""
        return Light(
            tuple(replace(item, flux=item.flux * factor) for item in self.sersics),
            tuple(replace(item, flux=item.flux * factor) for item in self.rings),
            tuple(replace(item, flux=item.flux * factor) for item in self.points),
        )


@dataclass(frozen=True)
class Grid:
    """A square grid of fine pixels around a stamp.

    Attributes
    ----------
    size : int
        Pixels of the stamp on a side; its centre is at the middle, (size - 1) / 2.
    scale : arcsec a pixel of the stamp
    oversampling : int
        Fine pixels a pixel, along each axis.
    margin : int
        Pixels of the stamp's scale on each side that are rendered and cropped.
    """

    size: int
    scale: float
    oversampling: int = 2
    margin: int = 4
    step: float = field(init=False)
    fine: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", self.scale / self.oversampling)
        object.__setattr__(self, "fine", (self.size + 2 * self.margin) * self.oversampling)

    def axis(self) -> Float32:
        """Arcsec from the stamp's centre of the fine pixels' centres, float32 (fine,)."""
        return ((np.arange(self.fine) - (self.fine - 1) / 2) * self.step).astype(np.float32)


@lru_cache(maxsize=4096)
def sersic_b(n: float) -> float:
    """The b_n that makes `radius` hold half the light: the root of 2 gammainc(2n, b) = 1."""
    return float(gammaincinv(2 * n, 0.5))


def sersic_peak(n: float, radius: float) -> float:
    """Central surface brightness (an arcsec^2) of a Sersic profile of flux 1.

    I_e exp(b) over the total flux, I_e radius^2 2 pi n exp(b) b^(-2n) Gamma(2n); Graham & Driver (2005), sec. 2.
    """
    b = sersic_b(n)
    return float(b ** (2 * n) / (2 * np.pi * n * radius**2 * gamma(2 * n)))


def draw(light: Light, grid: Grid, bands: int, faintest: float) -> Float32:
    """Draw light before the PSF.

    Parameters
    ----------
    light : Light
    grid : Grid
    bands : int
    faintest : float, nJy a fine pixel
        Profiles are cut where they fall below this in their brightest band.

    Returns
    -------
    float32 (bands, fine, fine), nJy a fine pixel
    """
    image = np.zeros((bands, grid.fine, grid.fine), np.float32)
    axis = grid.axis()
    cores = _cores([sersic for sersic in light.sersics if _is_cuspy(sersic, grid)], grid)
    for sersic in light.sersics:
        core = next(cores) if _is_cuspy(sersic, grid) else None
        _draw_sersic(image, sersic, grid, axis, faintest, core)
    for ring in light.rings:
        _draw_ring(image, ring, grid, axis)
    for point in light.points:
        _draw_point(image, point, grid)
    return image


def sersic_radius(dx: Float32, dy: Float32, q: float, angle: float) -> tuple[Float32, Float32, Float32]:
    """Elliptical radius sqrt(q u^2 + v^2 / q) with (u, v) along the axes of the ellipse; also u and v."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = dx * cosine + dy * sine
    v = dy * cosine - dx * sine
    return np.sqrt(np.float32(q) * u * u + v * v / np.float32(q)), u, v


def _profile(sersic: Sersic, dx: Float32, dy: Float32) -> Float32:
    """Surface brightness of a Sersic profile of unit flux, an arcsec^2, at offsets (1, x) and (y, 1)."""
    cosine, sine, q, area = np.cos(sersic.angle), np.sin(sersic.angle), sersic.q, sersic.radius**2
    # The elliptical radius squared as a form in dx and dy takes a third of the passes over the patch.
    squared = np.float32((q * cosine**2 + sine**2 / q) / area) * dx**2
    squared = squared + np.float32((q * sine**2 + cosine**2 / q) / area) * dy**2
    squared += (np.float32(2 * (q - 1 / q) * sine * cosine / area) * dx) * dy
    np.maximum(squared, np.float32(1e-12), out=squared)
    value: Float32
    if sersic.n == 1:
        value = np.sqrt(squared)
    else:
        value = np.log(squared)
        value *= np.float32(0.5 / sersic.n)
        np.exp(value, out=value)
    value *= np.float32(-sersic_b(sersic.n))
    np.exp(value, out=value)
    value *= np.float32(sersic_peak(sersic.n, sersic.radius))
    if sersic.arms > 0:
        r, u, v = sersic_radius(dx, dy, q, sersic.angle)
        r /= np.float32(sersic.radius)
        turned = np.arctan2(v / np.float32(q), u) - np.log(np.maximum(r, np.float32(0.05))) / np.float32(
            np.tan(sersic.pitch)
        )
        inner = np.minimum(r, np.float32(1.0))
        value *= 1 + np.float32(sersic.arms) * inner * np.cos(2 * turned + np.float32(sersic.phase))
    return value


def _draw_sersic(
    image: Float32, sersic: Sersic, grid: Grid, axis: Float32, faintest: float, core: Float32 | None
) -> None:
    area = grid.step**2
    brightest = float(sersic.flux.max()) * sersic_peak(sersic.n, sersic.radius) * area
    # Where exp(-b ((r / radius)^(1/n))) has fallen from the centre's brightness to the faintest.
    roots = 1.0 if brightest <= faintest else float(np.log(brightest / faintest) / sersic_b(sersic.n))
    reach = sersic.radius * roots**sersic.n / np.sqrt(sersic.q) + 2 * grid.step
    ys, xs = _window(sersic.y, reach, grid), _window(sersic.x, reach, grid)
    if ys.start >= ys.stop or xs.start >= xs.stop:
        return
    patch = _profile(sersic, (axis[xs] - np.float32(sersic.x))[None, :], (axis[ys] - np.float32(sersic.y))[:, None])
    if core is not None:
        _put_core(patch, core, sersic, grid, ys, xs)
    for plane, flux in zip(image, (sersic.flux * area).astype(np.float32), strict=True):
        plane[ys, xs] += flux * patch


def _is_cuspy(sersic: Sersic, grid: Grid) -> bool:
    return sersic.n > _CUSPY or sersic.radius < _RESOLVED * grid.step


def _cores(sersics: Sequence[Sersic], grid: Grid) -> Iterator[Float32]:
    """Means over subpixels of the pixels about each profile's centre, float32 (pixels, pixels) by turns.

    All of a scene's at once: one by one they would be a quarter of the time that a stamp takes. Arms are left out,
    as there are none at a centre.
    """
    if not sersics:
        return iter(())
    rows = [
        (s.x, s.y, s.q, np.cos(s.angle), np.sin(s.angle), s.radius, 1 / s.n, sersic_b(s.n), sersic_peak(s.n, s.radius))
        for s in sersics
    ]
    columns = np.array(rows, np.float32).T[:, :, None, None]
    x, y, q, cosine, sine, radius, power, b, peak = columns
    offsets = (((np.arange(_SIDE * _SUBPIXELS) + 0.5) / _SUBPIXELS - _SIDE / 2) * grid.step).astype(np.float32)
    middle = (grid.fine - 1) / 2
    near_x = ((np.array([_index(s.x, grid) for s in sersics]) - middle) * grid.step).astype(np.float32)
    near_y = ((np.array([_index(s.y, grid) for s in sersics]) - middle) * grid.step).astype(np.float32)
    dx, dy = near_x[:, None, None] + offsets - x, near_y[:, None, None] + offsets[:, None] - y
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
    # A subpixel on the cusp stands for its rms radius, side / sqrt(6), or the centre's brightness would count.
    softening = np.float32(grid.step / _SUBPIXELS / np.sqrt(6))
    squared = (q * u * u + v * v / q + softening**2) / radius**2
    values = peak * np.exp(-b * np.exp(np.log(squared) * (power / 2)))
    return iter(_AVERAGE @ values @ _AVERAGE.T)


def _put_core(patch: Float32, core: Float32, sersic: Sersic, grid: Grid, ys: slice, xs: slice) -> None:
    """Replace the pixels about the centre, as far as they are in the patch."""
    top, left = _index(sersic.y, grid) - _CORE, _index(sersic.x, grid) - _CORE
    y0, y1 = max(top, ys.start), min(top + _SIDE, ys.stop)
    x0, x1 = max(left, xs.start), min(left + _SIDE, xs.stop)
    if y0 < y1 and x0 < x1:
        patch[y0 - ys.start : y1 - ys.start, x0 - xs.start : x1 - xs.start] = core[
            y0 - top : y1 - top, x0 - left : x1 - left
        ]


def _draw_ring(image: Float32, ring: Ring, grid: Grid, axis: Float32) -> None:
    reach = (ring.radius + 4 * ring.width) / np.sqrt(ring.q)
    ys, xs = _window(ring.y, reach, grid), _window(ring.x, reach, grid)
    if ys.start >= ys.stop or xs.start >= xs.stop:
        return
    dx, dy = (axis[xs] - np.float32(ring.x))[None, :], (axis[ys] - np.float32(ring.y))[:, None]
    r, u, v = sersic_radius(dx, dy, ring.q, ring.angle)
    across = np.exp(-0.5 * ((r - np.float32(ring.radius)) / np.float32(ring.width)) ** 2)
    along = np.exp(np.float32(ring.sharpness) * (np.cos(np.arctan2(v, u) - np.float32(ring.window_angle)) - 1))
    patch = across * along
    # The integral of the window along the circle is 2 pi exp(-k) I0(k); across, a thin Gaussian.
    total = np.sqrt(2 * np.pi) * ring.width * ring.radius * 2 * np.pi * np.exp(-ring.sharpness) * np.i0(ring.sharpness)
    image[:, ys, xs] += (ring.flux * grid.step**2 / total).astype(np.float32)[:, None, None] * patch


def _draw_point(image: Float32, point: Point, grid: Grid) -> None:
    """Share a point's flux among the four nearest fine pixels, which keeps its flux and centroid."""
    middle = (grid.fine - 1) / 2
    column, row = point.x / grid.step + middle, point.y / grid.step + middle
    x0, y0 = int(np.floor(column)), int(np.floor(row))
    if not (0 <= x0 < grid.fine - 1 and 0 <= y0 < grid.fine - 1):
        return
    fx, fy = column - x0, row - y0
    weights = np.outer([1 - fy, fy], [1 - fx, fx])
    image[:, y0 : y0 + 2, x0 : x0 + 2] += (point.flux[:, None, None] * weights).astype(np.float32)


def _index(position: float, grid: Grid) -> int:
    return round(position / grid.step + (grid.fine - 1) / 2)


def _window(position: float, reach: float, grid: Grid) -> slice:
    centre, half = position / grid.step + (grid.fine - 1) / 2, reach / grid.step
    return slice(max(0, int(np.floor(centre - half))), min(grid.fine, int(np.ceil(centre + half)) + 1))
