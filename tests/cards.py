"""Cards of packages that nothing was trained for."""

from __future__ import annotations

from pipeline.models.calibration import Calibration
from pipeline.models.card import ModelCard

UNFITTED = Calibration(slope=1, offset=0, prior=0.5, n_lenses=0, n_others=0, fitted_on="nothing")


def card(**changes: object) -> ModelCard:
    """A small `cnn` of g, r, i for stamps of 64 px, but for what is named."""
    values = {
        "name": "untrained",
        "architecture": "cnn",
        "arguments": {"width": 8},
        "output": "log-odds",
        "bands": ("g", "r", "i"),
        "pixel_scale": "0.3 arcsec",
        "size_pix": 64,
        "training": "none",
        "training_fingerprint": "0" * 64,
        "licence": "BSD-3-Clause",
        "reference": "none",
    }
    return ModelCard.model_validate({**values, **changes})
