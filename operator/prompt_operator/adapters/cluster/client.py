"""The API server over plain HTTP: server-side apply, JSON patch, create, delete, get, paged lists.

Raw aiohttp instead of the generated client: a third of its CPU and a third of its memory for the same requests. Every
failure leaves as one of the four errors of `ports`, which say what to do; no message carries a request body.
"""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import aiohttp

from prompt_operator.adapters.cluster.answers import (
    JSON,
    JSON_PATCH,
    AlreadyExists,
    Ask,
    Expired,
    answer_of,
    failure,
    parse,
)
from prompt_operator.ports import Kind, Manifest, NotFound, Unavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from prompt_operator.ports import Clock
    from prompt_operator.telemetry import Telemetry

_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"

_OK = range(200, 300)
_UNAUTHORIZED = 401

_PAGE = 500
_RESTARTS = 3  # of one list, when its continue token expires
_SKEW_EVERY = 10.0  # seconds between two looks at the Date header


class Access(Protocol):
    """What `credentials.Credentials` knows: where the server is and how to prove who we are."""

    @property
    def server(self) -> str:
        """The base URL without a slash at its end."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; None for plain HTTP."""

    @property
    def server_hostname(self) -> str | None:
        """The name in the server's certificate when it is not the host of the URL."""

    @property
    def proxy(self) -> str | None:
        """The URL of an HTTP proxy."""

    @property
    def authorization(self) -> Callable[[bool], Awaitable[str]]:
        """The Authorization header's value; the argument says that the last one was rejected."""


