"""The pixel finders against the mask planes of real surveys, which they are not shown, and the matching itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.surveys import open_survey


@pytest.fixture(scope="module")
def real() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "artefacts" / "real.py"
    spec = importlib.util.spec_from_file_location("artefacts_real", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["artefacts_real"] = module
    spec.loader.exec_module(module)
    return module


def scores(real: ModuleType, survey: str, case: str):
    return {item.name: item for item in real.measure(open_survey(survey), case).classes}


def test_the_bleeds_saturation_and_rays_of_decam_are_found_from_the_pixels_alone(real_data: Path, real: ModuleType):
    found = scores(real, "decam-dq", "pixels")
    for name in ("saturation", "bleed", "cosmic ray"):
        assert found[name].recall >= 0.9, name
        assert found[name].precision >= 0.8, name


def test_the_detector_edges_of_hsc_are_found_from_its_variance(real_data: Path, real: ModuleType):
    found = scores(real, "hsc-mask", "filled")["seam"]
    assert found.recall >= 0.9
    assert found.precision >= 0.8


def test_nothing_of_hidden_planes_is_left_in_a_field(real_data: Path, real: ModuleType):
    survey = open_survey("decam-dq")
    field = survey.field("c4d_150110_053718.S4")
    for case, absent in (("pixels", 0), ("filled", 0), ("weights", 895 + 797)):
        block = real.without_mask(survey, field, ("z",), case).read(0, 100)
        assert ((block.mask & ~np.uint32(PixelFlag.NODATA)) == 0).all()
        assert np.isnan(block.image).sum() == absent


def test_a_match_may_be_off_by_the_tolerance_and_no_more(real: ModuleType):
    kind = next(kind for kind in real.KINDS if kind.name == "bleed")
    truth = np.zeros((20, 20), np.uint32)
    truth[10, 10] = PixelFlag.BLEED
    ours = np.zeros((20, 20), np.uint32)
    ours[12, 12] = int(PixelFlag.SATURATED) << FOUND_SHIFT
    ours[10, 14] = int(PixelFlag.SATURATED) << FOUND_SHIFT
    empty = real.ClassResult("survey", "pixels", "bleed")
    wide, narrow = (real._added(empty, kind, truth, ours, tolerance) for tolerance in (2, 1))
    assert (wide.truth, wide.accepted, wide.strict, wide.masked) == (1, 1, 0, 1)
    assert (wide.found, wide.right) == (2, 1)
    assert (narrow.accepted, narrow.right) == (0, 0)
    assert narrow.passed is False


def test_rays_that_the_survey_has_mended_are_counted_apart(real: ModuleType):
    mask = np.array([[PixelFlag.COSMIC_RAY, PixelFlag.COSMIC_RAY | PixelFlag.INTERPOLATED, 0]], np.uint32)
    pixels = {kind.name: kind.pixels(mask).tolist() for kind in real.KINDS if "ray" in kind.name}
    assert pixels == {"cosmic ray": [[True, False, False]], "mended ray": [[False, True, False]]}


def test_weights_without_a_value_are_those_of_the_nearest_pixel(real: ModuleType):
    ivar = np.array([[1.0, 0.0, 0.0, 3.0]], np.float32)
    assert real._filled(ivar).tolist() == [[1.0, 1.0, 3.0, 3.0]]
