"""Which baseline a rule compares with: the control arm, what was frozen, what is declared, and the floor under them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.core.rules.builders import latencies, reading

from prompt_operator.core.rules.baseline import (
    Baselines,
    BaselineValue,
    Control,
    NoBaseline,
    Origin,
)
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.metrics import METRICS
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from prompt_operator.core.rules.measure import Measured, Need

FIVE, HOUR = timedelta(minutes=5), timedelta(hours=1)
P95, ERRORS, COUNT = METRICS["latency_p95"], METRICS["error_rate"], METRICS["execution_count"]
FROZEN = BaselineValue(2.0, Origin.FROZEN, "1.0.0", HOUR, 900.0, "2026-11-21T08:00:00Z")
DECLARED = BaselineValue(3.0, Origin.DECLARED, "1.1.0")
SLOW_CONTROL = Control("1.0.0", latencies({4.0: 0, 8.0: 100}))


def frozen_and_declared(control: Control | None = None) -> Baselines:
    """Return baselines of both kinds for the p95, the frozen one lower."""
    return Baselines({"latency_p95": FROZEN}, {"latency_p95": DECLARED}, control=control)


def test_frozen_goes_before_declared() -> None:
    """What was measured says more than what was expected."""
    assert frozen_and_declared().of(P95, FIVE, floor=None, min_samples=20) == FROZEN


def test_declared_where_nothing_was_frozen() -> None:
    """A first version is compared with its own expectations."""
    baselines = Baselines(declared={"latency_p95": DECLARED})
    assert baselines.of(P95, FIVE, floor=None, min_samples=20) == DECLARED


def test_the_control_arm_goes_before_everything() -> None:
    """Its value over the rule's own window, from the same answers, and told as such."""
    found = frozen_and_declared(SLOW_CONTROL).of(P95, FIVE, floor=None, min_samples=20)
    assert isinstance(found, BaselineValue)
    assert found.value == pytest.approx(7.8)
    assert (found.origin, found.window) == (Origin.CONCURRENT, FIVE)
    assert found.source == "measured on 1.0.0 in 5m, 100 samples, beside it"


@pytest.mark.parametrize("measured", [{}, latencies({8.0: 19}), latencies({8.0: 100}, window="15m")])
def test_with_a_control_arm_the_past_counts_no_longer(measured: dict[Need, Measured]) -> None:
    """No data, too few samples, another window: unknown, and not what was measured or declared at another time."""
    found = frozen_and_declared(Control("1.0.0", measured)).of(P95, FIVE, floor=None, min_samples=20)
    assert isinstance(found, NoBaseline)
    assert found.why.startswith("1.0.0 beside it: ")


def test_a_count_has_no_concurrent_baseline() -> None:
    """Nine tenths of the traffic make nine times the count: that is no fault of either arm."""
    control = Control("1.0.0", reading(requests=900))
    found = Baselines(control=control).of(COUNT, FIVE, floor=None, min_samples=20)
    assert found == NoBaseline("the count of an arm depends on its share of the traffic")


def test_a_frozen_count_is_brought_to_the_window_of_the_rule() -> None:
    """1,200 requests an hour are 100 in five minutes; shares, means and quantiles do not grow with the window."""
    hour = BaselineValue(1200.0, Origin.FROZEN, "1.0.0", HOUR)
    found = Baselines({"execution_count": hour}).of(COUNT, FIVE, floor=None, min_samples=20)
    assert isinstance(found, BaselineValue)
    assert found.value == pytest.approx(100)
    assert Baselines({"error_rate": FROZEN}).of(ERRORS, FIVE, floor=None, min_samples=20) == FROZEN


@pytest.mark.parametrize(
    ("floor", "value", "origin"),
    [(1.0, 2.0, Origin.FROZEN), (2.0, 2.0, Origin.FROZEN), (2.5, 2.5, Origin.FLOOR)],
)
def test_the_baseline_is_at_least_the_floor(floor: float, value: float, origin: Origin) -> None:
    """A floor lifts a lower baseline and leaves a higher one."""
    found = frozen_and_declared().of(P95, FIVE, floor=floor, min_samples=20)
    assert isinstance(found, BaselineValue)
    assert (found.value, found.origin) == (value, origin)


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_the_floor_stands_in_where_there_is_none(value: float | None) -> None:
    """Missing, zero and senseless ones alike; without a floor they stay unknown, and zero is said."""
    frozen = {} if value is None else {"error_rate": BaselineValue(value, Origin.FROZEN, "1.0.0")}
    baselines = Baselines(frozen, otherwise="first version")
    assert baselines.of(ERRORS, FIVE, floor=0.01, min_samples=20) == BaselineValue(0.01, Origin.FLOOR)
    found = baselines.of(ERRORS, FIVE, floor=None, min_samples=20)
    assert isinstance(found, NoBaseline)
    assert ("first version" in found.why) is (value is None)


def test_why_there_is_none_is_told_by_metric() -> None:
    """A metric that was asked about has an answer of its own."""
    baselines = Baselines(missing={"error_rate": "too few"}, otherwise="not asked")
    found = [baselines.of(metric, FIVE, floor=None, min_samples=20) for metric in (ERRORS, P95)]
    assert found == [NoBaseline("too few"), NoBaseline("not asked")]


