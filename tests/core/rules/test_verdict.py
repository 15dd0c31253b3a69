"""Verdicts: evidence, three values, and no verdict on what is not known."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from math import inf, nan
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.rules.builders import judged, latencies, reading

from prompt_operator.core.rules.baseline import BaselineValue, Origin
from prompt_operator.core.rules.estimate import Estimate, Unknown
from prompt_operator.core.rules.judgement import Judgement, Verdict, all_of, some_of
from prompt_operator.core.rules.measure import Amount, Histogram, Measured, Need, Unusable
from prompt_operator.core.rules.metrics import METRICS, Quantity
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.statistics import mean_interval, wilson
from prompt_operator.core.rules.values import format_value
from prompt_operator.core.rules.verdict import _combine as combine

if TYPE_CHECKING:
    from prompt_operator.core.rules.syntax import Operator

TRUE, FALSE, UNKNOWN = Verdict
Truth: TypeAlias = "bool | None"
LOGIC: dict[Verdict, Truth] = {TRUE: True, FALSE: False, UNKNOWN: None}
FIVE = timedelta(minutes=5)


def outcome(judgement: Judgement) -> tuple[Verdict, Reason]:
    """What the engine acts on."""
    return judgement.verdict, judgement.because


@pytest.mark.parametrize(
    ("errors", "requests", "expected"),
    [
        (62, 200, (TRUE, Reason.BREACHED)),
        (2, 25, (FALSE, Reason.NOT_CONFIDENT)),
        (1, 200, (FALSE, Reason.WITHIN_BOUNDS)),
        (0, 20, (FALSE, Reason.WITHIN_BOUNDS)),
        (19, 19, (UNKNOWN, Reason.TOO_FEW_SAMPLES)),
        (0, 0, (UNKNOWN, Reason.NO_DATA)),
        (300, 200, (UNKNOWN, Reason.INCONSISTENT)),
        (202, 200, (TRUE, Reason.BREACHED)),
        (nan, 200, (UNKNOWN, Reason.NOT_A_NUMBER)),
        (5, inf, (UNKNOWN, Reason.NOT_A_NUMBER)),
        (-5, 200, (UNKNOWN, Reason.NOT_A_NUMBER)),
    ],
)
def test_error_rate(errors: float, requests: float, expected: tuple[Verdict, Reason]) -> None:
    """A share is beyond a threshold only with its bound; too little or dubious evidence is unknown."""
    assert outcome(judged("error_rate > 5%", reading(errors=errors, requests=requests))) == expected


def test_success_rate_mirrors_error_rate() -> None:
    """`success_rate < 95%` and `error_rate > 5%` agree on every reading."""
    for errors, requests in product(range(0, 60, 3), range(0, 120, 7)):
        measured = reading(errors=errors, requests=requests)
        assert outcome(judged("success_rate < 95%", measured)) == outcome(judged("error_rate > 5%", measured))


def test_rollback_asks_for_more_than_a_notice() -> None:
    """One reading can suffice for 95 % and not for 99.9 %, and says which bound it was judged by."""
    measured = reading(errors=6, requests=40)
    notice = judged("error_rate > 5%", measured)
    rollback = judged("error_rate > 5%", measured, confidence=0.999)
    assert outcome(notice) == (TRUE, Reason.BREACHED)
    assert outcome(rollback) == (FALSE, Reason.NOT_CONFIDENT)
    assert notice.findings[0].bound == wilson(6, 40, 0.95)[0]
    assert rollback.findings[0].bound == wilson(6, 40, 0.999)[0]


@pytest.mark.parametrize("missing", [Quantity.ERRORS, Quantity.REQUESTS])
@pytest.mark.parametrize(
    ("instead", "because"),
    [
        (None, Reason.NO_DATA),
        (Unusable(Reason.DUPLICATE_SERIES), Reason.DUPLICATE_SERIES),
        (Unusable(Reason.QUERY_FAILED), Reason.QUERY_FAILED),
        (Unusable(Reason.NOT_MEASURED, "profile x has no errors"), Reason.NOT_MEASURED),
    ],
)
def test_a_missing_part_is_unknown(missing: Quantity, instead: Measured | None, because: Reason) -> None:
    """With one of the two series absent or unusable nothing is concluded from the other, least of all zero."""
    measured = reading(errors=100, requests=100)
    del measured[Need(missing, FIVE)]
    if instead:
        measured[Need(missing, FIVE)] = instead
    assert outcome(judged("error_rate > 5%", measured)) == (UNKNOWN, because)
    assert outcome(judged("error_rate < 5%", measured)) == (UNKNOWN, because)


def test_counts_need_no_minimum() -> None:
    """A count is exact, zero included; only an absent series makes it unknown."""
    assert outcome(judged("execution_count < 1", reading(requests=0))) == (TRUE, Reason.BREACHED)
    assert outcome(judged("execution_count > 5", reading(requests=3))) == (FALSE, Reason.WITHIN_BOUNDS)
    assert outcome(judged("execution_count < 1", {})) == (UNKNOWN, Reason.NO_DATA)
    assert judged("success_count == 7", reading(requests=10, errors=3)).verdict is TRUE
    assert judged("tokens_total >= 30", reading(input_tokens=10, output_tokens=20)).verdict is TRUE


def test_means() -> None:
    """A mean is a sum over a count, with the minimum of samples on the count."""
    scores = reading(feedback_sum=50, feedback_count=25)
    assert outcome(judged("avg_user_feedback < 3.0", scores)) == (TRUE, Reason.BREACHED)
    assert outcome(judged("avg_user_feedback < 3.0", scores, min_samples=30)) == (UNKNOWN, Reason.TOO_FEW_SAMPLES)
    tokens = reading(input_tokens=1000, output_tokens=3000, requests=40)
    assert judged("tokens_avg == 100", tokens).verdict is TRUE
    assert judged("tokens_output_avg > 74", tokens).verdict is TRUE


@pytest.mark.parametrize(
    ("condition", "total", "expected"),
    [
        ("avg_user_feedback < 3.0", 160, (TRUE, Reason.BREACHED)),
        ("avg_user_feedback < 3.0", 285, (FALSE, Reason.NOT_CONFIDENT)),
        ("avg_user_feedback < 3.0", 300, (FALSE, Reason.WITHIN_BOUNDS)),
        ("avg_user_feedback < 3.0", 501, (FALSE, Reason.WITHIN_BOUNDS)),
        ("avg_user_feedback < 3.0", 60, (UNKNOWN, Reason.INCONSISTENT)),
        ("avg_user_feedback < 3.0", 2000, (UNKNOWN, Reason.INCONSISTENT)),
    ],
)
def test_a_mean_of_known_range_needs_its_bound(condition: str, total: float, expected: tuple[Verdict, Reason]) -> None:
    """100 ratings below the threshold on average do not suffice near it; a mean outside its range is no mean."""
    assert outcome(judged(condition, reading(feedback_sum=total, feedback_count=100))) == expected


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [("avg_user_feedback", 1, 5), ("avg_calibration_delta", 0, 10), ("avg_automated_score", 0, 10)],
)
def test_scores_are_bounded_by_their_range(metric: str, low: float, high: float) -> None:
    """Every mean of scores has an interval, at each confidence, and it is that of its range."""
    prefix = {"avg_user_feedback": "feedback", "avg_calibration_delta": "calibration"}.get(metric, "automated_score")
    measured = reading("5m", **{f"{prefix}_sum": 80.0, f"{prefix}_count": 40.0})
    for confidence in (0.95, 0.999):
        finding = judged(f"{metric} > 1.5", measured, confidence=confidence).findings[0]
        assert finding.bound == mean_interval(2.0, 40, (low, high), confidence)[0]


@pytest.mark.parametrize(
    ("condition", "measured"),
    [
        ("latency_avg > 1s", {"latency_sum": 1e6, "latency_count": 1e3}),
        ("tokens_avg > 10", {"input_tokens": 1e6, "output_tokens": 1e6, "requests": 1e3}),
        ("cost_avg > 0.01", {"cost": 1e6, "requests": 1e3}),
        ("cost_avg < 0.01", {"cost": 1.0, "requests": 1e3}),
    ],
)
def test_a_mean_without_a_range_gives_notice_but_never_rolls_back(condition: str, measured: dict[str, float]) -> None:
    """A sum and a count bound nothing: the value suffices at 95 %, and no number of samples does beyond."""
    assert judged(condition, reading("5m", **measured)).verdict is TRUE
    assert outcome(judged(condition, reading("5m", **measured), confidence=0.999)) == (FALSE, Reason.NOT_CONFIDENT)


SPREAD = {"latency_sum": 200.0, "latency_count": 100.0, "latency_sumsq": 500.0}
"""A hundred requests of 2 s on average, with a standard deviation of 1 s."""


@pytest.mark.parametrize(
    ("condition", "confidence", "expected"),
    [
        ("latency_avg > 1500ms", 0.9999, (TRUE, Reason.BREACHED)),
        ("latency_avg > 1700ms", 0.9999, (FALSE, Reason.NOT_CONFIDENT)),
        ("latency_avg > 1700ms", 0.95, (TRUE, Reason.BREACHED)),
        ("latency_avg > 1900ms", 0.95, (FALSE, Reason.NOT_CONFIDENT)),
        ("latency_avg < 3s", 0.95, (TRUE, Reason.BREACHED)),
        ("latency_avg < 3s", 0.9999, (FALSE, Reason.NOT_CONFIDENT)),
    ],
)
def test_a_mean_with_squares_has_a_bound(condition: str, confidence: float, expected: tuple[Verdict, Reason]) -> None:
    """With the squares it may roll back, upwards alone: a sample may lack the rare value that makes the mean large."""
    assert outcome(judged(condition, reading("5m", **SPREAD), confidence=confidence)) == expected


@pytest.mark.parametrize(
    ("squares", "because"),
    [
        (Amount(300.0), Reason.INCONSISTENT),
        (Amount(nan), Reason.NOT_A_NUMBER),
        (Unusable(Reason.QUERY_FAILED), Reason.QUERY_FAILED),
        (Unusable(Reason.NOT_RECORDED), Reason.BREACHED),
        (None, Reason.BREACHED),
    ],
)
def test_squares_that_cannot_be_used_are_not_squares_that_nobody_counts(
    squares: Measured | None, because: Reason
) -> None:
    """Impossible or failed ones make the mean unknown; without any it is judged as before."""
    measured = reading("5m", **SPREAD)
    del measured[Need(Quantity.LATENCY_SUMSQ, FIVE)]
    if squares is not None:
        measured[Need(Quantity.LATENCY_SUMSQ, FIVE)] = squares
    assert judged("latency_avg > 1s", measured).because is because


@pytest.mark.parametrize(
    ("slow", "expected"),
    [
        (100, (TRUE, Reason.BREACHED)),
        (12, (FALSE, Reason.NOT_CONFIDENT)),
        (3, (FALSE, Reason.WITHIN_BOUNDS)),
    ],
)
def test_quantile_is_the_share_slower_than_the_threshold(slow: float, expected: tuple[Verdict, Reason]) -> None:
    """`latency_p99 > 10s` holds when surely more than 1 % took longer than 10 s."""
    measured = latencies({5.0: 1000 - slow, 10.0: 0, 20.0: slow})
    assert outcome(judged("latency_p99 > 10000ms", measured, confidence=0.999)) == expected


def test_threshold_between_bounds_counts_only_whole_buckets() -> None:
    """Of a bucket that straddles the threshold nothing counts as slower, and nothing as faster."""
    measured = latencies({10.0: 100, 20.0: 900, 40.0: 0})
    assert judged("latency_p95 > 10s", measured).verdict is TRUE
    assert outcome(judged("latency_p95 > 12s", measured)) == (FALSE, Reason.NOT_CONFIDENT)
    assert judged("latency_p95 < 20s", measured).verdict is TRUE
    assert outcome(judged("latency_p95 < 19.9s", measured)) == (FALSE, Reason.NOT_CONFIDENT)
    assert judged("latency_p95 < 15s", measured).verdict is FALSE


def test_quantile_beyond_the_last_bound() -> None:
    """Requests beyond the last bound are surely slower than it; how much slower is unknown, not false."""
    measured = latencies({10.0: 500, inf: 500})
    assert judged("latency_p95 >= 10s", measured).verdict is TRUE
    assert judged("latency_p95 > 10s", measured).verdict is TRUE
    for condition in ("latency_p95 > 11s", "11s < latency_p95", "latency_p95 < 11s", "latency_p95 == 10s"):
        assert outcome(judged(condition, measured)) == (UNKNOWN, Reason.BEYOND_BUCKETS), condition
    assert judged("latency_p95 < 9s", measured).because is Reason.WITHIN_BOUNDS
    assert judged("latency_p50 > 11s", latencies({10.0: 600, inf: 400})).because is Reason.WITHIN_BOUNDS
    told = judged("latency_p95 > 11s", measured).message
    assert told.endswith("over 10s at 95% confidence) or more, beyond the last bucket: unknown whether > 11s")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("slower_than_10s > 5%", (TRUE, Reason.BREACHED)),
        ("slower_than_10000ms > 5%", (TRUE, Reason.BREACHED)),
        ("slower_than_10s > 9%", (FALSE, Reason.NOT_CONFIDENT)),
        ("slower_than_10s > 20%", (FALSE, Reason.WITHIN_BOUNDS)),
        ("slower_than_10s < 15%", (TRUE, Reason.BREACHED)),
        ("slower_than_12s > 3%", (TRUE, Reason.BREACHED)),
        ("slower_than_12s > 8%", (FALSE, Reason.WITHIN_BOUNDS)),
        ("slower_than_12s < 8%", (FALSE, Reason.NOT_CONFIDENT)),
        ("slower_than_30s > 1%", (UNKNOWN, Reason.BEYOND_BUCKETS)),
        ("slower_than_30s > 6%", (FALSE, Reason.WITHIN_BOUNDS)),
    ],
)
def test_the_share_of_slow_requests(condition: str, expected: tuple[Verdict, Reason]) -> None:
    """At a bucket bound it is exact, between two it lies between theirs, beyond the last one it may be none or all."""
    measured = latencies({5.0: 1800, 10.0: 0, 20.0: 100, inf: 100})
    assert outcome(judged(condition, measured)) == expected


def test_a_share_of_slow_requests_is_told_like_any_share() -> None:
    """Count, bound and threshold."""
    measured = latencies({5.0: 900, 10.0: 0, 20.0: 100})
    assert judged("slower_than_10s > 5%", measured).message == (
        "slower_than_10s 10.0% (100 of 1000 in 5m; at least 8.3% at 95% confidence) > 5%"
    )


@pytest.mark.parametrize(
    ("buckets", "because"),
    [
        (((1.0, 50.0), (2.0, 40.0), (inf, 60.0)), Reason.INCONSISTENT),
        (((1.0, 50.0), (1.0, 50.0), (inf, 60.0)), Reason.INCONSISTENT),
        (((1.0, 50.0), (2.0, 60.0)), Reason.INCONSISTENT),
        (((1.0, nan), (inf, 60.0)), Reason.NOT_A_NUMBER),
        ((), Reason.INCONSISTENT),
        (((1.0, 0.0), (inf, 0.0)), Reason.NO_DATA),
    ],
)
def test_a_broken_histogram_is_unknown(buckets: tuple[tuple[float, float], ...], because: Reason) -> None:
    """Counts that fall, bounds that repeat, no +Inf, NaN or no observations: nothing is concluded."""
    measured: dict[Need, Measured] = {Need(Quantity.LATENCY_BUCKETS, FIVE): Histogram(buckets)}
    assert outcome(judged("latency_p95 > 1s", measured)) == (UNKNOWN, because)


@pytest.mark.parametrize("value", [None, 0.0, -1.0, nan, inf])
def test_no_usable_baseline_is_unknown(value: float | None) -> None:
    """A missing, zero or senseless baseline never makes a verdict."""
    baseline = {} if value is None else {"latency_p95": value}
    judgement = judged("latency_p95 > baseline * 2.0", latencies({10.0: 100}), baseline)
    assert outcome(judgement) == (UNKNOWN, Reason.NO_BASELINE)


def test_baseline_is_that_of_the_metric_compared() -> None:
    """The threshold is computed from the baseline of the metric on the other side, and told."""
    measured = latencies({1.0: 10, 4.0: 190})
    judgement = judged("latency_p95 > baseline * 2.0", measured, {"latency_p95": 0.5, "latency_p99": 50.0})
    assert judgement.verdict is TRUE
    finding = judgement.findings[0]
    assert (finding.threshold, finding.baseline) == (1.0, BaselineValue(0.5, Origin.DECLARED))


def test_sides_may_be_swapped() -> None:
    """`5% < error_rate` is judged and told like `error_rate > 5%`."""
    measured = reading(errors=62, requests=200)
    left, right = judged("5% < error_rate", measured), judged("error_rate > 5%", measured)
    assert outcome(left) == outcome(right)
    assert left.message == right.message


def test_each_metric_reads_its_own_window() -> None:
    """A window in the condition is used instead of the rule's."""
    measured = reading("1h", errors=50, requests=500) | reading(requests=10)
    assert judged("error_rate[1h] > 3% and execution_count > 9", measured).verdict is TRUE
    assert judged("error_rate[1h] > 3% and execution_count > 11", measured).verdict is FALSE


