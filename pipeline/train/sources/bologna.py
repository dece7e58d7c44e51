"""Sets of the strong-lens-finding challenges of Bologna (Metcalf et al. 2019, A&A 625, A119)."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.io.pools import plain_kinds
from pipeline.train.data_config import BolognaConfig
from pipeline.train.sources.folders import parts
from pipeline.train.sources.opened import Opened, in_part, label_of
from pipeline.train.sources.planes import first_plane

_AB_NANOJANSKY = 31.4
_NAME = re.compile(r"^(?:image|img)?[A-Za-z0-9]*_(?P<band>[A-Za-z0-9]+)-(?P<id>\d+)\.fits?(?:\.gz|\.fz)?$")
_DELIMITERS = ",;\t"
_REMEDY = "get the file again or take its ID out of the key"


def open_bologna(config: BolognaConfig, bands: tuple[str, ...]) -> Opened:
    """A challenge's images with its key.

    What is assumed, from the challenge's description: one FITS file an object and band, called
    `image<INSTRUMENT>_<BAND>-<ID>.fits` (`imageSDSS_R-100000.fits`, `imageEUC_VIS-100000.fits`), anywhere under
    `path` (`Public/Band1/`, `Band2/`, ... in the training sets), with the image in the first HDU that has two axes;
    and a key of comma-separated values with columns `ID` and `is_lens`, and others, below comment lines that start
    with `#`. Also taken: other cases of the column names, a header that is itself commented, semicolons, tabs or
    blanks between the columns, compressed FITS. Bands are told by name: the file's R is the package's r. Pixels that
    are exactly `masked` have no data.

    Objects of the key without images are refused; images that the key doesn't list have no label and are left out.

    Raises
    ------
    ConfigError
        If there are no images, no key, or they don't match.
    """
    root = Path(config.path)
    images = _images(root)
    chosen = {band: images[_band(images, band, root)] for band in bands}
    key = Path(config.key) if config.key is not None else _find_key(root)
    label = read_key(key)
    for band, files in chosen.items():
        if lost := [number for number in label if number not in files]:
            raise ConfigError(
                f"{key}: {len(lost)} of {len(label)} objects have no image in band {band} under {root}, the first is "
                f"ID {lost[0]}; get the rest of the images or shorten the key."
            )
    ids = np.array(sorted(label), np.int64)
    kept = ids[in_part(config, ids, str(config))]
    lens = np.array([label[number] for number in kept.tolist()], np.bool_)
    factor = 1.0 if config.zero_point is None else 10 ** (0.4 * (_AB_NANOJANSKY - config.zero_point))

    def read(row: int) -> npt.NDArray[np.float32]:
        planes = [first_plane(files[int(kept[row])], _REMEDY) for files in chosen.values()]
        if len({plane.shape for plane in planes}) > 1:
            sizes = ", ".join(f"{band} {plane.shape}" for band, plane in zip(chosen, planes, strict=True))
            raise ConfigError(f"{root}: ID {kept[row]}: bands of different size ({sizes}); use those of one grid.")
        image = np.stack(planes)
        if config.masked is not None:
            image[image == config.masked] = np.nan
        scaled: npt.NDArray[np.float32] = (image * factor).astype(np.float32)
        return scaled

    return Opened(
        str(config),
        lens,
        plain_kinds(lens),
        lambda rows: parts(rows, read, config.pixel_scale),
        lambda row: f"{config.path}: ID {kept[row]}",
    )


def read_key(path: Path) -> dict[int, bool]:
    """Labels by ID.

    Raises
    ------
    ConfigError
        If the file can't be read, has no columns ID and is_lens, an ID twice or that is no integer, or a label
        that is neither 0 nor 1.
    """
    header, rows = _table(path)
    names = [name.strip().lower() for name in header]
    if not {"id", "is_lens"} <= set(names):
        raise ConfigError(f"{path}: columns {', '.join(header) or 'none'}; the key needs ID and is_lens.")
    place, label = names.index("id"), names.index("is_lens")
    found: dict[int, bool] = {}
    for row in rows:
        if len(row) <= max(place, label) or not row[place].strip().isdigit():
            raise ConfigError(f"{path}: row {row} has no integer ID and label; mend or remove it.")
        number = int(row[place])
        if number in found:
            raise ConfigError(f"{path}: ID {number} stands there twice; keep one row of it.")
        found[number] = label_of(row[label], f"{path}: ID {number}")
    if not found:
        raise ConfigError(f"{path}: no row below the header; give the key of the training set.")
    return found


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a key file; the header is the last comment where the first plain line is a row."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the challenge's key as key.") from error
    comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
    plain = [line for line in lines if line.strip() and not line.startswith("#")]
    headed = next((line for line in reversed(comments) if "is_lens" in line.lower()), None)
    if headed is not None and plain and "is_lens" not in plain[0].lower():
        plain.insert(0, headed)
    delimiter = next((mark for mark in _DELIMITERS if plain and mark in plain[0]), None)
    if delimiter is None:
        rows = [line.split() for line in plain]
    else:
        rows = [row for row in csv.reader(plain, delimiter=delimiter) if row]
    return (rows[0], rows[1:]) if rows else ([], [])


def _find_key(root: Path) -> Path:
    candidates = sorted({*root.rglob("*.csv"), *root.rglob("*.txt")})
    found = []
    for path in candidates:
        with path.open(encoding="utf-8", errors="replace") as stream:
            if "is_lens" in stream.read(1 << 16).lower():
                found.append(path)
    if len(found) != 1:
        names = ", ".join(str(path) for path in found) or "none"
        raise ConfigError(f"{root}: key files with a column is_lens: {names}; say which with key.")
    return found[0]


def _images(root: Path) -> dict[str, dict[int, Path]]:
    """Files by band as it is written in their names, and by ID."""
    found: dict[str, dict[int, Path]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if (match := _NAME.match(name)) is not None:
                found.setdefault(match["band"], {})[int(match["id"])] = Path(folder) / name
    if not found:
        raise ConfigError(f"{root}: no image<INSTRUMENT>_<BAND>-<ID>.fits under it; mend the source's path.")
    return found


def _band(images: Mapping[str, object], band: str, root: Path) -> str:
    near = [name for name in images if name.lower() == band.lower()]
    if band not in images and len(near) != 1:
        raise ConfigError(f"{root}: bands {', '.join(sorted(images))}; {band} is missing.")
    return band if band in images else near[0]