# --- in a rule


def told(condition: str, measured: dict[Need, Measured], baselines: Baselines, floor: str | None = None) -> str:
    """Return what a rule says."""
    rule = compile_rule("rule", condition, baseline_floor=floor)
    return judge(rule, measured, baselines, min_samples=20, confidence=0.95).message


@pytest.mark.parametrize(
    ("baselines", "floor", "end"),
    [
        (
            frozen_and_declared(),
            None,
            "> 4s (baseline 2s: measured on 1.0.0 in 1h until 2026-11-21T08:00:00Z, 900 samples)",
        ),
        (Baselines(declared={"latency_p95": DECLARED}), None, "> 6s (baseline 3s: declared by 1.1.0)"),
        (frozen_and_declared(), "3500ms", "> 7s (baseline 3.5s: the rule's baselineFloor)"),
        (Baselines(otherwise="first version"), None, ", no baseline for latency_p95 > baseline * 2 (first version)"),
        (
            frozen_and_declared(SLOW_CONTROL),
            None,
            "not > 15.6s (baseline 7.8s: measured on 1.0.0 in 5m, 100 samples, beside it)",
        ),
    ],
    ids=["frozen", "declared", "floor", "none", "concurrent"],
)
def test_a_rule_says_what_it_compares_with(baselines: Baselines, floor: str | None, end: str) -> None:
    """Value and origin of the baseline stand in the message of the rule."""
    measured = latencies({8.0: 0, 12.0: 1000})
    assert told("latency_p95 > baseline * 2", measured, baselines, floor).endswith(end)


def test_a_rule_without_a_baseline_says_nothing_of_one() -> None:
    """A fixed threshold is compared with nothing else, although a baseline of the metric is known."""
    rule = compile_rule("rule", "latency_p95 > 4s")
    judgement = judge(rule, latencies({12.0: 100}), frozen_and_declared(), min_samples=20, confidence=0.95)
    assert "baseline" not in judgement.message
    assert judgement.findings[0].baseline == NoBaseline()


def test_each_window_of_a_count_has_its_own_baseline() -> None:
    """Two comparisons over two windows with one measurement of an hour."""
    hour = {"execution_count": BaselineValue(1200.0, Origin.FROZEN, "1.0.0", HOUR)}
    rule = compile_rule("rule", "execution_count[1m] < baseline * 0.5 and execution_count[15m] < baseline * 0.5")
    measured = reading("1m", requests=9) | reading("15m", requests=149)
    judgement = judge(rule, measured, Baselines(hour), min_samples=20, confidence=0.95)
    assert judgement.verdict is Verdict.TRUE
    assert [finding.threshold for finding in judgement.findings] == pytest.approx([10, 150])


# --- the floor as it is written


@pytest.mark.parametrize(
    ("condition", "floor", "value"),
    [
        ("latency_p95 > baseline * 2", "200ms", 0.2),
        ("baseline * 2 < latency_p95 and error_rate > 5%", "2s", 2.0),
        ("error_rate > baseline * 3", "0.5%", 0.005),
        ("error_rate > baseline * 3", "0.005", 0.005),
        ("tokens_avg > baseline * 3 or tokens_avg[1h] > baseline * 2", "40", 40.0),
    ],
)
def test_a_floor_is_in_the_unit_of_its_metric(condition: str, floor: str, value: float) -> None:
    """One number, as it would stand in the condition."""
    assert compile_rule("rule", condition, baseline_floor=floor).baseline_floor == pytest.approx(value)


@pytest.mark.parametrize(
    ("condition", "floor", "message"),
    [
        ("latency_p95 > baseline * 2", "200", "column 1: baselineFloor 200: a time needs a unit: did you mean 200ms?"),
        ("latency_p95 > baseline * 2", "200mss", "column 4: baselineFloor 200mss: unknown unit 'mss'"),
        ("latency_p95 > baseline * 2", "5%", "baselineFloor 5%: a time cannot be compared with a share"),
        (
            "error_rate > baseline * 2",
            "5",
            "column 1: baselineFloor 5: a share is between 0% and 100%: did you mean 5%",
        ),
        ("error_rate > baseline * 2", "0%", "write one number above zero with its unit, such as 200ms or 5%"),
        ("error_rate > baseline * 2", "5% for 5m", "write one number above zero"),
        ("error_rate > baseline * 2", "5% and error_rate > 1%", "write one number above zero"),
        ("error_rate > baseline * 2", "5% * 2", "write one number above zero"),
        ("error_rate > 5%", "5%", "the condition names no baseline, it must be that of one metric"),
        (
            "error_rate > baseline * 2 and latency_p95 > baseline * 2",
            "5%",
            "the condition names baselines of error_rate and latency_p95, it must be that of one metric",
        ),
    ],
)
def test_a_floor_that_cannot_be_used_is_refused(condition: str, floor: str, message: str) -> None:
    """With the column in the floor, the cause, and what to write instead."""
    with pytest.raises(RuleError) as refused:
        compile_rule("rule", condition, baseline_floor=floor)
    assert message in str(refused.value)