def test_arithmetic_over_intervals() -> None:
    """A computed value is beyond a threshold only if it is at every end of the intervals it is made of."""
    measured = reading(errors=30, requests=200)
    assert judged("error_rate * 2 > 15%", measured).verdict is TRUE
    assert judged("error_rate * 2 > 29%", measured).because is Reason.NOT_CONFIDENT
    assert judged("failure_count / execution_count == 0.15", measured).verdict is TRUE
    assert judged("success_rate - error_rate < 80%", measured).verdict is TRUE
    assert judged("failure_count / execution_count > 1%", reading(errors=0, requests=0)).because is Reason.NOT_A_NUMBER


def test_equality() -> None:
    """Equality is judged on the measured value, inequality on the interval."""
    assert judged("error_rate == 0%", reading(errors=0, requests=50)).verdict is TRUE
    assert judged("error_rate > 0%", reading(errors=0, requests=61)).verdict is FALSE
    assert judged("error_rate != 5%", reading(errors=3, requests=50)).because is Reason.NOT_CONFIDENT
    assert judged("error_rate != 5%", reading(errors=30, requests=50)).verdict is TRUE


def reference_and(a: Truth, b: Truth) -> Truth:
    """Kleene's conjunction, from its truth table."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def reference_or(a: Truth, b: Truth) -> Truth:
    """Kleene's disjunction, by De Morgan."""
    negated = reference_and(None if a is None else not a, None if b is None else not b)
    return None if negated is None else not negated


