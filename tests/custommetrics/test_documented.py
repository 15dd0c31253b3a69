"""The examples of docs/custom-metrics.md give, on a real Prometheus, the values and verdicts that one expects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.custommetrics.conftest import END

from devcluster.paths import REPO
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.core.policy import effective
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import Identity, Measured, Need, needs
from prompt_operator.core.rules.verdict import judge
from prompt_operator.sources import Source

if TYPE_CHECKING:
    from tests.custommetrics.conftest import Filled

    from devcluster.prometheus import Prometheus
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.model import Rule

PAGE = REPO / "docs" / "custom-metrics.md"
NATIVE = load_profiles()["native"]
BOT = Identity("shop", "bot", "1.0.0")
LABELS = 'prompt_namespace="shop",prompt="bot",version="1.0.0"'
GROWTH = {
    f'llm_prompt_requests_total{{{LABELS},outcome="success"}}': 20.0,
    f"answers_total{{{LABELS}}}": 10.0,
    f"ungrounded_answers_total{{{LABELS}}}": 4.0,
    f'guard_verdicts_total{{{LABELS},verdict="clean"}}': 20.0,
    f"retrieved_documents_sum{{{LABELS}}}": 60.0,
    f"retrieved_documents_count{{{LABELS}}}": 20.0,
    f'retrieval_seconds_bucket{{{LABELS},le="0.5"}}': 5.0,
    f'retrieval_seconds_bucket{{{LABELS},le="1.0"}}': 20.0,
    f'retrieval_seconds_bucket{{{LABELS},le="+Inf"}}': 20.0,
}


def written() -> PromptPolicySpec:
    """The policy of the page."""
    _, _, block = PAGE.read_text(encoding="utf-8").partition("```yaml\n")
    return PromptPolicySpec.model_validate(yaml.safe_load(block.partition("```")[0])["spec"])


@pytest.fixture(scope="module")
def server(filled: Filled) -> Prometheus:
    """A server with twenty minutes of the page's series."""
    return filled(GROWTH)


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    """The rules of the page, compiled."""
    policy = effective(PromptSpec(version="1.0.0"), written(), "shop")
    assert policy.metric_problems == policy.policy_problems == ()
    return {rule.name: rule for rule in policy.rules}


@pytest.fixture(scope="module")
def measured(server: Prometheus, rules: dict[str, Rule]) -> dict[Need, Measured]:
    """What the operator's own queries bring of the version that the page speaks of."""
    wanted = frozenset().union(*(needs(rules[spec.name]) for spec in written().rules))

    async def ask() -> dict[Need, promql.Answer]:
        metrics = PrometheusMetrics(Source(name="default", url=server.url))
        asked = promql.queries(NATIVE, wanted, None)
        try:
            at = datetime.fromtimestamp(END, UTC)
            return {query.need: promql.absorb(query, await metrics.query(query.promql, at)) for query in asked}
        finally:
            await metrics.close()

    return promql.reading(NATIVE, BOT, asyncio.run(ask()))


def judged(rule: Rule, measured: dict[Need, Measured], confidence: float = 0.95) -> Judgement:
    """Judge a rule without baselines."""
    return judge(rule, measured, Baselines(), min_samples=20, confidence=confidence)


@pytest.mark.parametrize(
    ("name", "verdict", "told"),
    [
        ("hallucination", Verdict.TRUE, "hallucination_rate 40.0% (80 of 200 in 5m"),
        ("injection", Verdict.FALSE, "injection_rate 0.0% (0 of"),
        ("slow-retrieval", Verdict.TRUE, "retrieval_p90 933ms (in 15m) > 800ms; documents_avg 3 ("),
        ("drift", Verdict.UNKNOWN, "input_drift unknown: no data (in 1h)"),
    ],
)
def test_the_rules_of_the_page(
    rules: dict[str, Rule], measured: dict[Need, Measured], name: str, verdict: Verdict, told: str
) -> None:
    """A share with its bound, none where the page says none, a quantile and a mean; what is not exported is unknown."""
    found = judged(rules[name], measured)
    assert (found.verdict, told in found.message) == (verdict, True), found.message


def test_counts_may_roll_back_and_a_value_may_not(rules: dict[str, Rule], measured: dict[Need, Measured]) -> None:
    """As the page says: at the confidence of rollbacks only the share is sure."""
    assert judged(rules["hallucination"], measured, 0.9999).verdict is Verdict.TRUE
    assert judged(rules["slow-retrieval"], measured, 0.9999).verdict is Verdict.FALSE
