"""Lens parameters by network, most probable model and NUTS: on the same lenses, how good and how fast.

    python tests/benchmarks/bench_lensfit.py [POOLS] [--number 8] [--sampled 3] [--package FOLDER] [--pixels 40]

POOLS is a glob pattern of pools of `lensscan simulate lens-parameters`; without it some are simulated. Lenses are the
first that are galaxies, without artefacts, in the stamp's middle, with an Einstein radius above 1.2 times the seeing
that leaves room for the arcs in the pixels that are fitted. Classical fits see the r band and are told the seeing; they
start from the network's posterior where there is a package, and find their own start where there is none. Then the
network has random weights, and its time is all that counts.

Times are CPU seconds of one thread, which a busy machine lengthens less than it does the clock's; ratios are those of
one run. NUTS counts with its R-hat and effective draws as the config asks for them (`configs/lensfit/galaxies.toml`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from pipeline.flags import fatal, valid_pixels
from pipeline.io.pools import opened_pool, pools_of
from pipeline.lensfit.config import FitConfig, load_fit
from pipeline.lensfit.fit_map import fit_map
from pipeline.lensfit.nuts import fit_nuts
from pipeline.lensfit.observation import observe
from pipeline.lensfit.picture import resimulation_png
from pipeline.lensfit.resimulate import resimulate
from pipeline.models import build
from pipeline.models.layers import Network
from pipeline.models.normalisation import Normalisation, NormalisationConfig
from pipeline.models.normalise import normalise
from pipeline.models.package import load_package
from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.models.posterior import PosteriorHead, base_samples
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.render.conditions import sky_level
from pipeline.sims.stamps.simulate import simulate_stamps

SIMULATION = "lens-parameters"
OVER_SEEING, ARCS_WITHIN = 1.2, 1.8
"""Einstein radius over the seeing at least, and half the fitted pixels' width over the Einstein radius at least."""
MIDDLE = 1.0
"""Arcsec from the stamp's middle within which the deflector is."""
SAMPLES, BATCH, REPEATS = 256, 64, 3
BAND = 1

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Answers:
    """theta_E over the truth, its std over the truth, and CPU seconds a lens, lens by lens."""

    ratio: list[float]
    width: list[float]
    seconds: list[float]

    def add(self, truth: float, value: float, std: float, seconds: float) -> None:
        self.ratio.append(value / truth)
        self.width.append(std / truth)
        self.seconds.append(seconds)

    def line(self, name: str) -> str:
        ratio, width = np.array(self.ratio), np.array(self.width)
        inside = np.abs(ratio - 1) < width
        spread = 1.4826 * np.median(np.abs(ratio - np.median(ratio)))
        return (
            f"{name:12s} {len(ratio):3d} {100 * (np.median(ratio) - 1):+8.2f} {100 * spread:8.2f} "
            f"{100 * np.abs(ratio - 1).max():8.2f} {100 * np.median(width):8.2f} {100 * inside.mean():8.0f} "
            f"{np.median(self.seconds):10.4g}"
        )


def pools(pattern: str | None, config: SimsConfig) -> Iterator[Arrays]:
    names = ("image", "ivar", "mask", "label", "quasar_images", "seeing", "true_pixel_scale", *TRUTH_COLUMNS)
    if pattern is None:
        for seed in range(1000):
            made = simulate_stamps(config, 40, 9000 + seed)
            whole: Arrays = {"image": made.image, "ivar": made.ivar, "mask": made.mask, "label": made.label}
            yield whole | {name: getattr(made.truth, name) for name in names if name not in whole}
        return
    for path in pools_of([pattern]):
        with opened_pool(path) as pool:
            yield {name: pool.whole(name) for name in names}


def lenses(pattern: str | None, config: SimsConfig, number: int, pixels: int) -> Arrays:
    found: list[Arrays] = []
    for part in pools(pattern, config):
        truth = parameters_of({name: part[name] for name in TRUTH_COLUMNS})
        theta_e = truth[:, 0]
        chosen = (part["label"] == 1) & (part["quasar_images"] == 0) & np.isfinite(truth).all(1)
        chosen &= ~fatal(part["mask"]).any((1, 2, 3)) & (np.hypot(truth[:, 7], truth[:, 8]) < MIDDLE)
        chosen &= theta_e > OVER_SEEING * np.median(part["seeing"], axis=1)
        chosen &= ARCS_WITHIN * theta_e < pixels / 2 * config.pixel_scale
        found.append({name: values[chosen] for name, values in (part | {"truth": truth}).items()})
        if sum(len(one["truth"]) for one in found) >= number:
            break
    return {name: np.concatenate([one[name] for one in found])[:number] for name in found[0]}


