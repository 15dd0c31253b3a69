"""Judging without findings, as most rules of a tick are: the verdict is the same as with them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.policy import BUILT_IN_RULES, compiled_rule
from prompt_operator.core.rules.baseline import of_values
from prompt_operator.core.rules.measure import Amount, Histogram, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import Rule, compile_rule
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.verdict import judge

OWN = (
    "error_rate[1m] > 3% and execution_count > 20 or latency_p50 >= 2s",
    "(error_rate > 1% or success_rate < 99%) and failure_count != 2",
    "latency_avg > baseline * 1.2",
    "tokens_total / execution_count > 5 and cost_avg - baseline <= 3",
)
RULES = [rule for spec in BUILT_IN_RULES if isinstance(rule := compiled_rule(spec), Rule)] + [
    compile_rule(f"own-{number}", text) for number, text in enumerate(OWN)
]
COUNTS = st.one_of(st.integers(0, 400).map(float), st.floats(0, 400))
BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, float("inf"))


@st.composite
def readings(draw: st.DrawFn, rule: Rule) -> dict[Need, Measured]:
    """Draw what was measured: whole, with gaps, or unusable."""
    amounts: st.SearchStrategy[Measured] = COUNTS.map(Amount)
    steps = st.lists(st.integers(0, 60), min_size=len(BOUNDS), max_size=len(BOUNDS))
    buckets: st.SearchStrategy[Measured] = steps.map(_histogram)
    broken: st.SearchStrategy[Measured | None] = st.sampled_from([None, Unusable(Reason.QUERY_FAILED)])
    found: dict[Need, Measured] = {}
    for need in sorted(needs(rule)):
        whole = buckets if need.quantity is Quantity.LATENCY_BUCKETS else amounts
        measured = draw(st.one_of(whole, whole, whole, broken))
        if measured is not None:
            found[need] = measured
    return found


def _histogram(steps: list[int]) -> Measured:
    counts = [float(sum(steps[: position + 1])) for position in range(len(steps))]
    return Histogram(tuple(zip(BOUNDS, counts, strict=True)))


@given(st.data(), st.sampled_from(RULES), st.sampled_from([0.95, 0.9999]), st.sampled_from([{}, 0.5, 3.0]))
def test_the_verdict_is_the_same_without_findings(
    data: st.DataObject, rule: Rule, confidence: float, baseline: dict[str, float] | float
) -> None:
    """Whatever was measured: verdict and reason do not depend on whether anybody wants to read the findings."""
    measured = data.draw(readings(rule))
    normal = {} if isinstance(baseline, dict) else dict.fromkeys(rule.metrics, baseline)
    told, untold = (
        judge(rule, measured, of_values(normal), min_samples=20, confidence=confidence, told=told)
        for told in (True, False)
    )
    assert (untold.verdict, untold.because) == (told.verdict, told.because)
    assert told.findings
    assert not untold.findings