@pytest.mark.parametrize(("a", "b"), [*product(Verdict, repeat=2)])
def test_and_or_are_kleenes(a: Verdict, b: Verdict) -> None:
    """Both connectives follow the three-valued truth tables."""
    parts = [Judgement(a, Reason.NO_DATA), Judgement(b, Reason.NO_DATA)]
    assert LOGIC[all_of(parts).verdict] == reference_and(LOGIC[a], LOGIC[b])
    assert LOGIC[some_of(parts).verdict] == reference_or(LOGIC[a], LOGIC[b])


ATOMS = {"execution_count > 5": True, "failure_count > 5": False, "feedback_count > 5": None}
trees = st.recursive(
    st.sampled_from(sorted(ATOMS)).map(lambda text: (text, ATOMS[text])),
    lambda inner: st.builds(
        lambda a, word, b: (
            f"({a[0]}) {word} ({b[0]})",
            (reference_and if word == "and" else reference_or)(a[1], b[1]),
        ),
        inner,
        st.sampled_from(["and", "or"]),
        inner,
    ),
    max_leaves=8,
)


@given(trees)
def test_whole_conditions_follow_the_reference_logic(tree: tuple[str, Truth]) -> None:
    """However and, or and brackets are nested, the verdict is the reference's."""
    text, expected = tree
    assert LOGIC[judged(text, reading(requests=10, errors=1)).verdict] is expected


