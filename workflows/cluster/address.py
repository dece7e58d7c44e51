"""A scheduler that runs already, reached in the clear or with certificates."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client
from distributed.security import Security

from pipeline.errors import ConfigError
from workflows.cluster.config import ClusterConfig, TlsConfig


@contextmanager
def joined(config: ClusterConfig) -> Iterator[Client]:
    """A client of the scheduler at the config's address.

    Raises
    ------
    ConfigError
        If no scheduler answers, its certificates are not those of ours, or it has no worker in time.
    """
    address = str(config.address)
    secure = security(config.tls) if config.tls is not None else None
    try:
        client = Client(address, timeout=config.wait, security=secure, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        asked = " and the certificates in tls" if secure is not None else ""
        raise ConfigError(f"no Dask scheduler answers at {address} ({error}); check the address{asked}.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=config.wait)
        except TimeoutError as error:
            raise ConfigError(
                f"the cluster at {address} had no worker within {config.wait:g} s; start some."
            ) from error
        yield client


def security(tls: TlsConfig) -> Security:
    """Dask's security object for certificates, which have been read.

    Raises
    ------
    ConfigError
        Naming the file that is not there, or saying that the files are no certificate and its key.
    """
    paths = {name: Path(getattr(tls, name)).expanduser().absolute() for name in ("ca_file", "cert", "key")}
    for name, path in paths.items():
        if not path.is_file():
            raise ConfigError(f"tls.{name}: no file {path}; name the PEM file that the cluster's administrator gave.")
    authority, cert, key = (str(paths[name]) for name in ("ca_file", "cert", "key"))
    try:
        context = ssl.create_default_context(cafile=authority)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"tls.ca_file: {authority} holds no PEM certificate ({error}).") from error
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"tls.cert {cert} and tls.key {key} are no PEM certificate with the key that belongs to it ({error})."
        ) from error
    roles = ("client", "worker", "scheduler")
    certificates = {f"tls_{role}_cert": cert for role in roles} | {f"tls_{role}_key": key for role in roles}
    return Security(require_encryption=True, tls_ca_file=authority, **certificates)
