"""Whether a store can be reached, asked before any work starts."""

from __future__ import annotations

import os

from pipeline.errors import ConfigError
from pipeline.io import objects
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place

_CREDENTIALS = (
    "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`aws configure export-credentials --format env` prints those "
    "of a profile), or AWS_SKIP_SIGNATURE=true for a public bucket"
)


def check(where: Place) -> None:
    """Ask a store once, and for some seconds at most, whether it gives access to a place; a local path is not asked.

    Raises
    ------
    ConfigError
        If credentials are missing or refused, the bucket is not there, the region is another one, or nothing
        answers; with the next step.
    """
    if not isinstance(where, ObjectPath):
        return
    store = objects.endpoint() or "Amazon S3"
    if os.environ.get("AWS_ACCESS_KEY_ID") and not os.environ.get("AWS_SECRET_ACCESS_KEY"):
        raise ConfigError(f"{where}: AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not; {_CREDENTIALS}.")
    try:
        objects.probe(where.bucket, where.key)
    except PermissionError as error:
        raise ConfigError(f"{where}: {store} refuses access{_code(error)}; {_CREDENTIALS}.") from error
    except FileNotFoundError as error:
        raise ConfigError(_no_bucket(where, store)) from error
    except StoreUnavailable as error:
        raise ConfigError(_why(where, store, str(error.__cause__))) from error


def _why(where: ObjectPath, store: str, said: str) -> str:
    if "NoSuchBucket" in said:
        return _no_bucket(where, store)
    if "Moved Permanently" in said or "PermanentRedirect" in said or "AuthorizationHeaderMalformed" in said:
        return f"{where}: the bucket is in another region than {_region()}; export AWS_REGION=... with its own."
    if not objects.has_credentials():
        return f"{where}: no credentials in the environment and no role of this machine; {_CREDENTIALS}."
    return (
        f"{where}: {store} does not answer ({said.splitlines()[0][:300]}); check the network, AWS_REGION (now "
        f"{_region()}), and AWS_ENDPOINT_URL if the bucket is not Amazon's."
    )


def _no_bucket(where: ObjectPath, store: str) -> str:
    return f"{where}: no bucket {where.bucket!r} at {store}; make it, or mend the path."


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _code(error: OSError) -> str:
    """The store's own word for a refusal, where it gives one."""
    start, _, rest = str(error.__cause__).partition("<Code>")
    return f" ({rest.partition('</Code>')[0]})" if rest and start else ""
