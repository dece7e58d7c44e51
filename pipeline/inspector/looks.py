"""The ways in which a stamp can be looked at: bands for red, green and blue, and a stretch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.catalogue.colour import SOFTENING, STRETCH_SIGMA, choose_bands, wavelength

STRETCHES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "normal": (STRETCH_SIGMA, SOFTENING),
        "faint": (2.0, 12.0),
        "bright": (25.0, 8.0),
        "linear": (30.0, 1e-3),
    }
)
"""Name -> linear part in units of the sky's noise, and Q of the asinh stretch (Lupton et al. 2004)."""


@dataclass(frozen=True)
class Look:
    """One way to look.

    Attributes
    ----------
    bands : str
        One of `combinations`.
    stretch : str
        One of `STRETCHES`.
    """

    bands: str
    stretch: str = "normal"

    def subtracted(self, there: Sequence[str]) -> tuple[str, str] | None:
        """The bands that a difference is made of, the one that is taken away last; None where it is none."""
        return differences(there).get(self.bands)

    def chosen(self, there: Sequence[str]) -> tuple[str, str, str] | None:
        """The bands for red, green and blue of a stamp that has the bands `there`; None where it lacks one."""
        return combinations(there).get(self.bands)


def differences(bands: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Differences of a stamp's bands by name: the bluest less the reddest of those that make its colours.

    What is redder than the arcs around it, as most lens galaxies are, goes away.
    """
    red, _, blue = choose_bands(bands)
    return {f"{blue} less {red}": (blue, red)} if red != blue else {}


def choices(bands: Sequence[str]) -> list[str]:
    """Names of all that a stamp's bands can be looked at by: colours, differences, single bands."""
    colours = combinations(bands)
    several = [name for name, used in colours.items() if len(set(used)) > 1]
    return [*several, *differences(bands), *(name for name in colours if name not in several)]


def combinations(bands: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Combinations of a stamp's bands by name: that of colour pictures, other neighbours in wavelength, each band.

    Parameters
    ----------
    bands : sequence of str

    Returns
    -------
    dict
        `i-r-g` -> its bands for red, green and blue, `r` -> one band three times; the first is the usual one.
    """
    found: dict[str, tuple[str, str, str]] = {}
    usual = choose_bands(bands)
    if len(set(usual)) > 1:
        found["-".join(usual)] = usual
    ordered = sorted(bands, key=wavelength)
    for blue, green, red in zip(ordered, ordered[1:], ordered[2:], strict=False):
        found.setdefault(f"{red}-{green}-{blue}", (red, green, blue))
    return found | {band: (band, band, band) for band in ordered}
