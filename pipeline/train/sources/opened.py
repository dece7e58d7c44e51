"""What every form of training data is read as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.splits import in_split
from pipeline.train.data_config import PartConfig

AT_ONCE = 256
"""Stamps in memory at a time beside those that are held."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some stamps as they were stored, in the wanted bands.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy; NaN where there is no data
    pixel_scale : float, arcsec
    flagged : bool (n, band, y, x), optional
        Pixels with a fatal flag.
    maps : bool (n, plane, y, x), optional
        What `MapTargets` asks for, in the order of `pipeline.models.layers.MapHead`.
    parameters : float32 (n, p), optional
        Of `pipeline.models.posterior.PARAMETERS`; NaN where there is no lens.
    """

    image: npt.NDArray[np.float32]
    pixel_scale: float
    flagged: npt.NDArray[np.bool_] | None = None
    maps: npt.NDArray[np.bool_] | None = None
    parameters: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Opened:
    """A source whose rows are known and whose pixels are not read.

    Attributes
    ----------
    text : str
        What it is called in errors.
    lens : bool (n,)
        False throughout where there are no labels.
    kind : str (n,)
    read : callable
        Ascending rows -> their stamps, in order, some at a time.
    name : callable
        Row -> what the stamp is called in errors.
    side : int, optional
        Pixels along a side of stamps that are held as they are; None where they are resampled.
    shuffled : bool
        Whether rows stand in random order already.
    weight : float64 (n,), optional
        How often each is drawn beside its source's weight; 1 each where None.
    """

    text: str
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    read: Callable[[Rows], Iterator[Part]]
    name: Callable[[int], str]
    side: int | None = None
    shuffled: bool = False
    weight: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.lens)

    def some(self, limit: int | None) -> Rows:
        """At most `limit` rows, ascending; always the same ones."""
        if limit is None or limit >= len(self):
            return np.arange(len(self))
        if self.shuffled:
            return np.arange(limit)
        return np.sort(np.random.default_rng(len(self)).permutation(len(self))[:limit])

    def of_each(self, most_lenses: int | None, most_others: int | None) -> Opened:
        """The source with no more stamps of a class than this, chosen as `some` chooses; itself without limits."""
        if most_lenses is None and most_others is None:
            return self
        order = np.arange(len(self)) if self.shuffled else np.random.default_rng(len(self)).permutation(len(self))
        lenses, others = order[self.lens[order]][:most_lenses], order[~self.lens[order]][:most_others]
        kept = np.sort(np.concatenate([lenses, others]))
        return replace(
            self,
            lens=self.lens[kept],
            kind=self.kind[kept],
            read=lambda rows: self.read(kept[rows]),
            name=lambda row: self.name(int(kept[row])),
            weight=None if self.weight is None else self.weight[kept],
        )


def in_part(config: PartConfig, keys: Sequence[int | str] | Rows, text: str) -> Rows:
    """Rows of the config's part, ascending.

    Parameters
    ----------
    config : PartConfig
    keys : sequence of int or str
        What names each row.
    text : str
        The source, for the error.

    Raises
    ------
    ConfigError
        If the part holds none of the rows.
    """
    if config.part is None:
        return np.arange(len(keys))
    rows = np.flatnonzero(in_split(keys, config.part, config.shares))
    if not rows.size:
        raise ConfigError(f"{text}: none of {len(keys)} stamps is in part {config.part!r}; change shares or give more.")
    return rows


def indices(held: tuple[str, ...], wanted: tuple[str, ...], text: str) -> list[int]:
    """Where the wanted bands stand among those that there are.

    Raises
    ------
    ConfigError
        If one is not there.
    """
    if missing := [band for band in wanted if band not in held]:
        raise ConfigError(
            f"{text}: bands {', '.join(held)}; {', '.join(missing)} is missing. "
            "Give a source that has it, or other package.bands."
        )
    return [held.index(band) for band in wanted]


def label_of(value: object, text: str) -> bool:
    """A label as written.

    Raises
    ------
    ConfigError
        If it is neither 0 nor 1 (or their like: 0.0, "1", true).
    """
    known = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise ConfigError(f"{text}: label {value!r} is neither 0 nor 1; leave out what has no sure label.")
    return found
