"""The operator's own HTTP server: health, readiness, metrics, diagnostics."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiohttp import web
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from prometheus_client import CollectorRegistry

Document = dict[str, Any]
_NO_STORE = {"Cache-Control": "no-store"}
_log = logging.getLogger(__name__)


class AddressTaken(Exception):  # noqa: N818  says what happened
    """The server cannot listen where it should; the message says what to do."""


async def everybody(_authorization: str, _path: str) -> int:
    """Let everybody read: what `allow` is when authentication is switched off or not wanted."""
    return 200


class Check(NamedTuple):
    """What a named check of `/health/deep` found; `ok` is None where it is not known."""

    ok: bool | None
    message: str = ""


async def no_checks() -> Mapping[str, Check]:
    """Check nothing."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Health:
    """What `/healthz`, `/readyz` and `/health/deep` say; none of it names prompt text.

    `ready` returns why the operator is not ready, "" when it is. `deep` returns the checks by name.
    """

    status: Callable[[], Document]
    ready: Callable[[], str]
    deep: Callable[[], Awaitable[Mapping[str, Check]]] = no_checks


@dataclass(frozen=True, kw_only=True)
class Insight:
    """What `/metrics` and `/diagnostics` say, and who may read it.

    `allow` gets the Authorization header and the path and returns 200, 401 or 403.
    """

    registry: CollectorRegistry
    diagnostics: Callable[[], Document]
    allow: Callable[[str, str], Awaitable[int]] = everybody


class HttpServer:
    """Serve health, insight or both on one address; an async context manager.

    Args:
        host: address to listen on; None is every address of the machine.
        port: 0 takes a free one; `port` tells which after the start.
        health: what is open to everybody.
        insight: what is for those whom `allow` lets in.
    """

    def __init__(
        self, host: str | None, port: int, *, health: Health | None = None, insight: Insight | None = None
    ) -> None:
        self._host, self.port = host, port
        application = web.Application()
        if health is not None:
            application.add_routes(_health_routes(health))
        if insight is not None:
            application.add_routes(_insight_routes(insight))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host or ''}:{self.port}"
            reason = error.strerror or str(error)
            raise AddressTaken(
                f"cannot listen on {where} ({reason}): free it, choose another with --health-address and "
                "--metrics-address, or switch the server off with an empty address"
            ) from error
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _health_routes(health: Health) -> list[web.RouteDef]:
    async def healthz(_: web.Request) -> web.Response:
        return _reply(200, health.status())

    async def readyz(_: web.Request) -> web.Response:
        reason = health.ready()
        return _reply(503, {"ready": False, "reason": reason}) if reason else _reply(200, {"ready": True})

    async def deep(_: web.Request) -> web.Response:
        checks = await health.deep()
        told = {name: check._asdict() for name, check in checks.items()}
        return _reply(503 if any(check.ok is False for check in checks.values()) else 200, {"checks": told})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/health/deep", deep)]


def _insight_routes(insight: Insight) -> list[web.RouteDef]:
    async def metrics(request: web.Request) -> web.Response:
        if refused := await _refusal(insight, request):
            return refused
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(insight.registry), headers={"Content-Type": content_type, **_NO_STORE})

    async def diagnostics(request: web.Request) -> web.Response:
        return await _refusal(insight, request) or _reply(200, insight.diagnostics())

    return [web.get("/metrics", metrics), web.get("/diagnostics", diagnostics)]


async def _refusal(insight: Insight, request: web.Request) -> web.Response | None:
    status = await insight.allow(request.headers.get("Authorization", ""), request.path)
    if status == web.HTTPOk.status_code:
        return None
    return _reply(status, {"error": f"{request.path} needs a token whose user may get this path"})


def _reply(status: int, document: Document) -> web.Response:
    text = json.dumps(document, ensure_ascii=False, default=str)
    return web.Response(status=status, text=text, content_type="application/json", headers=_NO_STORE)
