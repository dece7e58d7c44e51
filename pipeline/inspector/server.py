"""The server of the page: a socket of its own, and an end that is asked for."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from pipeline.errors import ConfigError
from pipeline.inspector.guard import is_loopback

GRACE = 3
"""Seconds that answers under way have when the server is told to stop."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any that is free.

    Raises
    ------
    ConfigError
        If the port is taken or not ours to take, or the host is none of this machine's addresses.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address ({error}); give one of this machine's.") from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is in use; give another with --port, or --port 0 for any that is free."
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {port} may not be taken by this user; give one above 1023 with --port.") from None
        raise ConfigError(f"--host {host}: {error.strerror}; give one of this machine's addresses.") from None
    return bound


def address(bound: socket.socket, host: str, token: str | None) -> str:
    """What to open in a browser."""
    port = bound.getsockname()[1]
    name = host if is_loopback(host) else socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    place = f"[{name}]" if ":" in name else name
    return f"http://{place}:{port}/" + (f"?token={token}" if token is not None else "")


class Server(uvicorn.Server):
    """uvicorn on a socket that is bound already; Ctrl-C and SIGTERM end it, answers under way first.

    Parameters
    ----------
    app : ASGI application
    ready : callable, optional
        Called when requests are answered.
    """

    def __init__(self, app: Any, ready: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self._ready is not None and self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at either signal without raising it again afterwards: to be stopped is how a server ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
