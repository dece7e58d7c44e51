"""The data set of a study of lensed quasars in HSC images: two lists of candidates, and an image of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.io.pools import plain_kinds
from pipeline.train.data_config import CandidateListsConfig
from pipeline.train.sources.folders import parts
from pipeline.train.sources.opened import Opened, in_part
from pipeline.train.sources.planes import first_plane

RAW, SELECTED, IMAGES = "candidates_list_raw.txt", "candidates_list_selected.txt", "fits_data"
"""Every candidate; the lensed quasars among them; the folder of the images."""

_AB_NANOJANSKY = 31.4
_NAME = re.compile(r"^J\d{6}(\.\d+)?[+-]\d{6}(\.\d+)?$")
_REMEDY = "get the file again or take the candidate out of the lists"


def open_candidate_lists(config: CandidateListsConfig, bands: tuple[str, ...]) -> Opened:
    """The candidates of both lists, in the order of their names; a lens is one that is selected.

    What is assumed, from the study's code: a name a line, such as `J000000.78+045553.67`, in both lists; the image is
    the first HDU with two axes of `fits_data/<name>_HSC-I_img.fits`, pixels without data being NaN there. The
    selected may be missing from the raw list. Also taken: what `read_names` takes.

    Raises
    ------
    ConfigError
        If a list or the folder is missing, a list is not one of names, files are missing and that isn't allowed, or
        more than the one band is wanted.
    """
    if bands != (config.band,):
        raise ConfigError(
            f"{config}: its images are of band {config.band} alone, and {', '.join(bands)} is wanted; "
            f'set package.bands = ["{config.band}"], or the source\'s band.'
        )
    root = Path(config.path)
    selected = set(read_names(root / SELECTED, config.suffix))
    names = sorted(selected.union(read_names(root / RAW, config.suffix)))
    names = _with_images(names, root / IMAGES, config)
    rows = in_part(config, names, str(config))
    kept = [names[row] for row in rows.tolist()]
    lens = np.array([name in selected for name in kept], np.bool_)
    factor = 10 ** (0.4 * (_AB_NANOJANSKY - config.zero_point))

    def place(row: int) -> Path:
        return root / IMAGES / f"{kept[row]}{config.suffix}"

    def read(row: int) -> npt.NDArray[np.float32]:
        image: npt.NDArray[np.float32] = (first_plane(place(row), _REMEDY)[None] * factor).astype(np.float32)
        return image

    return Opened(
        str(config),
        lens,
        plain_kinds(lens),
        lambda wanted: parts(wanted, read, config.pixel_scale),
        lambda row: str(place(row)),
    )


def read_names(path: Path, suffix: str) -> list[str]:
    """Names of candidates in the order of a list, each once.

    Empty lines and comments (`#`) are passed over, as are a header in the first line, what follows a name (a comma, a
    blank or a tab and a label, as in the study's own splits of its lists), and a file's folder and suffix.

    Raises
    ------
    ConfigError
        If the file can't be read, a line is no name, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); give the folder that holds {RAW}, {SELECTED} and {IMAGES} as path."
        ) from error
    found: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        word = re.split(r"[,;\s]", text, maxsplit=1)[0].rpartition("/")[2].removesuffix(suffix)
        if _NAME.match(word):
            found[word] = None
        elif number > 1:
            raise ConfigError(
                f"{path}: line {number} is {line[:60]!r}, and no candidate's name such as J000000.78+045553.67; "
                "mend or remove it."
            )
    if not found:
        raise ConfigError(f"{path}: no candidate's name in it, such as J000000.78+045553.67; give one a line.")
    return list(found)


def _with_images(names: Sequence[str], folder: Path, config: CandidateListsConfig) -> list[str]:
    """The candidates whose files are there."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; the images of the candidates lie in {IMAGES} beside the lists.")
    there = {path.name for path in folder.iterdir()}
    found = [name for name in names if f"{name}{config.suffix}" in there]
    lost = len(names) - len(found)
    if lost and (config.missing == "refuse" or not found):
        first = next(name for name in names if f"{name}{config.suffix}" not in there)
        raise ConfigError(
            f"{folder}: {lost:,} of {len(names):,} candidates have no image, the first is {first}{config.suffix}; get "
            'the rest, mend the suffix, or set missing = "leave_out".'
        )
    return found
