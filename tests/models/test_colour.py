"""Pictures as fluxes."""

from __future__ import annotations

import numpy as np

from pipeline.models.colour import BANDS, fluxes


def test_red_green_blue_stand_for_i_r_g_and_the_stretch_is_undone():
    levels = np.random.default_rng(0).integers(1, 255, (2, 16, 16, 3)).astype(np.uint8)
    expected = 0.05 * np.sinh(levels / 255 * np.arcsinh(20))
    answer = fluxes(levels)
    assert BANDS == ("i", "r", "g")
    assert answer.shape == (2, 3, 16, 16)
    # Half a level of dither is up to 0.6 % of a flux here, and an absolute 0.0003 near black.
    np.testing.assert_allclose(answer, np.moveaxis(expected, -1, 1), rtol=0.01, atol=4e-4)


def test_a_black_background_gets_noise_and_the_same_noise_every_time():
    black = np.zeros((1, 32, 32, 3), np.uint8)
    assert fluxes(black).std() > 0
    assert fluxes(black).tobytes() == fluxes(black).tobytes()


def test_brighter_levels_are_brighter_fluxes():
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, None, :, None], (1, 4, 128, 3))
    assert (np.diff(fluxes(ramp)[0, 0, 0]) > 0).all()
