"""An S3 store on this machine, and a proxy before it that fails as real ones do."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3

FAULTS = ("error", "slow down", "refused", "lost answer", "hanging", "cut short", "shorter than said")


class FaultProxy:
    """Passes requests on to a store, except where `choose(method, path)` names a fault.

    error, slow down : the request never arrives, the answer is 500 or 503
    refused : the connection is closed before the request arrives
    lost answer : the request arrives and is carried out, the connection is closed without an answer
    hanging : the same, after `patience` seconds of silence
    cut short : half of the answer, then the connection is closed
    shorter than said : half of the answer as if it were all, where its headers say that it is a part of more
    unconditional : the request arrives without its conditions
    """

    def __init__(self, host: str, port: int, choose: Callable[[str, str], str | None], patience: float = 1.0) -> None:
        self.seen: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with outer._lock:
                    outer.requests.append((self.command, self.path))
                    fault = choose(self.command, self.path)
                    outer.seen[fault or "none"] += 1
                if fault == "refused":
                    return self.hang_up()
                if fault in ("error", "slow down"):
                    return self.answer(500 if fault == "error" else 503, {}, b"<Error><Code>Fault</Code></Error>")
                connection = http.client.HTTPConnection(host, port, timeout=30)
                passed = dict(self.headers)
                if fault == "unconditional":
                    passed = {name: value for name, value in passed.items() if not name.lower().startswith("if-")}
                connection.request(self.command, self.path, body, passed)
                reply = connection.getresponse()
                data = reply.read()
                connection.close()
                if fault in ("lost answer", "hanging"):
                    time.sleep(patience if fault == "hanging" else 0)
                    return self.hang_up()
                kept = ("content-length", "connection", "transfer-encoding", "date", "server")
                headers = {name: value for name, value in reply.getheaders() if name.lower() not in kept}
                if self.command == "HEAD":
                    headers["Content-Length"] = reply.getheader("Content-Length") or "0"
                half = data[: len(data) // 2]
                if fault == "cut short" and len(data) > 1:
                    self.answer(reply.status, headers | {"Content-Length": str(len(data))}, half)
                    return self.hang_up()
                if fault == "shorter than said" and len(data) > 1 and self.command == "GET":
                    return self.answer(reply.status, headers, half)
                return self.answer(reply.status, headers, data)

            def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def hang_up(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, address: Any) -> None:
                pass  # clients that went away are what this is for

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def at_random(seed: int, share: float, faults: tuple[str, ...] = FAULTS) -> Callable[[str, str], str | None]:
    """One of the faults for a share of the requests."""
    random_numbers = random.Random(seed)

    def choose(method: str, path: str) -> str | None:
        return random_numbers.choice(faults) if random_numbers.random() < share else None

    return choose


def client(url: str) -> Any:
    """Another program's view of the store."""
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def upload(url: str, bucket: str, folder: Path, prefix: str) -> None:
    """Put the files of a folder below a prefix."""
    store = client(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put_object(
                Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
            )
