"""Reasons to distrust a score, from the pixels of the stamp and the answers of the ensemble."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.flags import FATAL, PixelFlag, VetFlag
from pipeline.scan.cutouts_stats import StampStats
from pipeline.scan_config import VetConfig

Float32 = npt.NDArray[np.float32]
UInt32 = npt.NDArray[np.uint32]
Bool = npt.NDArray[np.bool_]


def vet_flags(
    stats: StampStats,
    disagreement: Float32 | None,
    config: VetConfig,
    area_pix: int,
    bands_used: int = 0xFFFFFFFF,
    ood: Float32 | None = None,
    stopped: Bool | None = None,
) -> UInt32:
    """Vet flags of stamps.

    ===================  =====================================================================================
    flag                 set where
    ===================  =====================================================================================
    CENTRE_MASKED        a fatal pixel flag of any band lies within `centre_radius` of the position
    CHIP_GAP_CROSSES     at least `crossing_pix` pixels of some band are CHIP_GAP
    TRAIL_CROSSES        at least `crossing_pix` pixels of some band are TRAIL
    SEAM                 at least `crossing_pix` pixels of some band are SEAM
    BRIGHT_STAR          SATURATED, BLEED, SPIKE, HALO or BRIGHT_OBJECT covers at least `bright_fraction` of
                         the stamp in some band, the largest of the five
    PARTIAL_COVERAGE     `valid_fraction` is below `partial_fraction`
    MISSING_BAND         a band that the ensemble uses has no valid pixel
    MEMBERS_DISAGREE     `disagreement` is above `disagree_log_odds`
    OUT_OF_DISTRIBUTION  `ood` is above `unfamiliar_share`
    STOPPED_BY_GATE      `stopped`
    ===================  =====================================================================================

    ARTEFACT_LIKELY and KNOWN_LENS need more than a stamp's statistics and are set by others.

    Parameters
    ----------
    stats : StampStats
        Of n stamps.
    disagreement : float32 (n,), optional
        Spread of what the members find in favour of a lens, in log-odds (`Combined.disagreement`); NaN (not scorable)
        disagrees with nobody.
    config : VetConfig
    area_pix : int
        Pixels of a stamp in one band.
    bands_used : int
        Bit b set: the ensemble uses band b of the scan. All, unless told.
    ood : float32 (n,), optional
        Share of the members' validation stamps that are more familiar (`Ensemble.unfamiliar`); NaN is not flagged.
    stopped : bool (n,), optional
        What a gate of the cascade has stopped.

    Returns
    -------
    uint32 (n,)
    """
    flags = np.zeros(len(stats), np.uint32)

    def mark(flag: VetFlag, where: Bool) -> None:
        flags[where] |= np.uint32(flag)

    def crossed(flag: PixelFlag) -> Bool:
        return stats.npix[str(flag.name).lower()] >= config.crossing_pix

    mark(VetFlag.CENTRE_MASKED, (stats.centre_flags & np.uint32(FATAL)) != 0)
    mark(VetFlag.CHIP_GAP_CROSSES, crossed(PixelFlag.CHIP_GAP))
    mark(VetFlag.TRAIL_CROSSES, crossed(PixelFlag.TRAIL))
    mark(VetFlag.SEAM, crossed(PixelFlag.SEAM))
    mark(VetFlag.BRIGHT_STAR, _largest(stats, _STAR_FLAGS) >= config.bright_fraction * area_pix)
    mark(VetFlag.PARTIAL_COVERAGE, stats.valid_fraction < config.partial_fraction)
    mark(VetFlag.MISSING_BAND, (stats.bands_missing & np.uint32(bands_used)) != 0)
    with np.errstate(invalid="ignore"):
        if disagreement is not None:
            mark(VetFlag.MEMBERS_DISAGREE, disagreement > np.float32(config.disagree_log_odds))
        if ood is not None:
            mark(VetFlag.OUT_OF_DISTRIBUTION, ood > np.float32(config.unfamiliar_share))
    if stopped is not None:
        mark(VetFlag.STOPPED_BY_GATE, stopped)
    return flags


_STAR_FLAGS = (
    PixelFlag.SATURATED,
    PixelFlag.BLEED,
    PixelFlag.SPIKE,
    PixelFlag.HALO,
    PixelFlag.BRIGHT_OBJECT,
)


def _largest(stats: StampStats, flags: tuple[PixelFlag, ...]) -> npt.NDArray[np.int32]:
    counts: npt.NDArray[np.int32] = np.max([stats.npix[str(flag.name).lower()] for flag in flags], axis=0)
    return counts
