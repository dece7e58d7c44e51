from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.provenance import file_identity, fingerprint, sha256_of, software, stage_fingerprint


def test_order_of_keys_does_not_count_and_everything_else_does() -> None:
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    assert fingerprint(0.1) != fingerprint(0.1 + 2e-17 * 4)
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


def test_stages_with_the_same_inputs_differ() -> None:
    assert stage_fingerprint("masks", {}, []) != stage_fingerprint("detect", {}, [])


def test_a_file_is_known_by_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    path.write_bytes(b"one")
    before = file_identity(str(path))
    assert before[1] == 3
    path.write_bytes(b"four")
    assert file_identity(str(path)) != before
    path.unlink()
    assert file_identity(str(path)) == [str(path), -1, 0]


def test_a_path_that_leads_nowhere_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    loop, plain = tmp_path / "loop", tmp_path / "plain"
    loop.symlink_to(loop)
    plain.write_text("x")
    for path in (loop, plain / "below", tmp_path / ("n" * 300), tmp_path / "none"):
        assert file_identity(str(path)) == [str(path), -1, 0]


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_software_names_itself() -> None:
    assert set(software()) == {"version", "revision"}
