"""Where networks look: by hand on a network of one's own, and on an arc that the shipped ensemble is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch
from pipeline.flags import PixelFlag
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.models.layers import Classifier, Network
from pipeline.models.saliency import ensemble_saliency, saliency

BANDS = ("g", "r", "i")


class Sum(Classifier):
    """The logit is the weighted sum of all cells."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def embed(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.weight * embedding.sum(1)


class Means(Network):
    """Means over 2 x 2 px, then over 2 x 2 of those."""

    def __init__(self, weight: float = 1.0, steps: int = 2) -> None:
        super().__init__()
        self.steps = nn.Sequential(*(nn.AvgPool2d(2) for _ in range(steps)))
        self.head = Sum(weight)

    def encode(self, x: Tensor) -> Tensor:
        answer: Tensor = self.steps(x)
        return answer


def test_a_map_is_the_geometric_mean_of_what_the_grids_give_the_logit() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 4, 4] = 1.0
    (found,) = saliency(Means().eval(), x)
    # Cells of 2 px: only that of pixels 4 and 5. Cells of 4 px: only that of pixels 4 to 7. Bilinear interpolation
    # spreads each by triangles about its centre, 4.5 and 5.5.
    along = np.arange(16)
    fine, coarse = np.clip(1 - np.abs(along - 4.5) / 2, 0, 1), np.clip(1 - np.abs(along - 5.5) / 4, 0, 1)
    line = np.sqrt(fine * coarse)
    expected = np.outer(line, line)
    np.testing.assert_allclose(found.numpy(), expected / expected.max(), atol=1e-6)


def test_what_speaks_against_a_lens_is_nowhere_salient() -> None:
    assert not saliency(Means(weight=-1.0).eval(), torch.ones(2, 1, 16, 16)).any()


def test_no_stamps_give_no_maps() -> None:
    assert saliency(Means().eval(), torch.ones(0, 1, 16, 16)).shape == (0, 16, 16)


def test_cells_that_unpadded_convolutions_lost_are_not_stretched_over() -> None:
    network = Means()
    network.steps = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, bias=False))
    nn.init.ones_(network.steps[2].weight)
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 14, 14] = 1.0
    (found,) = saliency(network.eval(), x)
    assert divmod(int(found.argmax()), 32) == (14, 14)


def test_a_network_without_a_coarser_map_is_refused_by_name() -> None:
    with pytest.raises(ModelMismatch, match="Means has no feature map with cells of 4 px"):
        saliency(Means(steps=1).eval(), torch.ones(1, 1, 16, 16))


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        saliency(Means().train(), torch.ones(1, 1, 16, 16))


@pytest.fixture(scope="module")
def ground() -> Ensemble:
    return load_ensemble("ground")


def stamp(side: int, scale: float, *, north: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A red galaxy with a blue half ring of 1.5 arcsec, and where that has more than half of its peak."""
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * scale
    radius = np.hypot(x, y)
    half = (y > 0) if north else (y < 0)
    arc = np.exp(-(((radius - 1.5) / 0.35) ** 2) / 2) * half
    galaxy = np.exp(-((radius / 0.7) ** 2) / 2)
    noise = np.random.default_rng(5).normal(0, 1.5, (3, side, side)) * scale / 0.3
    planes = np.stack([150 * galaxy + 75 * arc, 400 * galaxy + 70 * arc, 600 * galaxy + 65 * arc]) * (scale / 0.3) ** 2
    return (planes + noise).astype(np.float32), arc > 0.5


def test_the_shipped_ensemble_looks_at_the_arc_and_not_at_its_mirror_image(ground: Ensemble) -> None:
    both = [stamp(64, 0.3, north=north) for north in (True, False)]
    maps = ensemble_saliency(np.stack([s[0] for s in both]), None, None, pixel_scale=0.3, bands=BANDS, ensemble=ground)
    assert (maps.shape, maps.dtype) == ((2, 64, 64), np.float32)
    assert 0 <= maps.min() < maps.max() <= 1
    for found, (_, arc), (_, mirror) in zip(maps, both, both[::-1], strict=True):
        assert found[arc].sum() > 10 * arc.mean() * found.sum()
        assert found[arc].sum() > 2 * found[mirror].sum()


def test_a_saliency_comes_back_on_the_cutouts_own_grid(ground: Ensemble) -> None:
    coarse, fine = (
        ensemble_saliency(stamp(side, scale)[0][None], None, None, pixel_scale=scale, bands=BANDS, ensemble=ground)[0]
        for side, scale in ((64, 0.3), (120, 0.2))
    )
    assert fine.shape == (120, 120)
    centres = [
        [
            float((m * (np.arange(len(m)) - (len(m) - 1) / 2)[shape]).sum() / m.sum()) * scale
            for shape in (np.s_[:, None], np.s_[:])
        ]
        for m, scale in ((coarse, 0.3), (fine, 0.2))
    ]
    assert np.abs(np.subtract(*centres)).max() < 0.5
    assert not fine[:10].any(), "beyond 19.2 arcsec no member reads"


def test_a_stamp_without_a_valid_pixel_has_no_saliency_and_one_without_a_band_that_of_the_others(
    ground: Ensemble,
) -> None:
    image = np.stack([stamp(64, 0.3)[0]] * 3)
    image[1, 0] = np.nan
    mask = np.zeros(image.shape, np.uint32)
    mask[2] = int(PixelFlag.SATURATED) << 16
    keys = {"pixel_scale": 0.3, "bands": BANDS, "ensemble": ground}
    found = ensemble_saliency(image, None, mask, **keys)
    assert np.isnan(found[2]).all()
    assert found[1].max() > 0
    assert not np.allclose(found[1], found[0], atol=0.05)
    np.testing.assert_allclose(found[0], ensemble_saliency(image[:1], None, None, **keys)[0], atol=1e-4)


def test_members_count_as_much_as_in_the_score(ground: Ensemble) -> None:
    image = stamp(64, 0.3)[0][None]
    keys = {"pixel_scale": 0.3, "bands": BANDS}
    weights = ground.combination.weights or {}
    alone = [
        ensemble_saliency(
            image,
            None,
            None,
            ensemble=replace(
                ground,
                members=(member,),
                weights=(1.0,),
                combination=type(ground.combination)(weights={member.name: 1.0}),
            ),
            **keys,
        )
        for member in ground.members
    ]
    expected = sum(weights[name] * found for name, found in zip(ground.names, alone, strict=True)) / sum(
        weights.values()
    )
    np.testing.assert_allclose(ensemble_saliency(image, None, None, ensemble=ground, **keys), expected, atol=1e-5)


def test_scoring_before_leaves_nothing_that_a_saliency_trips_over(ground: Ensemble) -> None:
    from pipeline.scan.score import score_cutouts
    from pipeline.scan_config import ScoreConfig

    keys = {"pixel_scale": 0.25, "bands": BANDS, "ensemble": ground}
    image = stamp(80, 0.25)[0][None]
    score_cutouts(image, None, None, config=ScoreConfig(batch=1, device="cpu"), **keys)
    with torch.inference_mode():
        assert ensemble_saliency(image, None, None, **keys).max() > 0
