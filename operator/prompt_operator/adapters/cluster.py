"""The API server over plain HTTP: server-side apply, JSON patch, create, delete, get, paged lists.

Raw aiohttp instead of the generated client: a third of its CPU and a third of its memory for the same requests. Every
failure leaves as one of the four errors of `ports`, which say what to do; no message carries a request body.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from prompt_operator.ports import (
    Conflict,
    Forbidden,
    GiveUp,
    Kind,
    Manifest,
    NotFound,
    Retry,
    Terminating,
    Unavailable,
    UnknownKind,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from prompt_operator.ports import Clock
    from prompt_operator.telemetry import Telemetry

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_JSON_PATCH = "application/json-patch+json"
_METADATA_ONLY = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"

_OK = range(200, 300)
_UNAUTHORIZED = 401
_SERVER_ERRORS = range(500, 600)

_PAGE = 500
_RESTARTS = 3  # of one list, when its continue token expires
_MESSAGE_LENGTH = 300
_LONGEST_RETRY_AFTER = 120.0
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


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request; `verb` is its metrics label."""

    verb: str
    method: str
    kind: Kind
    namespace: str
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = _JSON
    accept: str = _JSON

    def __str__(self) -> str:
        """Name the request in errors: method, kind and object, never its body."""
        target = "/".join(part for part in (self.namespace, self.name) if part)
        return " ".join(part for part in (self.method, self.kind.kind, target, self.subresource) if part)

    def url(self, server: str) -> URL:
        """Return the whole address."""
        root = "apis" if "/" in self.kind.api_version else "api"
        scope = ("namespaces", self.namespace) if self.namespace else ()
        parts = (root, *self.kind.api_version.split("/"), *scope, self.kind.plural, self.name, self.subresource)
        path = "/".join(quote(part, safe="") for part in parts if part)
        return URL(f"{server}/{path}?{urlencode(self.query)}" if self.query else f"{server}/{path}", encoded=True)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back with a status of 400 or more: the parts of a Kubernetes Status that decide."""

    status: int
    reason: str = ""
    message: str = ""
    after: float | None = None
    causes: bool = False
    """Whether it names the fields that are wrong."""
    terminating: bool = False
    """Whether the namespace is being deleted."""
    continue_token: str = ""


class _Expired(Retry):
    """The continue token of a list is too old (410); `token` continues it at the newest state, if not empty."""

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self.token = token


class _AlreadyExists(Conflict):
    """A create met an object of the same name."""


def failure(ask: _Ask, answer: _Answer) -> Retry | GiveUp:  # noqa: PLR0911  a table of codes
    """Translate an answer of the API server into what to do about it: the one place that knows the codes."""
    text = f"{ask}: {answer.status} {answer.reason}: {shorten(answer.message)}"
    match answer.status:
        case 403:
            return Terminating(text) if answer.terminating else Forbidden(text)
        case 404:
            return NotFound(text) if answer.reason else UnknownKind(text)
        case 409 if answer.reason == "AlreadyExists":
            return _AlreadyExists(text)
        case 409:
            return Conflict(text, after=answer.after)
        case 410:
            return _Expired(text, answer.continue_token)
        case 422 if ask.content_type == _JSON_PATCH and not answer.causes:
            return Conflict(text)  # an operation did not fit the object: it is not as it was when it was read
        case 500 if "field not declared in schema" in answer.message:
            return GiveUp(text)  # the server says 500, but only another CRD or another release helps
        case 401 | 408 | 429:
            return Retry(text, after=answer.after)
        case status if status in _SERVER_ERRORS:
            return Retry(text, after=answer.after)
    return GiveUp(text)


def shorten(message: str) -> str:
    """Return the server's message in one short line, without the values it quotes: they may be prompt text."""
    message = " ".join(message.split())
    message = re.sub(r'(\w+ value:) ("(?:[^"\\]|\\.)*"|[\[{&].*|[^"\s]+)', r"\1 …", message)
    message = re.sub(r"(expected \w+, got) .*", r"\1 …", message)
    return message if len(message) <= _MESSAGE_LENGTH else f"{message[:_MESSAGE_LENGTH]}…"


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
        return await self._send(_Ask("get", "GET", kind, namespace, name))

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """Read all objects of a kind, 500 at a time.

        When the continue token expires on the way, the server's fresh one carries on at the newest state: each object
        still comes once. Without a fresh one the list begins again: an object may then come twice, the later is newer.
        """
        token, restarts = "", 0
        accept = _METADATA_ONLY if metadata_only else _JSON
        while True:
            query = {"limit": str(_PAGE), "labelSelector": labels, "continue": token}
            query = {name: value for name, value in query.items() if value}
            try:
                page = await self._send(_Ask("list", "GET", kind, namespace or "", query=query, accept=accept))
            except _Expired as expired:
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
        ask = _Ask("create", "POST", kind, namespace, query=self._fields, body=body)
        try:
            return await self._write(ask)
        except _AlreadyExists:
            return None

    async def apply(
        self, kind: Kind, body: Manifest, *, manager: str, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Server-side apply; `subresource="status"` for the status; without `force` a foreign field is a Conflict."""
        metadata = body["metadata"]
        ask = _Ask(
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
        ask = _Ask(
            *("patch", "PATCH", kind, namespace, name, subresource),
            query=self._fields,
            body=operations,
            content_type=_JSON_PATCH,
        )
        return await self._write(ask)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid; a missing object is fine, another uid raises Conflict."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._write(_Ask("delete", "DELETE", kind, namespace, name, body=options))
        except NotFound:
            return

    # --- one request

    async def _write(self, ask: _Ask) -> Manifest:
        async with self._writes:
            return await self._send(ask)

    async def _send(self, ask: _Ask) -> Manifest:
        """Send the request, once more with a renewed token after a 401, and return the object or raise."""
        status, raw, headers = await self._exchange(ask, rejected=False)
        if status == _UNAUTHORIZED:
            status, raw, headers = await self._exchange(ask, rejected=True)
        if status in _OK:
            return _parse(ask, raw)
        raise failure(ask, _answer(status, raw, headers))

    async def _exchange(self, ask: _Ask, *, rejected: bool) -> tuple[int, bytes, Mapping[str, str]]:
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

    async def _transfer(self, ask: _Ask, authorization: str) -> tuple[int, bytes, Mapping[str, str]]:
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


def _parse(ask: _Ask, raw: bytes) -> Manifest:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Unavailable(f"{ask}: the answer is not JSON ({len(raw)} bytes)") from error
    if not isinstance(body, dict):
        raise Unavailable(f"{ask}: the answer is not an object")
    return body


def _answer(status: int, raw: bytes, headers: Mapping[str, str]) -> _Answer:
    after = _retry_after(headers.get("Retry-After", ""))
    try:
        body = json.loads(raw)
        details, metadata = body.get("details") or {}, body.get("metadata") or {}
        return _Answer(
            status=status,
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            after=after or _retry_after(str(details.get("retryAfterSeconds", ""))),
            causes=bool(details.get("causes")),
            terminating=any(cause.get("reason") == "NamespaceTerminating" for cause in details.get("causes") or ()),
            continue_token=str(metadata.get("continue") or ""),
        )
    except (ValueError, AttributeError):  # a proxy's page, not a Kubernetes Status
        return _Answer(status, message=raw[:_MESSAGE_LENGTH].decode(errors="replace"), after=after)


def _retry_after(value: str) -> float | None:
    """Return the seconds asked for, at most two minutes; the API server never sends the date form."""
    return min(float(value), _LONGEST_RETRY_AFTER) if value.isascii() and value.isdigit() else None


def _typed(item: Manifest, kind: Kind) -> Manifest:
    """Give a list's item the type that the server leaves out (built-in kinds) or replaces (metadata only)."""
    item["apiVersion"], item["kind"] = kind.api_version, kind.kind
    return item
