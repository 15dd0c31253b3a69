"""A rule on a custom metric, from the PromptPolicy by a real Prometheus to the rollback, on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server
from tests.cluster.looking import conditions, message, until_condition
from tests.cluster.operating import Operated, operated
from tests.cluster.test_conditions import beside
from tests.faults.scene import AT_ONCE, ONE_RULE, roll_back

from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.ports import DEFAULT_SOURCE, PROMPT_POLICY
from prompt_operator.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.cluster.conftest import StartPrometheus

    from devcluster.cluster import Cluster
    from devcluster.prometheus import Prometheus

IDENTITY = ("prompt_namespace", "prompt", "version")
METRIC = {
    "name": "hallucination_rate",
    "unit": "Ratio",
    "numerator": "sum by ($by) (increase(ungrounded_answers_total[$window]))",
    "denominator": "sum by ($by) (increase(answers_total[$window]))",
}
RULE = {
    "name": "hallucination",
    "condition": "hallucination_rate > 10%",
    "window": "1m",
    "severity": "Critical",
    "actions": ["Alert", "Rollback"],
}


class Application:
    """A program that checks its answers and counts them; it exports by itself."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.answers = Counter("answers", "Answers that were checked.", IDENTITY, registry=registry)
        self.ungrounded = Counter("ungrounded_answers", "Answers that no source supports.", IDENTITY, registry=registry)
        self._server, self._thread = start_http_server(0, addr="127.0.0.1", registry=registry)

    @property
    def target(self) -> str:
        """What Prometheus scrapes."""
        return f"127.0.0.1:{self._server.server_port}"

    def serve(self, namespace: str, version: str, answers: int, ungrounded: int) -> None:
        """Count so many answers of a version; 0 begins its series."""
        labels = (namespace, "greeting", version)
        self.answers.labels(*labels).inc(answers)
        self.ungrounded.labels(*labels).inc(ungrounded)

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application."""
    one = Application()
    yield one
    one.stop()


@pytest.fixture
def server(prometheus: StartPrometheus, application: Application) -> Prometheus:
    """A real Prometheus that scrapes it."""
    return prometheus(targets=[application.target])


@pytest.fixture
async def operator(cluster: Cluster, namespace: str, server: Prometheus) -> AsyncIterator[Operated]:
    """An operator on the real Prometheus, 1.0.0 served, 1.1.0 there to be released."""
    metrics = PrometheusMetrics(Source(name=DEFAULT_SOURCE, url=server.url))
    async with operated(cluster.kubeconfig, namespace) as one:
        one.sources = {DEFAULT_SOURCE: metrics}
        await one.policy(rollback=AT_ONCE, customMetrics=[METRIC], rules=[*ONE_RULE, RULE])
        for version in ("1.0.0", "1.1.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        yield one
    await metrics.close()


async def test_a_share_of_a_custom_metric_rolls_back(
    operator: Operated, application: Application, server: Prometheus
) -> None:
    """From the application's own counters to the switch; the record names the metric and its samples."""
    namespace = operator.namespace
    query = f'answers_total{{prompt_namespace="{namespace}"}}'
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    application.serve(namespace, "1.1.0", 0, 0)
    await operator.until(lambda: seen(server, query, 0.0))
    application.serve(namespace, "1.1.0", 400, 200)
    await operator.until(lambda: seen(server, query, 400.0))
    record = await roll_back(operator)
    assert record["spec"]["rule"] == "hallucination"
    (evidence,) = record["spec"]["evidence"]
    assert evidence["metric"] == "hallucination_rate"
    assert float(evidence["value"]) == pytest.approx(0.5)
    assert float(evidence["bound"]) > 0.1
    assert (await operator.condition("Ready"))["reason"] == "RolledBack"


async def seen(server: Prometheus, query: str, value: float) -> bool:
    """Whether Prometheus has scraped this value."""
    return any(float(row["value"][1]) == value for row in server.query(query))


async def test_a_bad_one_is_told_by_the_policy_alone(operator: Operated) -> None:
    """The policy is not ready and says why; its prompts stay as they are; the mended policy is ready again."""
    bad = METRIC | {"numerator": "sum(ungrounded_answers_total)"}
    await operator.policy(rollback=AT_ONCE, customMetrics=[bad], rules=[*ONE_RULE, RULE])
    status = await beside(operator, PROMPT_POLICY, "default")
    assert conditions(status)["Ready"] == "False CustomMetricInvalid"
    assert "custom metric hallucination_rate: numerator: " in message(status, "Ready")
    assert "rule hallucination: " in message(status, "Ready")
    assert (await operator.condition("Ready"))["status"] == "True"
    await operator.policy(rollback=AT_ONCE, customMetrics=[METRIC], rules=[*ONE_RULE, RULE])
    assert conditions(await beside(operator, PROMPT_POLICY, "default"))["Ready"] == "True Valid"


async def test_a_rule_of_a_prompt_is_off_once_the_metric_is_gone(operator: Operated) -> None:
    """Named by the Prompt that holds the rule; the version stays served."""
    await operator.prompt("1.0.0", rules=[RULE | {"name": "mine"}])
    await until_condition(operator, "Ready", "Active")
    await operator.policy(rollback=AT_ONCE, rules=ONE_RULE)
    await until_condition(operator, "Ready", "RuleInvalid")
    assert "unknown metric 'hallucination_rate'" in (await operator.condition("Ready"))["message"]
    assert await operator.served() == "1.0.0"
