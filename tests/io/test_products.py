from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ProductMismatch
from pipeline.io import ownership, products
from pipeline.io.lease import NAME, Lease
from pipeline.io.writing import atomic_write

A, B = "a" * 64, "b" * 64


def put(output: Path, field: str, fingerprint: str, text: str = "x") -> products.Manifest:
    generation = products.new_generation(output, "masks", field, fingerprint)
    (output / products.generation_place("masks", field, generation) / "file.txt").write_text(text)
    return products.publish(
        output,
        field_id=field,
        stage="masks",
        fingerprint=fingerprint,
        generation=generation,
        rows=1,
        provenance={},
    )


@given(st.text(min_size=1, max_size=20))
def test_field_names_become_one_safe_path_component(name: str) -> None:
    try:
        text = products.encoded(name)
    except UnicodeEncodeError:
        return  # lone surrogates are no file name anywhere
    assert "/" not in text
    assert text not in {".", "..", ""}
    from urllib.parse import unquote

    assert unquote(text) == name


def test_the_latest_publication_is_live_until_the_sweep_and_after(tmp_path: Path) -> None:
    put(tmp_path, "f/1", A, "old")
    put(tmp_path, "f/1", B, "new")
    names = products.listing(tmp_path)["f/1"]
    assert names == {"masks": [A, B]}
    assert products.live_fingerprint(tmp_path, "f/1", "masks", names) == B
    assert products.live_files(tmp_path, "masks", "file.txt")["f/1"].read_text() == "new"
    products.sweep(tmp_path, "f/1", ("masks",))
    assert products.listing(tmp_path)["f/1"] == {"masks": [B]}
    assert products.live_files(tmp_path, "masks", "file.txt")["f/1"].read_text() == "new"
    assert len(list((tmp_path / "masks" / "f%2F1").iterdir())) == 1


def test_going_back_to_an_older_fingerprint_makes_it_live_again(tmp_path: Path) -> None:
    put(tmp_path, "f", A)
    put(tmp_path, "f", B)
    again = put(tmp_path, "f", A, "third")
    assert again.sequence == 3
    manifest = products.live_manifest(tmp_path, "f", "masks")
    assert manifest is not None
    assert manifest.fingerprint == A
    assert (tmp_path / manifest.place / "file.txt").read_text() == "third"


def test_two_runs_never_share_a_generation(tmp_path: Path) -> None:
    names = [products.new_generation(tmp_path, "masks", "f", A) for _ in range(3)]
    assert names == [A[:16], f"{A[:16]}.2", f"{A[:16]}.3"]


def test_an_unpublished_generation_is_invisible_and_swept(tmp_path: Path) -> None:
    products.new_generation(tmp_path, "masks", "f", A)
    assert products.listing(tmp_path) == {}
    put(tmp_path, "f", A)
    products.sweep(tmp_path, "f", ("masks",))
    assert len(list((tmp_path / "masks" / "f").iterdir())) == 1


def test_what_a_killed_process_was_writing_is_no_part_of_a_product(tmp_path: Path) -> None:
    generation = products.new_generation(tmp_path, "masks", "f", A)
    folder = tmp_path / products.generation_place("masks", "f", generation)
    killed_before = "import os, signal; os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
    writing = "from pathlib import Path; from pipeline.io.writing import atomic_write; atomic_write(Path({!r}), b'x')"
    for path in (folder / "file.txt", tmp_path / "manifests" / "f" / "masks.json"):
        subprocess.run([sys.executable, "-c", killed_before + writing.format(str(path))], check=False)
        assert [left.name.startswith(f".{path.name}.") for left in path.parent.iterdir()] == [True]
    (folder / "file.txt").write_text("whole")
    assert products.sizes(folder) == {"file.txt": 5}
    manifest = products.publish(
        tmp_path, field_id="f", stage="masks", fingerprint=A, generation=generation, rows=1, provenance={}
    )
    assert manifest.files == {"file.txt": 5}
    assert [path.name for path in folder.iterdir()] == ["file.txt"]
    products.sweep(tmp_path, "f", ("masks",))
    assert [path.name for path in (tmp_path / "manifests" / "f").iterdir()] == [f"masks.{A}.json"]


def test_atomic_write_leaves_the_old_bytes_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_output_belongs_to_one_scan(tmp_path: Path) -> None:
    output = tmp_path / "aus gabe ü"
    ownership.claim(output, "one", "survey", "dr1")
    ownership.claim(output, "one", "survey", "dr1")
    with pytest.raises(ProductMismatch, match="scan_id 'one'"):
        ownership.claim(output, "two", "survey", "dr1")
    with pytest.raises(ProductMismatch, match="release 'dr1'"):
        ownership.claim(output, "one", "survey", "dr2")


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ProductMismatch, match="not empty"):
        ownership.claim(tmp_path, "one", "survey", "dr1")
    with pytest.raises(ProductMismatch, match="not the output of a scan"):
        ownership.identity(tmp_path)


def test_a_broken_manifest_names_its_file(tmp_path: Path) -> None:
    put(tmp_path, "f", A)
    path = tmp_path / "manifests" / "f" / f"masks.{A}.json"
    path.write_text("{")
    with pytest.raises(ProductMismatch, match="not readable JSON"):
        products.live_manifest(tmp_path, "f", "masks")


def test_failures_are_kept_and_forgotten(tmp_path: Path) -> None:
    products.record_failure(tmp_path, "f/1", "masks", A, "truncated", again=False)
    assert products.failures(tmp_path)["f/1"]["reason"] == "truncated"
    products.clear_failure(tmp_path, "f/1")
    products.clear_failure(tmp_path, "f/1")
    assert products.failures(tmp_path) == {}


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with Lease(tmp_path), pytest.raises(ProductMismatch, match="is being written by process"), Lease(tmp_path):
        pass
    with Lease(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_an_output_that_cannot_be_written_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ProductMismatch, match=r"file can't be written \(File exists\).*--out DIR"):
        Lease(tmp_path / "file").__enter__()


def test_the_lease_of_a_dead_process_is_broken(tmp_path: Path) -> None:
    with Lease(tmp_path):
        owner = json.loads((tmp_path / NAME).read_text())
    owner["pid"], owner["started"], owner["token"] = 2**22 - 3, 1.0, "theirs"
    (tmp_path / NAME).write_text(json.dumps(owner))
    with Lease(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_the_lease_of_another_host_is_broken_only_when_its_heart_stopped(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(json.dumps({"token": "theirs", "host": "elsewhere", "pid": 1, "started": 1.0}))
    with pytest.raises(ProductMismatch, match="elsewhere"), Lease(tmp_path):
        pass
    os.utime(path, (1.0, 1.0))
    with Lease(tmp_path):
        pass
