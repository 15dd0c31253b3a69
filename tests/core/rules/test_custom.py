"""Custom metrics of a policy become metrics of its catalogue, are asked for when a rule names them, and are judged."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import NAMESPACE, PROMPT, V1, a_policy
from tests.core.rules.test_promql import Row

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.judgement import Judgement, Verdict
from prompt_operator.core.rules.measure import Amount, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import CustomSeries
from prompt_operator.core.rules.promql import absorb, queries, reading
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.model import Rule

NATIVE = load_profiles()["native"]
BAD = "sum by ($by) (increase(hallucinated_total[$window]))"
ALL = "sum by ($by) (increase(answers_total[$window]))"
HALLUCINATION = {"name": "hallucination_rate", "unit": "Ratio", "numerator": BAD, "denominator": ALL}
DRIFT = {"name": "drift", "unit": "Score", "value": "avg by ($by) (embedding_drift)"}
BOT = Identity(NAMESPACE, PROMPT, V1)
FIVE = timedelta(minutes=5)


def under(*metrics: dict[str, Any], condition: str, prompt: str = "") -> Effective:
    """The policy in force: custom metrics, one rule of the policy, perhaps one of the prompt."""
    rules = [{"name": "own", "condition": condition, "severity": "Warning", "actions": ["Alert"]}]
    of_prompt = [{"name": "mine", "condition": prompt, "severity": "Warning", "actions": ["Alert"]}]
    return a_policy({"rules": of_prompt} if prompt else None, customMetrics=list(metrics), rules=rules)


def rule(policy: Effective, name: str = "own") -> Rule:
    """A rule by its name."""
    return next(each for each in policy.rules if each.name == name)


def judged(found: Rule, confidence: float = 0.95, **amounts: float) -> Judgement:
    """Judge by the values of the queries: numerator and denominator, or value."""
    texts = {"numerator": BAD, "denominator": ALL, "value": DRIFT["value"]}
    measured: dict[Need, Measured] = {
        Need(CustomSeries(NAMESPACE, texts[name]), found.window): Amount(value) for name, value in amounts.items()
    }
    return judge(found, measured, Baselines(), min_samples=20, confidence=confidence)


def test_a_rule_of_policy_and_prompt_may_name_them() -> None:
    """Both are compiled with the policy's metric; what is asked is confined to the policy's namespace."""
    policy = under(HALLUCINATION, DRIFT, condition="hallucination_rate > 10%", prompt="drift > 2")
    assert policy.problems == policy.policy_problems == policy.metric_problems == ()
    assert needs(rule(policy)) == {Need(CustomSeries(NAMESPACE, BAD), FIVE), Need(CustomSeries(NAMESPACE, ALL), FIVE)}
    (asked,) = queries(NATIVE, needs(rule(policy, "mine")), None)
    assert asked.promql == (
        "avg by (prompt_namespace, prompt, version) "
        f'(embedding_drift{{prompt_namespace="{NAMESPACE}",prompt!="",version!=""}})'
    )


def test_one_that_nobody_names_is_not_asked() -> None:
    """Being declared costs no query."""
    policy = under(HALLUCINATION, DRIFT, condition="error_rate > 1%")
    assert not any(isinstance(need.quantity, CustomSeries) for each in policy.rules for need in needs(each))


def test_a_ratio_of_counts_has_a_bound() -> None:
    """Wilson's, like any share: 20 of 100 against 10 % is true at 95 %, not sure enough at 99.99 %."""
    ratio = rule(under(HALLUCINATION, condition="hallucination_rate > 10%"))
    assert judged(ratio, numerator=20.0, denominator=100.0).verdict is Verdict.TRUE
    assert judged(ratio, confidence=0.9999, numerator=20.0, denominator=100.0).because is Reason.NOT_CONFIDENT
    assert judged(ratio, confidence=0.9999, numerator=60.0, denominator=100.0).verdict is Verdict.TRUE
    assert judged(ratio, numerator=9.0, denominator=10.0).because is Reason.TOO_FEW_SAMPLES
    assert judged(ratio, numerator=20.0).because is Reason.NO_DATA
    assert judged(ratio, denominator=100.0).because is Reason.NO_DATA
    assert "hallucination_rate 20.0% (20 of 100 in 5m" in judged(ratio, numerator=20.0, denominator=100.0).message


def test_a_value_is_taken_at_its_word_for_an_alert_only() -> None:
    """On how much evidence it rests is not known, so nothing surer than a notice rests on it, however far it is."""
    drift = rule(under(DRIFT, condition="drift > 2"))
    assert judged(drift, value=2.5).verdict is Verdict.TRUE
    assert judged(drift, value=1.5).verdict is Verdict.FALSE
    assert judged(drift, confidence=0.9999, value=1e9).because is Reason.NOT_CONFIDENT
    assert judged(drift, confidence=0.9999, value=1e9).verdict is Verdict.FALSE


@pytest.mark.parametrize(("value", "because"), [(1.5, Reason.INCONSISTENT), (0.5, Reason.BREACHED)])
def test_a_share_beyond_its_range_is_unknown(value: float, because: Reason) -> None:
    """A ratio is between 0 and 1, whoever computed it."""
    share = {"name": "grounded", "unit": "Ratio", "value": DRIFT["value"]}
    assert judged(rule(under(share, condition="grounded > 10%")), value=value).because is because


