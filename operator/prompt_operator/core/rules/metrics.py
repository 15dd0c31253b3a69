"""The catalogue: every metric a condition may name, what it measures and from which quantities it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from prompt_operator.core.rules.units import Dimension


class Quantity(StrEnum):
    """What is pulled from a metric source: increases of counters over a window, nothing that is divided already."""

    REQUESTS = "requests"
    ERRORS = "errors"
    LATENCY_BUCKETS = "latency_buckets"
    LATENCY_SUM = "latency_sum"
    LATENCY_COUNT = "latency_count"
    LATENCY_SUMSQ = "latency_sumsq"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    INPUT_TOKENS_SUMSQ = "input_tokens_sumsq"
    OUTPUT_TOKENS_SUMSQ = "output_tokens_sumsq"
    TOKENS_SUMSQ = "tokens_sumsq"
    """Of input and output tokens together."""
    COST = "cost"
    COST_SUMSQ = "cost_sumsq"
    FEEDBACK_SUM = "feedback_sum"
    FEEDBACK_COUNT = "feedback_count"
    FEEDBACK_NEGATIVE = "feedback_negative"
    AUTOMATED_SCORE_SUM = "automated_score_sum"
    AUTOMATED_SCORE_COUNT = "automated_score_count"
    CALIBRATION_SUM = "calibration_sum"
    CALIBRATION_COUNT = "calibration_count"


Q = Quantity
OPTIONAL = frozenset({Q.LATENCY_SUMSQ, Q.INPUT_TOKENS_SUMSQ, Q.OUTPUT_TOKENS_SUMSQ, Q.TOKENS_SUMSQ, Q.COST_SUMSQ})
"""Quantities that a metric is known more surely with, and known without."""


@dataclass(frozen=True, slots=True, order=True)
class CustomSeries:
    """What one query of a policy's own metric gives: the policy's namespace, and the query as it is written there."""

    namespace: str
    template: str


Series: TypeAlias = Quantity | CustomSeries
"""What a metric may be computed from."""


@dataclass(frozen=True, slots=True)
class Total:
    """A count or sum, exact: the sum of `plus` less the sum of `minus`."""

    plus: tuple[Series, ...]
    minus: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """`events` of `total`, or their complement: a binomial proportion."""

    events: Series
    total: Series
    complement: bool = False


@dataclass(frozen=True, slots=True)
class Mean:
    """The sum of `sums` divided by `count`; `squares` is the sum of the squares of the same values."""

    sums: tuple[Series, ...]
    count: Series
    squares: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """The one number that a query gives; on how much evidence is not known."""

    value: Series


@dataclass(frozen=True, slots=True)
class Quantile:
    """The q-quantile of a histogram of cumulative buckets."""

    buckets: Quantity
    q: float


@dataclass(frozen=True, slots=True)
class Slower:
    """The share of a histogram's observations that are larger than `bound`, in seconds."""

    buckets: Quantity
    bound: float


Formula = Total | Share | Mean | Given | Quantile | Slower


@dataclass(frozen=True, slots=True)
class Metric:
    """One name of the language. `low` and `high` bound what it can measure, in its base unit."""

    name: str
    dimension: Dimension
    formula: Formula
    low: float = 0.0
    high: float = float("inf")


_TOKENS = (Q.INPUT_TOKENS, Q.OUTPUT_TOKENS)

METRICS = {
    metric.name: metric
    for metric in (
        Metric("execution_count", Dimension.COUNT, Total((Q.REQUESTS,))),
        Metric("success_count", Dimension.COUNT, Total((Q.REQUESTS,), minus=(Q.ERRORS,))),
        Metric("failure_count", Dimension.COUNT, Total((Q.ERRORS,))),
        Metric("error_rate", Dimension.RATIO, Share(Q.ERRORS, Q.REQUESTS), high=1.0),
        Metric("success_rate", Dimension.RATIO, Share(Q.ERRORS, Q.REQUESTS, complement=True), high=1.0),
        Metric("latency_p50", Dimension.TIME, Quantile(Q.LATENCY_BUCKETS, 0.50)),
        Metric("latency_p95", Dimension.TIME, Quantile(Q.LATENCY_BUCKETS, 0.95)),
        Metric("latency_p99", Dimension.TIME, Quantile(Q.LATENCY_BUCKETS, 0.99)),
        Metric("latency_avg", Dimension.TIME, Mean((Q.LATENCY_SUM,), Q.LATENCY_COUNT, Q.LATENCY_SUMSQ)),
        Metric("tokens_avg", Dimension.TOKENS, Mean(_TOKENS, Q.REQUESTS, Q.TOKENS_SUMSQ)),
        Metric("tokens_input_avg", Dimension.TOKENS, Mean((Q.INPUT_TOKENS,), Q.REQUESTS, Q.INPUT_TOKENS_SUMSQ)),
        Metric("tokens_output_avg", Dimension.TOKENS, Mean((Q.OUTPUT_TOKENS,), Q.REQUESTS, Q.OUTPUT_TOKENS_SUMSQ)),
        Metric("tokens_total", Dimension.TOKENS, Total(_TOKENS)),
        Metric("cost_avg", Dimension.COST, Mean((Q.COST,), Q.REQUESTS, Q.COST_SUMSQ)),
        Metric("cost_total", Dimension.COST, Total((Q.COST,))),
        Metric("avg_user_feedback", Dimension.SCORE, Mean((Q.FEEDBACK_SUM,), Q.FEEDBACK_COUNT), low=1.0, high=5.0),
        Metric("user_feedback_negative_rate", Dimension.RATIO, Share(Q.FEEDBACK_NEGATIVE, Q.FEEDBACK_COUNT), high=1.0),
        Metric("feedback_count", Dimension.COUNT, Total((Q.FEEDBACK_COUNT,))),
        Metric(
            "avg_automated_score", Dimension.SCORE, Mean((Q.AUTOMATED_SCORE_SUM,), Q.AUTOMATED_SCORE_COUNT), high=10.0
        ),
        Metric("avg_calibration_delta", Dimension.SCORE, Mean((Q.CALIBRATION_SUM,), Q.CALIBRATION_COUNT), high=10.0),
    )
}
"""Name -> metric."""

ALIASES = {"calibration_drift": "avg_calibration_delta"}
"""Other names that mean the same; the normal form has the name on the right."""


def quantities(metric: Metric) -> tuple[Series, ...]:
    """Return what a metric is computed from."""
    match metric.formula:
        case Total(plus, minus):
            return plus + minus
        case Share(events, total):
            return (events, total)
        case Mean(sums, count, squares):
            return (*sums, count, *([squares] if squares else []))
        case Given(value):
            return (value,)
        case Quantile(buckets) | Slower(buckets):
            return (buckets,)
