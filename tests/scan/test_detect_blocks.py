"""Row blocks give exactly what one pass over the whole field gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from pipeline.notes import FieldWarning
from pipeline.scan import detect_sources
from pipeline.scan.masks import find
from pipeline.scan_config import DetectConfig, MasksConfig

CONFIG = DetectConfig(threshold=2.0)


def sources(field, masks, height):
    """Sources found in blocks of a given height; the memory that gives it follows from the bytes a row takes."""
    memory = height * 3 * detect_sources._STACK_BYTES * field.shape[1] / 1e6 * 1.0001
    return detect_sources.find_sources(field, masks, CONFIG, memory)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), height=st.integers(64, 300), crowd=st.integers(10, 250))
@example(seed=139, height=64, crowd=139)
def test_blocks_of_any_height_give_the_same_sources(make_sky, make_field, seed, height, crowd):
    image, _ = make_sky(bands=2, shape=(420, 160), sources=crowd, seed=seed)
    field = make_field(image)
    masks = find(field, MasksConfig(trails=False), 50)
    whole = sources(field, masks, 1000)
    try:
        parts = sources(field, masks, height)
    except FieldWarning:
        # A crowd that is one source taller than the memory is cut, and says so.
        reject()
    assert len(whole[0]) > 0
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])


def test_a_tall_source_across_a_seam_is_found_once(make_field):
    random = np.random.default_rng(4)
    image = random.normal(size=(1, 600, 200))
    yy, xx = np.mgrid[:600, :200]
    image[0] += 60 * np.exp(-((xx - 100) ** 2) / 8 - ((yy - 190) ** 2) / (2 * 45**2))
    field = make_field(image)
    masks = find(field, MasksConfig(background_box="90 arcsec"), 50)
    whole = sources(field, masks, 1000)
    parts = sources(field, masks, 190)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])
    near = np.abs(whole[1] - 190) < 10
    assert near.sum() >= 1


def test_a_source_taller_than_the_memory_is_cut_with_a_warning(make_field):
    random = np.random.default_rng(4)
    image = random.normal(size=(1, 800, 64))
    image[0, :, 30:34] += 100
    field = make_field(image)
    masks = find(field, MasksConfig(background_box="600 arcsec", bad_columns=False), 50)
    with pytest.warns(FieldWarning, match="taller than"):
        sources(field, masks, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources(field, masks, 1000)
