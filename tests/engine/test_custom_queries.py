"""The query of a policy's own metric that fails, or takes long, is that policy's trouble and nobody else's."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import PROMPT, V2, a_policy
from tests.engine.test_ruleclock import FAILING, Bench
from tests.engine.world import Metrics

from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.core.policy import Effective, effective
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.engine import inquiry
from prompt_operator.engine.store import Name
from prompt_operator.ports import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from prompt_operator.ports import Sample

POLICY = a_policy(
    customMetrics=[{"name": "drift", "unit": "Score", "value": "avg by ($by) (embedding_drift)"}],
    rules=[{"name": "drifted", "condition": "drift > 2"}],
)


class Refusing(Metrics):
    """A source that answers everything but the custom query."""

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Refuse the custom one."""
        if "embedding_drift" in promql:
            raise Unavailable("Prometheus answered 422")
        return await super().query(promql, at)


class Endless(Metrics):
    """A source that works on the custom query for ever."""

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer all but the custom one."""
        if "embedding_drift" in promql:
            await asyncio.Event().wait()
        return await super().query(promql, at)


@pytest.mark.parametrize(("source", "why"), [(Refusing, "422"), (Endless, "make it read less")])
def test_its_own_rules_alone_are_unknown(monkeypatch: pytest.MonkeyPatch, source: type[Metrics], why: str) -> None:
    """It is given up before the source's own time limit; the source counts as answering, other rules are judged."""
    monkeypatch.setattr(inquiry, "CUSTOM_SECONDS", 0.01)
    bench = Bench()
    bench.metrics = source({V2: FAILING})
    bench.rebuild()
    bench.watch(policy=POLICY)
    bench.tick(minutes=3)
    assert bench.reading().alert.verdict is Verdict.TRUE
    drifted = bench.reading("drifted").alert
    assert drifted.because is Reason.QUERY_FAILED
    assert why in drifted.findings[0].detail
    assert not bench.rules.outages.failing


def many(namespace: str, count: int) -> Effective:
    """A policy with so many own metrics, each with a rule."""
    names = [f"drift_{number}" for number in range(count)]
    return effective(
        PromptSpec(version=V2),
        PromptPolicySpec.model_validate(
            {
                "customMetrics": [
                    {"name": n, "unit": "Score", "value": f"avg by ($by) (embedding_{n})"} for n in names
                ],
                "rules": [{"name": n.replace("_", "-"), "condition": f"{n} > 2", "window": "5m"} for n in names],
            }
        ),
        namespace,
    )


class Slow(Metrics):
    """A source that works for ever on what the namespace loud asks; it counts what is under way at once."""

    under_way: Counter[bool]
    most: int

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer all others after a breath."""
        own = "embedding" in promql
        self.under_way[own] += 1
        self.most = max(self.most, self.under_way[True])
        try:
            if own and '"loud"' in promql:
                self.queries.append(promql)
                await asyncio.Event().wait()
            return await super().query(promql, at)
        finally:
            self.under_way[own] -= 1


def asked(bench: Bench, namespace: str) -> int:
    """How many own queries of a namespace were asked since the last time."""
    found = [query for query in bench.metrics.queries if "embedding" in query and f'"{namespace}"' in query]
    bench.metrics.queries[:] = [query for query in bench.metrics.queries if query not in found]
    return len(found)


def test_a_namespace_whose_queries_take_too_long_does_not_hold_the_others_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixteen endless queries one is asked, and one again after 90 s; those of others all are, each time."""
    monkeypatch.setattr(inquiry, "CUSTOM_SECONDS", 1.0)
    bench, slow = Bench(), Slow({V2: FAILING})
    slow.under_way, slow.most = Counter(), 0
    bench.metrics = slow
    bench.rebuild()
    for namespace in ("loud", "shop", "quiet"):
        bench.watch(name=Name(namespace, PROMPT), policy=many(namespace, 16))
    bench.tick(minutes=3)
    assert [asked(bench, namespace) for namespace in ("loud", "shop", "quiet")] == [1, 16, 16]
    assert slow.most == inquiry.CUSTOM_AT_ONCE
    loud = bench.rules.readings(Name("loud", PROMPT))
    assert loud is not None
    told = {reading.alert.message for reading in loud.rules if reading.rule.name.startswith("drift")}
    assert any("make it read less" in message for message in told)
    assert any("custom metrics of namespace loud" in message and "failed once" in message for message in told)
    bench.tick(seconds=75)
    assert [asked(bench, namespace) for namespace in ("loud", "shop", "quiet")] == [0, 16, 16]
    bench.tick(seconds=15)
    assert asked(bench, "loud") == 1


def test_the_parts_of_a_large_namespace_ask_an_own_query_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about the whole namespace, however many shards that has."""
    monkeypatch.setattr(inquiry, "SHARD", 4)
    bench = Bench()
    for number in range(20):
        bench.watch(name=Name("shop", f"bot-{number}"), policy=POLICY)
    bench.tick(minutes=3)
    assert sum("outcome" in query and "[1m]" in query for query in bench.metrics.queries) > 1
    assert sum("embedding_drift" in query for query in bench.metrics.queries) == 1
