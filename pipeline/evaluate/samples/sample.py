"""A sample as the members see it: stamps with labels and what is known of them, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp
from pipeline.evaluate.config import Column
from pipeline.flags import valid_pixels


@dataclass(frozen=True)
class Part:
    """Stamps that are scored at a time.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy; NaN where there is no data
    ivar : float32 (n, band, y, x), nJy^-2, or None
    mask : uint32 (n, band, y, x) of PixelFlag bits, or None
    """

    image: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.uint32] | None

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which pixels (n, band, y, x) have data: finite, of positive weight and without a fatal flag."""
        return valid_pixels(self.image, self.ivar, self.mask)


@dataclass(frozen=True)
class Sample:
    """Labelled stamps of one kind of reality.

    Attributes
    ----------
    name : str
    column : str
        A key of `pipeline.evaluate.config.COLUMNS`.
    bands : tuple of str
    pixel_scale : float, arcsec
    lens : bool (n,)
    truth : mapping of str to (n,)
        What is known of each stamp: numbers, or names.
    parts : callable () -> iterator of Part
        All stamps in the order of `lens`, from the first again at each call.
    stamp : callable (row) -> Stamp
        One stamp, for a picture.
    against : tuple of str
        Columns of `truth` that completeness is shown against.
    clearest : str or None
        Column of `truth` by which a lens is the plainer the higher.
    group : (n,), or None
        Equal where stamps show the same object or the same frame, and are drawn together; None: each for itself.
    pixels : str
        Whose they are, such as a survey's name; empty where the config doesn't say.
    notes : tuple of str
        How the sample was made, for the reader.
    """

    name: str
    column: Column
    bands: tuple[str, ...]
    pixel_scale: float
    lens: npt.NDArray[np.bool_]
    truth: Mapping[str, npt.NDArray[Any]]
    parts: Callable[[], Iterator[Part]]
    stamp: Callable[[int], Stamp]
    against: tuple[str, ...] = ()
    clearest: str | None = None
    group: npt.NDArray[Any] | None = None
    pixels: str = ""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.lens)
