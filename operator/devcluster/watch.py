"""A watch on one object over plain HTTPS, for programs without a Kubernetes client."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_TIMEOUT = 300  # seconds the server keeps a watch open
_BACKOFF = (0.1, 10.0)  # seconds, first and longest


class GoneError(Exception):
    """The server no longer has the resource version asked for: list again."""


class ObjectWatch:
    """Calls `on_change` with each state of one object, or None when it does not exist, until stopped.

    `path` is the collection, such as `/api/v1/namespaces/default/configmaps`. A lost connection, an expired
    resource version or an error of the server leads to a new list after a growing pause.
    """

    def __init__(
        self, url: str, ca_file: Path, token: str, path: str, name: str, on_change: Callable[[Json | None], None]
    ) -> None:
        self._address = urllib.parse.urlsplit(url)
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._path = path
        self._selector = {"fieldSelector": f"metadata.name={name}"}
        self._on_change = on_change
        self._stopping = threading.Event()
        self._connection: http.client.HTTPSConnection | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)

    def start(self) -> None:
        """Begin to watch in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch and its thread."""
        self._stopping.set()
        self.disconnect()
        self._thread.join(10)

    def disconnect(self) -> None:
        """Cut the connection, as a network does; the watch makes a new one unless it was stopped."""
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            with contextlib.suppress(OSError):  # already cut
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        pause = _BACKOFF[0]
        while not self._stopping.is_set():
            try:
                for _ in self._follow():
                    pause = _BACKOFF[0]
            except GoneError:
                self._stopping.wait(_BACKOFF[0])
            except (OSError, http.client.HTTPException, ValueError):
                self._stopping.wait(pause)
                pause = min(pause * 2, _BACKOFF[1])

    def _follow(self) -> Iterator[None]:
        """List once, then watch from there; yields after each piece of news, so the caller knows it went well."""
        with self._get({}) as response:
            listed = json.loads(response.read())
        self._on_change(listed["items"][0] if listed["items"] else None)
        version = listed["metadata"]["resourceVersion"]
        yield
        while not self._stopping.is_set():
            query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(_TIMEOUT)}
            with self._get({**query, "resourceVersion": version}) as response:
                for line in response:
                    version = self._deliver(json.loads(line))
                    yield
            self._stopping.wait(_BACKOFF[0])

    def _deliver(self, event: Json) -> str:
        """Hand one event on; return the resource version to go on from."""
        if event["type"] == "ERROR":
            raise GoneError(event["object"].get("message", ""))
        if event["type"] != "BOOKMARK":
            self._on_change(None if event["type"] == "DELETED" else event["object"])
        return str(event["object"]["metadata"]["resourceVersion"])

    @contextlib.contextmanager
    def _get(self, query: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Send a request over a connection of its own, which ends with the block."""
        host, port = str(self._address.hostname), self._address.port
        connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=_TIMEOUT + 30)
        self._connection = connection
        parameters = urllib.parse.urlencode({**self._selector, **query})
        with contextlib.closing(connection):
            connection.request("GET", f"{self._path}?{parameters}", headers=self._headers)
            with connection.getresponse() as response:
                if response.status == http.client.GONE:
                    raise GoneError(response.reason)
                if response.status != http.client.OK:
                    raise http.client.HTTPException(f"{response.status} {response.reason}")
                yield response
