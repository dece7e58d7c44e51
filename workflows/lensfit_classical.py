"""Fits of chosen objects the classical way, from what the network says of them, and pictures of either."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import typer

from pipeline.errors import ConfigError
from pipeline.io.cutout_store import Stamps
from pipeline.io.places import Place
from pipeline.io.writing import atomic_write
from pipeline.lensfit.config import FitConfig
from pipeline.lensfit.fit_map import MapFit, fit_map
from pipeline.lensfit.nuts import SampledFit, fit_nuts
from pipeline.lensfit.observation import Observation, observe
from pipeline.lensfit.picture import resimulation_png
from pipeline.lensfit.resimulate import resimulate
from pipeline.models.posterior import PARAMETERS, Posterior
from workflows.lensfit_stamps import FieldStamps
from workflows.lensfit_table import Float32, Parameters

_LEAST = 2
"""Samples of an object that could not be fitted, all of them unknown."""


class Classical:
    """Fits and draws objects, one at a time.

    Parameters
    ----------
    config : FitConfig
    method : "map", "nuts" or None
        None draws what the network says and fits nothing.
    pictures : Path, ObjectPath or None
        Folder that gets `<field>-<objid>.png`.

    Attributes
    ----------
    drawn : int
        Pictures.
    """

    def __init__(self, config: FitConfig, method: str | None, pictures: Place | None) -> None:
        self._config, self._method, self._pictures = config, method, pictures
        self.drawn = 0

    def all(self, stamps: FieldStamps, cutouts: Stamps, found: Parameters) -> Parameters | None:
        """The fits of some objects, which end where they should or not; None where none are asked for.

        An object that can't be fitted, or drawn, is told on standard error and goes without.
        """
        fits: list[tuple[Float32, bool]] = []
        for number, objid in enumerate(found.rows["objid"].tolist()):
            name = f"{quote(stamps.field_id, safe='')}-{objid}"
            samples = found.posterior.samples[number]
            known = bool(found.known[number])
            fit: MapFit | SampledFit | None = None
            try:
                observed = self._observed(stamps, cutouts, number)
                if self._method is not None:
                    fit = self._fit(observed, samples if known else None)
                    fits.append((fit.posterior.samples[0], fit.converged))
                if self._pictures is not None and (fit is not None or known):
                    self._draw(self._pictures, name, observed, samples, fit)
            except ConfigError as error:
                typer.echo(f"{name}: not fitted: {error}", err=True)
                if len(fits) == number and self._method is not None:
                    fits.append((np.full((_LEAST, len(PARAMETERS)), np.nan, np.float32), False))
        return None if self._method is None else _joined(found, self._method, fits)

    def _observed(self, stamps: FieldStamps, cutouts: Stamps, number: int) -> Observation:
        return observe(
            cutouts.image[number],
            cutouts.ivar[number],
            cutouts.mask[number],
            bands=stamps.bands,
            pixel_scale=stamps.pixel_scale,
            seeing=stamps.seeing,
        )

    def _fit(self, observed: Observation, samples: Float32 | None) -> MapFit | SampledFit:
        best = fit_map(observed, self._config, samples=samples)
        return best if self._method == "map" else fit_nuts(self._config, best)

    def _draw(
        self, folder: Place, name: str, observed: Observation, samples: Float32, fit: MapFit | SampledFit | None
    ) -> None:
        drawn = resimulate(observed, self._config, samples=samples if fit is None else None, fit=fit)
        atomic_write(folder / f"{name}.png", resimulation_png(drawn, name))
        self.drawn += 1


def _joined(found: Parameters, method: str, fits: list[tuple[Float32, bool]]) -> Parameters:
    """One answer of many; those of an object that could not be fitted are unknown."""
    count = max(len(samples) for samples, _ in fits)
    drawn = np.full((len(fits), count, len(PARAMETERS)), np.nan, np.float32)
    for number, (samples, _) in enumerate(fits):
        if len(samples) == count:
            drawn[number] = samples
    return Parameters(found.rows, method, Posterior(drawn), np.array([converged for _, converged in fits], np.bool_))
