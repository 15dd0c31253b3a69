"""Stands between the operator's process and the real API server: numbers its writes, and breaks one of them.

The operator speaks plain HTTP to it, it speaks TLS to the server. Reads and watches pass through.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, Self

import aiohttp
from aiohttp import web

from devcluster.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from prompt_operator.adapters.credentials import Credentials

COUNTED = {
    "prompts": "Prompt",
    "promptversions": "PromptVersion",
    "promptrollbacks": "PromptRollback",
    "configmaps": "ConfigMap",
}
"""Kinds whose writes have numbers. Events and the Lease are left out: they are written beside the decisions, in their
own time."""
SCENE = re.compile(r"\bs\d{2,3}\b")
"""Every object of a scene has its name in its own: `s07`, `prompt-s07`, `s07-1.0.0`, `s07-20261121t…`."""
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})
_BIG = 64 * 1024 * 1024


class Fault(StrEnum):
    """What goes wrong at one write."""

    DEATH_BEFORE = "killed before it reaches the server"
    DEATH_AFTER = "killed after the server answered"
    CONFLICT = "409"
    TOO_MANY = "429 with Retry-After"
    SERVER_ERROR = "500"
    LOST_REQUEST = "cut before it reaches the server"
    LOST_ANSWER = "cut after the server answered"
    HANG = "done, and no answer until the client gives up"
    LATE = "held up, and done after the client gave up and went on"


DEATHS = (Fault.DEATH_BEFORE, Fault.DEATH_AFTER)
SILENCES = (Fault.HANG, Fault.LATE)
ANSWERS = tuple(fault for fault in Fault if fault not in (*DEATHS, *SILENCES))
_LATEST = 60.0
_HELD_UP = 1.0
"""Seconds that a write is late after it was given up; by then it was sent once more, as a rule."""
_STATUS = {Fault.CONFLICT: (409, "Conflict"), Fault.TOO_MANY: (429, "TooManyRequests"), Fault.SERVER_ERROR: (500, "")}


@dataclass(frozen=True)
class Write:
    """One write of a scene: of what, and the how manieth of those."""

    what: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.what} #{self.nth}"


@dataclass(frozen=True)
class Point:
    """A write of a scene, and what goes wrong at it."""

    write: Write
    fault: Fault

    def __str__(self) -> str:
        return f"{self.write}: {self.fault}"


@dataclass
class Proxy:
    """An API server's address that can break; an async context manager."""

    access: Credentials
    log: dict[str, list[Write]] = field(default_factory=lambda: defaultdict(list))
    """Writes by scene, from the last `arm` on."""
    decisions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of the decisions that the server took, by scene."""
    hit: set[str] = field(default_factory=set)
    """Scenes whose point was reached."""
    kill: Callable[[], None] = lambda: None
    """Kills the operator."""
    before: Callable[[str, Write], Awaitable[None]] | None = None
    """Called with scene and write before it is sent on."""
    after: Callable[[str, Write], Awaitable[None]] | None = None
    """Called once the server took it, before the operator is answered."""
    url: str = ""
    _late: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """Set once the write that was held up has arrived, by scene."""
    _arriving: set[asyncio.Task[None]] = field(default_factory=set)
    _points: dict[str, Point] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self.access.tls or True, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout()
        )
        application = web.Application(client_max_size=_BIG)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await self._session.close()

    def kubeconfig(self, path: Path, token: str) -> Path:
        """Write the kubeconfig of a client that goes through here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
            "current-context": "proxy",
        }
        path.write_text(json.dumps(config), "utf-8")
        return path

    def arm(self, scene: str, point: Point | None = None) -> None:
        """Begin to count the writes of a scene anew, and let one of them go wrong once."""
        self.log[scene].clear()
        if point is not None:
            self._points[scene] = point

    # --- a request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.query.get("watch") == "true":
            return await self._watch(request)
        scene, write = self._numbered(request, body)
        if self.before is not None and write is not None:
            await self.before(scene, write)
        point = self._points.get(scene)
        if write is None or point is None or point.write != write or scene in self.hit:
            answer = await self._forward(request, body, scene)
            if self.after is not None and write is not None:
                await self.after(scene, write)
            return answer
        self.hit.add(scene)
        return await self._fail(point.fault, request, body, scene)

    def _numbered(self, request: web.Request, body: bytes) -> tuple[str, Write | None]:
        parts = request.path.split("/")
        kind = next((name for plural, name in COUNTED.items() if plural in parts), None)
        if request.method == "GET" or kind is None:
            return "", None
        name, subresource = _target(parts, body)
        scene = SCENE.search(name)
        if scene is None:
            return "", None
        version = f" {name.partition('-')[2]}" if kind == "PromptVersion" else ""
        what = f"{request.method} {kind}{subresource}{version}"
        write = Write(what, 1 + Counter(each.what for each in self.log[scene[0]])[what])
        self.log[scene[0]].append(write)
        return scene[0], write

    async def _fail(self, fault: Fault, request: web.Request, body: bytes, scene: str) -> web.StreamResponse:
        if fault in _STATUS:
            return _refusal(*_STATUS[fault])
        if fault in {Fault.DEATH_AFTER, Fault.LOST_ANSWER, Fault.HANG}:
            await self._forward(request, body, scene)
        if fault in DEATHS:
            self.kill()
        if fault in SILENCES:
            try:
                await asyncio.Event().wait()  # until the client hangs up, which cancels this
            finally:
                if fault is Fault.LATE:
                    self._arriving.add(asyncio.create_task(self._arrive(request, body, scene)))
        return _cut(request)

    async def _arrive(self, request: web.Request, body: bytes, scene: str) -> None:
        await asyncio.sleep(_HELD_UP)
        async with self._send(request, body):
            self._late[scene].set()

    async def arrived(self, scene: str) -> None:
        """Wait until the write of a scene that was held up has arrived, if there is one."""
        point = self._points.get(scene)
        if point is not None and point.fault is Fault.LATE and scene in self.hit:
            await asyncio.wait_for(self._late[scene].wait(), _LATEST)

    async def _forward(self, request: web.Request, body: bytes, scene: str) -> web.Response:
        async with self._send(request, body) as answer:
            content = await answer.read()
            if scene and answer.ok:
                self._note_decision(scene, request.path, content)
            return web.Response(body=content, status=answer.status, headers=_passing(answer.headers))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        async with self._send(request, b"") as answer:
            response = web.StreamResponse(status=answer.status, headers=_passing(answer.headers))
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # the operator is gone
                async for piece in answer.content.iter_any():
                    await response.write(piece)
            return response

    def _send(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        return self._session.request(
            request.method,
            self.access.server + request.path_qs,
            data=body or None,
            headers=_passing(request.headers),
            skip_auto_headers=("Content-Type",),  # the server takes a body without one for JSON
            allow_redirects=False,
            server_hostname=self.access.server_hostname,
        )

    def _note_decision(self, scene: str, path: str, content: bytes) -> None:
        if "/prompts/" in path and path.endswith("/status"):
            decision = json.loads(content).get("status", {}).get("decision") or {}
            self.decisions[scene].update({decision["id"]} if decision else ())


def _target(parts: list[str], body: bytes) -> tuple[str, str]:
    """Return name and subresource of what is written: from the path, or of a create from the body."""
    at = next(index for index, part in enumerate(parts) if part in COUNTED)
    if len(parts) == at + 1:
        return str(json.loads(body)["metadata"]["name"]), ""
    return parts[at + 1], "".join(f"/{part}" for part in parts[at + 2 :])


def _passing(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


def _refusal(code: int, reason: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    headers = {"Retry-After": "1"} if code == web.HTTPTooManyRequests.status_code else {}
    return web.json_response({**status, "message": "injected"}, status=code, headers=headers)


def _cut(request: web.Request) -> NoReturn:
    """End the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError
