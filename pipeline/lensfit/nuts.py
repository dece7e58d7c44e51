"""Samples of a lens's posterior by the No-U-Turn sampler, started from the most probable model.

The sampler is Pyro's (Hoffman & Gelman 2014), in the optional extra `lensfit`. It works on coordinates in which the
Gaussian about the optimum is standard normal, so that one step size suits all directions and no masses are tuned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.lensfit.config import FitConfig
from pipeline.lensfit.fit_map import MapFit
from pipeline.lensfit.likelihood import Likelihood
from pipeline.lensfit.observation import Float64
from pipeline.lensfit.parameters import MASS, VECTOR, physical_of
from pipeline.models.posterior import Posterior


@dataclass(frozen=True)
class SampledFit:
    """Samples of a posterior, and whether they can be trusted.

    Attributes
    ----------
    posterior : Posterior
        One object; the draws of all chains.
    vectors : float64 (chain, draw, 17)
        See `pipeline.lensfit.parameters.VECTOR`.
    values : mapping of name to (mean, std)
        All parameters, in arcsec where they are lengths.
    r_hat, effective_draws : float64 (9,)
        Of `PARAMETERS`: split R-hat (Gelman et al. 2013, sec. 11.4) and the number of independent draws that would
        give the mean as well.
    converged : bool
        Whether both are within the config's limits for every parameter.
    divergences : int
        Trajectories that left the level of energy; some mean that the posterior has a corner that was not explored.
    acceptance : float
    evaluations : int
        Gradients of the likelihood, warm-up included.
    seconds : float
    """

    posterior: Posterior
    vectors: Float64
    values: Mapping[str, tuple[float, float]]
    r_hat: Float64
    effective_draws: Float64
    converged: bool
    divergences: int
    acceptance: float
    evaluations: int
    seconds: float


def fit_nuts(config: FitConfig, start: MapFit, *, seed: int = 0) -> SampledFit:
    """Sample the posterior of a lens.

    Chains start from draws of the Gaussian about the optimum, and run one after the other.

    Parameters
    ----------
    config : FitConfig
    start : MapFit
        Of the same config. What is fitted is its `observation`: without other galaxies, with the noise's correlation.
    seed : int

    Raises
    ------
    ConfigError
        If Pyro is not installed.
    """
    try:
        from pyro.infer import MCMC, NUTS
        from pyro.ops.stats import effective_sample_size, split_gelman_rubin
    except ImportError as error:
        raise ConfigError("sampling needs Pyro; install it with `pip install 'lensscan[lensfit]'`.") from error
    began = time.perf_counter()
    asked = config.sampling
    likelihood = Likelihood(start.observation, config, (start.values["lens_x"][0], start.values["lens_y"][0]))
    mean = torch.from_numpy(start.vector)
    root = torch.linalg.cholesky(torch.from_numpy(start.covariance))

    def potential(given: dict[str, Tensor]) -> Tensor:
        vector = mean + root @ given["z"]
        return likelihood.potential(vector.to(likelihood.dtype)[None])[0].double()

    chains, divergences, acceptance = [], 0, []
    for chain in range(asked.chains):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + chain)
            kernel = NUTS(
                potential_fn=potential,
                adapt_mass_matrix=False,
                target_accept_prob=asked.target_accept,
                max_tree_depth=asked.most_doublings,
            )
            run = MCMC(
                kernel,
                num_samples=asked.draws,
                warmup_steps=asked.warmup,
                initial_params={"z": torch.randn(len(mean), dtype=mean.dtype)},
                disable_progbar=True,
            )
            run.run()
        chains.append(mean + run.get_samples()["z"] @ root.T)
        told = run.diagnostics()
        divergences += sum(len(places) for places in told["divergences"].values())
        acceptance += list(told["acceptance rate"].values())
    vectors = torch.stack(chains)
    physical = physical_of(vectors, config.priors)
    lens = physical[..., :MASS]
    r_hat = split_gelman_rubin(lens, chain_dim=0, sample_dim=1).numpy()
    effective = effective_sample_size(lens, chain_dim=0, sample_dim=1).numpy()
    means, stds = physical.mean((0, 1)).numpy(), physical.flatten(0, 1).std(0).numpy()
    return SampledFit(
        posterior=Posterior(lens.flatten(0, 1)[None].float().numpy()),
        vectors=vectors.numpy(),
        values={name: (float(means[index]), float(stds[index])) for index, name in enumerate(VECTOR)},
        r_hat=r_hat,
        effective_draws=effective,
        converged=bool((r_hat < asked.r_hat).all() and (effective > asked.effective_draws).all()),
        divergences=divergences,
        acceptance=float(np.mean(acceptance)),
        evaluations=likelihood.evaluations,
        seconds=time.perf_counter() - began,
    )