class ApiCluster:
    """`ports.Cluster` on one API server; an async context manager.

    Args:
        access: server, TLS and token, as `credentials.load` gives them.
        telemetry: where requests are counted by verb and code.
        clock: for durations and for the difference to the server's clock.
        version: the program's version, for the User-Agent.
        program: its name: in the User-Agent, and the field manager of creates and patches.
        timeout: seconds for one whole request.
        connect: seconds of it for a new connection.
        writes: how many writes may be in flight; more than 16 only makes each slower (measured on a real server).
    """

    def __init__(
        self,
        access: Access,
        telemetry: Telemetry,
        clock: Clock,
        *,
        version: str,
        program: str = "prompt-operator",
        timeout: float = 30.0,
        connect: float = 5.0,
        writes: int = 16,
    ) -> None:
        self._access, self._telemetry, self._clock = access, telemetry, clock
        self._user_agent = f"{program}/{version}"
        self._fields = {"fieldManager": program, "fieldValidation": "Strict"}
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=connect)
        self._writes = asyncio.Semaphore(writes)
        self._session: aiohttp.ClientSession | None = None
        self._skew: float | None = None
        self._skew_at = float("-inf")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._access.tls or True, limit=64),
            timeout=self._timeout,
            headers={"User-Agent": self._user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; requests under way fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def server_skew(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours, to about a second; None before the first answer."""
        return self._skew

    # --- the port

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        return await self._send(Ask("get", "GET", kind, namespace, name))

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """Read all objects of a kind, 500 at a time.

        When the continue token expires on the way, the server's fresh one carries on at the newest state: each object
        still comes once. Without a fresh one the list begins again: an object may then come twice, the later is newer.
        """
        token, restarts = "", 0
        accept = _METADATA_ONLY if metadata_only else JSON
        while True:
            query = {"limit": str(_PAGE), "labelSelector": labels, "continue": token}
            query = {name: value for name, value in query.items() if value}
            try:
                page = await self._send(Ask("list", "GET", kind, namespace or "", query=query, accept=accept))
            except Expired as expired:
                restarts += 1
                if restarts > _RESTARTS:
                    raise
                token = expired.token
                continue
            for item in page.get("items") or ():
                yield _typed(item, kind)
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Create an object that must not exist yet; None when it exists already (409 AlreadyExists)."""
        namespace = body["metadata"].get("namespace", "")
        ask = Ask("create", "POST", kind, namespace, query=self._fields, body=body)
        try:
            return await self._write(ask)
        except AlreadyExists:
            return None

    async def apply(
        self, kind: Kind, body: Manifest, *, manager: str, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Server-side apply; `subresource="status"` for the status; without `force` a foreign field is a Conflict."""
        metadata = body["metadata"]
        ask = Ask(
            *("apply", "PATCH", kind, metadata.get("namespace", ""), metadata["name"], subresource),
            query={"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"},
            body=body,
            content_type=_APPLY,
        )
        return await self._write(ask)

    async def json_patch(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Mapping[str, Any]], *, subresource: str = ""
    ) -> Manifest:
        """RFC 6902 patch; an operation that does not fit the object as it is now raises Conflict."""
        ask = Ask(
            *("patch", "PATCH", kind, namespace, name, subresource),
            query=self._fields,
            body=operations,
            content_type=JSON_PATCH,
        )
        return await self._write(ask)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid; a missing object is fine, another uid raises Conflict."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._write(Ask("delete", "DELETE", kind, namespace, name, body=options))
        except NotFound:
            return

    # --- one request

    async def _write(self, ask: Ask) -> Manifest:
        async with self._writes:
            return await self._send(ask)

    async def _send(self, ask: Ask) -> Manifest:
        """Send the request, once more with a renewed token after a 401, and return the object or raise."""
        status, raw, headers = await self._exchange(ask, rejected=False)
        if status == _UNAUTHORIZED:
            status, raw, headers = await self._exchange(ask, rejected=True)
        if status in _OK:
            return parse(ask, raw)
        raise failure(ask, answer_of(status, raw, headers))

    async def _exchange(self, ask: Ask, *, rejected: bool) -> tuple[int, bytes, Mapping[str, str]]:
        began, code = self._clock.monotonic(), "cancelled"
        try:
            status, raw, headers = await self._transfer(ask, await self._access.authorization(rejected))
            code = str(status)
        except TimeoutError as error:
            code = "timeout"
            raise Unavailable(f"{ask}: no whole answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientPayloadError as error:
            code = "cut"
            raise Unavailable(f"{ask}: the answer was cut off") from error
        except (aiohttp.ClientError, OSError) as error:
            code = "connection"
            raise Unavailable(f"{ask}: {type(error).__name__}: {error}") from error
        finally:
            self._telemetry.api_requests.labels(ask.verb, code).inc()
            self._telemetry.api_request_duration.labels(ask.verb).observe(self._clock.monotonic() - began)
        return status, raw, headers

    async def _transfer(self, ask: Ask, authorization: str) -> tuple[int, bytes, Mapping[str, str]]:
        if self._session is None:
            raise RuntimeError("ApiCluster is used outside its `async with`")
        headers = {"Accept": ask.accept, "Content-Type": ask.content_type}
        if authorization:
            headers["Authorization"] = authorization
        async with self._session.request(
            ask.method,
            ask.url(self._access.server),
            data=None if ask.body is None else json.dumps(ask.body, separators=(",", ":")).encode(),
            headers=headers,
            allow_redirects=False,  # a redirect would carry the token to another host
            server_hostname=self._access.server_hostname,
            proxy=self._access.proxy,
        ) as response:
            self._observe_clock(response.headers.get("Date", ""))
            return response.status, await response.read(), response.headers

    def _observe_clock(self, date: str) -> None:
        now = self._clock.monotonic()
        if not date or now - self._skew_at < _SKEW_EVERY:
            return
        try:
            server = parsedate_to_datetime(date)
            # The header is cut to whole seconds: on average the server's clock stood half a second later.
            self._skew = (server - self._clock.now()).total_seconds() + 0.5
        except (TypeError, ValueError):
            return
        self._skew_at = now


def _typed(item: Manifest, kind: Kind) -> Manifest:
    """Give a list's item the type that the server leaves out (built-in kinds) or replaces (metadata only)."""
    item["apiVersion"], item["kind"] = kind.api_version, kind.kind
    return item
