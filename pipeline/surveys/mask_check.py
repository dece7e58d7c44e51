"""Whether a field's mask planes say what the survey's TOML expects: no values without a meaning, not all bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.flags import PixelFlag, decode, fatal
from pipeline.io.fits import FitsPlane
from pipeline.notes import note
from pipeline.surveys.description import MaskPlane, SurveyConfig
from pipeline.surveys.pixels import BandSource, as_bits

_ROWS = 512
_NAMED = 8
"""Values that a note lists; a mask that is no mask has thousands."""

_MUCH = 0.5
"""A mask that takes more than this share of a band's pixels away deserves a look."""


def check_masks(sources: Mapping[str, BandSource], description: SurveyConfig, field_id: str) -> None:
    """Note what is odd about the mask planes of a field; each is read once, by rows.

    Noted are bits (or codes other than 0) that lie on pixels while neither the flags nor `planes.mask.ignored` name
    them, with their number of pixels and, where the header has it, their name; and a plane that flags more than half
    of its band fatally, with the flags that do.

    Parameters
    ----------
    sources : band -> BandSource
    description : SurveyConfig
    field_id : str

    Raises
    ------
    BadSurveyData
        If a plane can't be read.
    """
    for band, source in sources.items():
        if source.mask is not None and description.planes.mask is not None:
            _check(band, source, source.mask, description, description.planes.mask, field_id)


def _check(
    band: str, source: BandSource, plane: FitsPlane, description: SurveyConfig, mask: MaskPlane, field_id: str
) -> None:
    names = _names(plane, mask)
    known = sum(1 << bit for bit in _known_bits(source, description, mask, names))
    codes = {0, *(code for values in mask.codes.values() for code in values)}
    codes |= {value for value in mask.ignored if isinstance(value, int)}
    strange: dict[int, int] = {}
    bad, flags = 0, 0
    for y0 in range(0, plane.shape[0], _ROWS):
        stored = plane.read_integers(y0, min(y0 + _ROWS, plane.shape[0]))
        translated = source.meaning.translate(stored)
        taken = fatal(translated)
        bad += int(taken.sum())
        flags |= int(np.bitwise_or.reduce(translated[taken], initial=0))
        for value, count in _odd_codes(stored, codes) if mask.codes else _odd_bits(stored, known):
            strange[value] = strange.get(value, 0) + count
    if strange:
        what = "values" if mask.codes else "bits"
        listed = [f"{_named(one, names, mask)} ({strange[one]:,} px)" for one in sorted(strange)]
        more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
        note(
            f"{plane.where}: {what} {', '.join(listed[:_NAMED])}{more} mean nothing to the survey's TOML and were left "
            f"out; name them in planes.mask.{'codes' if mask.codes else 'bits'} or in planes.mask.ignored."
        )
    share = bad / max(plane.shape[0] * plane.shape[1], 1)
    if share > _MUCH:
        note(
            f"{plane.where}: flags {100 * share:.0f} % of band {band} of field {field_id} fatally "
            f"({', '.join(decode(flags, PixelFlag))}); look at it, and at planes.mask in the survey's TOML."
        )


def _names(plane: FitsPlane, mask: MaskPlane) -> dict[int, str]:
    """What the header calls bits: number -> name without the prefix."""
    prefix = mask.plane_prefix
    numbers = {key: plane.header[key] for key in plane.header if prefix and key.startswith(prefix)}
    return {value: key.removeprefix(prefix) for key, value in numbers.items() if isinstance(value, int)}


def _known_bits(
    source: BandSource, description: SurveyConfig, mask: MaskPlane, names: Mapping[int, str]
) -> Sequence[int]:
    """Bits with a meaning in this or another band (bands may share a mask), or with none that matters."""
    given = [bit for flag_bits in mask.bits.values() for bit in flag_bits]
    given += [bit for band in description.bands.values() for bits in band.mask_bits.values() for bit in bits]
    given += list(mask.ignored)
    by_name = {name: bit for bit, name in names.items()}
    own = [bit for _, bits in source.meaning.bits for bit in _bits(bits)]
    numbers = (bit if isinstance(bit, int) else by_name.get(bit) for bit in given)
    return sorted({*own, *(bit for bit in numbers if bit is not None)})


def _odd_bits(stored: npt.NDArray[np.integer[Any]], known: int) -> list[tuple[int, int]]:
    """Unknown bits of a block with their pixels; nearly free where there is none."""
    raised = as_bits(stored)
    odd = int(np.bitwise_or.reduce(raised, axis=None)) & ~known
    return [(bit, int(np.count_nonzero(raised & np.int64(1 << bit)))) for bit in _bits(odd)]


def _odd_codes(stored: npt.NDArray[np.integer[Any]], codes: set[int]) -> list[tuple[int, int]]:
    """Unknown values of a block with their pixels."""
    values, counts = np.unique(stored[~np.isin(stored, sorted(codes))], return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _bits(value: int) -> list[int]:
    """Numbers of the bits set, up to 62: a sign bit of 64 is none that a TOML could name."""
    return [bit for bit in range(63) if value >> bit & 1]


def _named(value: int, names: Mapping[int, str], mask: MaskPlane) -> str:
    return f"{value} {names[value]}" if value in names and not mask.codes else str(value)
