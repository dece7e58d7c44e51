"""Pictures over HTTP: what is drawn is the stamp of the object asked for."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.catalogue.colour import colour
from pipeline.catalogue.stamps import Stamp
from pipeline.inspector.cache import Cache
from pipeline.inspector.looks import Look, choices, combinations
from pipeline.inspector.pictures import difference, stamp_picture
from tests.inspector.made_scan import made_scan

Client = Callable[..., Any]


def opened(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def stamp(client: Any, number: int, **values: Any) -> Any:
    return client.get("/picture/stamp", params={"v": client.session.version, "n": number, **values})


def test_a_stamp_is_the_reports_picture_with_its_first_row_at_the_bottom(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    found = client.session.gallery.stamp(4)
    np.testing.assert_array_equal(opened(stamp(client, 4)), np.flipud(colour(found)))


def test_a_sheet_has_the_stamps_in_the_order_asked_for(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    numbers = [7, 3, 11, 0, 20]
    asked = {"v": client.session.version, "n": ",".join(map(str, numbers))}
    sheet = opened(client.get("/picture/sheet", params=asked)).astype(int)
    assert sheet.shape == (2 * 32, 3 * 32, 3)
    for place in range(len(numbers)):
        row, column = divmod(place, 3)
        cell = sheet[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        apart = [np.abs(cell - opened(stamp(client, other)).astype(int)).mean() for other in numbers]
        assert int(np.argmin(apart)) == place
        assert apart[place] < 6  # what JPEG makes of noise


def test_looks_differ_and_one_band_is_grey(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    start = client.get("/api/start").json()
    assert start["combinations"] == ["i-r-g", "g less i", "g", "r", "i"]
    pictures = [opened(stamp(client, 2, bands=bands)) for bands in start["combinations"]]
    pictures += [opened(stamp(client, 2, stretch=stretch)) for stretch in start["stretches"][1:]]
    for one in range(len(pictures)):
        for other in range(one):
            assert (pictures[one] != pictures[other]).any()
    assert all((picture == picture[..., :1]).all() for picture in pictures[1:5])


def test_outlines_are_drawn_where_asked(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    masked = next(n for n in range(60) if client.session.gallery.stamp(n).mask.any())
    asked = {"v": client.session.version, "n": str(masked)}
    bare, outlined = (opened(client.get("/picture/sheet", params={**asked, "outlines": o})).astype(int) for o in (0, 1))
    changed = np.abs(bare - outlined).sum(axis=2) > 100
    assert changed[:, 7].all(), "the edge of the eight masked columns"
    assert not changed[:, 10:].any()


def test_flags_lie_where_the_mask_is_and_are_see_through_elsewhere(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    masked = next(n for n in range(60) if client.session.gallery.stamp(n).mask.any())
    answer = client.get("/picture/flags", params={"v": client.session.version, "n": masked})
    opacity = np.asarray(Image.open(io.BytesIO(answer.content)))[..., 3]
    assert (opacity[:, :8] > 0).all()
    assert (opacity[:, 8:] == 0).all()


def test_the_strip_has_every_combination(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    answer = client.get("/picture/strip", params={"v": client.session.version, "n": 0})
    assert opened(answer).shape == (32, 5 * 32, 3)


def test_a_cutout_that_was_not_kept_is_told(tmp_path: Path, client_of: Client) -> None:
    client = client_of(made_scan(tmp_path / "products", ("A",), 20, kept=5))
    start = client.get("/api/start").json()
    assert any("cutouts of 15 candidates were not kept" in note and "cutouts.keep" in note for note in start["notes"])
    codes = [stamp(client, number).status_code for number in range(20)]
    assert sorted(codes) == [200] * 5 + [404] * 15
    sheet = client.get("/picture/sheet", params={"v": start["version"], "n": ",".join(map(str, range(20)))})
    assert opened(sheet).shape == (4 * 32, 5 * 32, 3)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"v": "other"}, 409), ({"n": "60"}, 404), ({"n": "-1"}, 422), ({"n": "a"}, 422), ({"n": ""}, 422),
        ({"n": "1,,2"}, 422), ({"n": "9" * 400}, 422), ({"n": "\u0663"}, 422), ({"n": ",".join("0" * 201)}, 422),
        ({"bands": "u"}, 422), ({"bands": "../g"}, 422), ({"stretch": "log"}, 422), ({"bands": "g" * 65}, 422),
    ],
)  # fmt: skip
def test_a_picture_that_can_not_be_is_refused(
    scan_output: Path, client_of: Client, values: dict[str, str], status: int
) -> None:
    client = client_of(scan_output)
    right = {"v": client.session.version, "n": "0"}
    for path in ("/picture/sheet", "/picture/stamp"):
        assert client.get(path, params=right | values).status_code == status


def test_a_map_of_no_kind_or_without_an_ensemble_says_so(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    asked = {"v": client.session.version, "n": "0"}
    assert client.get("/picture/map", params={**asked, "kind": "dreams"}).status_code == 422
    answer = client.get("/picture/map", params={**asked, "kind": "saliency"})
    assert answer.status_code == 422
    assert "--ensemble" in answer.json()["detail"]


def test_a_difference_takes_the_galaxy_away_and_leaves_its_arc(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    keys = client.session.objects.keys
    arcs = [n for n in range(60) if (keys[n][1] - 2**53 - 1) % 10_000_000 % 15 in (3, 6, 9, 12)]
    left = difference(client.session.gallery.stamp(arcs[0]), "g", "i").image[0]
    y, x = np.indices(left.shape) - 15.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    assert abs(left[radius < 2.4].mean()) < 0.05, "where the galaxy was 1 in g"
    on_arc = (np.abs(radius - 8) < 0.7) & (np.cos(angle - 0.6) > 0.5)
    assert left[on_arc].mean() > 0.5
    assert abs(left[radius > 13].mean()) < 0.05


@pytest.mark.filterwarnings("error")
def test_a_difference_of_bands_without_data_or_light_is_no_error() -> None:
    image = np.full((2, 8, 8), np.nan, np.float32)
    empty = Stamp(image, np.zeros(image.shape, np.uint32), ("g", "i"), 0.3)
    assert np.isnan(difference(empty, "g", "i").image).all()
    image = np.zeros((2, 8, 8), np.float32)
    image[0, 4, 4] = 1
    dark = Stamp(image, np.zeros(image.shape, np.uint32), ("g", "i"), 0.3)
    np.testing.assert_array_equal(difference(dark, "g", "i").image[0], image[0])
    assert stamp_picture(dark, Look("g less i")).shape == (8, 8, 3)
    half = image.copy()
    half[1] = np.nan
    assert stamp_picture(Stamp(half, dark.mask, ("g", "i"), 0.3), Look("g less i")).shape == (8, 8, 3)


def test_combinations_go_by_wavelength() -> None:
    assert list(combinations(("g", "r", "i"))) == ["i-r-g", "g", "r", "i"]
    assert list(combinations(("z", "g", "i", "r"))) == ["i-r-g", "z-i-r", "g", "r", "i", "z"]
    assert list(combinations(("VIS",))) == ["VIS"]
    assert list(combinations(("r", "g"))) == ["r-r-g", "g", "r"]
    assert choices(("VIS",)) == ["VIS"]
    assert choices(("r", "g")) == ["r-r-g", "g less r", "g", "r"]


def test_a_picture_that_two_ask_for_is_made_once() -> None:
    cache, made, go = Cache(1000), [], threading.Event()

    def make() -> bytes:
        go.wait(10)
        made.append(1)
        return b"picture"

    answers: list[bytes] = []
    asking = [threading.Thread(target=lambda: answers.append(cache.get("a", make))) for _ in range(4)]
    for thread in asking:
        thread.start()
    go.set()
    for thread in asking:
        thread.join(10)
    assert answers == [b"picture"] * 4
    assert len(made) == 1


def test_the_cache_forgets_what_was_used_longest_ago_and_no_failure_stays() -> None:
    cache = Cache(10)
    calls: list[str] = []

    def make(name: str) -> bytes:
        calls.append(name)
        if name == "bad" and calls.count("bad") == 1:
            raise OSError("not now")
        return b"xxxx"

    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(name, lambda name=name: make(name))
    assert calls == ["a", "b", "c", "b"]
    with pytest.raises(OSError, match="not now"):
        cache.get("bad", lambda: make("bad"))
    assert cache.get("bad", lambda: make("bad")) == b"xxxx"
