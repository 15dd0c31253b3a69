"""An HTTP server on loopback that answers queries as a test says: like Prometheus, or in one of the wrong ways."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterator

Behaviour: TypeAlias = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps what was asked and does what the test says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Answer a query."""
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        with self.server.lock:
            self.server.asked.append((self.path, parse_qs(form)))
            self.server.clients.add(self.client_address[1])
            self.server.headers.append(dict(self.headers))
        self.server.behaviour(self)

    do_GET = do_POST  # noqa: N815  the base class's way to name methods

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server on a free port of loopback. `finish` releases every answer that waits."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: Behaviour = vector()
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.clients: set[int] = set()
        """Ports from which queries came."""
        self.headers: list[dict[str, str]] = []
        """Of each query."""
        self.lock = threading.Lock()
        self.finish = threading.Event()

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


def envelope(result: Any = (), kind: str = "vector", **members: Any) -> bytes:
    """An answer as Prometheus writes it."""
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **members}).encode()


def element(value: Any = "1.5", **labels: str) -> dict[str, Any]:
    """One element of a vector."""
    return {"metric": labels, "value": [1767268800.25, value]}


def vector(*elements: dict[str, Any], **members: Any) -> Behaviour:
    """Answer with these elements."""
    return lambda handler: handler.answer(200, envelope(list(elements), **members))


def raw(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Answer with these bytes."""
    return lambda handler: handler.answer(status, body, **headers)


def refusal(status: int, message: str = "") -> Behaviour:
    """Answer as Prometheus does when it cannot."""
    body = {"status": "error", "errorType": "any", "error": message}
    return raw(json.dumps(body).encode(), status)


def silence(handler: Handler) -> None:
    """Accept the query and never answer."""
    handler.server.finish.wait(10)
    handler.close_connection = True


def half_a_body(handler: Handler) -> None:
    """Announce more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(envelope()[:20])
    handler.close_connection = True


def stuck_body(handler: Handler) -> None:
    """Send half an answer and stay connected."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(envelope()[:20])
    silence(handler)


def dripping_body(handler: Handler) -> None:
    """Send a byte now and then, so that no single read takes too long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.server.finish.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def dropped(handler: Handler) -> None:
    """Hang up without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.finish.set()
            running.shutdown()
            thread.join()
