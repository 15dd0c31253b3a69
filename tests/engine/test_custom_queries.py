"""The query of a policy's own metric that fails, or takes long, is that policy's trouble and nobody else's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import V2, a_policy
from tests.engine.test_ruleclock import FAILING, Bench
from tests.engine.world import Metrics

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.engine import inquiry
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
