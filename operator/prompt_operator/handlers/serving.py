"""What the operator tells over HTTP: health, readiness, metrics, diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_operator.adapters.access import Reviewer
from prompt_operator.adapters.http import Check, Health, HttpServer, Insight, everybody
from prompt_operator.adapters.pulse import Pulse
from prompt_operator.api.common import rfc3339
from prompt_operator.core.reasons import ConditionType
from prompt_operator.core.rules.streak import State
from prompt_operator.ports import DEFAULT_SOURCE
from prompt_operator.settings import split_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from prompt_operator.adapters.cluster import ApiCluster
    from prompt_operator.handlers.lifecycle import Running
    from prompt_operator.ports import Clock
    from prompt_operator.settings import Settings

_SHOWN = 1000  # unknown rules; without a Prometheus there are as many as there are rules


async def serve(stack: AsyncExitStack, settings: Settings, running: Running, cluster: ApiCluster, clock: Clock) -> None:
    """Open the servers the settings ask for; equal addresses are one server."""
    pulse = Pulse(cluster, clock)
    health = Health(
        status=lambda: _status(running), ready=lambda: running.waiting_for, deep=lambda: _checks(running, pulse)
    )
    insight = Insight(
        registry=running.telemetry.registry,
        diagnostics=lambda: _diagnostics(running),
        allow=everybody if settings.metrics_auth == "None" else Reviewer(cluster, clock).allow,
    )
    if settings.health_address and settings.health_address == settings.metrics_address:
        host, port = split_address(settings.health_address)
        await stack.enter_async_context(HttpServer(host, port, health=health, insight=insight))
        return
    if settings.health_address:
        host, port = split_address(settings.health_address)
        await stack.enter_async_context(HttpServer(host, port, health=health))
    if settings.metrics_address:
        host, port = split_address(settings.metrics_address)
        await stack.enter_async_context(HttpServer(host, port, insight=insight))


def _status(running: Running) -> dict[str, Any]:
    """Return the document of `/healthz`."""
    prompts = running.engine.store.prompts.values()
    return {
        "prompts": {
            "total": len(prompts),
            "healthy": sum(ConditionType.HEALTHY in prompt.holding for prompt in prompts),
            "serving": sum(ConditionType.SERVING in prompt.holding for prompt in prompts),
            "held": sum(bool(prompt.held) for prompt in prompts),
        },
        "dependencies": _dependencies(running),
    }


def _dependencies(running: Running) -> list[dict[str, Any]]:
    store = {"name": "store", "connected": not running.waiting_for, "since": rfc3339(running.store_since)}
    return [store, *(_dependency(running, source) for source in sorted(running.sources))]


def _dependency(running: Running, source: str) -> dict[str, Any]:
    failing = running.engine.rules.outages.failing.get(source)
    name = "prometheus" if source == DEFAULT_SOURCE else f"prometheus {source}"
    connected = failing is None if source in running.engine.rules.outages.asked else None
    return {"name": name, "connected": connected, "since": rfc3339(failing or running.started_at)}


async def _checks(running: Running, pulse: Pulse) -> dict[str, Check]:
    """Return the named checks of `/health/deep`."""
    return {
        "api": _well_unless(await pulse.trouble()),
        "store": _well_unless(running.waiting_for),
        "prometheus": _prometheus(running),
        "rules": _rules(running),
        "render": _render(running),
        "audit": _well_unless(running.trail.trouble if running.trail else ""),
    }


def _well_unless(trouble: str) -> Check:
    return Check(not trouble, trouble)


def _prometheus(running: Running) -> Check:
    if not running.sources:
        return Check(ok=False, message="no Prometheus is set (--prometheus-url): no rule can be judged")
    outages = running.engine.rules.outages
    if outages.failing:
        since = sorted(outages.failing.items())
        said = "; ".join(f"queries of source {source} fail since {at:%Y-%m-%dT%H:%M:%SZ}" for source, at in since)
        return Check(ok=False, message=f"{said}: rules keep their state")
    if not outages.asked:
        return Check(ok=None, message="nothing was asked of it yet: no prompt has a rule to judge, or the start is new")
    return Check(ok=True)


def _rules(running: Running) -> Check:
    if not running.leading:
        return Check(ok=None, message="in stand-by: the operator that holds the Lease judges them")
    late = running.engine.late
    return _well_unless(f"the last whole tick of the rules is {late:.0f} s overdue" if late > 0 else "")


def _render(running: Running) -> Check:
    """Compare what ConfigMaps say with what their own content renders to, as they are in the store."""
    odd = sum(bool(each.claims) and not each.intact for each in running.engine.store.config_maps.values())
    return _well_unless(f"{odd} ConfigMaps do not say what was rendered: kubectl prompt doctor -A" if odd else "")


def _unknown(running: Running) -> Iterator[str]:
    for name, readings in running.engine.rules.snapshots():
        for reading in readings.rules:
            if reading.streak.state is State.UNKNOWN:
                yield f"{name.namespace}/{name.name} {reading.rule.name}"


def _diagnostics(running: Running) -> dict[str, Any]:
    """Return the document of `/diagnostics`."""
    prompts, unknown = running.engine.store.prompts, sorted(_unknown(running))
    return {
        "mode": running.mode.now,
        "leading": running.leading,
        "prompts": {
            "active_experiments": [],  # none splits traffic in this release
            "experiments_without_effect": sorted("/".join(name) for name in running.engine.store.experiments),
            "held": sorted(f"{name.namespace}/{name.name} {v}" for name, p in prompts.items() for v in p.held),
            "firing": sorted(f"{name.namespace}/{name.name} {r}" for name, p in prompts.items() for r in p.firing),
        },
        "rules": {
            "unknown": unknown[:_SHOWN],
            "unknownTotal": len(unknown),
            "promptsNotRecorded": sum(ConditionType.NOT_RECORDED in prompt.holding for prompt in prompts.values()),
        },
        "store": running.engine.store.sizes(),
        "breakers": [breaker.state() for breaker in running.breakers],
        "issues": running.telemetry.issues.document(),
        "queue": running.engine.queue.sizes(),
    }
