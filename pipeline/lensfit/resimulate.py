"""A model's image beside the stamp that it is a model of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.lensfit.config import FitConfig
from pipeline.lensfit.curves import caustics, critical_lines
from pipeline.lensfit.fit_map import MapFit
from pipeline.lensfit.likelihood import Likelihood
from pipeline.lensfit.nuts import SampledFit
from pipeline.lensfit.observation import Float64, Observation
from pipeline.lensfit.optimise import optimise
from pipeline.lensfit.parameters import MASS, SIZE, VECTOR, lens_of, physical_of, vector_of_mass

_SIZES = (-1.0, 0.0, 1.0)
"""Of the source, in standard deviations of its prior, from which its light is sought."""


@dataclass(frozen=True)
class Resimulation:
    """A model and the stamp; arrays are float64 (band, y, x), nJy.

    Attributes
    ----------
    observation : Observation
    deflector, source : float64 (band, y, x), nJy
        The model's light, the source's as it is lensed.
    values : mapping of name to float
        The model's parameters, see `pipeline.lensfit.parameters.VECTOR`; arcsec.
    critical, caustic : lists of float64 (m, 2), arcsec
        Lines of (x, y) from the stamp's centre, in the image plane and in the source plane.
    chi2 : float
    pixels : int
        How many count towards it.
    text : str
        What was held and what was solved for.
    """

    observation: Observation
    deflector: Float64
    source: Float64
    values: Mapping[str, float]
    critical: list[Float64]
    caustic: list[Float64]
    chi2: float
    pixels: int
    text: str

    @property
    def residual(self) -> Float64:
        """What the model leaves in units of the noise, float64 (band, y, x); 0 where a pixel has no weight."""
        left = self.observation.image - self.deflector - self.source
        return np.asarray(left * np.sqrt(self.observation.weight))


def resimulate(
    observation: Observation,
    config: FitConfig,
    *,
    samples: npt.NDArray[np.floating] | None = None,
    fit: MapFit | SampledFit | None = None,
) -> Resimulation:
    """Simulate the mean of a posterior, or a fit, as the stamp would show it.

    A network's posterior has mass, source position and deflector position only. They are held at its mean; size and
    shape of the source's and the deflector's light and all fluxes are solved for, which the text says.

    Parameters
    ----------
    observation : Observation
    config : FitConfig
    samples : (s, 9), optional
        Of `pipeline.models.posterior.PARAMETERS`.
    fit : MapFit or SampledFit, optional
        Instead of samples. Of a `MapFit` the optimum is taken, of a `SampledFit` the mean.

    Raises
    ------
    ConfigError
        If neither or both are given, or samples aren't finite.
    """
    if (samples is None) == (fit is None):
        raise ConfigError("a re-simulation needs either samples or a fit; give one of them.")
    if samples is not None:
        vector, text = _with_light(observation, config, samples)
    elif isinstance(fit, MapFit):
        vector, text = torch.from_numpy(fit.vector), "Most probable model: everything fitted."
    else:
        assert fit is not None
        vector, text = torch.from_numpy(fit.vectors.mean((0, 1))), "Mean of the NUTS samples: everything fitted."
    physical = physical_of(vector.double(), config.priors)
    likelihood = Likelihood(observation, config, (float(physical[7]), float(physical[8])), dtype=torch.float64)
    with torch.no_grad():
        model = likelihood.model(vector[None].double())
        chi2 = float(likelihood.chi2(vector[None].double())[0])
    lens = lens_of(physical[None])
    critical = critical_lines(lens)
    return Resimulation(
        observation=observation,
        deflector=model.deflector[0].numpy(),
        source=model.source[0].numpy(),
        values={name: float(value) for name, value in zip(VECTOR, physical, strict=True)},
        critical=critical,
        caustic=caustics(lens, critical),
        chi2=chi2,
        pixels=observation.pixels,
        text=text,
    )


def _with_light(
    observation: Observation, config: FitConfig, samples: npt.NDArray[np.floating]
) -> tuple[torch.Tensor, str]:
    """A vector of the samples' mean whose light fits best, and how it was made."""
    mean = np.asarray(samples, np.float64).mean(0)
    if not np.isfinite(mean).all():
        raise ConfigError(
            "samples of the posterior aren't finite; this stamp can't be scored, and not be re-simulated."
        )
    starts = np.repeat(vector_of_mass(mean[None], config.priors), len(_SIZES), axis=0)
    starts[:, VECTOR.index("source_radius")] = _SIZES
    free = torch.arange(SIZE) >= MASS
    likelihood = Likelihood(observation, config, (float(mean[7]), float(mean[8])))
    found = optimise(likelihood, torch.from_numpy(starts), free, steps=config.map.steps, tolerance=config.map.tolerance)
    text = (
        "Mean of the network's posterior: mass and positions are the network's; "
        "the light of source and deflector, which it doesn't tell, was fitted to the stamp."
    )
    return found.vectors[found.potential.argmin()], text
