"""Each preset on a miniature tree in its survey's layout: fluxes in nJy, flags, field ids, catalogue rows."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.config import shipped
from pipeline.errors import BadSurveyData
from pipeline.flags import PixelFlag
from pipeline.surveys import open_survey

Write = Callable[..., Path]
SHAPE = (30, 40)


def plane(name: str, array: Any, header: Any, compressed: bool = False) -> Any:
    return (name, array, header, compressed)


def table(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"i": "K", "f": "D", "b": "L", "U": "20A"}
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    made = [fits.Column(name, kinds[array.dtype.kind], array=array) for name, array in arrays.items()]
    fits.BinTableHDU.from_columns(made).writeto(path)


def marked(**bits: int) -> np.ndarray[Any, Any]:
    """A mask with bit b set at row 2, column b."""
    mask = np.zeros(SHAPE, np.int32)
    for bit in bits.values():
        mask[2, bit] = 1 << bit
    return mask


@pytest.mark.parametrize("name", shipped("surveys"))
def test_every_preset_names_its_document(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / f"configs/surveys/{name}.toml").read_text(encoding="utf-8")
    for variable in ("LENSSCAN_DATA", "LEGACY_SURVEY_DIR", "DES_DR2_DIR", "KIDS_DR4_DIR", "HSC_PDR3_DIR", "PS1_DIR"):
        monkeypatch.setenv(variable, "/nowhere")
    for variable in ("SDSS_FRAMES_DIR", "EUCLID_Q1_DIR", "RUBIN_DP1_DIR"):
        monkeypatch.setenv(variable, "/nowhere")
    assert text.startswith("# ")
    assert open_survey(name).description.reference


def test_legacy_dr10(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any) -> None:
    monkeypatch.setenv("LEGACY_SURVEY_DIR", str(tmp_path))
    brick = tmp_path / "coadd/150/1500p020"
    for seed, band in enumerate("grz"):
        write_fits(brick / f"legacysurvey-1500p020-image-{band}.fits.fz", plane("", noise(seed), cards(), True))
        invvar = np.full(SHAPE, 4.0, np.float32)
        invvar[0] = 0
        write_fits(brick / f"legacysurvey-1500p020-invvar-{band}.fits.fz", plane("", invvar, cards(), True))
    bits = marked(bright=1, satur_g=2, satur_r=3, wise=8, allmask_z=7)
    write_fits(brick / "legacysurvey-1500p020-maskbits.fits.fz", plane("MASKBITS", bits, cards(), True))
    table(
        tmp_path / "tractor/150/tractor-1500p020.fits",
        release=[10000, 10000, 10000],
        brickid=[345678, 345678, 345678],
        objid=[0, 1, 2],
        brick_primary=[True, True, False],
        ra=[150.0, 150.5, 150.0],
        dec=[2.0, 2.0, 2.0],
        flux_g=[1.0, 1.0, 1.0],
        flux_r=[10.0, 1.0, 1.0],
        flux_i=[0.0, 1.0, 1.0],
        flux_z=[1.0, 1.0, 1.0],
    )
    survey = open_survey("legacy-dr10")
    (field,) = survey.fields()
    assert field.field_id == "1500p020"
    image = survey.open(field, ("g", "r", "i", "z"))
    block = image.read(0, 30)
    # 1 nanomaggy is 10^(0.4 (31.4 - 22.5)) nJy = 3630.78 nJy.
    np.testing.assert_allclose(block.image[1, 1:], noise(1)[1:] * 3630.78, rtol=1e-4)
    assert block.ivar[0, 5, 5] == pytest.approx(4.0 / 3630.78**2, rel=1e-4)
    assert (block.mask[0, 0] == PixelFlag.NODATA).all()
    assert np.isnan(block.image[2]).all()
    assert block.mask[0, 2, 1] == PixelFlag.BRIGHT_OBJECT
    assert block.mask[0, 2, 2] == PixelFlag.SATURATED
    assert block.mask[1, 2, 2] == 0
    assert block.mask[1, 2, 3] == PixelFlag.SATURATED
    assert block.mask[3, 2, 7] == PixelFlag.BADPIX
    assert (block.mask[:2, 2, 8] == 0).all()
    found = survey.detections(field, image)
    assert found.objid.tolist() == [(10000 << 40) + (345678 << 16) + 0]
    assert (found.read, found.left_out, found.off_image) == (3, 1, 1)
    assert found.mags["r"][0] == pytest.approx(20.0)
    assert np.isnan(found.mags["i"][0])


def test_des_dr2(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any) -> None:
    monkeypatch.setenv("DES_DR2_DIR", str(tmp_path))
    tile = tmp_path / "DES1000+0209"
    weights = np.full(SHAPE, 8.0, np.float32)
    weights[:, :3] = 0
    pixels = noise(3, 2.0)
    for band in "gr":
        write_fits(
            tile / f"DES1000+0209_r4575p03_{band}.fits.fz",
            plane("SCI", pixels, {**cards(), "PSF_FWHM": 0.9}, True),
            plane("MSK", marked(interp=0, star=5).astype(np.int16), cards(), True),
            plane("WGT", weights, cards(), True),
        )
    table(tile / "DES1000+0209_dr2_main.fits", COADD_OBJECT_ID=[7], ALPHAWIN_J2000=[150.0], DELTAWIN_J2000=[2.0])
    survey = open_survey("des-dr2")
    (field,) = survey.fields()
    assert field.field_id == "DES1000+0209"
    image = survey.open(field, ("g", "r"))
    block = image.read(0, 30)
    np.testing.assert_allclose(block.image[0, :, 3:], pixels[:, 3:] * 10**0.56, rtol=1e-4)
    assert np.isnan(block.image[0, :, :3]).all()
    # The weight's factor comes from the scatter of 2.0 counts.
    assert 1 / np.sqrt(block.ivar[0, 10, 10]) == pytest.approx(2.0 * 10**0.56, rel=0.1)
    assert block.mask[1, 2, 5] == PixelFlag.BRIGHT_OBJECT
    assert image.meta["seeing"]["g"] == 0.9
    assert survey.detections(field, image).objid.tolist() == [7]


def test_kids_dr4(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any) -> None:
    monkeypatch.setenv("KIDS_DR4_DIR", str(tmp_path))
    stem = "KiDS_DR4.0_150.1_-0.5"
    for band in "ugri":
        write_fits(tmp_path / f"{stem}_{band}_sci.fits", noise(5, 1e-11))
        write_fits(tmp_path / f"{stem}_{band}_wei.fits", np.ones(SHAPE, np.float32))
        write_fits(tmp_path / f"{stem}_{band}_msk.fits", marked(sat=1, spike=2, halo=4).astype(np.uint8))
    table(
        tmp_path / f"{stem}_ugriZYJHKs_cat.fits",
        ID=["KiDSDR4 J100000.0+020000.0", "KiDSDR4 J100000.1+020000.0"],
        RAJ2000=[150.0, 150.0004],
        DECJ2000=[2.0, 2.0],
        **{f"MAG_GAAP_{band}": [21.0, 99.0] for band in "ugri"},
    )
    survey = open_survey("kids-dr4")
    (field,) = survey.fields()
    assert field.field_id == "KIDS_150.1_-0.5"
    image = survey.open(field, ("g", "r", "i"))
    block = image.read(0, 30)
    np.testing.assert_allclose(block.image[0], noise(5, 1e-11) * 10**12.56, rtol=1e-4)
    assert [int(block.mask[0, 2, bit]) for bit in (1, 2, 4)] == [
        PixelFlag.SATURATED,
        PixelFlag.SPIKE,
        PixelFlag.HALO,
    ]
    found = survey.detections(field, image)
    assert found.source_id is not None
    assert found.source_id.tolist() == ["KiDSDR4 J100000.0+02", "KiDSDR4 J100000.1+02"]
    assert (found.objid > 0).all()
    assert found.mags["r"][0] == 21.0
    assert np.isnan(found.mags["r"][1])


def test_hsc_pdr3(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any) -> None:
    monkeypatch.setenv("HSC_PDR3_DIR", str(tmp_path))
    names = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")
    numbers = {f"HIERARCH MP_{name}": bit for bit, name in enumerate(names)}
    for native in ("HSC-G", "HSC-R2", "HSC-I"):
        write_fits(
            tmp_path / f"deepCoadd-results/{native}/9813/4,4/calexp-{native}-9813-4,4.fits",
            plane("", noise(7), cards(), True),
            plane("", marked(sat=1, cr=3, detected=5, none=8), {**cards(), **numbers}, True),
            plane("", np.full(SHAPE, 0.04, np.float32), cards(), True),
            primary={"FLUXMAG0": 63095734448.0194},
        )
    survey = open_survey("hsc-pdr3")
    (field,) = survey.fields()
    assert field.field_id == "9813/4,4"
    assert "HSC-R2" in field.planes["r"]["image"]
    block = survey.open(field, ("g", "r", "i")).read(0, 30)
    expected = noise(7) * 10 ** (0.4 * (31.4 - 27.0))
    assert np.isnan(block.image[0, 2, 8])
    np.testing.assert_allclose(block.image[0, 3:], expected[3:], rtol=1e-4)
    assert block.ivar[0, 9, 9] == pytest.approx(25.0 / 10 ** (0.8 * 4.4), rel=1e-4)
    assert [int(block.mask[1, 2, bit]) for bit in (1, 3, 5, 8)] == [
        PixelFlag.SATURATED,
        PixelFlag.COSMIC_RAY,
        0,
        PixelFlag.NODATA,
    ]


def test_ps1_stacks_are_unpacked_and_their_zero_point_follows_the_exposure(
    tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any
) -> None:
    monkeypatch.setenv("PS1_DIR", str(tmp_path))
    linear, offset, soft, exptime = noise(9, 50.0), 7.17, 221.9, 900.0
    wcs = {key: value for key, value in cards().items() if not key.startswith("CD")}
    # The stacks still have the PC matrix of the 1990s.
    wcs |= {"CDELT1": 0.25 / 3600, "CDELT2": 0.25 / 3600, "PC001001": -1.0, "PC001002": 0.0}
    wcs |= {"PC002001": 0.0, "PC002002": 1.0, "EXPTIME": exptime}
    packed = (2.5 * np.log10(np.e) * np.arcsinh((linear - offset) / (2 * soft))).astype(np.float32)
    variance = (2.5 * np.log10(np.e) * np.arcsinh((np.full(SHAPE, 2500.0) - 3.0) / (2 * 50.0))).astype(np.float32)
    folder = tmp_path / "rings.v3.skycell/1405/053"
    for band in "gi":
        stem = f"rings.v3.skycell.1405.053.stk.{band}.unconv"
        write_fits(folder / f"{stem}.fits", plane("", packed, {**wcs, "BOFFSET": offset, "BSOFTEN": soft}, True))
        write_fits(folder / f"{stem}.wt.fits", plane("", variance, {**wcs, "BOFFSET": 3.0, "BSOFTEN": 50.0}, True))
        mask = marked(sat=5, cr=8, spike=9, ghost=10, streak=11, core=12, suspect=7).astype(np.uint16)
        write_fits(folder / f"{stem}.mask.fits", plane("", mask, wcs, True))
    survey = open_survey("ps1-stack")
    (field,) = survey.fields()
    assert field.field_id == "skycell.1405.053"
    image = survey.open(field, ("g", "i"))
    assert image.pixel_scale == pytest.approx(0.25)
    assert image.wcs.pixel_scale_matrix[0, 0] < 0
    block = image.read(0, 30)
    factor = 10 ** (0.4 * (31.4 - 25.0)) / exptime
    np.testing.assert_allclose(block.image[0], linear * factor, rtol=1e-3, atol=1e-3)
    assert 1 / np.sqrt(block.ivar[0, 9, 9]) == pytest.approx(50.0 * factor, rel=1e-4)
    expected = ("SATURATED", "COSMIC_RAY", "SPIKE", "GHOST", "TRAIL", "BRIGHT_OBJECT")
    for bit, flag in zip((5, 8, 9, 10, 11, 12), expected, strict=True):
        assert block.mask[1, 2, bit] == PixelFlag[flag]
    assert block.mask[1, 2, 7] == 0


def test_sdss_frames_scan_one_band_at_a_time(
    tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any
) -> None:
    monkeypatch.setenv("SDSS_FRAMES_DIR", str(tmp_path))
    folder = tmp_path / "301/756/3"
    for number, band in enumerate("gr"):
        path = write_fits(folder / f"frame-{band}-000756-3-0206.fits", noise(number), primary=cards(ra=150.0 + number))
        (folder / f"{path.name}.bz2").write_bytes(bz2.compress(path.read_bytes()))
        path.unlink()
    survey = open_survey("sdss-frames")
    (field,) = survey.fields()
    assert field.field_id == "000756-3-0206"
    image = survey.open(field, ("r",))
    np.testing.assert_allclose(image.read(4, 8).image[0], noise(1)[4:8] * 3630.78, rtol=1e-4)
    assert not image.has_ivar
    with pytest.raises(BadSurveyData, match="another grid"):
        survey.open(field, ("g", "r"))


def test_euclid_q1(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any) -> None:
    monkeypatch.setenv("EUCLID_Q1_DIR", str(tmp_path))
    tile = "102018211"
    for native, instrument in (("VIS", "VIS"), ("NIR-Y", "NISP")):
        folder = tmp_path / f"MER/{tile}/{instrument}"
        end = "_20241018T142710.276838Z_00.00.fits"
        header = {**cards(), "MAGZERO": 24.6}
        write_fits(folder / f"EUC_MER_BGSUB-MOSAIC-{native}_TILE{tile}-ACBD03{end}", noise(2), primary=header)
        rms = np.full(SHAPE, 0.5, np.float32)
        rms[0] = 0
        write_fits(folder / f"EUC_MER_MOSAIC-{native}-RMS_TILE{tile}-3EAE6B{end}", rms)
        write_fits(folder / f"EUC_MER_MOSAIC-{native}-FLAG_TILE{tile}-FE2962{end}", marked(invalid=0, other=9))
    table(
        tmp_path / f"MER/{tile}/MERCAT/EUC_MER_FINAL-CAT_TILE{tile}-CC66F6_20241018T214045.289017Z_00.00.fits",
        OBJECT_ID=[-1500000000020000000],
        RIGHT_ASCENSION=[150.0],
        DECLINATION=[2.0],
        FLUX_DETECTION_TOTAL=[1.0],
    )
    survey = open_survey("euclid-q1")
    (field,) = survey.fields()
    assert field.field_id == tile
    image = survey.open(field, ("VIS", "Y"))
    block = image.read(0, 30)
    factor = 10 ** (0.4 * (31.4 - 24.6))
    np.testing.assert_allclose(block.image[0, 3:], noise(2)[3:] * factor, rtol=1e-4)
    assert block.ivar[1, 9, 9] == pytest.approx(4.0 / factor**2, rel=1e-4)
    assert np.isnan(block.image[0, 0]).all()
    assert block.mask[0, 2, 0] == PixelFlag.NODATA
    assert block.mask[0, 2, 9] == 0
    found = survey.detections(field, image)
    assert found.objid.tolist() == [-1500000000020000000]
    assert found.mags["VIS"][0] == pytest.approx(23.9)


def test_rubin_dp1(tmp_path: Path, monkeypatch: Any, write_fits: Write, noise: Any, cards: Any) -> None:
    monkeypatch.setenv("RUBIN_DP1_DIR", str(tmp_path))
    names = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")
    numbers = {f"HIERARCH MP_{name}": bit for bit, name in enumerate(names)}
    for band in "gri":
        stem = f"deep_coadd_5063_14_{band}_lsst_cells_v1_LSSTComCam_runs_DRP_DP1_DM-51335"
        write_fits(
            tmp_path / f"deep_coadd/5063/14/{band}/{stem}.fits",
            plane("IMAGE", noise(4, 20.0), {**cards(), "BUNIT": "nJy"}, True),
            plane("MASK", marked(sat=1, intrp=2), {**cards(), **numbers}, True),
            plane("VARIANCE", np.full(SHAPE, 400.0, np.float32), cards(), True),
        )
    survey = open_survey("rubin-dp1")
    (field,) = survey.fields()
    assert field.field_id == "5063/14"
    block = survey.open(field, ("g", "r", "i")).read(0, 30)
    np.testing.assert_allclose(block.image[2], noise(4, 20.0), rtol=1e-5)
    assert block.ivar[0, 3, 3] == pytest.approx(1 / 400.0)
    assert block.mask[0, 2, 1] == PixelFlag.SATURATED
    assert block.mask[0, 2, 2] == PixelFlag.INTERPOLATED
