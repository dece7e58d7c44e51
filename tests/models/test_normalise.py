"""Channels that a network sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from pipeline.config import StrictModel, validate
from pipeline.errors import ConfigError
from pipeline.models.normalisation import MinMaxConfig, Normalisation, NormalisationConfig
from pipeline.models.normalise import normalise

CONFIG = NormalisationConfig()


def stamps(n: int = 4, size: int = 64, seed: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    galaxy = 500 * np.exp(-np.hypot(x, y) / 3)
    colours = np.array([0.5, 1.0, 1.5])[:, None, None]
    return torch.from_numpy((rng.normal(0, 10, (n, 3, size, size)) + colours * galaxy).astype(np.float32))


def everywhere(image: torch.Tensor) -> torch.Tensor:
    return torch.ones(image.shape, dtype=torch.bool)


def test_one_gain_on_all_bands_and_a_pedestal_change_nothing():
    image = stamps()
    before = normalise(image, everywhere(image), CONFIG, 0.3)
    after = normalise(image * 7.0 + 3.0, everywhere(image), CONFIG, 0.3)
    assert torch.allclose(before, after, atol=2e-4)


def test_the_gain_of_one_band_leaves_its_faint_stretch():
    image = stamps()
    louder = image.clone()
    louder[:, 0] *= 3
    faint = [normalise(i, everywhere(i), CONFIG, 0.3)[:, 0] for i in (image, louder)]
    assert torch.allclose(faint[0], faint[1], atol=1e-4)


def test_faint_stretch_is_asinh_of_the_signal_to_noise_by_hand():
    image = stamps(1)
    channels = normalise(image, everywhere(image), CONFIG, 0.3)
    frame = np.zeros((64, 64), bool)
    frame[::2, ::2] = True
    frame[8:-8, 8:-8] = False
    values = np.sort(image[0, 1].numpy()[frame])
    median, low = values[round((values.size - 1) * 0.5)], values[round((values.size - 1) * 0.158655254)]
    expected = np.arcsinh((image[0, 1].numpy() - median) / (2.0 * (median - low))) / (10 * np.arcsinh(0.5))
    np.testing.assert_allclose(channels[0, 1].numpy(), expected, atol=1e-5)


def test_invalid_pixels_are_zero_whatever_stands_there_and_the_last_channel_tells():
    image = stamps()
    valid = everywhere(image)
    valid[:, 1, 10:20, 30:40] = False
    answers = []
    for value in (float("nan"), 1e9, 0.0):
        spoilt = torch.where(valid, image, value)
        answers.append(normalise(spoilt, valid, CONFIG, 0.3))
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert (answers[0][:, [1, 4], 10:20, 30:40] == 0).all()
    assert torch.allclose(answers[0][:, 6, 10:20, 30:40], torch.tensor(2 / 3))
    assert (answers[0][:, 6, :10] == 1).all()


def test_a_stamp_without_a_valid_pixel_is_all_zero_and_finite():
    image = torch.full((2, 3, 64, 64), float("nan"))
    channels = normalise(image, torch.isfinite(image), CONFIG, 0.3)
    assert torch.equal(channels, torch.zeros(2, 7, 64, 64))


@pytest.mark.parametrize("odd", ["flat", "spike", "frame gone"])
def test_odd_stamps_stay_finite(odd: str):
    image = stamps(1)
    valid = everywhere(image)
    if odd == "flat":
        image[:] = 5.0
    elif odd == "spike":
        image[:, :, 32, 32] = 1e12
    else:
        valid[:, :, :8] = valid[:, :, -8:] = False
        valid[:, :, :, :8] = valid[:, :, :, -8:] = False
    assert torch.isfinite(normalise(image, valid, CONFIG, 0.3)).all()


def test_neighbours_in_the_batch_do_not_matter():
    image = stamps(4)
    valid = everywhere(image)
    valid[2] = False
    together = normalise(image, valid, CONFIG, 0.3)
    alone = torch.cat([normalise(image[i : i + 1], valid[i : i + 1], CONFIG, 0.3) for i in range(4)])
    assert torch.equal(together, alone)


def test_min_max_takes_each_band_of_each_stamp_to_its_own_extremes():
    image = stamps(2)
    channels = normalise(image, everywhere(image), MinMaxConfig(kind="min_max"), 0.3)
    assert channels.shape == image.shape
    for stamp in range(2):
        for band in range(3):
            values = image[stamp, band].numpy().astype(np.float64)
            expected = (values - values.min()) / (values.max() - values.min())
            np.testing.assert_allclose(channels[stamp, band].numpy(), expected, atol=1e-6)


def test_min_max_looks_at_valid_pixels_alone_and_gives_zero_elsewhere():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(1, 3, 1, 1)
    valid = everywhere(image)
    image[0, 0, 3, 3], valid[0, 0, 3, 3] = float("nan"), False
    image[0, 1] = 7.0
    valid[0, 2] = False
    channels = normalise(image, valid, MinMaxConfig(kind="min_max"), 0.3)
    expected = torch.arange(16.0).reshape(4, 4) / 14
    expected[3, 3] = 0
    assert torch.allclose(channels[0, 0], expected)
    assert torch.equal(channels[0, 1:], torch.zeros(2, 4, 4))


def test_the_kind_chooses_the_normalisation_and_none_means_adaptive_asinh():
    chosen = TypeAdapter(Normalisation)
    assert chosen.validate_python({}) == CONFIG
    assert chosen.validate_python({"kind": "adaptive_asinh", "floor_sigma": 4}).floor_sigma == 4
    assert chosen.validate_python({"kind": "min_max"}) == MinMaxConfig(kind="min_max")
    with pytest.raises(ValueError, match='"adaptive_asinh" or "min_max"'):
        chosen.validate_python({"kind": "zscale"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "min_max", "floor_sigma": 3.0}, "known keys: kind"),
        ({"floor_sigm": 3.0}, 'did you mean "floor_sigma"'),
    ],
)
def test_a_key_of_another_kind_is_told_the_keys_of_its_own(values: dict[str, object], message: str):
    class Card(StrictModel):
        normalisation: Normalisation = CONFIG

    with pytest.raises(ConfigError, match=message):
        validate(Card, {"normalisation": values}, "card.toml")


@pytest.mark.parametrize("config", [CONFIG, MinMaxConfig(kind="min_max")])
def test_every_channel_has_a_group(config: NormalisationConfig | MinMaxConfig):
    assert len(config.groups(4)) == config.channels(4)


def test_a_galaxy_of_one_colour_vanishes_from_the_differences_and_a_blue_arc_stays():
    config = NormalisationConfig(difference=True)
    image = stamps(n=2, seed=3)
    y, x = np.mgrid[:64, :64] - 31.5
    arc = torch.from_numpy((80 * np.exp(-(((np.hypot(x, y) - 12) / 1.5) ** 2)) * (x > 6)).astype(np.float32))
    image[1, 0] += arc
    left = normalise(image, everywhere(image), config, 0.3)[:, 6:8]
    ring = torch.from_numpy((np.hypot(x, y) < 8) & (np.hypot(x, y) > 4))
    assert float(left[0, 0][ring].mean().abs()) < 0.02
    assert float(left[1, 0][arc > 40].mean()) > 5 * float(left[0, 0][arc > 40].mean().abs())


def test_differences_do_not_depend_on_the_gains_of_the_bands():
    config = NormalisationConfig(difference=True)
    image = stamps(seed=4)
    louder = image * torch.tensor([0.5, 1.3, 2.0])[:, None, None]
    before, after = (normalise(i, everywhere(i), config, 0.3)[:, 6:8] for i in (image, louder))
    assert torch.allclose(before, after, atol=2e-4)


def test_a_difference_with_an_invalid_band_is_zero():
    config = NormalisationConfig(difference=True)
    image, valid = stamps(), everywhere(stamps())
    valid[:, 2, :, :20] = False
    assert float(normalise(image, valid, config, 0.3)[:, 6:8, :, :20].abs().max()) == 0


def test_a_galaxy_with_a_gap_through_its_core_in_one_band_still_vanishes_from_the_differences():
    config = NormalisationConfig(difference=True)
    image, valid = stamps(seed=5), everywhere(stamps())
    valid[:, 2, 30:34] = False
    left = normalise(image, valid, config, 0.3)[:, 6:8]
    y, x = np.mgrid[:64, :64] - 31.5
    ring = torch.from_numpy((np.hypot(x, y) < 8) & (np.hypot(x, y) > 4)) & valid[0, 2]
    assert float(left[..., ring].mean((0, 2)).abs().max()) < 0.02


@pytest.mark.parametrize(("validity", "told"), [("share", 1), ("bands", 3), ("none", 0)])
def test_validity_is_told_as_the_share_of_bands_or_band_by_band_or_not(validity: str, told: int):
    config = NormalisationConfig(validity=validity)
    image, valid = stamps(), everywhere(stamps())
    valid[:, 1, 10:20, 30:40] = False
    channels = normalise(image, valid, config, 0.3)
    assert channels.shape[1] == config.channels(3) == 6 + told
    assert torch.equal(channels[:, :6], normalise(image, valid, CONFIG, 0.3)[:, :6])
    expected = {"share": valid.float().mean(1, keepdim=True), "bands": valid.float(), "none": image[:, :0]}
    assert torch.equal(channels[:, 6:], expected[validity])


def test_how_validity_is_told_counts_in_a_fingerprint_unless_it_is_as_it_was_before_there_was_a_choice():
    assert "validity" not in CONFIG.identity()
    assert NormalisationConfig(validity="bands").identity() == {**CONFIG.identity(), "validity": "bands"}
