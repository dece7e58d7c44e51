"""Trains one small network once for each way of telling it what is invalid, all else equal; for `masked.py`.

    python tests/benchmarks/artefacts/masked_networks.py --pools runs/pools --out runs/masked

Three blocks (`ground-hosts`) on all kinds of non-lenses; the network is told what is invalid by

- none: not at all, a gap is a patch at the background's level
- share: a channel with the share of bands that are valid, as in the shipped packages
- bands: a channel of validity for each band
- partial: the first convolution is renormalised by the share (`Stem`), which no other layer sees
- share-much, bands-much: more missing bands and wider gaps in training
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.config import find, load
from pipeline.models.normalisation import NormalisationConfig
from pipeline.models.publish import write_toml
from pipeline.train.config import TrainConfig
from pipeline.train.data_config import DataConfig
from workflows.train_member import train_member

AUGMENT = {"dropout_share": 0.05, "gap_share": 0.2, "gap": 4.0, "edge_share": 0.15}
MUCH = {"dropout_share": 0.15, "gap_share": 0.35, "gap": 6.0, "edge_share": 0.15}

VARIANTS: dict[str, tuple[str, int, dict[str, float]]] = {
    "none": ("none", 0, AUGMENT),
    "share": ("share", 0, AUGMENT),
    "bands": ("bands", 0, AUGMENT),
    "partial": ("share", 1, AUGMENT),
    "share-much": ("share", 0, MUCH),
    "bands-much": ("bands", 0, MUCH),
}
"""Validity channels, how many of them renormalise the first convolution, and augmentation."""


def varied(name: str, pools: Path, steps: int, seed: int) -> TrainConfig:
    """The training config of one variant."""
    validity, masks, augment = VARIANTS[name]
    base = load(TrainConfig, find("ground-hosts", "training"))
    sources: list[dict[str, Any]] = [
        {"kind": "pools", "pattern": f"{pools}/train/pool-*.npz", "limit": 16000},
        {"kind": "pools", "pattern": f"{pools}/weak/pool-*.npz", "limit": 6000, "weight": 0.5},
        {"kind": "pools", "pattern": f"{pools}/faint/pool-*.npz", "limit": 4000},
    ]
    data = DataConfig.model_validate(
        {"train": sources, "validation": [f"{pools}/validation/pool-*.npz"], "validation_limit": 1500}
    )
    return base.model_copy(
        update={
            "name": f"masked_{name}_{seed}".replace("-", "_"),
            "seed": seed,
            "data": data,
            "normalisation": NormalisationConfig.model_validate({"validity": validity}),
            "network": base.network.model_copy(update={"arguments": {**base.network.arguments, "masks": masks}})
            if masks
            else base.network,
            "augment": base.augment.model_copy(update=augment),
            "optimiser": base.optimiser.model_copy(update={"steps": steps}),
            "run": base.run.model_copy(update={"validation_steps": steps}),
        }
    )


def main() -> None:
    """Train what is asked for and is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, default=Path("runs/pools"))
    parser.add_argument("--out", type=Path, default=Path("runs/masked"))
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.only:
            config = varied(name, options.pools, options.steps, seed)
            folder = options.out / config.name
            ensemble = options.out / f"{name}-{seed}.toml"
            if ensemble.is_file():
                continue
            result = train_member(config, folder, folder / "package", "masked_networks.py", resume=True)
            write_toml(
                ensemble,
                {"name": name, "description": "one network", "members": [{"package": f"{config.name}/package"}]},
            )
            print(name, seed, result, flush=True)


if __name__ == "__main__":
    main()
