"""Found flags, background and noise of a field on disk: one small file, read whole."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProductMismatch
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.writing import atomic_write

NAME = "masks.npz"


@dataclass(frozen=True)
class StoredMasks:
    """The parts of a field's masks as they lie on disk.

    Attributes
    ----------
    bands : tuple of str
    shape : (ny, nx)
    background, noise : float32 (band, cell_y, cell_x), nJy
    strips : tuple of bytes
        Compressed flags, in order of rows.
    """

    bands: tuple[str, ...]
    shape: tuple[int, int]
    background: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]
    strips: tuple[bytes, ...]


def write_masks(folder: Place, masks: StoredMasks) -> None:
    """Write a field's masks into a generation's folder."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        bands=np.array(masks.bands, dtype=np.str_),
        shape=np.array(masks.shape, dtype=np.int64),
        background=masks.background,
        noise=masks.noise,
        strips=np.frombuffer(b"".join(masks.strips), np.uint8),
        lengths=np.array([len(strip) for strip in masks.strips], dtype=np.int64),
    )
    atomic_write(folder / NAME, buffer.getvalue())


def read_masks(folder: Place) -> StoredMasks:
    """Read a field's masks from a generation's folder.

    Raises
    ------
    ProductMismatch
        If the file is not there or not whole.
    """
    path = folder / NAME
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as parts:
            ends = np.cumsum(parts["lengths"])
            data = parts["strips"].tobytes()
            strips = tuple(data[end - length : end] for end, length in zip(ends, parts["lengths"], strict=True))
            return StoredMasks(
                bands=tuple(str(band) for band in parts["bands"]),
                shape=(int(parts["shape"][0]), int(parts["shape"][1])),
                background=parts["background"],
                noise=parts["noise"],
                strips=strips,
            )
    except StoreUnavailable:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise ProductMismatch(f"{path}: no readable masks ({error}); rerun the field from masks.") from error
