"""Stamps for training, read from sources of any form, and the order in which a run draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.models.posterior import PARAMETERS
from pipeline.models.resample import resample
from pipeline.train.data_config import PoolsConfig
from pipeline.train.held import Stamps, digest_of, packed, room_for
from pipeline.train.method_config import MapTargets
from pipeline.train.sources import AnyConfig, open_rows
from pipeline.train.sources.opened import Opened, Part

__all__ = ["Stamps", "draw_order", "read_stamps", "read_unlabelled"]


def read_stamps(
    sources: Sequence[AnyConfig | str],
    bands: tuple[str, ...],
    pixel_scale: float,
    size: int | None = None,
    limit: int | None = None,
    *,
    both_classes: bool = True,
    targets: MapTargets | None = None,
    parameters: bool = False,
) -> Stamps:
    """Every stamp of some sources, on one grid, in the order of the sources.

    Pools are held as they are and must be of one size and `pixel_scale`; stamps of other sources are resampled
    about their centres (`pipeline.models.resample`), cropped or padded with NaN. No more than some hundred stamps
    are in memory beside those that are held.

    Parameters
    ----------
    sources : sequence of source configs, or of patterns of pools
    bands : tuple of str
        Wanted, in order.
    pixel_scale : float, arcsec
    size : int, optional
        Side in pixels of stamps that don't come from pools; where there are pools theirs counts.
    limit : int, optional
        No more stamps than this, of each source in proportion to what it holds.
    both_classes : bool
        Refuse stamps that are all lenses, or all not.
    targets : MapTargets, optional
        What the stamps' maps are to show; no maps without.
    parameters : bool
        Whether to hold the lenses' parameters, too.

    Raises
    ------
    ConfigError
        If a source is missing, damaged or doesn't match, a stamp has no valid pixel, or there is but one class.
    """
    opened, counts = _open(sources, bands, pixel_scale, targets, parameters)
    chosen = [(source, source.some(n)) for source, n in zip(opened, allotted(counts, limit), strict=True)]
    lenses = sum(int(source.lens[rows].sum()) for source, rows in chosen)
    number = sum(len(rows) for _, rows in chosen)
    if both_classes and lenses in (0, number):
        names = ", ".join(source.text for source in opened)
        raise ConfigError(
            f"{names}: {number:,} stamps, all of them {'lenses' if lenses else 'non-lenses'}; training and validation "
            "need both classes, so give a source of the other."
        )
    stamps = room_for(
        number,
        bands,
        _side(opened, size),
        pixel_scale,
        planes=0 if targets is None else 2,
        parameters=len(PARAMETERS) if parameters else 0,
    )
    start = 0
    for (source, rows), config in zip(chosen, sources, strict=True):
        place = slice(start, start + len(rows))
        stamps.lens[place], stamps.kind[place] = source.lens[rows], source.kind[rows]
        if stamps.weight is not None:
            stamps.weight[place] = 1.0 if isinstance(config, str) else config.weight
            if source.weight is not None:
                stamps.weight[place] *= source.weight[rows]
        _fill(stamps, start, source, rows)
        start = place.stop
    weighed = any(source.weight is not None for source in opened)
    return replace(stamps, digest=digest_of(stamps, stamps.weight if weighed else None))


def read_unlabelled(
    sources: Sequence[AnyConfig | str], bands: tuple[str, ...], pixel_scale: float, size: int | None = None
) -> Stamps | None:
    """Stamps of some sources without their labels, as `read_stamps` reads them; None where there is no source.

    `lens` is False and `kind` "unlabelled" throughout. Raises ConfigError.
    """
    if not sources:
        return None
    stamps = read_stamps(sources, bands, pixel_scale, size, both_classes=False)
    stamps.lens[:] = False
    stamps.kind[:] = "unlabelled"
    return replace(stamps, digest=digest_of(stamps))


def allotted(counts: Sequence[int], limit: int | None) -> list[int]:
    """How many of `limit` rows each source gives, in proportion to `counts`; all of them without a limit.

    Shares are rounded down, and what is left over goes to the largest remainders, the earlier source first.
    """
    total = sum(counts)
    if limit is None or limit >= total:
        return list(counts)
    given = [limit * count // total for count in counts]
    order = sorted(range(len(counts)), key=lambda place: -(limit * counts[place] % total))
    for place in order[: limit - sum(given)]:
        given[place] += 1
    return given


def draw_order(
    stamps: Stamps,
    mix: Mapping[str, float],
    seed: int,
    epoch: int,
    factors: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of one epoch, as many as there are stamps, shuffled.

    Systematic resampling: a stamp with weight w among weights of mean 1 is drawn floor(w) or ceil(w)
    times, so that an unweighted epoch sees each stamp once. The same seed and epoch give the same order.

    Parameters
    ----------
    mix : mapping
        Weight of a kind, beside the stamp's own; 1 where a kind is not named.
    factors : float (n,), optional
        Times which each stamp's weight is taken.

    Raises
    ------
    ConfigError
        For a kind that no stamp is of, or weights that leave nothing.
    """
    present = {str(kind) for kind in np.unique(stamps.kind)}
    unknown = sorted(set(mix) - present)
    if unknown:
        raise ConfigError(f"data.mix names {', '.join(unknown)}; the pools hold {', '.join(sorted(present))}.")
    weights = np.ones(len(stamps)) if stamps.weight is None else stamps.weight.copy()
    if factors is not None:
        weights *= factors
    for kind, weight in mix.items():
        weights[stamps.kind == kind] *= weight
    if weights.sum() <= 0:
        raise ConfigError("data.mix leaves no stamp to train on; give some kind a positive weight.")
    rng = np.random.default_rng([seed, epoch])
    edges = np.cumsum(weights) / weights.sum()
    marks = (np.arange(len(stamps)) + rng.random()) / len(stamps)
    rows = np.minimum(np.searchsorted(edges, marks, side="right"), len(stamps) - 1)
    answer: npt.NDArray[np.int64] = rng.permutation(rows).astype(np.int64)
    return answer


