"""A tiny field that every finder of artefacts goes through, so that their code is compiled before it is needed."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS

from pipeline.errors import BadSurveyData
from pipeline.field import FieldImage, field_image_from_arrays
from pipeline.scan.masks import find
from pipeline.scan_config import MasksConfig

_SIDE = 320
_SCALE = 0.262
_MEMORY_MB = 100.0


def rehearse(config: MasksConfig) -> None:
    """Look for artefacts where there are some of each kind; what is found is of no interest."""
    try:
        find(rehearsal_field(), config, _MEMORY_MB)
    except BadSurveyData:
        return  # of numbers that fit no field as small as this one


def rehearsal_field() -> FieldImage:
    """Noise with a saturated star and its ghost, a trail, a gap, a bad column, a cosmic ray and a step of weights."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float64)
    image = random.normal(0, 1, (2, _SIDE, _SIDE))
    star = np.hypot(x - 90, y - 220)
    image += np.minimum(2e4 * np.exp(-(star**2) / 20) + 60 * np.exp(-star / 15), 5e3)
    ring = np.hypot(x - 220, y - 110)
    image += 3.0 * ((ring > 40) & (ring < 60))
    image += 40 * np.exp(-((0.6 * x - 0.8 * y + 60) ** 2) / 4)
    image[:, 40:44, 200:204] += 300
    image[:, :, 300] += 30
    image[:, :, 150:160] = np.nan
    ivar = np.ones_like(image)
    ivar[:, :, 240:] = 0.4
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-_SCALE / 3600, _SCALE / 3600]
    wcs.wcs.crval = [150.0, 2.0]
    return field_image_from_arrays(image, wcs, ("g", "r"), ivar=ivar, pixel_scale=_SCALE)


if __name__ == "__main__":
    rehearse(MasksConfig())