def middle(images: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    first = (images.shape[-1] - side) // 2
    return images[..., first : first + side, first : first + side]


def network_of(package: str | None) -> tuple[Network, Normalisation, int]:
    if package is not None:
        read = load_package(Path(package))
        return read.network, read.card.normalisation, read.card.size_pix
    normalisation = NormalisationConfig(difference=True)
    torch.manual_seed(1)
    arguments: dict[str, Any] = {"size": 48, "width": 24, "kept": 24, "hidden": 128, "context": 32, "flow": 4}
    return build("lensnet", normalisation.channels(3), arguments).eval(), normalisation, 48


def ask(given: Arrays, package: str | None, scale: float) -> tuple[npt.NDArray[np.float32], float]:
    """Samples (n, s, 9) of the network's posteriors, and CPU seconds a stamp in batches of 64."""
    network, normalisation, side = network_of(package)
    head = cast("PosteriorHead", network.head)
    image = torch.from_numpy(np.nan_to_num(middle(given["image"], side)))
    valid = torch.from_numpy(
        valid_pixels(middle(given["image"], side), middle(given["ivar"], side), middle(given["mask"], side))
    )
    rows = torch.arange(BATCH) % len(image)
    base = base_samples(SAMPLES, 0)

    def answer() -> torch.Tensor:
        x = normalise(image[rows], valid[rows], normalisation, scale)
        return head.sample(network.embed(x), base)

    seconds = []
    with torch.inference_mode():
        for _ in range(REPEATS):
            began = time.process_time()
            drawn = answer()
            seconds.append((time.process_time() - began) / BATCH)
    return drawn[: min(len(image), BATCH)].numpy(), float(np.median(seconds))


def fit(
    given: Arrays,
    samples: npt.NDArray[np.float32] | None,
    asked: argparse.Namespace,
    sims: SimsConfig,
    config: FitConfig,
) -> tuple[Answers, Answers, float]:
    best, sampled, evaluations = Answers([], [], []), Answers([], [], []), 0.0
    band = slice(BAND, BAND + 1)
    level = sky_level(np.array([sims.conditions[name].sky_brightness for name in sims.bands]), sims.pixel_scale)
    for index, truth in enumerate(given["truth"]):
        stamp = (middle(given[name][index, band], asked.pixels) for name in ("image", "ivar", "mask"))
        seen = observe(
            *stamp, bands=sims.bands[band], pixel_scale=sims.pixel_scale, seeing=given["seeing"][index, band],
            sky_level=level[band],
        )  # fmt: skip
        began = time.process_time()
        found = fit_map(seen, config, samples=None if samples is None else samples[index], seed=index)
        best.add(truth[0], *found.values["theta_E"], time.process_time() - began)
        told = (
            f"lens {index}: theta_E {truth[0]:.3f}, most probable {found.values['theta_E'][0]:.3f} "
            f"± {found.values['theta_E'][1]:.3f} in {best.seconds[-1]:.1f} s, chi2 {found.chi2:.0f} of "
            f"{found.pixels}, {found.agreeing} of {found.starts} starts agree"
        )
        if index < asked.sampled:
            began = time.process_time()
            drawn = fit_nuts(config, found, seed=index)
            sampled.add(truth[0], *drawn.values["theta_E"], time.process_time() - began + best.seconds[-1])
            evaluations = drawn.evaluations / (time.process_time() - began)
            told += (
                f"; NUTS {drawn.values['theta_E'][0]:.3f} ± {drawn.values['theta_E'][1]:.3f} in "
                f"{sampled.seconds[-1]:.0f} s, {drawn.evaluations} gradients, R-hat {drawn.r_hat.max():.3f}, "
                f"{drawn.effective_draws.min():.0f} effective draws, {drawn.divergences} divergences, "
                f"{'converged' if drawn.converged else 'not converged'}"
            )
        print(told, flush=True)
        if asked.pictures is not None:
            for name, made in (
                ("map", resimulate(found.observation, config, fit=found)),
                *([] if samples is None else [("network", resimulate(seen, config, samples=samples[index]))]),
            ):
                png = resimulation_png(made, f"lens {index}, {name}; true theta_E {truth[0]:.3f} arcsec")
                (Path(asked.pictures) / f"{index}-{name}.png").write_bytes(png)
    return best, sampled, evaluations


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="?")
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--sampled", type=int, default=3)
    parser.add_argument("--package")
    parser.add_argument("--pixels", type=int, default=40)
    parser.add_argument("--pictures")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sims, config = load_sims(SIMULATION), load_fit()
    assert isinstance(sims, SimsConfig)
    given = lenses(asked.pools, sims, asked.number, asked.pixels)
    samples, seconds = ask(given, asked.package, sims.pixel_scale)
    print(f"network ({asked.package or 'random weights'}): {1000 * seconds:.3f} ms a lens, {SAMPLES} samples each")
    trained = samples if asked.package else None
    best, sampled, evaluations = fit(given, trained, asked, sims, config)
    print(f"{evaluations:.0f} gradients of the likelihood a CPU second, one at a time, {asked.pixels} px")
    print("               n   bias %  scatter%  worst %   std %  covers68%  seconds")
    if trained is not None:
        network = Answers([], [], [])
        for truth, row in zip(given["truth"], trained, strict=True):
            network.add(truth[0], float(row[:, 0].mean()), float(row[:, 0].std()), seconds)
        print(network.line("network"))
    print(best.line("MAP"))
    if sampled.seconds:
        print(sampled.line("MAP + NUTS"))
        print(f"the network is {np.median(sampled.seconds) / seconds:,.0f} times as fast as MAP and NUTS")
    print(f"the network is {np.median(best.seconds) / seconds:,.0f} times as fast as the MAP alone")


if __name__ == "__main__":
    main()
