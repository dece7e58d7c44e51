"""Logits of cutouts: alignment, validity, and the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.flags import PixelFlag, mask_value
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.normalisation import MinMaxConfig
from pipeline.models.package import ModelPackage
from pipeline.scan.score import ask_members, score_cutouts
from pipeline.scan_config import ScoreConfig
from tests.cards import card

BANDS = ("g", "r", "i")


def member(architecture: str, bands: tuple[str, ...] = BANDS) -> ModelPackage:
    torch.manual_seed(5)
    network = build(architecture, 2 * len(bands) + 1, {"width": 8}).eval()
    calibration = Calibration(slope=1, offset=0, prior=0.5, n_lenses=1, n_others=1, fitted_on="")
    own = card(name=architecture, architecture=architecture, bands=bands)
    return ModelPackage(Path(), own, "none", calibration, network=network)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    members = tuple(member(name) for name in ("cnn", "multiscale", "preact_resnet"))
    return Ensemble("test", members, (1.0,) * len(members), "mean_log_odds")


def cutouts(n: int, size: int = 78, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10, (n, 3, size, size)).astype(np.float32)


def score(image, ensemble, *, ivar=None, mask=None, batch=8, scale=0.262, bands=BANDS, **keys):
    config = ScoreConfig(batch=batch, device="cpu", **keys)
    return score_cutouts(image, ivar, mask, pixel_scale=scale, bands=bands, ensemble=ensemble, config=config)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_call_gives_the_same_bytes(ensemble: Ensemble, dtype: str):
    image = cutouts(21)
    first = score(image, ensemble, dtype=dtype)
    assert first.shape == (21, 3)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.tobytes() == score(image, ensemble, dtype=dtype).tobytes()


def test_a_row_does_not_depend_on_its_neighbours(ensemble: Ensemble):
    image = cutouts(16)
    together = score(image, ensemble)
    others = np.concatenate([image[:3], np.full_like(image[:5], np.nan), image[8:9] * 1e6, image[9:]])
    changed = score(others, ensemble)
    assert together[:3].tobytes() == changed[:3].tobytes()
    assert together[9:].tobytes() == changed[9:].tobytes()
    # One more or less in the call moves nothing either, since the batch is always full.
    assert together[:5].tobytes() == score(image[:5], ensemble).tobytes()


def test_rows_follow_the_input_across_batches(ensemble: Ensemble):
    image = cutouts(19)
    order = np.random.default_rng(2).permutation(19)
    np.testing.assert_allclose(score(image[order], ensemble), score(image, ensemble)[order], atol=1e-5)


class Corners(torch.nn.Module):
    """The mean of the first channel at some corners of a stamp."""

    def __init__(self, *corners: tuple[int, int]) -> None:
        super().__init__()
        self.corners = corners

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return torch.stack([channels[:, 0, y, x] for y, x in self.corners]).mean(0)


@pytest.mark.parametrize(
    ("views", "corners"), [(1, [(0, 0)]), (2, [(0, 0), (-1, -1)]), (4, [(0, 0), (0, -1), (-1, -1), (-1, 0)])]
)
def test_a_logit_is_the_mean_over_quarter_turns_of_the_stamp(ensemble: Ensemble, views: int, corners):
    first = ensemble.members[0]
    one = replace(ensemble, members=(replace(first, network=Corners((0, 0))),), weights=(1.0,), views=views)
    all_at_once = replace(one, members=(replace(first, network=Corners(*corners)),), views=1)
    image = cutouts(11)
    np.testing.assert_allclose(score(image, one), score(image, all_at_once), rtol=1e-6)


def test_bands_are_taken_by_name(ensemble: Ensemble):
    image = cutouts(4)
    extra = np.concatenate([image[:, [2]], cutouts(4, seed=9)[:, :1], image[:, [0]], image[:, [1]]], axis=1)
    np.testing.assert_array_equal(score(extra, ensemble, bands=("i", "H", "g", "r")), score(image, ensemble))


def test_a_missing_band_is_a_mismatch(ensemble: Ensemble):
    with pytest.raises(ModelMismatch, match="i is missing"):
        score(cutouts(2)[:, :2], ensemble, bands=("g", "r"))


def test_no_stamps_give_no_rows(ensemble: Ensemble):
    assert score(cutouts(0), ensemble).shape == (0, 3)


LOST = ["band of NaN", "zero weights", "flagged", "constant band", "no centre", "mostly gone"]


def lose(why: str, row: int, band: int, image: np.ndarray, ivar: np.ndarray, mask: np.ndarray) -> None:
    if why == "band of NaN":
        image[row, band] = np.nan
    elif why == "zero weights":
        ivar[row, band] = 0
    elif why == "flagged":
        mask[row, band] = mask_value(PixelFlag.TRAIL, found=True)
    elif why == "constant band":
        image[row, band] = 0.0
    elif why == "no centre":
        image[row, band, 30:48, 30:48] = np.nan
    else:
        image[row, band, :, :45] = np.nan


@pytest.mark.parametrize("why", LOST)
def test_a_stamp_that_has_lost_one_band_is_scored_as_if_the_band_were_missing(ensemble: Ensemble, why: str):
    image = cutouts(3)
    ivar = np.ones_like(image)
    mask = np.zeros(image.shape, np.uint32)
    missing = image.copy()
    missing[1, 1] = np.nan
    expected = score(missing, ensemble)
    lose(why, 1, 1, image, ivar, mask)
    logits = score(image, ensemble, ivar=ivar, mask=mask)
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, expected)
    assert (logits[1] != score(cutouts(3), ensemble)[1]).all()


@pytest.mark.parametrize("why", LOST)
def test_what_has_lost_more_bands_than_may_be_is_nan_and_leaves_the_rest(ensemble: Ensemble, why: str):
    image = cutouts(3)
    ivar = np.ones_like(image)
    mask = np.zeros(image.shape, np.uint32)
    lose(why, 1, 0, image, ivar, mask)
    assert np.isnan(score(image, ensemble, ivar=ivar, mask=mask, max_lost_bands=0)[1]).all()
    lose(why, 1, 2, image, ivar, mask)
    logits = score(image, ensemble, ivar=ivar, mask=mask)
    assert np.isnan(logits[1]).all()
    assert np.isfinite(logits[[0, 2]]).all()
    assert np.isfinite(score(image, ensemble, ivar=ivar, mask=mask, max_lost_bands=2)).all()


def test_a_stamp_that_is_all_gap_has_no_score_however_many_bands_may_be_lost(ensemble: Ensemble):
    image = cutouts(2)
    mask = np.zeros(image.shape, np.uint32)
    mask[1] = mask_value(PixelFlag.CHIP_GAP, found=False)
    logits = score(image, ensemble, mask=mask, max_lost_bands=9)
    assert np.isnan(logits[1]).all()
    assert np.isfinite(logits[0]).all()


def test_a_member_of_one_band_needs_it():
    only = Ensemble("one", (member("cnn", ("r",)),), (1.0,), "mean_log_odds")
    image = cutouts(2)
    image[1, 1] = np.nan
    image[0, [0, 2]] = np.nan
    logits = score(image, only)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_a_member_to_whom_an_invalid_pixel_is_the_darkest_needs_all_its_bands(ensemble: Ensemble):
    first = ensemble.members[0]
    network = build("cnn", 3, {"width": 8}).eval()
    card = first.card.model_copy(update={"normalisation": MinMaxConfig(kind="min_max")})
    darkest = replace(ensemble, members=(replace(first, card=card, network=network),), weights=(1.0,))
    image = cutouts(2)
    image[1, 2] = np.nan
    logits = score(image, darkest)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_flags_that_are_not_fatal_change_nothing(ensemble: Ensemble):
    image = cutouts(2)
    mask = np.full(image.shape, mask_value(PixelFlag.INTERPOLATED), np.uint32)
    np.testing.assert_array_equal(score(image, ensemble, mask=mask), score(image, ensemble))


def test_a_masked_pixel_is_not_read(ensemble: Ensemble):
    image = cutouts(2)
    mask = np.zeros(image.shape, np.uint32)
    mask[:, :, 20:24, 50:70] = mask_value(PixelFlag.SATURATED)
    spoilt = np.where(mask > 0, np.float32(1e8), image)
    np.testing.assert_array_equal(score(spoilt, ensemble, mask=mask), score(image, ensemble, mask=mask))


def test_a_small_stamp_is_padded_and_scored(ensemble: Ensemble):
    assert np.isfinite(score(cutouts(2, size=40), ensemble, scale=0.3)).all()


def test_shapes_that_disagree_are_refused(ensemble: Ensemble):
    with pytest.raises(ValueError, match="expected"):
        score(cutouts(2)[:, :2], ensemble)
    with pytest.raises(ValueError, match="ivar has shape"):
        score(cutouts(2), ensemble, ivar=np.ones((2, 3, 5, 5)))


def test_cuda_asked_for_and_not_there_is_a_config_error(ensemble: Ensemble):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        score_cutouts(
            cutouts(1), None, None, pixel_scale=0.3, bands=BANDS, ensemble=ensemble, config=ScoreConfig(device="cuda")
        )


def familiar(ensemble: Ensemble, width: int | None = None) -> Ensemble:
    """The same members, one of which knows how far a stamp lies from the origin of its embedding."""
    first, *others = ensemble.members
    found: list[torch.Tensor] = []
    hook = first.network.head.hidden.register_forward_hook(lambda *given: found.append(given[-1]))
    score(cutouts(2), ensemble)
    hook.remove()
    d = width or found[0].shape[1]
    known = Familiarity(torch.zeros(1, d), torch.eye(d), np.array([0.0, 1.0], np.float32), "")
    return replace(ensemble, members=(replace(first, familiarity=known), *others))


def test_a_distance_comes_with_the_same_logits_and_only_where_a_member_has_one(ensemble: Ensemble):
    image = cutouts(11)
    image[4] = np.nan
    both = familiar(ensemble)
    keys = {"pixel_scale": 0.262, "bands": BANDS, "config": ScoreConfig(batch=8, device="cpu")}
    answers = ask_members(image, None, None, ensemble=both, **keys)
    assert answers.logits.tobytes() == score(image, ensemble).tobytes()
    assert np.isnan(answers.distances[:, 1:]).all()
    assert np.isnan(answers.distances[4, 0])
    network = both.members[0].network
    seen = []
    hook = network.head.hidden.register_forward_hook(lambda *given: seen.append(given[-1]))
    score(image, ensemble)
    hook.remove()
    expected = torch.relu(torch.cat(seen)).norm(dim=1).numpy()[:11]
    np.testing.assert_allclose(np.delete(answers.distances[:, 0], 4), np.delete(expected, 4), rtol=1e-5)


def test_a_familiarity_of_another_network_is_refused(ensemble: Ensemble):
    with pytest.raises(ModelMismatch, match="its familiarity in 3"):
        score(cutouts(2), familiar(ensemble, 3))