@pytest.mark.parametrize(
    ("unit", "good", "bad"),
    [
        ("Ratio", "5%", "5s"),
        ("Duration", "800ms", "800"),
        ("Count", "3", "3%"),
        ("Score", "3", "3s"),
        ("Currency", "0.5", "5%"),
    ],
)
def test_the_unit_decides_what_a_threshold_must_be(unit: str, good: str, bad: str) -> None:
    """As with built-in metrics, with the same words."""
    metric = {"name": "own_metric", "unit": unit, "value": DRIFT["value"]}
    assert under(metric, condition=f"own_metric > {good}").policy_problems == ()
    assert len(under(metric, condition=f"own_metric > {bad}").policy_problems) == 1


def test_a_quotient_that_is_no_ratio_is_a_mean() -> None:
    """A sum and a count: minimum samples hold, a rollback never rests on it."""
    mean = HALLUCINATION | {"name": "retrieval_time", "unit": "Duration"}
    slow = rule(under(mean, condition="retrieval_time > 800ms"))
    assert judged(slow, numerator=100.0, denominator=100.0).verdict is Verdict.TRUE
    assert judged(slow, numerator=10.0, denominator=10.0).because is Reason.TOO_FEW_SAMPLES
    assert judged(slow, confidence=0.9999, numerator=1e6, denominator=100.0).because is Reason.NOT_CONFIDENT


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        (DRIFT | {"value": "avg(x)"}, "custom metric drift: value: the outermost operation must be grouped"),
        (HALLUCINATION | {"numerator": "x["}, "custom metric hallucination_rate: numerator: not PromQL"),
        (HALLUCINATION | {"denominator": "rate(x[$window])"}, "denominator: the outermost operation"),
        (DRIFT | {"name": "error_rate"}, "error_rate is a built-in metric"),
        (DRIFT | {"name": "calibration_drift"}, "calibration_drift is a built-in metric"),
        (DRIFT | {"name": "baseline"}, "baseline is a word of the condition language"),
        (DRIFT | {"name": "slower_than_3000ms"}, "names that begin with slower_than_ mean built-in metrics"),
    ],
)
def test_a_bad_one_is_off_with_the_rules_that_name_it(metric: dict[str, Any], problem: str) -> None:
    """The policy says which and why; every other rule stays."""
    good = DRIFT | {"name": "other_drift"}
    policy = under(metric, good, condition="other_drift > 2", prompt="drift > 1 or hallucination_rate > 1%")
    (said,) = policy.metric_problems
    assert problem in said
    assert said.endswith("it is off")
    assert policy.policy_problems == ()
    assert rule(policy).name == "own"
    assert len(policy.problems) == 1


def test_a_rule_that_names_a_bad_one_says_that_it_is_bad() -> None:
    """Not that there is none of this name."""
    policy = under(DRIFT | {"value": "drift"}, condition="drift > 2")
    assert policy.policy_problems == (
        "rule own: column 1: custom metric drift of the policy cannot be used; it is off",
    )


def test_did_you_mean_knows_them() -> None:
    """A typing error finds the custom name; after its removal the rule is refused."""
    (typed,) = under(HALLUCINATION, condition="halucination_rate > 2%").policy_problems
    assert "did you mean hallucination_rate?" in typed
    (removed,) = under(DRIFT, condition="hallucination_rate > 2%").policy_problems
    assert "unknown metric 'hallucination_rate'" in removed


def test_another_query_is_another_rule() -> None:
    """So that a streak that was judged by the former query does not go on."""
    changed = DRIFT | {"value": "max by ($by) (embedding_drift)"}
    assert rule(under(DRIFT, condition="drift > 2")) != rule(under(changed, condition="drift > 2"))


def test_a_series_of_another_namespace_spoils_the_answer() -> None:
    """It cannot come, since every selector is confined; if it came, nothing of the answer would be believed."""
    (query,) = queries(NATIVE, [Need(CustomSeries("shop", DRIFT["value"]), FIVE)], None)
    assert absorb(query, [Row(3.0)]) == {Identity("shop", "bot", "1.0.0"): Amount(3.0)}
    answer = absorb(query, [Row(3.0), Row(9.0).but(prompt_namespace="bank")])
    assert isinstance(answer, Unusable)
    assert answer.reason is Reason.INCONSISTENT


def test_a_failed_query_concerns_its_own_namespace_only() -> None:
    """The prompts of others do not hear of it."""
    need = Need(CustomSeries("shop", DRIFT["value"]), FIVE)
    answers = {need: Unusable(Reason.QUERY_FAILED, "422")}
    assert need in reading(NATIVE, Identity("shop", "bot", "1.0.0"), answers)
    assert reading(NATIVE, Identity("bank", "bot", "1.0.0"), answers) == {}


def test_equal_policies_share_one_catalogue() -> None:
    """Thousands of prompts under one policy compile its rules once."""
    first = under(DRIFT, condition="drift > 2")
    assert rule(under(DRIFT, condition="drift > 2")) is rule(first)
