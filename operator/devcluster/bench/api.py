"""Requests to the API server as fast as plain HTTPS allows: one connection per thread, kept open."""

import http.client
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from devcluster.cluster import Cluster
from devcluster.errors import DevError
from devcluster.watch import Json

GROUP = "apis/promptops.dev/v1alpha1"
_THREADS = 4
_WRITES = 16
_TIMEOUT = 30.0  # seconds
_FRESH = 20.0  # seconds after which an idle connection is not trusted: the server closes it sooner or later


class Api:
    """Writes as the administrator; a context manager that closes all its connections."""

    def __init__(self, cluster: Cluster) -> None:
        self._address = urllib.parse.urlsplit(cluster.url)
        self._context = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._token = cluster.admin_token
        self._local = threading.local()
        self._connections: list[http.client.HTTPSConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def create(self, path: str, manifest: Json) -> None:
        """POST one object to its collection."""
        self._send("POST", path, manifest, "application/json")

    def create_all(self, objects: Iterable[tuple[str, Json]]) -> None:
        """POST many objects (collection, manifest), some at a time."""
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda each: self.create(*each), objects):
                pass

    def apply_all(self, objects: Iterable[tuple[str, Json]]) -> None:
        """Apply many objects (path, manifest), as many at a time as the operator has writes under way."""
        with ThreadPoolExecutor(_WRITES) as pool:
            for _ in pool.map(lambda each: self.apply(*each), objects):
                pass

    def list(self, path: str) -> list[Json]:
        """GET all objects of a collection."""
        items: list[Json] = json.loads(self._send("GET", path, None, "application/json"))["items"]
        return items

    def apply(self, path: str, manifest: Json) -> None:
        """Server-side apply of one object, as `kubectl apply --server-side` sends it."""
        self._send("PATCH", f"{path}?fieldManager=bench&force=true", manifest, "application/apply-patch+yaml")

    def _send(self, method: str, path: str, body: Json | None, content_type: str) -> bytes:
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        connection.request(method, f"/{path}", None if body is None else json.dumps(body).encode(), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise DevError(f"{method} {path}: {response.status} {answer.decode('utf-8', 'replace')[:300]}")
        return answer

    def _connection(self) -> http.client.HTTPSConnection:
        kept: tuple[http.client.HTTPSConnection, float] | None = getattr(self._local, "kept", None)
        now = time.monotonic()
        if kept is None or now - kept[1] > _FRESH:
            host, port = str(self._address.hostname), self._address.port
            kept = http.client.HTTPSConnection(host, port, context=self._context, timeout=_TIMEOUT), now
            self._connections.append(kept[0])
        self._local.kept = kept[0], now
        return kept[0]