def test_lack_of_confidence_is_named_only_where_it_decides() -> None:
    """NotConfident is the reason only if a surer measurement would have made the condition true."""
    unsure = reading(errors=2, requests=25)
    assert judged("error_rate > 5% and execution_count > 9", unsure).because is Reason.NOT_CONFIDENT
    assert judged("error_rate > 5% and execution_count > 99", unsure).because is Reason.WITHIN_BOUNDS
    assert judged("error_rate > 5% or execution_count > 99", unsure).because is Reason.NOT_CONFIDENT


@pytest.mark.parametrize(
    ("condition", "measured", "confidence", "sentence"),
    [
        (
            "error_rate > 5%",
            reading(errors=62, requests=200),
            0.999,
            "error_rate 31.0% (62 of 200 in 5m; at least 21.4% at 99.9% confidence) > 5%",
        ),
        (
            "error_rate > 5%",
            reading(errors=2, requests=25),
            0.95,
            "error_rate 8.0% (2 of 25 in 5m; at least 2.2% at 95% confidence) not surely > 5%",
        ),
        (
            "success_rate < 95%",
            reading(errors=0, requests=25),
            0.95,
            "success_rate 100.0% (25 of 25 in 5m) not < 95%",
        ),
        ("error_rate > 5%", reading(errors=2, requests=5), 0.95, "error_rate unknown: too few samples (5 in 5m)"),
        ("error_rate > 5%", {}, 0.95, "error_rate unknown: no data (in 5m)"),
        ("error_rate[1m] > 5%", {}, 0.95, "error_rate unknown: no data, or fewer than two scrapes (in 1m)"),
        (
            "latency_p99 > 10s",
            latencies({5.0: 900, 10.0: 0, 12.0: 50, 20.0: 50}),
            0.999,
            "latency_p99 18.4s (1000 in 5m; over 12s at 99.9% confidence) > 10s",
        ),
        (
            "latency_p95 < 8s",
            latencies({5.0: 1000, 10.0: 0}),
            0.95,
            "latency_p95 4.75s (1000 in 5m; under 5s at 95% confidence) < 8s",
        ),
        ("execution_count > 5", reading(requests=7.25), 0.95, "execution_count 7.2 (in 5m) > 5"),
        (
            "latency_p95 > baseline * 2",
            latencies({1.0: 100}),
            0.95,
            "latency_p95 950ms (100 in 5m), no baseline for latency_p95 > baseline * 2",
        ),
        (
            "failure_count / execution_count > 20%",
            reading(errors=3, requests=30),
            0.95,
            (
                "failure_count 3 (in 5m), so not failure_count / execution_count > 20%; "
                "execution_count 30 (in 5m), so not failure_count / execution_count > 20%"
            ),
        ),
    ],
)
def test_sentences(condition: str, measured: dict[Need, Measured], confidence: float, sentence: str) -> None:
    """A finding tells value, evidence, bound and threshold in one line a person can read."""
    assert judged(condition, measured, confidence=confidence).message == sentence


