"""Familiarity: distances by hand, the covariance against scikit-learn, and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.familiarity import Familiarity, familiarity_bytes, read_familiarity
from pipeline.models.familiarity_file import FAMILIARITY
from pipeline.models.familiarity_fit import fit_familiarity, shrunk_covariance
from pipeline.models.publish import write_familiarity


def clouds(n: int, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes with one covariance, and a feature that never varies."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(0, 1, (d, d))
    lens = rng.random(n) < 0.4
    values = rng.normal(0, 1, (n, d)) @ mixing + np.where(lens, 5.0, -5.0)[:, None]
    return np.column_stack([values, np.zeros(n)]).astype(np.float32), lens


@pytest.mark.parametrize("n", [12, 400])
def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf(n: int):
    centred = clouds(n)[0].astype(np.float64)
    centred -= centred.mean(axis=0)
    expected = LedoitWolf(assume_centered=True).fit(centred).covariance_
    np.testing.assert_allclose(shrunk_covariance(centred), expected, rtol=1e-6, atol=1e-9)


def test_a_distance_by_hand():
    known = Familiarity(
        torch.tensor([[0.0, 0.0], [10.0, 0.0]]),
        torch.tensor([[0.5, 0.0], [0.0, 1.0]]),
        np.array([0.0, 1.0, 4.0], np.float32),
        "",
    )
    found = known.distance(torch.tensor([[2.0, 0.0], [10.0, 3.0], [float("nan"), 0.0]])).numpy()
    np.testing.assert_allclose(found, [1.0, 3.0, np.nan])
    np.testing.assert_allclose(known.share_nearer(np.array([1.0, 2.5, 99.0, np.nan])), [0.5, 0.75, 1.0, np.nan])


def test_fresh_stamps_are_familiar_and_others_are_not():
    values, lens = clouds(3000)
    known = fit_familiarity(values[:2000], lens[:2000], values[2000:], "clouds")
    fresh, _ = clouds(2000, seed=7)
    share = known.share_nearer(known.distance(torch.from_numpy(fresh)).numpy())
    assert share.dtype == np.float32
    # Shares of stamps like those held back are spread evenly, whatever the embedding.
    np.testing.assert_allclose(np.quantile(share, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.05)
    # Between the classes, where no stamp of either lies.
    strange = known.distance(torch.zeros(1, values.shape[1])).numpy()
    assert known.share_nearer(strange)[0] > 0.99


def test_the_file_reads_back_and_a_damaged_one_is_refused(tmp_path: Path):
    values, lens = clouds(300)
    known = fit_familiarity(values[:200], lens[:200], values[200:], "clouds é")
    write_familiarity(tmp_path, known)
    back = read_familiarity(tmp_path / FAMILIARITY)
    assert familiarity_bytes(back) == familiarity_bytes(known)
    assert (back.identity(), back.quantiles_identity(), back.fitted_on) == (
        known.identity(),
        known.quantiles_identity(),
        "clouds é",
    )
    (tmp_path / "half").write_bytes(familiarity_bytes(known)[:300])
    with pytest.raises(ModelMismatch, match="cannot be read"):
        read_familiarity(tmp_path / "half")
    bent = Familiarity(known.means[:, :3], known.whitening, known.quantiles, "")
    write_familiarity(tmp_path, bent)
    with pytest.raises(ModelMismatch, match="do not fit"):
        read_familiarity(tmp_path / FAMILIARITY)


def test_too_few_stamps_and_an_embedding_of_one_value_are_refused():
    values, lens = clouds(100)
    with pytest.raises(ConfigError, match="ten stamps of each class"):
        fit_familiarity(values, np.arange(100) < 4, values, "few")
    with pytest.raises(ConfigError, match="the same for every stamp"):
        fit_familiarity(np.ones((50, 3)), np.zeros(50), np.ones((50, 3)), "dead")
    with pytest.raises(ValueError, match="second axes"):
        fit_familiarity(values, lens, values[:, :2], "uneven")
