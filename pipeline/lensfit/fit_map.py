"""The most probable model of a lens, from several starts, with the intervals of a Gaussian about it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import binary_dilation, uniform_filter
from torch import Tensor

from pipeline.lensfit.config import FitConfig
from pipeline.lensfit.likelihood import Likelihood
from pipeline.lensfit.observation import Bool, Float64, Observation, correlation
from pipeline.lensfit.optimise import Optimum, derivatives, optimise
from pipeline.lensfit.parameters import MASS, SIZE, VECTOR, physical_of, vector_of_mass
from pipeline.models.posterior import Posterior

_DRAWS = 1000
"""Of the Gaussian about the optimum."""
_FIRST_STEPS = 8
"""After which the starts that are clearly behind are dropped."""
_KEPT = 3
"""Starts that are followed to the end."""
_AT_ONCE = 50
"""Models computed together when starts are screened."""


@dataclass(frozen=True)
class MapFit:
    """The most probable model and a Gaussian about it.

    Attributes
    ----------
    vector : float64 (17,)
        See `pipeline.lensfit.parameters.VECTOR`.
    covariance : float64 (17, 17)
        Of the vector: the inverse of the Gauss-Newton Hessian (Laplace's approximation).
    posterior : Posterior
        One object; draws of that Gaussian.
    values : mapping of name to (value, std)
        All parameters, in arcsec where they are lengths; the value is the optimum's, std that of the draws.
    flux : float64 (2, band), nJy
        Of the deflector, and of the source before it is lensed.
    chi2 : float
        With the weights of `observation`, in which correlated noise weighs less.
    pixels : int
        How many count.
    noise_factor : float64 (band,)
        By which variances were multiplied, see `observation.correlation`.
    converged : bool
    starts, agreeing : int
        How many were followed to the end, and how many came to the same optimum.
    evaluations : int
        Models computed; a derivative along all 17 parameters counts as one.
    seconds : float
    observation : Observation
        What was fitted in the end: without other galaxies' pixels, and with the noise's correlation.
    """

    vector: Float64
    covariance: Float64
    posterior: Posterior
    values: Mapping[str, tuple[float, float]]
    flux: Float64
    chi2: float
    pixels: int
    noise_factor: Float64
    converged: bool
    starts: int
    agreeing: int
    evaluations: int
    seconds: float
    observation: Observation


def fit_map(
    observation: Observation,
    config: FitConfig,
    *,
    samples: npt.NDArray[np.floating] | None = None,
    seed: int = 0,
) -> MapFit:
    """Find the most probable model.

    Starts are optimised together for a few steps, the best three to the end. Light that the best can't explain, outside
    the lens, is taken for other galaxies' and left out, the noise's correlation is measured on its residuals, and it is
    optimised again with both.

    Parameters
    ----------
    observation : Observation
    config : FitConfig
    samples : (s, 9), optional
        Samples of a posterior of `pipeline.models.posterior.PARAMETERS`, such as the network's, to start from: its mean
        and draws of it. Without them, or where they aren't finite, many masses are drawn about the brightest place,
        and those that explain most light are the starts.
    seed : int

    Returns
    -------
    MapFit
    """
    began = time.perf_counter()
    starts, centre = start_vectors(observation, config, samples, seed)
    likelihood = Likelihood(observation, config, centre)
    best, followed = _search(likelihood, starts, config)
    agreeing = int((2 * (followed.potential - followed.potential.min()) < config.map.same_optimum).sum())
    others = neighbours(likelihood, best, config)
    evaluations = likelihood.evaluations
    if others.any():
        observation = observation.without(others)
        likelihood = Likelihood(observation, config, centre)
        best = _polish(likelihood, best, config).vectors[0]
        evaluations += likelihood.evaluations
    with torch.no_grad():
        residual = likelihood.residual(best[None])[0].reshape(observation.image.shape).double().numpy()
    factor = correlation(residual, observation.weight > 0, config.noise)
    observation = observation.noisier(factor)
    likelihood = Likelihood(observation, config, centre)
    last = _polish(likelihood, best, config)
    vector = last.vectors[0]
    _, hessian = derivatives(likelihood, vector[None])
    covariance = torch.linalg.inv(hessian[0])
    draws = gaussian_draws(vector.double(), covariance, _DRAWS, seed)
    with torch.no_grad():
        flux = likelihood.model(vector[None]).flux[0].double().numpy()
    physical = physical_of(draws, config.priors)
    value = physical_of(vector.double(), config.priors).numpy()
    std = physical.std(0).numpy()
    return MapFit(
        vector=vector.double().numpy(),
        covariance=covariance.numpy(),
        posterior=Posterior(physical[None, :, :MASS].float().numpy()),
        values={name: (float(value[index]), float(std[index])) for index, name in enumerate(VECTOR)},
        flux=flux,
        chi2=float(2 * last.potential[0] - vector.square().sum()),
        pixels=observation.pixels,
        noise_factor=factor,
        converged=bool(last.converged[0]),
        starts=len(followed.vectors),
        agreeing=agreeing,
        evaluations=evaluations + likelihood.evaluations,
        seconds=time.perf_counter() - began,
        observation=observation,
    )


def start_vectors(
    observation: Observation, config: FitConfig, samples: npt.NDArray[np.floating] | None, seed: int
) -> tuple[Tensor, tuple[float, float]]:
    """Vectors (starts, 17) to start from, and (x, y) of the deflector in arcsec; see `fit_map`."""
    rng = np.random.default_rng(seed)
    count = config.map.starts
    if samples is not None and len(samples) and np.isfinite(samples).all():
        chosen = np.concatenate([samples.mean(0)[None], samples[rng.integers(0, len(samples), count - 1)]])
        centre = (float(samples[:, -2].mean()), float(samples[:, -1].mean()))
        return torch.from_numpy(vector_of_mass(chosen, config.priors)), centre
    centre = brightest(observation, config.map.search_radius)
    screened = config.map.screened
    prior, scatter = config.priors, config.priors.theta_E.scatter
    # Einstein radii evenly over the prior's range, so that wide lenses are among them; sources anywhere inside.
    theta_e = prior.theta_E.median * np.exp(scatter * rng.permutation(np.linspace(-2, 2, screened)))
    source = theta_e[:, None] * prior.source_offset * rng.standard_normal((screened, 2))
    shape = np.repeat([prior.mass_ellipticity, prior.shear], 2) * rng.standard_normal((screened, 4))
    drawn = np.column_stack([theta_e, shape, source, np.tile(centre, (screened, 1))])
    vectors = torch.from_numpy(vector_of_mass(drawn, prior))
    likelihood = Likelihood(observation, config, centre)
    with torch.no_grad():
        reached = torch.cat([likelihood.chi2(part.to(likelihood.dtype)) for part in torch.split(vectors, _AT_ONCE)])
    return vectors[torch.argsort(reached)[:count]], centre


def brightest(observation: Observation, radius: float) -> tuple[float, float]:
    """(x, y) in arcsec of the brightest three by three pixels within `radius` arcsec of the middle, of all bands."""
    scaled = (observation.image * np.sqrt(observation.weight)).sum(0)
    smooth = uniform_filter(scaled, 3)
    middle = (smooth.shape[0] - 1) / 2
    rows, columns = np.indices(smooth.shape) - middle
    far = np.hypot(rows, columns) * observation.pixel_scale > radius
    row, column = np.unravel_index(int(np.argmax(np.where(far, -np.inf, smooth))), smooth.shape)
    return (float(column) - middle) * observation.pixel_scale, (float(row) - middle) * observation.pixel_scale


def neighbours(likelihood: Likelihood, vector: Tensor, config: FitConfig) -> Bool:
    """Pixels (band, y, x) outside the lens with light that the model doesn't have, and those next to them."""
    observation = likelihood.observation
    with torch.no_grad():
        residual = likelihood.residual(vector[None])[0].reshape(observation.image.shape).double().numpy()
        theta_e, x, y = (float(physical_of(vector, config.priors)[index]) for index in (0, 7, 8))
    # The mean of three by three pixels has a third of a pixel's noise.
    bright = (3 * uniform_filter(residual, (0, 3, 3)) > config.map.neighbour_sigma).any(0)
    middle = (bright.shape[0] - 1) / 2
    rows, columns = (np.indices(bright.shape) - middle) * observation.pixel_scale
    outside = np.hypot(rows - y, columns - x) > config.map.neighbour_radius * theta_e
    chosen: Bool = binary_dilation(bright & outside, np.ones((3, 3), bool)) & outside
    return np.broadcast_to(chosen, observation.image.shape)


def gaussian_draws(mean: Tensor, covariance: Tensor, count: int, seed: int) -> Tensor:
    """Draws (count, p) of a Gaussian; torch's own random numbers are left alone."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn((count, len(mean)), generator=generator, dtype=mean.dtype)
    draws: Tensor = mean + normal @ torch.linalg.cholesky(covariance).T
    return draws


def _search(likelihood: Likelihood, starts: Tensor, config: FitConfig) -> tuple[Tensor, Optimum]:
    """The best vector, and what the starts that were followed have come to."""
    every = torch.ones(SIZE, dtype=torch.bool)
    tolerance = config.map.tolerance
    early = optimise(likelihood, starts, every, steps=_FIRST_STEPS, tolerance=tolerance)
    kept = early.vectors[torch.argsort(early.potential)[:_KEPT]]
    late = optimise(likelihood, kept, every, steps=config.map.steps, tolerance=tolerance)
    return late.vectors[late.potential.argmin()], late


def _polish(likelihood: Likelihood, vector: Tensor, config: FitConfig) -> Optimum:
    every = torch.ones(SIZE, dtype=torch.bool)
    return optimise(likelihood, vector[None], every, steps=config.map.steps, tolerance=config.map.tolerance)
