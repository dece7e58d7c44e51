"""Folders of a class each: arrays, FITS and pictures, and what is wrong with them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.models import colour
from pipeline.train.data import Stamps, read_stamps, read_unlabelled
from pipeline.train.data_config import FoldersConfig, StampsConfig

BANDS = ("g", "r", "i")


def source(path: Path, **changes: Any) -> FoldersConfig:
    values = {"kind": "folders", "path": str(path), "pixel_scale": "0.3 arcsec", **changes}
    return FoldersConfig.model_validate(values)


def read(*sources: FoldersConfig, size: int = 8, bands: tuple[str, ...] = BANDS) -> Stamps:
    return read_stamps(sources, bands, 0.3, size)


def pixels(stamps: Stamps) -> np.ndarray:
    return stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()


def image(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 1, shape or (3, 8, 8)).astype(np.float32)


def write_npy(root: Path, prefix: str = "", n: int = 4, first: int = 0) -> None:
    for name, offset in (("lenses", 0), ("nonlenses", 100)):
        folder = root / f"{prefix}{name}"
        folder.mkdir(parents=True)
        for number in range(n):
            np.save(folder / f"{number}.npy", image(first + offset + number))


def write_fits(path: Path, cube: np.ndarray, *, scale: float | None = None, **cards: object) -> None:
    hdus = [fits.PrimaryHDU()]
    for band, plane in zip(BANDS, cube, strict=False):
        hdu = fits.ImageHDU(plane, name=band)
        hdu.header.update(cards)
        if scale is not None:
            hdu.header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=-scale / 3600, CD2_2=scale / 3600)
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


def test_each_split_is_read_from_its_own_folders(tmp_path: Path):
    write_npy(tmp_path, "train_")
    write_npy(tmp_path, "test_", n=3, first=50)
    train, test = read(source(tmp_path, split="train")), read(source(tmp_path, split="test"))
    assert train.lens.tolist() == [True] * 4 + [False] * 4
    assert set(train.kind) == {"lens", "other"}
    np.testing.assert_allclose(pixels(train)[5], image(101), rtol=5e-4)
    np.testing.assert_allclose(pixels(test)[2], image(52), rtol=5e-4)
    assert len(test) == 6


def test_one_array_of_all_stamps_and_many_files_are_the_same(tmp_path: Path):
    write_npy(tmp_path / "files")
    (tmp_path / "array").mkdir()
    np.save(tmp_path / "array/lenses.npy", np.stack([image(k) for k in range(4)]))
    np.savez(tmp_path / "array/nonlenses.npz", image=np.stack([image(100 + k) for k in range(4)]))
    (tmp_path / "mixed/lenses").mkdir(parents=True)
    (tmp_path / "mixed/nonlenses").mkdir()
    np.save(tmp_path / "mixed/lenses/a.npy", image(0))
    np.save(tmp_path / "mixed/lenses/b.npy", np.stack([image(1), image(2), image(3)]))
    np.savez(tmp_path / "mixed/nonlenses/a.npz", image=np.stack([image(100 + k) for k in range(4)]))
    digests = {read(source(tmp_path / name)).digest for name in ("files", "array", "mixed")}
    assert len(digests) == 1


def test_bands_are_named_by_the_source_and_taken_by_name(tmp_path: Path):
    write_npy(tmp_path)
    stamps = read(source(tmp_path, bands=["i", "z", "g"]), bands=("g", "i"))
    np.testing.assert_allclose(pixels(stamps)[0], image(0)[[2, 0]], rtol=5e-4)


def test_fits_are_scaled_by_their_zero_point_and_found_by_extension(tmp_path: Path):
    for name in ("lenses", "nonlenses"):
        (tmp_path / name).mkdir()
        write_fits(tmp_path / name / "a.fits", image(3), scale=0.3, MAGZERO=28.9)
    stamps = read(source(tmp_path))
    np.testing.assert_allclose(pixels(stamps)[0], image(3) * 10, rtol=1e-3)


def test_pictures_become_fluxes_of_i_r_g(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    for name, form in (("lenses", "png"), ("nonlenses", "png")):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / f"a.{form}")
    stamps = read(source(tmp_path))
    np.testing.assert_allclose(pixels(stamps)[0], colour.fluxes(picture[None])[0, ::-1], rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="leave the source's bands out"):
        read(source(tmp_path, bands=["i", "r", "g"]))
    with pytest.raises(ConfigError, match="z is missing"):
        read(source(tmp_path), bands=("z",))


def test_other_pixel_scales_and_sizes_come_to_the_package_s_grid(tmp_path: Path):
    for name, level in (("lenses", 9.0), ("nonlenses", 1.0)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "fine.npy", np.full((3, 40, 40), level, np.float32))
        np.save(tmp_path / name / "small.npy", np.full((3, 8, 8), level, np.float32))
    stamps = read(source(tmp_path, pixel_scale="0.15 arcsec"), size=10)
    got = pixels(stamps)
    # A pixel of 0.3 arcsec holds the light of four; 40 px of 0.15 arcsec fill 20 px of 0.3.
    np.testing.assert_allclose(got[0], 36.0, rtol=1e-3)
    assert np.isfinite(got[1]).sum() == 3 * 4 * 4
    np.testing.assert_allclose(got[1][:, 3:7, 3:7], 36.0, rtol=1e-3)
    np.testing.assert_allclose(got[2], 4.0, rtol=1e-3)


def test_parts_by_file_name_share_nothing_and_make_up_the_whole(tmp_path: Path):
    write_npy(tmp_path, n=60)
    parts = [pixels(read(source(tmp_path, part=part))) for part in ("train", "validation", "test")]
    means = [set(part.mean(axis=(1, 2, 3)).tolist()) for part in parts]
    assert sum(map(len, means)) == len(set.union(*means)) == 120


def test_a_limit_draws_from_both_classes_and_always_the_same(tmp_path: Path):
    write_npy(tmp_path, n=30)
    stamps = read(source(tmp_path, limit=20))
    assert len(stamps) == 20
    assert 4 < stamps.lens.sum() < 16
    assert stamps.digest == read(source(tmp_path, limit=20)).digest
    few = read(source(tmp_path, most_lenses=3))
    assert few.lens.sum() == 3
    assert (~few.lens).sum() == (~read(source(tmp_path)).lens).sum()


def test_stamps_without_labels_are_read_as_unlabelled(tmp_path: Path):
    for number in range(3):
        write_fits(tmp_path / f"{number}.fits", image(number))
    config = StampsConfig.model_validate({"kind": "stamps", "path": str(tmp_path), "pixel_scale": "0.3 arcsec"})
    stamps = read_unlabelled([config], BANDS, 0.3, 8)
    assert stamps is not None
    assert stamps.kind.tolist() == ["unlabelled"] * 3


def test_a_missing_or_empty_folder_says_what_is_there(tmp_path: Path):
    (tmp_path / "lens").mkdir()
    with pytest.raises(ConfigError, match=r"no lenses/ and no lenses.npy; it holds lens. Set split"):
        read(source(tmp_path))
    (tmp_path / "lenses").mkdir()
    with pytest.raises(ConfigError, match=r"lenses: no .npy, .npz, FITS, PNG or JPEG file in it"):
        read(source(tmp_path))
    with pytest.raises(ConfigError, match="it is empty or not there"):
        read(source(tmp_path / "nowhere"))


def test_arrays_of_objects_are_never_unpickled(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    write_npy(tmp_path)
    np.save(tmp_path / "lenses/1.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"1.npy: not a numpy array of numbers"):
        read(source(tmp_path))
    (tmp_path / "lenses/1.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match=r"1.npy: not a numpy array of numbers"):
        read(source(tmp_path))
    np.savez(tmp_path / "lenses/1.npz", image=np.array([Trap()], dtype=object))
    (tmp_path / "lenses/1.npy").unlink()
    with pytest.raises(ConfigError, match=r"1.npz: not a numpy array of numbers"):
        read(source(tmp_path))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (image(0, 2, 8, 8), r"1.npy: 2 bands, but 3 are expected \(g, r, i\)"),
        (image(0, 8, 8), r"1.npy: an array of shape \(8, 8\)"),
        (np.full((3, 8, 8), np.nan, np.float32), r"1.npy: not one valid pixel in bands g, r, i"),
        (np.array(["a"]), "1.npy: <U1 of shape"),
    ],
)
def test_a_stamp_that_does_not_fit_is_named(tmp_path: Path, array: np.ndarray, message: str):
    write_npy(tmp_path)
    np.save(tmp_path / "lenses/1.npy", array)
    with pytest.raises(ConfigError, match=message):
        read(source(tmp_path))


def test_unreadable_fits_and_pictures_are_named(tmp_path: Path):
    for name in ("lenses", "nonlenses"):
        (tmp_path / name).mkdir()
        write_fits(tmp_path / name / "a.fits", image(0))
    (tmp_path / "lenses/b.fits").write_bytes(b"SIMPLE  = nonsense")
    with pytest.raises(ConfigError, match=r"b.fits: .*mend the file or take it out"):
        read(source(tmp_path))
    (tmp_path / "lenses/b.fits").unlink()
    (tmp_path / "lenses/c.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"files of several forms \(a.fits, c.png\)"):
        read(source(tmp_path))
    (tmp_path / "lenses/a.fits").unlink()
    with pytest.raises(ConfigError, match=r"c.png: .*mend the file"):
        read(source(tmp_path))


def test_mixed_pixel_scales_in_headers_are_refused(tmp_path: Path):
    for name in ("lenses", "nonlenses"):
        (tmp_path / name).mkdir()
        write_fits(tmp_path / name / "a.fits", image(0), scale=0.3)
    write_fits(tmp_path / "nonlenses/b.fits", image(1), scale=0.168)
    with pytest.raises(ConfigError, match=r"b.fits: pixels of 0.168 arcsec by its header, but the source says 0.3"):
        read(source(tmp_path))


def test_real_lenses_come_to_the_package_s_grid(real_data: Path, tmp_path: Path):
    path = real_data / "ps1-lenses/stamps"
    config = StampsConfig.model_validate(
        {"kind": "stamps", "path": str(path), "pixel_scale": "0.25 arcsec", "limit": 12}
    )
    stamps = read_unlabelled([config], BANDS, 0.3, 72)
    assert stamps is not None
    assert stamps.image.shape == (12, 3, 72, 72)
    got = pixels(stamps)
    middle, edge = np.nanmean(got[:, :, 32:40, 32:40]), np.nanmean(got[:, :, :8])
    assert middle > 5 * abs(edge)
    wrong = config.model_copy(update={"pixel_scale": 0.2})
    with pytest.raises(ConfigError, match=r"pixels of 0.25 arcsec by its header"):
        read_unlabelled([wrong], BANDS, 0.3, 72)
