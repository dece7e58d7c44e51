"""Stamps with what the posterior says drawn on them."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from pipeline.catalogue.colour import colour, png
from pipeline.evaluate.parameters.answers import Asked
from pipeline.evaluate.parameters.config import ParametersConfig
from pipeline.evaluate.parameters.measure import chosen_by
from pipeline.models.posterior import NAMES

_X, _Y = NAMES.index("lens_x"), NAMES.index("lens_y")


@dataclass(frozen=True)
class Drawn:
    """One stamp: a data URL of its picture, its side in pixels, an SVG overlay, and a caption."""

    sample: str
    picture: str
    side_pix: int
    overlay: str
    caption: str


def drawn(asked: Asked, config: ParametersConfig) -> list[Drawn]:
    """Some lenses of a sample, evenly over its theta_E as the first package gives it.

    The ring is the Einstein radius from its 2.5 % to its 97.5 % quantile about the mean deflector; the dashed circle is
    the truth, where it is known.
    """
    answers, lens = asked.answers[0], asked.sample.lens
    rows = np.flatnonzero(chosen_by(config.cuts[0], asked) if np.isfinite(asked.truth).any() else lens)
    theta = answers.samples[rows, :, 0].mean(1)
    some = rows[np.argsort(theta)][np.linspace(0, len(rows) - 1, min(config.pictures, len(rows))).astype(int)]
    return [_drawn(asked, int(row), config) for row in some]


def _drawn(asked: Asked, row: int, config: ParametersConfig) -> Drawn:
    answers, scale = asked.answers[0], asked.sample.pixel_scale
    stamp = asked.sample.stamp(row)
    side = stamp.image.shape[-1]
    samples = answers.samples[row].astype(np.float64)
    low, high = np.quantile(samples[:, 0], [0.025, 0.975])
    mean = samples.mean(0)
    ring = _circle(mean[_X], mean[_Y], (low + high) / 2, scale, side)
    overlay = f'<circle {ring} stroke-width="{max((high - low) / scale, 0.3):.2f}" class="band"/>'
    truth = asked.truth[row]
    told = f"{mean[0]:.2f} ± {samples[:, 0].std():.2f}″"
    if np.isfinite(truth).all():
        overlay += f'<circle {_circle(truth[_X], truth[_Y], truth[0], scale, side)} class="truth"/>'
        told += f", true {truth[0]:.2f}″"
    elif "image_sep" in asked.sample.truth:
        separation = float(asked.sample.truth["image_sep"][row])
        told += f", images {separation:.2f}″ apart" if np.isfinite(separation) else ""
    if not answers.trusted(config)[row]:
        told += ", not trusted"
    picture = base64.b64encode(png(colour(stamp))).decode("ascii")
    return Drawn(asked.sample.name, f"data:image/png;base64,{picture}", side, overlay, told)


def _circle(x: float, y: float, radius: float, scale: float, side: int) -> str:
    """Attributes of a circle at arcsec from the centre of a picture whose row 0 is at the bottom."""
    return f'cx="{side / 2 + x / scale:.2f}" cy="{side / 2 - y / scale:.2f}" r="{max(radius, 0) / scale:.2f}"'
