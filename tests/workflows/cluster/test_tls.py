"""A scheduler that asks for certificates, and what is told of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed.security import Security

from pipeline.errors import ConfigError
from tests.workflows.cluster.commands import dask
from workflows.cluster import ClusterConfig, executor_for

pytest.importorskip("cryptography", reason="cryptography is not installed: ./install.sh test installs it")


def certificates(folder: Path) -> dict[str, str]:
    """A key, a certificate that vouches for itself, and itself as the authority: PEM files by key of the config."""
    folder.mkdir()
    made = Security.temporary()
    texts = {"ca_file": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(str(text))
    return {name: str(folder / f"{name}.pem") for name in texts}


def options(files: dict[str, str]) -> tuple[str, ...]:
    return ("--tls-ca-file", files["ca_file"], "--tls-cert", files["cert"], "--tls-key", files["key"])


def at(address: str, files: dict[str, str], wait: str = "40 s") -> ClusterConfig:
    return ClusterConfig.model_validate({"kind": "address", "address": address, "wait": wait, "tls": files})


def test_certificates_of_the_cluster_open_it_and_others_do_not(tmp_path: Path) -> None:
    mine, others = certificates(tmp_path / "mine"), certificates(tmp_path / "others")
    with dask("--resources cut=1,score=1", options=options(mine), protocol="tls") as address:
        with executor_for(at(address, mine)) as (executor, client):
            assert client is not None
            assert client.scheduler.address.startswith("tls://")
            assert executor.slots() == {"cut": 1, "score": 1, "both": 1}
        with (
            pytest.raises(ConfigError, match=r"no Dask scheduler answers at tls://.*and the certificates in tls"),
            executor_for(at(address, others, "3 s")),
        ):
            pass


def test_files_that_are_no_certificates_are_told(tmp_path: Path) -> None:
    mine, others = certificates(tmp_path / "mine"), certificates(tmp_path / "others")
    (tmp_path / "text.pem").write_text("words")
    text = str(tmp_path / "text.pem")
    for files, told in (
        ({**mine, "cert": str(tmp_path / "none.pem")}, r"tls\.cert: no file .*none\.pem"),
        ({**mine, "ca_file": text}, r"tls\.ca_file: .*text\.pem holds no PEM certificate"),
        ({**mine, "key": others["key"]}, r"tls\.cert .* and tls\.key .* are no PEM certificate with the key"),
        ({**mine, "cert": text}, r"tls\.cert .*text\.pem and"),
    ):
        with pytest.raises(ConfigError, match=told), executor_for(at("tls://127.0.0.1:1", files)):
            pass
