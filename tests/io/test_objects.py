"""Objects of a store: what is asked, what is answered, and what is made of it when the store fails."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import BadSurveyData, ConfigError, ProductMismatch
from pipeline.io import cutout_store, lease, objects, products, scratch
from pipeline.io.cutout_store import Stamps
from pipeline.io.fits import open_plane, read_table
from pipeline.io.folders import folder_of
from pipeline.io.lease import NAME, Lease, present_token
from pipeline.io.object_file import AHEAD, ObjectFile
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import file_identity, place
from pipeline.io.writing import write_json
from tests.object_store import FAULTS, FaultProxy, client, upload


@pytest.fixture
def root(bucket: str) -> ObjectPath:
    return ObjectPath(bucket, "a folder/ü")


@pytest.fixture
def failing(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultProxy]]:
    """A proxy with the faults given for the next requests, one each, and none after that."""
    monkeypatch.setattr(objects, "FIRST_PAUSE", timedelta(milliseconds=5))
    monkeypatch.setattr(objects, "SILENCE", timedelta(seconds=0.2))
    host, _, port = store_url.removeprefix("http://").partition(":")
    proxies: list[FaultProxy] = []

    def put(*faults: str) -> FaultProxy:
        left = list(faults)
        proxies.append(FaultProxy(host, int(port), lambda method, path: left.pop(0) if left else None, patience=0.4))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies[-1].url)
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_gets_its_answer_through_every_fault(
    fault: str, root: ObjectPath, failing: Callable[..., FaultProxy]
) -> None:
    data = bytes(range(256)) * 40
    path = root / "x%2Fy #.bin"
    path.write_bytes(data)
    etag = path.info().etag
    asked: list[tuple[Callable[[], object], object]] = [
        (path.read_bytes, data),
        (lambda: objects.read_range(path.bucket, path.key, 100, 5000, etag), data[100:5000]),
        (lambda: objects.read_part(path.bucket, path.key, -50)[0], data[-50:]),
        (lambda: path.info().size, len(data)),
        (lambda: [key for key, _ in objects.below(root.bucket, root.key)], [path.key]),
        (lambda: [child.name for child in root.iterdir()], [path.name]),
        (root.is_dir, True),
        ((root / "none").is_file, False),
        (lambda: (root / "new").write_bytes(b"1"), None),
        (lambda: objects.create(root.bucket, (root / "once").key, b"mine") is not None, True),
        (lambda: objects.create(root.bucket, (root / "once").key, b"theirs"), None),
        (lambda: objects.replace(path.bucket, path.key, b"other", etag) is not None, True),
        (lambda: objects.replace(path.bucket, path.key, b"third", etag), None),
        (lambda: objects.delete(root.bucket, [path.key, (root / "new").key, (root / "once").key]), None),
        (root.is_dir, False),
    ]
    for number, (ask, answer) in enumerate(asked):
        proxy = failing(fault)
        assert ask() == answer, f"request {number}"
        assert proxy.seen[fault] == 1


def test_a_store_that_keeps_failing_is_an_error_of_the_system(
    root: ObjectPath, failing: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"1")
    monkeypatch.setattr(objects, "RETRIES", 2)
    proxy = failing(*["error"] * 100)
    with pytest.raises(StoreUnavailable, match=r"500.*s3://") as caught:
        (root / "a").read_bytes()
    assert caught.value.errno is not None
    assert proxy.seen["error"] == 3 * objects.AGAIN, "bounded"


def test_a_changed_object_is_not_read_on(root: ObjectPath) -> None:
    path = root / "a"
    path.write_bytes(bytes(AHEAD * 3))
    file = ObjectFile(path)
    path.write_bytes(bytes(AHEAD * 3 - 1))
    file.seek(2 * AHEAD)
    with pytest.raises(OSError, match="changed while it was read"):
        file.read(10)


def test_one_of_many_writers_creates_and_replaces(root: ObjectPath) -> None:
    def race(write: Callable[[bytes], str | None]) -> int:
        won: list[str] = []
        start = threading.Barrier(6)

        def run(number: int) -> None:
            start.wait()
            etag = write(f"writer {number}".encode())
            if etag is not None:
                won.append(etag)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(won)

    assert race(lambda data: objects.create(root.bucket, "x", data)) == 1
    etag = objects.head(root.bucket, "x").etag
    assert race(lambda data: objects.replace(root.bucket, "x", data + b" again", etag)) == 1


def test_texts_become_places() -> None:
    assert place("s3://bucket/a/b%2Fc ü/") == ObjectPath("bucket", "a/b%2Fc ü")
    assert str(place("s3://bucket/a")) == "s3://bucket/a"
    assert str(place("s3://bucket")) == "s3://bucket"
    assert place("s3://bucket/a") / "b/c" == place("s3://bucket/a/b/c")
    assert place("out/put") == Path("out/put")
    for text in ("s3:///a", "s3://bucket//a", "s3://bucket/../a", "gs://bucket/a", "file:///data/x"):
        with pytest.raises(ConfigError, match="s3://BUCKET/KEY"):
            place(text)


def test_a_file_of_an_object_reads_like_a_file(root: ObjectPath) -> None:
    data = random.Random(1).randbytes(5 * AHEAD + 123)
    (root / "a").write_bytes(data)
    (root / "empty").write_bytes(b"")
    assert ObjectFile(root / "empty").read() == b""
    plain, file, numbers = io.BytesIO(data), ObjectFile(root / "a"), random.Random(2)
    for _ in range(60):
        whence, offset = numbers.choice([(0, numbers.randrange(len(data) + 10)), (1, 7), (2, -numbers.randrange(9999))])
        assert file.seek(offset, whence) == plain.seek(offset, whence)
        size = numbers.choice([0, 1, 80, 2880, AHEAD, 2 * AHEAD, -1])
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
    with pytest.raises(FileNotFoundError):
        ObjectFile(root / "none")


PATTERNS = ("*", "*/*.fits", "a*/x-[gr].fits", "**/*.fits", "b/**", "b/**/y.fits", "a?/x-g.fits", "b/c/y.fits", "n*/z")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_folder_of_objects_is_globbed_like_one_on_disk(
    pattern: str, tmp_path: Path, root: ObjectPath, store_url: str
) -> None:
    for name in ("a1/x-g.fits", "a2/x-r.fits", "a2/x-i.fits", "b/c/d/y.fits", "b/c/y.fits", "b/.h/y.fits", ".z", "w"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    upload(store_url, root.bucket, tmp_path, root.key)
    here, there = folder_of(tmp_path), folder_of(root)
    # A store has no folders that a pattern could find.
    found = [name for name in here.glob(pattern, recursive=True) if (tmp_path / name).is_file()]
    assert there.glob(pattern, recursive=True) == found
    for name in (*found, "a1", "none", "b/none.fits"):
        assert there.is_file(name) == here.is_file(name), name
        assert there.identity(f"{root}/{name}") == file_identity(f"{root}/{name}")


def test_a_survey_of_many_files_is_one_listing(
    root: ObjectPath, tmp_path: Path, store_url: str, failing: Callable[..., FaultProxy]
) -> None:
    names = [f"F{number}/F{number}-g.fits" for number in range(40)]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    upload(store_url, root.bucket, tmp_path, root.key)
    proxy, folder = failing(), folder_of(root)
    assert folder.glob("*/*-g.fits") == sorted(names)
    assert all(folder.is_file(name) and folder.identity(f"{root}/{name}")[1] for name in names)
    assert len(set(proxy.requests)) == 1


@pytest.mark.parametrize("kind", ["plain", "rice", "gzip"])
def test_rows_of_a_fits_object_are_those_of_the_file(
    kind: str, tmp_path: Path, root: ObjectPath, store_url: str, failing: Callable[..., FaultProxy]
) -> None:
    pixels = np.random.default_rng(3).normal(0, 5, (600, 700)).astype(np.float32)
    name = "a.fits.gz" if kind == "gzip" else "a.fits"
    image = fits.CompImageHDU(pixels, name="SCI") if kind == "rice" else fits.ImageHDU(pixels, name="SCI")
    flags = fits.ImageHDU((pixels > 5).astype(np.int16), name="MASK")
    columns = fits.BinTableHDU.from_columns([fits.Column("id", "K", array=np.arange(5))], name="TABLE")
    fits.HDUList([fits.PrimaryHDU(), image, flags, columns]).writeto(tmp_path / name)
    upload(store_url, root.bucket, tmp_path, root.key)
    proxy = failing()
    here, there = (open_plane(f"{where}/{name}", "SCI") for where in (tmp_path, root))
    assert len(set(proxy.requests)) <= (2 if kind == "gzip" else 1)
    assert here.shape == there.shape
    for rows in ((0, 7), (300, 333), (593, 600), (0, 600)):
        np.testing.assert_array_equal(there.read(*rows), here.read(*rows))
    mask = open_plane(f"{root}/{name}", "MASK")
    np.testing.assert_array_equal(mask.read_integers(5, 9), (pixels > 5)[5:9])
    np.testing.assert_array_equal(read_table(f"{root}/{name}", "TABLE")["id"], np.arange(5))
    proxy.requests.clear()
    there.read(100, 200)
    assert proxy.requests == [], "a block is fetched once"


def test_a_fits_object_that_is_missing_cut_or_replaced_says_so(
    tmp_path: Path, root: ObjectPath, store_url: str
) -> None:
    pixels = np.ones((300, 300), np.float32)
    fits.writeto(tmp_path / "a.fits", pixels)
    upload(store_url, root.bucket, tmp_path, root.key)
    with pytest.raises(BadSurveyData, match="no such file"):
        open_plane(f"{root}/b.fits")
    plane = open_plane(f"{root}/a.fits")
    (root / "a.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:200_000])
    with pytest.raises(BadSurveyData, match="truncated, 200000 bytes"):
        open_plane(f"{root}/a.fits")
    with pytest.raises(OSError, match="changed while it was read"):
        plane.read(0, 10)


def test_only_the_rows_asked_for_are_fetched(root: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "BLOCK", 10_000)
    data = random.Random(4).randbytes(95_000)
    (root / "a").write_bytes(data)
    copy = scratch.copy_of(root / "a", (root / "a").info())
    copy.fetch(25_000, 41_000)
    assert copy.fetched == 30_000
    with open(copy.name, "rb") as file:
        assert file.read()[20_000:50_000] == data[20_000:50_000]
    copy.fetch(0, 95_000)
    assert Path(copy.name).read_bytes() == data


def test_copies_beyond_their_room_are_given_up(root: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "BLOCK", 1000)
    monkeypatch.setattr(scratch, "ROOM", 2500)
    for name in "abc":
        (root / name).write_bytes(bytes(1000))
        scratch.copy_of(root / name, (root / name).info()).fetch(0, 1000)
    scratch.copy_of(root / "c", (root / "c").info())
    assert [path.name for path, _ in scratch._copies if path.bucket == root.bucket] == ["b", "c"]


def test_cutouts_in_a_store_come_back_and_leave_nothing_above_them(root: ObjectPath, store_url: str) -> None:
    rng = np.random.default_rng(5)
    options = {"bands": ("g", "r"), "pixel_scale": 0.2, "rows": 11, "size": 8, "chunk": 2, "shard": 4}
    store = cutout_store.create(root / "F%2F1", **options, codec="lz4", seeing={"g": 0.7})  # type: ignore[arg-type]
    every = [
        Stamps(
            rng.normal(size=(count, 2, 8, 8)).astype(np.float32),
            np.ones((count, 2, 8, 8), np.float32),
            rng.integers(0, 2**32, (count, 2, 8, 8), dtype=np.uint32),
        )
        for count in (4, 4, 3)
    ]
    cutout_store.write(store, every)
    opened = cutout_store.open_store(root / "F%2F1")
    assert opened == store
    assert cutout_store.seeing(root / "F%2F1") == {"g": 0.7}
    for index, stamps in enumerate(every):
        np.testing.assert_array_equal(cutout_store.read_shard(opened, index).image, stamps.image)
        np.testing.assert_array_equal(cutout_store.read_shard(opened, index).mask, stamps.mask)
    np.testing.assert_array_equal(cutout_store.read(opened, 5, 6).image[0], every[1].image[1])
    keys = [item["Key"] for item in client(store_url).list_objects_v2(Bucket=root.bucket)["Contents"]]
    assert all(key.startswith("a folder/ü/F%2F1/cutouts.zarr/") for key in keys)
    with pytest.raises(ProductMismatch, match="no readable cutouts"):
        cutout_store.open_store(root / "F2")


def test_products_in_a_store_are_live_swept_and_never_shared(root: ObjectPath) -> None:
    first, second = "a" * 64, "b" * 64

    def put(fingerprint: str, text: str) -> None:
        generation = products.new_generation(root, "masks", "f/1", fingerprint)
        (root / products.generation_place("masks", "f/1", generation) / "file.txt").write_bytes(text.encode())
        products.publish(
            root, field_id="f/1", stage="masks", fingerprint=fingerprint, generation=generation, rows=1, provenance={}
        )

    put(first, "old")
    put(second, "newer")
    assert products.listing(root) == {"f/1": {"masks": [first, second]}}
    live = products.live_manifest(root, "f/1", "masks")
    assert live is not None
    assert (live.fingerprint, live.sequence, dict(live.files)) == (second, 2, {"file.txt": 5})
    assert products.live_files(root, "masks", "file.txt")["f/1"].read_text() == "newer"
    assert products.new_generation(root, "masks", "f/1", second) == f"{second[:16]}.2"
    products.sweep(root, "f/1", ("masks",))
    assert products.listing(root) == {"f/1": {"masks": [second]}}
    assert [path.name for path in root.rglob("*.txt")] == ["file.txt"]
    products.record_failure(root, "f/1", "masks", first, "why", again=True)
    assert products.failures(root)["f/1"]["reason"] == "why"
    products.clear_failure(root, "f/1")
    products.clear_failure(root, "f/1")
    assert products.failures(root) == {}


def test_manifests_of_many_fields_cost_one_listing_and_one_request_each(
    tmp_path: Path, root: ObjectPath, failing: Callable[..., FaultProxy], store_url: str
) -> None:
    for number in range(12):
        for stage in ("masks", "detect"):
            generation = products.new_generation(tmp_path, stage, f"f/{number}", "a" * 64)
            products.publish(
                tmp_path,
                field_id=f"f/{number}",
                stage=stage,
                fingerprint="a" * 64,
                generation=generation,
                rows=number,
                provenance={},
                notes=[f"odd {number}"],
            )
    upload(store_url, root.bucket, tmp_path, root.key)
    fields = [f"f/{number}" for number in range(13)]
    here = list(products.live_by_field(tmp_path, fields, ("masks", "detect", "cutouts")))
    proxy = failing()
    assert list(products.live_by_field(root, fields, ("masks", "detect", "cutouts"))) == here
    assert len(set(proxy.requests)) == 1 + 2 * 12
    assert [name for name, _ in here] == fields
    assert products.notes_of(here[3][1]) == [("masks", "odd 3")]
    assert here[12][1] == {}


@pytest.fixture(params=["disk", "store"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path | ObjectPath:
    return tmp_path if request.param == "disk" else ObjectPath(request.getfixturevalue("bucket"), "out")


def test_of_many_that_start_at_once_one_holds_the_lease(output: Path | ObjectPath) -> None:
    held, refused = [], []
    start, done = threading.Barrier(5), threading.Event()

    def run() -> None:
        start.wait()
        try:
            with Lease(output) as mine:
                held.append(mine.mark.token)
                done.wait(20)
        except ProductMismatch as error:
            refused.append(str(error))
            if len(refused) == 4:
                done.set()

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 4)
    assert present_token(output) is None


def test_the_holder_of_a_lease_is_told_by_its_token(output: Path | ObjectPath) -> None:
    assert present_token(output) is None
    with Lease(output) as mine:
        assert present_token(output) == mine.mark.token
    assert present_token(output) is None


def test_the_lease_of_a_dead_process_is_broken_by_one(output: Path | ObjectPath) -> None:
    dead = {"token": "theirs", "host": lease.socket.gethostname(), "pid": 2**22 - 3, "started": 1.0}
    write_json(output / NAME, dead)
    assert present_token(output) == "theirs"
    with Lease(output) as mine:
        assert present_token(output) == mine.mark.token
        with pytest.raises(ProductMismatch, match="is being written by"):
            Lease(output).__enter__()
    assert present_token(output) is None


def test_a_store_that_ignores_conditions_is_refused(bucket: str, failing: Callable[..., FaultProxy]) -> None:
    failing(*["unconditional"] * 3)
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        Lease(ObjectPath(bucket, "out")).__enter__()
    assert present_token(ObjectPath(bucket, "out")) is None


def test_a_lease_in_a_store_is_broken_when_its_heart_stopped(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = ObjectPath(bucket, "out")
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "STALE_AFTER", 2.5)
    monkeypatch.setattr(lease.socket, "gethostname", lambda: "elsewhere")
    with Lease(output) as lost:
        monkeypatch.setattr(lease.socket, "gethostname", lambda: "here")
        time.sleep(3)
        with pytest.raises(ProductMismatch, match="on elsewhere"):
            Lease(output).__enter__()  # its heart beats
        lost._stop.set()
        time.sleep(3.6)
        with Lease(output) as heir:
            assert present_token(output) == heir.mark.token
            lost.__exit__(None, None, None)
            assert present_token(output) == heir.mark.token, "who lost a lease does not remove its heir's"
    assert present_token(output) is None
    assert not (output / NAME).exists()
