"""The operator's HTTP server on a free port of loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from prompt_operator.adapters.http import AddressTaken, Check, Health, HttpServer, Insight
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable


def health(ready: Callable[[], str] = lambda: "", **checks: Check) -> Health:
    """Build health of an operator with one prompt."""

    async def deep() -> dict[str, Check]:
        return checks

    return Health(status=lambda: {"prompts": {"total": 1}}, ready=ready, deep=deep)


async def get(server: HttpServer, path: str, **headers: str) -> tuple[int, str, str]:
    """Return status, content type and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}", headers=headers) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def test_health_and_readiness() -> None:
    """/healthz answers while the process works; /readyz says why not until it is ready."""
    reasons = ["store_unavailable"]
    async with HttpServer("127.0.0.1", 0, health=health(lambda: reasons[0])) as server:
        assert await get(server, "/healthz") == (200, "application/json; charset=utf-8", '{"prompts": {"total": 1}}')
        status, _, body = await get(server, "/readyz")
        assert (status, body) == (503, '{"ready": false, "reason": "store_unavailable"}')
        reasons[0] = ""
        assert (await get(server, "/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("check", "status", "shown"),
    [
        (Check(ok=True), 200, '{"ok": true, "message": ""}'),
        (Check(ok=False, message="no answer for 90 s"), 503, '{"ok": false, "message": "no answer for 90 s"}'),
        (Check(ok=None, message="not asked yet"), 200, '{"ok": null, "message": "not asked yet"}'),
    ],
)
async def test_deep_health_names_each_check(check: Check, status: int, shown: str) -> None:
    """One failing check fails the whole; what is not known is neither fine nor a failure."""
    async with HttpServer("127.0.0.1", 0, health=health(api=Check(ok=True), prometheus=check)) as server:
        answer = await get(server, "/health/deep")
    assert answer[0] == status
    assert f'"prometheus": {shown}' in answer[2]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"), ("", "text/plain")],
)
async def test_metrics_in_the_form_the_scraper_asks_for(accept: str, kind: str) -> None:
    """Prometheus' OpenMetrics and the old text form both come from the given registry."""
    telemetry = Telemetry()
    telemetry.rollbacks.labels("Automatic", "critical-error-rate").inc()
    insight = Insight(registry=telemetry.registry, diagnostics=dict)
    async with HttpServer("127.0.0.1", 0, insight=insight) as server:
        status, content_type, body = await get(server, "/metrics", Accept=accept)
    assert (status, content_type.split(";")[0]) == (200, kind)
    assert 'prompt_operator_rollbacks_total{reason="critical-error-rate",trigger="Automatic"} 1.0' in body


async def test_metrics_and_diagnostics_are_for_those_who_are_allowed() -> None:
    """`allow` sees token and path; its refusal is the answer, and health stays open."""
    asked: list[tuple[str, str]] = []

    async def allow(authorization: str, path: str) -> int:
        asked.append((authorization, path))
        return {"": 401, "Bearer bob": 403}.get(authorization, 200)

    insight = Insight(registry=Telemetry().registry, diagnostics=lambda: {"issues": []}, allow=allow)
    async with HttpServer("127.0.0.1", 0, health=health(), insight=insight) as server:
        answers = [
            (await get(server, path, **({"Authorization": token} if token else {})))[0]
            for path in ("/metrics", "/diagnostics", "/healthz")
            for token in ("", "Bearer bob", "Bearer alice")
        ]
    assert answers == [401, 403, 200, 401, 403, 200, 200, 200, 200]
    assert {path for _, path in asked} == {"/metrics", "/diagnostics"}


@pytest.mark.parametrize(("parts", "missing"), [({"health": health()}, "/metrics"), ({}, "/healthz")])
async def test_what_is_not_given_is_not_served(parts: dict[str, Any], missing: str) -> None:
    """Health and insight may have an address each."""
    async with HttpServer("127.0.0.1", 0, **parts) as server:
        assert (await get(server, missing))[0] == 404


async def test_a_taken_port_is_one_clear_sentence() -> None:
    """The error names the address, the reason and the flags that help."""
    async with HttpServer("127.0.0.1", 0, health=health()) as first:
        with pytest.raises(AddressTaken, match=f"cannot listen on 127.0.0.1:{first.port} .*--health-address"):
            await HttpServer("127.0.0.1", first.port, health=health()).__aenter__()
