"""What a rule can never do: told where it is so, and nowhere else."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.rules.builders import judged, latencies

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.api.promptpolicy import CustomMetric
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.custom import catalogue
from prompt_operator.core.rules.futile import idle_rollback, unreachable
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import Amount, Measured, Need, needs
from prompt_operator.core.rules.metrics import OPTIONAL, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.profile import IdentityLabels, Profile, Source
from prompt_operator.core.rules.verdict import judge

PROFILES = load_profiles()


def told(condition: str, profile: str = "spanmetrics") -> list[str]:
    """What is said of the bounds in a condition."""
    return list(unreachable(compile_rule("r", condition), PROFILES[profile]))


@pytest.mark.parametrize(
    ("condition", "profile", "last"),
    [
        ("latency_p99 > 20s", "spanmetrics", "15s"),
        ("20s <= latency_p99", "spanmetrics", "15s"),
        ("slower_than_20s > 1%", "spanmetrics", "15s"),
        ("latency_p50 > 81921ms", "otel-genai-v1", "81.92s"),
        ("latency_p95 >= 601s", "litellm", "600s"),
        ("latency_p95 > 2m + 1s", "native", "120s"),
    ],
)
def test_beyond_the_last_bound(condition: str, profile: str, last: str) -> None:
    """It can never be true, and the longest time that can is named."""
    (message,) = told(condition, profile)
    assert f"can never be true: the last bucket of profile {profile} begins at {last}, as exported" in message
    assert f"use {last} at most" in message


@pytest.mark.parametrize(
    ("condition", "profile", "judged_as", "lower"),
    [
        ("latency_p99 > 10s", "otel-genai-v1", "10.24s", "5.12s"),
        ("slower_than_3s > 1%", "spanmetrics", "5s", "2s"),
        ("latency_p50 > 50ms", "native", "100ms", "0s"),
    ],
)
def test_between_two_bounds(condition: str, profile: str, judged_as: str, lower: str) -> None:
    """What it is judged as is the upper bound."""
    (message,) = told(condition, profile)
    assert f"is judged as if it said {judged_as}: only whole buckets count" in message
    assert f"end at {lower} and {judged_as}" in message


@pytest.mark.parametrize(
    "condition",
    [
        "latency_p99 > 15s",
        "latency_p99 > 1400ms",
        "slower_than_15s >= 1%",
        "latency_p99 < 20s",
        "slower_than_20s < 1%",
        "latency_p99 > baseline * 2",
        "latency_avg > 20s",
        "error_rate > 5% or execution_count > 20",
    ],
)
def test_nothing_is_said_of_what_can_be_judged(condition: str) -> None:
    """Bounds themselves, upper limits, baselines and other metrics."""
    assert told(condition) == []


def test_nothing_is_said_without_bounds() -> None:
    """A profile of one's own need not name any."""
    labels = IdentityLabels(namespace="a", prompt="b", version="c")
    own = Profile(name="own", identity=labels, quantities={Quantity.LATENCY_BUCKETS: Source(histogram="h")})
    assert list(unreachable(compile_rule("r", "latency_p99 > 20h"), own)) == []


BOUNDS = (*PROFILES["spanmetrics"].latency_bounds, inf)


@given(
    st.lists(st.integers(0, 100), min_size=len(BOUNDS), max_size=len(BOUNDS)),
    st.sampled_from(["latency_p99 > 20s", "latency_p50 >= 16s", "slower_than_20s > 0%", "slower_than_16s >= 1%"]),
)
def test_what_can_never_be_true_never_is(counts: list[int], condition: str) -> None:
    """Whatever these buckets count."""
    assert told(condition)
    measured = latencies({bound: float(count) for bound, count in zip(BOUNDS, counts, strict=True)})
    assert judged(condition, measured, min_samples=1).verdict is not Verdict.TRUE


def custom(**given: str) -> CustomMetric:
    """A policy's own metric."""
    return CustomMetric.model_validate({"name": "own", "unit": "Score", **given})


COUNT = "sum by ($by) (increase(x[$window]))"
VALUE = custom(value="avg by ($by) (x)")
MEAN = custom(numerator=COUNT, denominator=COUNT)
SHARE = custom(numerator=COUNT, denominator=COUNT, unit="Ratio")


def idle(condition: str, spec: CustomMetric, profile: str, *, action: str = "Rollback", confidence: float) -> str:
    """What is said of the rollback of a rule."""
    known = catalogue((spec,), "shop").metrics
    rule = compile_rule("r", condition, actions=[action], catalogue=known)
    return idle_rollback(rule, PROFILES[profile], confidence)


@pytest.mark.parametrize(
    ("condition", "spec", "profile", "cause"),
    [
        ("own > 3", VALUE, "native", "how many requests the value of own rests on is not known"),
        ("own > 3 and error_rate > 5%", VALUE, "native", "how many requests the value of own rests on"),
        ("own > 3 or own * 2 > 4", VALUE, "native", "how many requests"),
        ("own > 3", MEAN, "native", "a sum and a count do not say how far own may be off"),
        ("latency_avg > 3s", VALUE, "litellm", "profile litellm has no latency_sumsq, which says how far latency_avg"),
    ],
)
def test_a_rollback_that_can_never_come(condition: str, spec: CustomMetric, profile: str, cause: str) -> None:
    """It is told with its cause; and however bad the evidence is, the rule is not true at that confidence."""
    message = idle(condition, spec, profile, confidence=0.9999)
    assert message.startswith("Rollback never comes: ")
    assert cause in message
    rule = compile_rule("r", condition, catalogue=catalogue((spec,), "shop").metrics)
    measured: dict[Need, Measured] = {need: Amount(1e6) for need in needs(rule) if need.quantity not in OPTIONAL}
    assert judge(rule, measured, Baselines(), min_samples=1, confidence=0.9999).verdict is not Verdict.TRUE
    assert idle(condition, spec, profile, confidence=0.95) == ""
    assert idle(condition, spec, profile, action="Alert", confidence=0.9999) == ""


@pytest.mark.parametrize(
    ("condition", "spec", "profile"),
    [
        ("own > 50%", SHARE, "native"),
        ("own > 3 or error_rate > 5%", VALUE, "native"),
        ("own == 3", VALUE, "native"),
        ("latency_avg > 3s", VALUE, "native"),
        ("avg_user_feedback < 3", VALUE, "native"),
    ],
)
def test_a_rollback_that_may_come(condition: str, spec: CustomMetric, profile: str) -> None:
    """Where something may be sure, nothing is said."""
    assert idle(condition, spec, profile, confidence=0.9999) == ""