@given(
    st.floats(0, 1e6) | st.sampled_from([nan, inf, -1.0]),
    st.floats(0, 1e6) | st.sampled_from([nan, inf, -1.0]),
    st.sampled_from(
        ["error_rate > 5%", "success_rate <= 95%", "error_rate != 0%", "success_count / execution_count > 1"]
    ),
)
def test_no_reading_raises(errors: float, requests: float, condition: str) -> None:
    """Whatever was measured, there is a verdict with a reason of its kind, and a sentence."""
    judgement = judged(condition, reading(errors=errors, requests=requests))
    beyond = {Reason.BREACHED: TRUE, Reason.WITHIN_BOUNDS: FALSE, Reason.NOT_CONFIDENT: FALSE}
    assert judgement.verdict is beyond.get(judgement.because, UNKNOWN)
    assert judgement.message


def test_amounts_are_not_histograms() -> None:
    """A quantity of the wrong form is refused, not read."""
    measured: dict[Need, Measured] = {Need(Quantity.LATENCY_BUCKETS, FIVE): Amount(3.0)}
    assert outcome(judged("latency_p95 > 1s", measured)) == (UNKNOWN, Reason.INCONSISTENT)


INSIDE = st.floats(0, 1)
INTERVALS = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(sorted)


@given(st.sampled_from("+-*/"), INTERVALS, INTERVALS, INSIDE, INSIDE)
def test_a_computed_interval_holds_every_result(
    operator: Operator, a: list[float], b: list[float], at_a: float, at_b: float
) -> None:
    """Whatever values lie in two intervals, what is computed from them lies in the combined one."""
    x, y = (min(ends[0] + at * (ends[1] - ends[0]), ends[1]) for ends, at in ((a, at_a), (b, at_b)))
    combined = combine(operator, Estimate(x, a[0], a[1]), Estimate(y, b[0], b[1]))
    if operator == "/" and (y == 0 or b[0] <= 0 <= b[1]):
        assert combined == Unknown(Reason.NOT_A_NUMBER)
    elif isinstance(combined, Estimate):
        slack = 1e-9 * (1 + abs(combined.value))
        assert combined.low - slack <= combined.value <= combined.high + slack


