"""Baselines on a real API server and a real Prometheus: what was normal is measured, kept, and compared with."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from tests.cluster.operating import Operated, operated
from tests.faults.scene import AT_ONCE

from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.cluster.conftest import StartPrometheus

    from devcluster.cluster import Cluster
    from devcluster.prometheus import Prometheus

RULE = "high-latency-p95"
LABELS = ("prompt_namespace", "prompt", "version")
COUNT = 'increase(llm_prompt_request_duration_seconds_count{version="%s",prompt_namespace="%s"}[1h])'


@dataclass
class Application:
    """An application that exports latencies, and the Prometheus that scrapes it every second."""

    namespace: str
    server: Prometheus
    latencies: Histogram
    released: set[str] = field(default_factory=set)

    async def serve(self, version: str, seconds: float, requests: int = 200) -> None:
        """Serve requests of a version, and wait until Prometheus has them, as of two seconds ago."""
        child = self.latencies.labels(self.namespace, "greeting", version)
        await self._until_counted(version, 0)
        for _ in range(requests):
            child.observe(seconds)
        await self._until_counted(version, requests)

    async def _until_counted(self, version: str, least: float) -> None:
        deadline = time.monotonic() + 60
        query = COUNT % (version, self.namespace)
        while time.monotonic() < deadline:
            found = await asyncio.to_thread(self.server.query, query, time.time() - 2)
            if found and float(found[0]["value"][1]) >= least:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"Prometheus does not know {least} requests of {version}")


@pytest.fixture
def application(prometheus: StartPrometheus, namespace: str) -> Iterator[Application]:
    """An application with a histogram of latencies."""
    registry = CollectorRegistry()
    latencies = Histogram(
        "llm_prompt_request_duration_seconds", "Latency.", LABELS, registry=registry, buckets=(0.25, 0.5, 1, 2, 4, 8)
    )
    web, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    server = prometheus(targets=[f"127.0.0.1:{web.server_port}"], scrape_interval="1s")
    yield Application(namespace, server, latencies)
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture
async def operator(cluster: Cluster, namespace: str, application: Application) -> AsyncIterator[Operated]:
    """An operator that asks the real Prometheus, with 1.0.0 served; no version declares anything."""
    async with operated(cluster.kubeconfig, namespace, prometheus_url=application.server.url) as one:
        one.sources = None
        await one.policy(rollback=AT_ONCE, evidence={"unknownAfter": "1s"})
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        yield one


async def freeze(operator: Operated) -> list[dict[str, Any]]:
    """Let half a minute pass, measure what was normal, and return what status keeps of it."""
    assert operator.running is not None
    operator.clock.offset += timedelta(seconds=31)
    await operator.within(operator.running.engine.freezing.round())
    await operator.settle()
    found: list[dict[str, Any]] = (await operator.status()).get("baseline", [])
    return found


async def rule(operator: Operated) -> dict[str, Any]:
    """Judge the rules and return what status says of the one about the p95."""
    await operator.tick()
    rules = (await operator.status()).get("rules", [])
    return next((each for each in rules if each["name"] == RULE), {})


async def test_a_slower_version_fires_without_any_expectations(operator: Operated, application: Application) -> None:
    """Measured on 1.0.0 until 1.1.0 came, written once, and `latency_p95 > baseline * 2.0` fires on 1.1.0."""
    await application.serve("1.0.0", 0.4)
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    await operator.settle()
    (baseline,) = await freeze(operator)
    status = await operator.status()
    assert (baseline["metric"], baseline["version"], baseline["window"]) == ("latency_p95", "1.0.0", "1h")
    assert baseline["at"] == status["activatedAt"]
    assert 0.25 < float(baseline["value"]) < 0.5
    assert baseline["samples"] >= 200
    await application.serve("1.1.0", 3.0)
    firing = await rule(operator)
    assert firing["state"] == "Firing"
    assert "measured on 1.0.0 in 1h until" in firing["message"]
    assert await freeze(operator) == [baseline]


async def test_after_a_rollback_the_rejected_version_is_no_measure(
    operator: Operated, application: Application
) -> None:
    """Back on 1.0.0 its own baseline stands; the next release is not compared with the slow 1.1.0 either."""
    await application.serve("1.0.0", 0.4)
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    (baseline,) = await freeze(operator)
    await application.serve("1.1.0", 3.0)
    request = {"promptRef": {"name": "greeting"}, "fromVersion": "1.1.0", "reason": "slow", "trigger": "Manual"}
    await operator.apply(PROMPT_ROLLBACK, "please", request | {"requestedBy": "ada"})
    await operator.until_served("1.0.0")
    assert await freeze(operator) == [baseline]
    await operator.prompt("1.2.0")
    await operator.until_served("1.2.0")
    (next_one,) = await freeze(operator)
    assert next_one["version"] == "1.0.0"
    assert float(next_one["value"]) < 0.5


async def test_what_had_no_traffic_stays_unknown_and_says_so(operator: Operated, application: Application) -> None:
    """Nobody used 1.0.0: the rule is unknown, not fine and not bad."""
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    assert await freeze(operator) == []
    await application.serve("1.1.0", 3.0)
    await operator.tick()
    operator.clock.offset += timedelta(seconds=2)
    unknown = await rule(operator)
    assert unknown["state"] == "Unknown"
    assert "no baseline for latency_p95 > baseline * 2 (1.0.0 before " in unknown["message"]
    assert "no data (in 24h)" in unknown["message"]
