"""Waiting for workers that come when a queue or a node has room for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from distributed import Client

from pipeline.errors import ConfigError
from workflows.cluster.checks import workers_with

_EVERY = 0.5
"""Seconds between two looks."""


def wait_for_offers(
    client: Client,
    needed: set[str],
    seconds: float,
    whose: str,
    trouble: Callable[[], str | None] = lambda: None,
) -> None:
    """Wait until some worker offers each resource; the others may come while the scan runs.

    Parameters
    ----------
    client : Client
    needed : set of str
    seconds : float
    whose : str
        Of what the workers are, for the message.
    trouble : callable
        Says what is wrong, as soon as waiting any longer is of no use.

    Raises
    ------
    ConfigError
        Saying which resource nobody offered in time, or what is wrong.
    """
    until = time.monotonic() + seconds
    while missing := sorted(name for name in needed if not workers_with(client, name)):
        wrong = trouble()
        if wrong is not None:
            raise ConfigError(wrong)
        if time.monotonic() > until:
            raise ConfigError(
                f"no worker {whose} offered {' or '.join(missing)} within {seconds:g} s; the queue may be full: raise "
                f"wait, or ask for less."
            )
        time.sleep(_EVERY)