@pytest.mark.parametrize("operator", ["*", "-", "/"])
def test_unbounded_intervals_stay_unbounded(operator: Operator) -> None:
    """Infinity times zero, or less infinity, leaves nothing known of the ends, and never makes a verdict."""
    combined = combine(operator, Estimate(1.0, 0.0, inf), Estimate(1.0, 0.5, inf))
    assert isinstance(combined, Estimate)
    assert combined.high == inf
    assert judged("latency_p95 < 9s", latencies({1.0: 500, inf: 20})).findings[0].bound is None


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("error_rate", 0.3104, "31.0%"),
        ("latency_p95", 0.64, "640ms"),
        ("latency_p95", 12.4, "12.4s"),
        ("latency_p95", 120.0, "120s"),
        ("execution_count", 199.6, "200"),
        ("execution_count", 7.25, "7.2"),
        ("cost_avg", 0.0123, "$0.0123"),
        ("avg_user_feedback", 2.5, "2.50"),
        ("tokens_avg", 512.0, "512"),
        ("error_rate", nan, "not a number"),
        ("latency_p95", inf, "infinite"),
        ("latency_p95", -inf, "-infinite"),
    ],
)
def test_values_are_printed_with_their_unit(metric: str, value: float, text: str) -> None:
    """Each dimension has its way to be read."""
    assert format_value(METRICS[metric], value) == text
