"""What stands between the network and the page: whose requests are answered, and how large they may be.

The server is reached by its address alone. A page of another site that has its name resolve to this machine (DNS
rebinding) is told apart by its `Host`; one that sends requests here from a browser, by its `Origin` and by
`Sec-Fetch-Site`. Where the server is bound to more than loopback, a token is asked for as well.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_BODY = 64 * 1024
"""Bytes of a request's body; a grade with the longest comment has a tenth of it."""

LONGEST_TARGET = 16 * 1024
"""Bytes of a request's path and query; a sheet of the mosaic names its rows in it."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    names : tuple of str
        Names and addresses by which the server may be called, lower case and without a port: a tunnel has another.
    any_address : bool
        Whether any literal address will do, where the server listens on all of the machine's: a page that had its
        name resolve to us still calls us by that name.
    token : str, optional
        Asked for where it is given.
    cookie : str
        Name of the cookie that holds it: browsers keep cookies by host and not by port.
    """

    names: tuple[str, ...] = LOOPBACK
    any_address: bool = False
    token: str | None = None
    cookie: str = "lensscan"

    def knows(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name = _name(host)
        if name is None:
            return False
        return name in self.names or (self.any_address and _is_address(name))


def access_to(host: str, port: int, *, with_token: bool = False) -> Access:
    """Who may ask a server that is bound to `host`: a token is made where that is more than loopback, or on request."""
    cookie = f"lensscan-{port}"
    if is_loopback(host):
        return Access(LOOPBACK, token=secrets.token_urlsafe(32) if with_token else None, cookie=cookie)
    own = {socket.gethostname().lower(), socket.getfqdn().lower(), host.lower()}
    return Access((*LOOPBACK, *sorted(own)), any_address=True, token=secrets.token_urlsafe(32), cookie=cookie)


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is this machine's own."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


class Guard:
    """The ASGI middleware that refuses what `Access` does not allow and adds headers that keep a browser strict."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        given = _headers(scope)
        refusal = self._refusal(scope, given)
        if refusal is not None:
            await _say(answer, *refusal)
        elif self.access.token is not None and not self._has_token(given.get("cookie", [])):
            await self._ask(scope, answer)
        else:
            await self._pass(scope, given, receive, answer)

    def _refusal(self, scope: Scope, given: dict[str, list[str]]) -> tuple[int, str] | None:
        """Status and reason where a request is not answered."""
        hosts = given.get("host", [])
        if len(hosts) != 1 or not self.access.knows(hosts[0]):
            called = ", ".join(hosts) or "no name"
            return 403, f"this server is not called {called!r}; open the address that `lensscan inspect` printed."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, f"{scope['method']} is not among GET, HEAD and POST."
        if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            return 414, f"the address is longer than {LONGEST_TARGET:,} bytes."
        origins = given.get("origin", [])
        if any(not _same(origin, hosts[0]) for origin in origins):
            return 403, f"a page of {origins[0]!r} may not ask this server."
        entered = scope["method"] == "GET" and scope["path"] == "/" and given.get("sec-fetch-mode") == ["navigate"]
        if not entered and given.get("sec-fetch-site", ["none"])[0] not in ("same-origin", "none"):
            return 403, "a page of another site may not ask this server."
        if scope["method"] == "POST":
            kind = given.get("content-type", [""])[0].partition(";")[0].strip().lower()
            if kind != "application/json":
                return 415, f"send application/json, not {kind or 'nothing'!r}."
        return None

    def _has_token(self, cookies: Iterable[str]) -> bool:
        for text in cookies:
            try:
                jar = SimpleCookie(text)
            except CookieError:
                continue
            if self.access.cookie in jar and self._right(jar[self.access.cookie].value):
                return True
        return False

    def _right(self, token: str) -> bool:
        return self.access.token is not None and secrets.compare_digest(token.encode(), self.access.token.encode())

    async def _ask(self, scope: Scope, send: Send) -> None:
        """Take the token from the address that was printed, or refuse."""
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "GET" or scope["path"] != "/" or not self._right(token):
            reason = "this server asks for a token: open the whole address that `lensscan inspect` printed."
            await _say(send, 401, reason)
            return
        cookie = f"{self.access.cookie}={token}; HttpOnly; SameSite=Strict; Path=/"
        # No redirect: after one that another site began, a browser would hold the strict cookie back.
        page = '<!doctype html><html lang="en"><title>lensscan</title><meta http-equiv="refresh" content="0;url=/">'
        await _say(send, 200, page, "text/html", ((b"set-cookie", cookie.encode()),))

    async def _pass(self, scope: Scope, given: dict[str, list[str]], receive: Receive, send: Send) -> None:
        """Hand a request on, no more of its body than is allowed."""
        said = given.get("content-length", ["0"])[0]
        reason = f"the request is longer than {LONGEST_BODY:,} bytes."
        if not said.isdecimal() or int(said) > LONGEST_BODY:
            await _say(send, 413, reason)
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LONGEST_BODY:
                await _say(send, 413, reason)
                return
        handed = False

        async def whole() -> Message:
            nonlocal handed
            if handed:
                return await receive()
            handed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, whole, send)


async def _say(
    send: Send, status: int, text: str, kind: str = "text/plain", more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _name(host: str) -> str | None:
    """The name or address in a `Host` header, lower case; None where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        # A port that is no number raises, too.
        return parts.hostname if parts.port is None or parts.port >= 0 else None
    except ValueError:
        return None


def _same(origin: str, host: str) -> bool:
    """Whether an `Origin` is the very place that `Host` names; `null` is none."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
