"""The forms in which stamps for training are read; one form a file."""

from __future__ import annotations

from pipeline.errors import ConfigError
from pipeline.train.data_config import (
    BolognaConfig,
    CandidateListsConfig,
    CutoutsConfig,
    FoldersConfig,
    GradedConfig,
    PoolsConfig,
    StampsConfig,
    TableConfig,
)
from pipeline.train.method_config import MapTargets
from pipeline.train.sources.opened import Opened

AnyConfig = (
    PoolsConfig
    | FoldersConfig
    | StampsConfig
    | TableConfig
    | GradedConfig
    | BolognaConfig
    | CandidateListsConfig
    | CutoutsConfig
)


def open_rows(
    config: AnyConfig,
    bands: tuple[str, ...],
    pixel_scale: float,
    targets: MapTargets | None = None,
    *,
    parameters: bool = False,
) -> Opened:
    """Find out what a source holds without reading its pixels.

    Parameters
    ----------
    config : source
    bands : tuple of str
        Wanted, in order.
    pixel_scale : float, arcsec
        Wanted; only a pool must have it.
    targets : MapTargets, optional
        Asks for maps too, which only pools have the truth of.
    parameters : bool
        Asks for lens parameters too, which only pools have the truth of.

    Raises
    ------
    ConfigError
        If there is nothing, or it can't be what was asked for.
    """
    if targets is not None and not isinstance(config, PoolsConfig):
        raise ConfigError(
            f"{config}: a source of kind {config.kind!r} has no true arcs; a network that draws maps "
            "learns from pools, as `lensscan simulate` writes them."
        )
    if parameters and not isinstance(config, PoolsConfig):
        raise ConfigError(
            f"{config}: a source of kind {config.kind!r} has no true lens parameters; a network that measures lenses "
            "learns from pools, as `lensscan simulate` writes them."
        )
    match config:
        case PoolsConfig():
            from pipeline.train.sources.pools import open_pools

            return open_pools([config.pattern], bands, pixel_scale, targets, parameters=parameters)
        case FoldersConfig():
            from pipeline.train.sources.folders import open_folders

            return open_folders(config, bands)
        case StampsConfig():
            from pipeline.train.sources.folders import open_unlabelled

            return open_unlabelled(config, bands)
        case GradedConfig():
            from pipeline.train.sources.graded import open_graded

            return open_graded(config, bands)
        case BolognaConfig():
            from pipeline.train.sources.bologna import open_bologna

            return open_bologna(config, bands)
        case CandidateListsConfig():
            from pipeline.train.sources.candidate_lists import open_candidate_lists

            return open_candidate_lists(config, bands)
        case TableConfig():
            from pipeline.train.sources.cutout_table import open_table

            return open_table(config, bands)
        case CutoutsConfig():
            from pipeline.train.sources.cutouts import open_cutouts

            return open_cutouts(config, bands)