def _open(
    sources: Sequence[AnyConfig | str],
    bands: tuple[str, ...],
    pixel_scale: float,
    targets: MapTargets | None,
    parameters: bool,
) -> tuple[list[Opened], list[int]]:
    """The sources, and the number of stamps that each gives by its own limit."""
    opened, counts = [], []
    for given in sources:
        config = PoolsConfig(pattern=given) if isinstance(given, str) else given
        source = open_rows(config, bands, pixel_scale, targets, parameters=parameters)
        source = source.of_each(config.most_lenses, config.most_others)
        if len(source) == 0:
            raise ConfigError(f"{source.text}: no stamp in it; write some with `lensscan simulate`, or take it out.")
        opened.append(source)
        counts.append(len(source.some(config.limit)))
    return opened, counts


def _side(opened: Sequence[Opened], size: int | None) -> int:
    sides = {source.side: source.text for source in opened if source.side is not None}
    if len(sides) > 1:
        listed = "; ".join(f"{text}: {side} px" for side, text in sides.items())
        raise ConfigError(f"pools of different size ({listed}); write one of them again.")
    found = next(iter(sides), size)
    if found is None:
        raise ConfigError(f"{opened[0].text}: no size given for its stamps; set data.size_pix.")
    return found


def _fill(stamps: Stamps, start: int, source: Opened, rows: npt.NDArray[np.int64]) -> None:
    """Read some rows of a source into their place."""
    done = 0
    for part in source.read(rows):
        image, flagged = _on_grid(part, stamps.size, stamps.pixel_scale)
        blank = np.flatnonzero(~np.isfinite(image).any(axis=(1, 2, 3)))
        if blank.size:
            raise ConfigError(
                f"{source.name(int(rows[done + blank[0]]))}: not one valid pixel in bands {', '.join(stamps.bands)}; "
                "take it out, or mend it."
            )
        place = slice(start + done, start + done + len(image))
        stamps.image[place], scale = packed(image)
        if stamps.scale is not None:
            stamps.scale[place] = scale
        stamps.flagged[place] = 0 if flagged is None else np.packbits(flagged, axis=-1)
        if stamps.maps is not None and part.maps is not None:
            stamps.maps[place] = np.packbits(part.maps, axis=-1)
        if stamps.parameters is not None and part.parameters is not None:
            stamps.parameters[place] = part.parameters
        done += len(image)


def _on_grid(part: Part, size: int, pixel_scale: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]:
    """Image and flags of a part at the wanted size and pixel scale; NaN where nothing valid lies."""
    if part.image.shape[2:] == (size, size) and abs(part.pixel_scale / pixel_scale - 1) < 1e-4:
        return part.image, part.flagged
    image = torch.from_numpy(np.ascontiguousarray(part.image))
    valid = torch.isfinite(image)
    light, kept, _ = resample(image, valid, part.pixel_scale, size, pixel_scale)
    flagged = None
    if part.flagged is not None and part.flagged.any():
        clean = valid & ~torch.from_numpy(part.flagged)
        flagged = (kept & ~resample(image, clean, part.pixel_scale, size, pixel_scale)[1]).numpy()
    return light.masked_fill_(~kept, torch.nan).numpy(), flagged
