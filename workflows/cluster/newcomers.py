"""Workers that join while a scan runs are held to what was checked of the first ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distributed import Client, LocalCluster, WorkerPlugin

from workflows.cluster.checks import digest_by_value

TOPIC = "lensscan-refused"
_log = logging.getLogger("lensscan")


def refuse_others(client: Client, wanted: str, device: str) -> None:
    """Have workers that come later end before their first task, if they have other code, or score on another device.

    Jobs and pods come when a queue has room for them, long after the scan's first checks. Who is refused is told in the
    log.

    Parameters
    ----------
    client : Client
    wanted : str
        `score.device` of the scan.
    device : str
        The kind of device of the workers that were there; "none" for a scan that doesn't score.
    """
    if isinstance(client.cluster, LocalCluster):
        return  # its workers are this process's own children
    client.subscribe_topic(TOPIC, _tell)
    client.register_plugin(_newcomer_by_value(digest_by_value(), wanted, device), name="lensscan-newcomers")


def _tell(event: tuple[float, Any]) -> None:
    _log.warning("%s", event[1])


def _newcomer_by_value(digest: Callable[[], tuple[str, list[str], str]], wanted: str, device: str) -> WorkerPlugin:
    """A plugin whose class is local on purpose: it travels by value, and other code could not import it."""
    mine, _, torch = digest()
    topic = TOPIC

    class Newcomer(WorkerPlugin):  # type: ignore[misc]
        async def setup(self, worker: Any) -> None:
            """Close the worker if it is not like the others."""
            wrong = self.wrong(worker)
            if wrong is not None:
                worker.log_event(topic, f"worker {worker.address} joined and was refused: {wrong}")
                await worker.close(reason="lensscan-refused")

        def wrong(self, worker: Any) -> str | None:
            found, places, version = digest()
            if found != mine:
                return f"it imports other code, {' and '.join(places)}"
            if version != torch:
                return f"it has torch {version}, and the others {torch}"
            if device == "none" or not worker.state.total_resources.get("score"):
                return None
            from workflows.cluster.checks import device_kind

            kind = device_kind(wanted)
            return f"it scores on {kind}, and the others on {device}" if kind != device else None

    return Newcomer()
