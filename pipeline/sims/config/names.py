"""Names that configs know: bands, kinds of stamps, classes of artefacts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

BANDS = ("g", "r", "i", "z", "VIS")
"""Bands that the populations have colours for: from blue to red, and Euclid's, which spans r, i and z."""
KINDS = (
    "lens",
    "elliptical",
    "spiral",
    "clumpy",
    "ring",
    "companion",
    "edge_on",
    "merger",
    "star",
    "star_pair",
    "group",
    "empty",
    "blue_disc",
    "red_blend",
    "compact_group",
    "bright_core",
    "star_galaxy",
    "blue_point",
    "faint_field",
)
"""What stands in the middle of a stamp; a stamp's `kind` is an index into this tuple, and 0 is a lens."""
ARTEFACTS = ("gap", "star", "trail", "cosmic_ray", "bad_column", "seam", "step", "ghost")
"""Classes of artefacts that can be put into an image."""


def _known_bands(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [band for band in value if band not in BANDS]
    if unknown or not value or len(set(value)) != len(value):
        raise ValueError(f"bands are one or more of {', '.join(BANDS)}, each once, not {', '.join(value) or 'nothing'}")
    return value


Bands = Annotated[tuple[str, ...], AfterValidator(_known_bands)]


def check_names(weights: dict[str, Any], known: tuple[str, ...], key: str) -> None:
    """Raise ValueError for names that are not known."""
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ValueError(f"{key}: {', '.join(unknown)} unknown; known are {', '.join(known)}")
