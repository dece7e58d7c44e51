"""Whether networks look at arcs: the share of their saliency that lies on the arcs of injected lenses.

    python tests/benchmarks/bench_saliency.py "runs/pools/injected-validation/pool-*.npz" [--number 300]

An arc's footprint is where it has more than half of its peak, widened by the seeing. Beside the share, what the same
share of the area would hold by chance (1), and what it would hold if each ring about the centre had its saliency
evenly (again 1): arcs are near the centre, and so is everything. Then how often the highest pixel is in the footprint,
and stamps a second. For comparison: the light of the bluest band, a Gaussian in the middle, the arc's own light, and
Grad-CAM of each encoder's answer and of the map on a quarter of the grid.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import binary_dilation

from pipeline.flags import fatal
from pipeline.io.pools import opened_pool, pools_of
from pipeline.models.ensemble import load_ensemble
from pipeline.models.layers import Network
from pipeline.models.normalise import normalise
from pipeline.models.resample import resample
from pipeline.models.saliency import _feature_maps, _on_stamp, ensemble_saliency, saliency

CLEAR_ARC_SNR = 15.0

Maps = npt.NDArray[np.floating]


def lenses(pattern: str, number: int) -> dict[str, npt.NDArray[Any]]:
    """The first lenses of a pool with clear arcs."""
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for path in pools_of([pattern]):
        with opened_pool(path) as pool:
            chosen = np.flatnonzero((pool.whole("label") == 1) & (pool.whole("arc_snr") > CLEAR_ARC_SNR))
            names = ("image", "ivar", "mask", "arc", "seeing")
            parts.append({name: pool.whole(name)[chosen] for name in names} | {"scale": pool.whole("pixel_scale")})
    joined = {name: np.concatenate([part[name] for part in parts])[:number] for name in parts[0] if name != "scale"}
    return joined | {"scale": parts[0]["scale"]}


def footprints(arc: Maps, seeing: Maps, pixel_scale: float) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[-9:10, -9:10]
    discs = [y**2 + x**2 <= (float(width.max()) / pixel_scale) ** 2 for width in seeing]
    return np.stack([binary_dilation(one > 0.5 * one.max(), disc) for one, disc in zip(arc, discs, strict=True)])


def tell(name: str, maps: Maps, footprint: npt.NDArray[np.bool_]) -> None:
    maps = np.nan_to_num(maps.astype(np.float64))
    side = maps.shape[-1]
    rings = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)).astype(int).ravel()
    even = [np.bincount(rings, one.ravel()) / np.bincount(rings) for one in footprint]
    total = np.maximum(maps.sum((1, 2)), 1e-30)
    share = (maps * footprint).sum((1, 2)) / total
    by_rings = np.array([np.bincount(rings, one.ravel()) @ part for one, part in zip(maps, even, strict=True)]) / total
    highest = maps.reshape(len(maps), -1).argmax(1)
    hit = footprint.reshape(len(maps), -1)[np.arange(len(maps)), highest] & (maps.max((1, 2)) > 0)
    chance, ring = share.mean() / footprint.mean(), share.mean() / max(by_rings.mean(), 1e-30)
    print(f"{name:44s} {share.mean():6.3f} {chance:10.2f} {ring:8.2f} {hit.mean():8.2f}", flush=True)


def grad_cam(network: Network, stride: int, x: torch.Tensor) -> torch.Tensor:
    """Selvaraju et al. 2017, equations 1 and 2, at the last map of a stride."""
    given = x.clone().requires_grad_(True)
    with _feature_maps(network, x.shape[-2]) as maps:
        logits = network(given)
    (gradient,) = torch.autograd.grad(logits.sum(), [maps[stride]])
    cells = (gradient.mean((-2, -1), keepdim=True) * maps[stride].detach()).sum(1).clamp_min(0)
    return _on_stamp(cells, stride, (x.shape[-2], x.shape[-1]))


def batched(answer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[Maps, float]:
    start = time.perf_counter()
    maps = torch.cat([answer(part) for part in torch.split(x, 64)]).numpy()
    return maps, len(x) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools")
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--number", type=int, default=300)
    asked = parser.parse_args()
    ensemble = load_ensemble(asked.ensemble)
    given = lenses(asked.pools, asked.number)
    scale = float(given["scale"])
    footprint = footprints(given["arc"], given["seeing"], scale)
    print(
        f"{len(footprint)} lenses with an arc S/N above {CLEAR_ARC_SNR:g}; "
        f"footprints: {footprint.mean():.4f} of the area"
    )
    print(f"{'':44s}  share  by chance  by ring  highest")
    image, side = given["image"], footprint.shape[-1]
    valid = np.isfinite(image) & (given["ivar"] > 0) & ~fatal(given["mask"])
    tell("light of the first band", np.where(valid, image, 0)[:, 0].clip(0), footprint)
    radius = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) * scale
    tell(
        "a Gaussian of 1.5 arcsec in the middle",
        np.exp(-((radius / 1.5) ** 2) / 2)[None].repeat(len(footprint), 0),
        footprint,
    )
    tell("the arc", given["arc"], footprint)
    for member in ensemble.members:
        card = member.card
        if (card.size_pix, card.pixel_scale) != (side, scale):
            print(f"{member.name} reads another grid and is measured in the ensemble alone")
            continue
        order = [ensemble.bands().index(band) for band in card.bands]
        pixels = torch.from_numpy(np.where(valid, image, 0)[:, order].astype(np.float32))
        stamps, kept, _ = resample(pixels, torch.from_numpy(valid[:, order]), scale, side, scale)
        x = normalise(stamps, kept, card.normalisation, scale)
        for stride in (16, 4):
            found, _ = batched(partial(grad_cam, member.network, stride), x)
            tell(f"{member.name}: Grad-CAM, cells of {stride} px", found, footprint)
        found, speed = batched(partial(saliency, member.network), x)
        tell(f"{member.name}: saliency, {speed:.0f}/s", found, footprint)
    start = time.perf_counter()
    found = ensemble_saliency(
        image, given["ivar"], given["mask"], pixel_scale=scale, bands=ensemble.bands(), ensemble=ensemble
    )
    speed = len(image) / (time.perf_counter() - start)
    tell(f"{ensemble.name}: saliency, {speed:.0f}/s", found, footprint)


if __name__ == "__main__":
    main()
