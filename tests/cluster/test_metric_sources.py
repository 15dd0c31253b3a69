"""Metric sources of a running operator: Prometheus away for an hour, several servers, a name that nobody knows."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.operating import ScriptedMetrics, ShiftedClock, operated
from tests.faults.scene import BAD, GOOD, serve

from devcluster import prometheus as devprometheus
from devcluster.ports import free_port
from devcluster.prometheus import Prometheus
from prompt_operator.handlers.serving import _diagnostics, _status
from prompt_operator.ports import DEFAULT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster

BACK = timedelta(hours=3)
"""How far in the past everything happens, since Prometheus takes no samples of the future."""
WAITS, FIRES = "waits", "fires"
RULES = [
    *(
        {"name": name, "state": "Disabled"}
        for name in ("critical-error-rate", "low-success-rate", "runaway-errors", "collapsed-success", "stuck-latency")
    ),
    {"name": WAITS, "condition": "error_rate > 5% for 30 minutes", "actions": ["Alert", "Rollback"]},
    {"name": FIRES, "condition": "error_rate > 5%", "severity": "Critical", "actions": ["Alert"]},
]


class PastClock(ShiftedClock):
    """A clock in the past whose monotonic side moves with it, so that a breaker's 90 s pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = -BACK

    def monotonic(self) -> float:
        """Return the machine's seconds and those the test skipped."""
        return super().monotonic() + (self.offset + BACK).total_seconds()


@pytest.fixture
def failing(namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prometheus]:
    """A Prometheus, at one port for good, whose history says that half the requests of 1.1.0 fail."""
    port = free_port()
    monkeypatch.setattr(devprometheus, "free_port", lambda: port)
    server = Prometheus.start(tmp_path / "prometheus")
    try:
        history = tmp_path / "history.om"
        history.write_text("".join(_open_metrics(namespace)))
        command = [str(server.promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
        subprocess.run([*command, str(history), str(server.state_dir / "data")], check=True, capture_output=True)
        server.restart()
        yield server
    finally:
        server.stop()


def _open_metrics(namespace: str) -> Iterator[str]:
    labels = f'prompt_namespace="{namespace}",prompt="greeting",version="1.1.0"'
    now = int(datetime.now(UTC).timestamp())
    for outcome in ("success", "error"):
        for second in range(now - 4 * 3600, now - 15, 15):
            count = float(second - now + 4 * 3600)
            yield f'llm_prompt_requests_total{{{labels},outcome="{outcome}"}} {count} {second}\n'
    yield "# EOF\n"


async def pass_time(operator: Operated, **span: float) -> None:
    """Let time pass, judging the rules every five minutes."""
    until = operator.clock.offset + timedelta(**span)
    while operator.clock.offset < until:
        operator.clock.offset += timedelta(minutes=5)
        await operator.tick()


async def states(operator: Operated) -> dict[str, str]:
    """Return what status shows of the two rules."""
    shown = (await operator.status()).get("rules", [])
    return {rule["name"]: rule["state"] for rule in shown if rule["name"] in {WAITS, FIRES}}


async def diagnosed(operator: Operated) -> dict[str, Any]:
    """Return the document of /diagnostics."""
    assert operator.running is not None
    return _diagnostics(operator.running)


async def test_prometheus_away_for_an_hour(
    cluster: Cluster, namespace: str, failing: Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing fires, nothing resolves, nothing rolls back, one incident says so; then everything goes on by itself."""
    async with operated(cluster.kubeconfig, namespace, prometheus_url=failing.url) as operator:
        operator.sources, operator.clock = None, PastClock()
        await operator.start()
        await operator.version("1.0.0")
        await operator.version("1.1.0")
        await operator.policy(rules=RULES, rollback={"initialDelay": "0s"}, evidence={"unknownAfter": "10m"})
        await serve(operator, "1.0.0", "1.1.0")
        await pass_time(operator, minutes=10)
        assert await states(operator) == {FIRES: "Firing", WAITS: "Pending"}

        failing.stop()
        await pass_time(operator, minutes=60)
        assert await states(operator) == {FIRES: "Unknown", WAITS: "Unknown"}
        assert await operator.served() == "1.1.0"
        assert await operator.records() == []
        during = await diagnosed(operator)
        assert f"{namespace}/greeting {WAITS}" in during["rules"]["unknown"]
        (issue,) = during["issues"]
        assert (issue["subject"], issue["count"], issue["until"]) == ("metric source default", 12, None)
        (breaker,) = during["breakers"]
        assert (breaker["name"], breaker["open"]) == ("metric source default", True)
        assert _up(operator) == 0

        failing.restart()
        await pass_time(operator, minutes=10)
        assert await states(operator) == {FIRES: "Firing", WAITS: "Pending"}
        assert _up(operator) == 1
        (issue,) = (await diagnosed(operator))["issues"]
        assert issue["until"] is not None
        lines = [line for line in caplog.messages if line.startswith("metric source default")]
        assert ["answers again" in line for line in lines] == [False, True]

        await pass_time(operator, minutes=25)
        await operator.until_served("1.0.0")
        (record,) = await operator.records("Executed")
        assert record["spec"]["rule"] == WAITS


def _up(operator: Operated) -> float | None:
    assert operator.running is not None
    return operator.running.telemetry.registry.get_sample_value("prompt_operator_source_up", {"source": DEFAULT_SOURCE})


async def test_a_name_nobody_knows_is_said_and_no_other_server_is_asked(cluster: Cluster, namespace: str) -> None:
    """Healthy is Unknown with the reason; with the right name the rules are judged by that server alone."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        other = ScriptedMetrics({("greeting", "1.0.0"): GOOD}, namespace=namespace)
        operator.sources = {DEFAULT_SOURCE: operator.metrics, "mimir": other}
        operator.metrics.traffic = {("greeting", "1.0.0"): BAD}
        await operator.start()
        await operator.version("1.0.0")
        await operator.policy(rollback={"initialDelay": "0s"})
        await serve(operator, "1.0.0", metrics={"source": "mimr"})
        await operator.tick()
        healthy = await operator.condition("Healthy")
        assert (healthy["status"], healthy["reason"]) == ("Unknown", "MetricsSourceNotFound")
        assert "'mimr'" in healthy["message"]
        assert operator.metrics.queries == other.queries == []

        await operator.prompt("1.0.0", metrics={"source": "mimir"})

        async def judged() -> bool:
            await operator.tick()
            healthy = await operator.condition("Healthy")
            return bool(healthy["reason"] == "RulesNormal")

        await operator.until(judged)
        assert operator.metrics.queries == []
        assert operator.running is not None
        assert {each["name"] for each in _status(operator.running)["dependencies"]} == {
            "store",
            "prometheus",
            "prometheus mimir",
        }


async def test_a_source_of_the_policy_counts_for_its_prompts(cluster: Cluster, namespace: str) -> None:
    """A platform team says once which server is asked; a prompt may name another one."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        team = ScriptedMetrics({("greeting", "1.0.0"): GOOD}, namespace=namespace)
        operator.sources = {DEFAULT_SOURCE: operator.metrics, "team": team}
        await operator.start()
        await operator.version("1.0.0")
        await operator.policy(metrics={"source": "team"})
        await serve(operator, "1.0.0")
        await operator.tick()
        assert team.queries
        assert operator.metrics.queries == []
