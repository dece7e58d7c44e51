from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.flags import PixelFlag
from pipeline.geometry import to_pixel, to_sky
from pipeline.surveys import open_survey


@pytest.mark.parametrize("native", ["r", "Ks"])
def test_kids_viking_pixels_are_the_file_in_njy(real_data: Path, native: str) -> None:
    survey = open_survey("kids-viking")
    assert [field.field_id for field in survey.fields()] == ["KV0", "KV1"]
    field = survey.fields()[1]
    image = survey.open(field, (native,))
    with fits.open(real_data / f"kids-viking/KV1/KV1_{native}.fits.fz") as hdus:
        stored, zero = hdus[1].data, hdus[1].header["MAGZERO"]
    block = image.read(700, 760)
    np.testing.assert_allclose(block.image[0], stored[700:760] * 10 ** (0.4 * (31.4 - zero)), rtol=1e-5)
    assert not image.has_ivar
    assert (block.ivar == 1).all()
    assert image.pixel_scale == pytest.approx(0.339)


def test_kids_viking_fields_overlap_by_200_rows(real_data: Path) -> None:
    survey = open_survey("kids-viking")
    first, second = (survey.geometry(field) for field in survey.fields())
    x, y = to_pixel(second.wcs, *to_sky(first.wcs, [900.0], [1300.0]))
    assert x[0] == pytest.approx(900.0, abs=1e-3)
    assert y[0] == pytest.approx(100.0, abs=1e-3)


def test_decam_codes_become_flags_and_each_exposure_has_its_band(real_data: Path) -> None:
    survey = open_survey("decam-dq")
    fields = {field.field_id: field for field in survey.fields()}
    assert len(fields) == 10
    field = fields["c4d_181104_072440.S4"]
    assert list(field.planes) == ["g"]
    image = survey.open(field, ("g", "r"))
    block = image.read(0, image.shape[0])
    with fits.open(field.planes["g"]["mask"]) as hdus:
        codes = hdus[1].data
    for code, flag in {1: PixelFlag.BADPIX, 3: PixelFlag.SATURATED, 4: PixelFlag.BLEED}.items():
        np.testing.assert_array_equal((block.mask[0] & flag) != 0, codes == code)
    assert np.isnan(block.image[1]).all()
    assert ((block.mask[1] & PixelFlag.NODATA) != 0).all()


def test_decam_zero_point_is_that_of_the_exposure(real_data: Path) -> None:
    survey = open_survey("decam-dq")
    field = survey.field("c4d_170316_062107.N2")
    block = survey.open(field, ("z",)).read(100, 120)
    with fits.open(field.planes["z"]["image"]) as hdus:
        stored = hdus[1].data[100:120]
    valid = np.isfinite(block.image[0])
    np.testing.assert_allclose(block.image[0][valid], (stored * 10 ** (0.4 * (31.4 - 29.915)))[valid], rtol=1e-5)


def test_hsc_planes_are_found_by_their_keywords(real_data: Path) -> None:
    survey = open_survey("hsc-mask")
    (field,) = survey.fields()
    image = survey.open(field, ("r",))
    block = image.read(0, image.shape[0])
    with fits.open(field.planes["r"]["image"]) as hdus:
        variance, pixels = hdus[3].data, hdus[1].data
    # With BLANK in its header astropy would make real numbers of the planes.
    with fits.open(field.planes["r"]["image"], do_not_scale_image_data=True) as hdus:
        planes = hdus[2].data
    np.testing.assert_array_equal((block.mask[0] & PixelFlag.COSMIC_RAY) != 0, (planes & (1 << 3)) != 0)
    np.testing.assert_array_equal((block.mask[0] & PixelFlag.BRIGHT_OBJECT) != 0, (planes & (1 << 9)) != 0)
    factor = 10 ** (0.4 * (31.4 - 27.0))
    np.testing.assert_allclose(block.image[0], pixels * factor, rtol=1e-4)
    np.testing.assert_allclose(block.ivar[0], 1 / (variance * factor**2), rtol=1e-4)
    scatter = 1.4826 * np.median(np.abs(block.image - np.median(block.image)))
    assert scatter == pytest.approx(1 / np.sqrt(np.median(block.ivar)), rel=0.2)


def test_vista_frames_overlap_on_the_sky(real_data: Path) -> None:
    survey = open_survey("vista-dithers")
    fields = survey.fields()
    assert len(fields) == 8
    first, second = survey.geometry(fields[0]), survey.geometry(fields[1])
    x, y = to_pixel(second.wcs, *to_sky(first.wcs, [900.0], [900.0]))
    assert 0 < x[0] < second.shape[1]
    assert 0 < y[0] < second.shape[0]
    assert survey.open(fields[0], ("H",)).meta["seeing"]["H"] == pytest.approx(0.74, abs=0.01)
