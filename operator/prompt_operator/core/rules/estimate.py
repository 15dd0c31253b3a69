"""From counts to values: what a metric measured, and the interval it surely lies in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, TypeAlias

from prompt_operator.core.rules.measure import Amount, Histogram, Need, Unusable
from prompt_operator.core.rules.metrics import Given, Mean, Metric, Quantile, Series, Share, Slower, Total
from prompt_operator.core.rules.reasons import GAPS, Reason
from prompt_operator.core.rules.statistics import mean_interval, quantile, quantile_interval, t_interval, wilson

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from prompt_operator.core.rules.interval import Interval
    from prompt_operator.core.rules.measure import Measured
    from prompt_operator.core.rules.metrics import Quantity


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, the interval [low, high] it lies in at the asked confidence, and what it rests on.

    Counts and sums are facts rather than estimates: there low and high are the value itself. So they are for a mean
    without a known range at the confidence of a notice; see `MEAN_AT_ITS_WORD`.
    """

    value: float
    low: float
    high: float
    samples: float | None = None
    """Observations behind the value; None for a count, which needs none."""
    events: float | None = None
    """For a share, how many of the samples count."""
    possible: Interval | None = None
    """Where the measured value itself lies, for all that a last bucket without a bound says of it; None: it is known.

    Samples have nothing to do with it, and more of them do not make it narrower.
    """

    @property
    def measured(self) -> Interval:
        """Where the measured value lies, which most know exactly."""
        return self.possible or (self.value, self.value)


@dataclass(frozen=True, slots=True)
class Unknown:
    """No value, and why; `samples` where there were some, `detail` where there is more to say."""

    reason: Reason
    samples: float | None = None
    detail: str = ""


Outcome: TypeAlias = Estimate | Unknown


@lru_cache(maxsize=1024)
def constant(value: float) -> Outcome:
    """Return a number that stands in a condition."""
    return exact(value)


def exact(value: float, samples: float | None = None) -> Outcome:
    """Return a value without an interval; unknown unless it is a finite number."""
    return Estimate(value, value, value, samples) if isfinite(value) else Unknown(Reason.NOT_A_NUMBER)


def estimate(
    metric: Metric, window: timedelta, reading: Mapping[Need, Measured], *, min_samples: int, confidence: float
) -> Outcome:
    """Compute a metric from the quantities of one version; anything missing, dubious or too little is Unknown."""
    pull = _Pull(window, reading)
    try:
        match metric.formula:
            case Total(plus, minus):
                return exact(max(0.0, sum(map(pull.amount, plus)) - sum(map(pull.amount, minus))))
            case Share(events, total, complement):
                return _share(pull.amount(events), pull.amount(total), complement, min_samples, confidence)
            case Mean(sums, count, squares):
                added, samples = sum(map(pull.amount, sums)), pull.amount(count)
                few, spread = _too_few(samples, min_samples), pull.optional(squares)
                return few or _mean(metric, added / samples, samples, confidence, spread)
            case Given(series):
                return _given(metric, pull.amount(series), confidence)
            case Quantile(buckets) | Slower(buckets):
                return _distributed(metric.formula, pull.histogram(buckets), min_samples, confidence)
    except _Missing as missing:
        return Unknown(missing.reason, detail=missing.detail)


class _Missing(Exception):  # noqa: N818  control flow within this module only
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(slots=True)  # made for each metric of each rule: frozen ones take three times as long to make
class _Pull:
    """Takes quantities out of a reading; _Missing when one is absent or cannot be used."""

    window: timedelta
    reading: Mapping[Need, Measured]

    def amount(self, quantity: Series) -> float:
        found = self._found(quantity)
        if not isinstance(found, Amount):
            raise _Missing(Reason.INCONSISTENT)
        if not 0 <= found.value < inf:
            raise _Missing(Reason.NOT_A_NUMBER)
        return found.value

    def optional(self, quantity: Quantity | None) -> float | None:
        """Return an amount; None where nobody counts it, which is not the same as an answer that cannot be used."""
        found = None if quantity is None else self.reading.get(Need(quantity, self.window))
        nobody = found is None or (isinstance(found, Unusable) and found.reason in GAPS)
        return None if quantity is None or nobody else self.amount(quantity)

    def histogram(self, quantity: Series) -> Histogram:
        found = self._found(quantity)
        if not isinstance(found, Histogram):
            raise _Missing(Reason.INCONSISTENT)
        return found

    def _found(self, quantity: Series) -> Amount | Histogram:
        found = self.reading.get(Need(quantity, self.window))
        if found is None:
            raise _Missing(Reason.NO_DATA)
        if isinstance(found, Unusable):
            raise _Missing(found.reason, found.detail)
        return found


def _too_few(samples: float, min_samples: int) -> Unknown | None:
    if samples <= 0:
        return Unknown(Reason.NO_DATA, samples)
    return Unknown(Reason.TOO_FEW_SAMPLES, samples) if samples < min_samples else None


_SCRAPE_SLACK = 1.05
"""Two counters are read at slightly different moments: events may pass the total a little; by more, they disagree."""


def _share(events: float, total: float, complement: bool, min_samples: int, confidence: float) -> Outcome:  # noqa: FBT001
    if events > total * _SCRAPE_SLACK + 1:
        return Unknown(Reason.INCONSISTENT, total)
    if few := _too_few(total, min_samples):
        return few
    events = min(events, total)
    if complement:
        events = total - events
    low, high = wilson(events, total, confidence)
    return Estimate(events / total, low, high, total, events)


MEAN_AT_ITS_WORD = 0.95
"""Up to this confidence a mean without a known range (a time, tokens, a cost), or a given value, is judged as it is.

A sum and a count say nothing of the spread, and one value may be as large as it likes, so no bound on such a mean is
honest. A notice at the built-in confidence takes it at its word; anything surer, as a rollback is, never rests on it.
"""
_STRAY = 0.05
"""Sum and count are read at slightly different moments: by this part of its range a mean may leave it."""


def _mean(metric: Metric, value: float, samples: float, confidence: float, squares: float | None) -> Outcome:
    low, high = metric.low, metric.high
    if squares is not None:
        return _spread(metric, value, samples, confidence, squares)
    if not isfinite(high):
        return _at_its_word(metric, value, samples, confidence)
    if _strays(metric, value):
        return Unknown(Reason.INCONSISTENT, samples)
    value = min(max(value, low), high)
    return Estimate(value, *mean_interval(value, samples, (low, high), confidence), samples)


def _spread(metric: Metric, value: float, samples: float, confidence: float, squares: float) -> Outcome:
    """Judge a mean by the spread of its values; that it is low is never surer than a notice, see `t_interval`."""
    if value * value * samples > squares * _SCRAPE_SLACK:
        return Unknown(Reason.INCONSISTENT, samples)  # no values have such squares
    low, high = t_interval(value, squares, samples, confidence)
    high = high if confidence <= MEAN_AT_ITS_WORD else metric.high
    return Estimate(value, max(low, metric.low), high, samples)


def _given(metric: Metric, value: float, confidence: float) -> Outcome:
    if _strays(metric, value):
        return Unknown(Reason.INCONSISTENT)
    return _at_its_word(metric, min(max(value, metric.low), metric.high), None, confidence)


def _strays(metric: Metric, value: float) -> bool:
    if not isfinite(metric.high):
        return value < metric.low
    stray = (metric.high - metric.low) * _STRAY
    return not metric.low - stray <= value <= metric.high + stray


def _at_its_word(metric: Metric, value: float, samples: float | None, confidence: float) -> Outcome:
    known = exact(value, samples)
    trusted = isinstance(known, Unknown) or confidence <= MEAN_AT_ITS_WORD
    return known if trusted else Estimate(value, metric.low, metric.high, samples)


def _distributed(formula: Quantile | Slower, histogram: Histogram, min_samples: int, confidence: float) -> Outcome:
    if problem := _defect(histogram):
        return Unknown(problem)
    if few := _too_few(histogram.count, min_samples):
        return few
    if isinstance(formula, Slower):
        return _slower(histogram, formula.bound, confidence)
    low, high = quantile_interval(histogram.buckets, formula.q, confidence)
    below = histogram.buckets[-2][1] if len(histogram.buckets) > 1 else 0.0
    value = quantile(histogram.buckets, formula.q)
    beyond = below < formula.q * histogram.count
    return Estimate(value, low, high, histogram.count, possible=(value, inf) if beyond else None)


_SAME = 1e-9
"""Relative; a bound that was scaled from milliseconds is the one that was written."""


def _slower(histogram: Histogram, bound: float, confidence: float) -> Outcome:
    """Return the share beyond a bound: exact where it is a bucket bound, else between those of its two neighbours.

    The value is the least that it may be: only whole buckets beyond the bound count as slower.
    """
    total = histogram.count
    reached = next(count for upper, count in histogram.buckets if upper >= bound * (1 - _SAME))
    passed = max((count for upper, count in histogram.buckets if upper <= bound * (1 + _SAME)), default=0.0)
    least, most = total - reached, total - passed
    low, high = wilson(least, total, confidence)[0], wilson(most, total, confidence)[1]
    beyond = bound > max((upper for upper, _ in histogram.buckets[:-1]), default=0.0) * (1 + _SAME)
    possible = (least / total, most / total) if beyond else None
    return Estimate(least / total, low, high, total, least, possible=possible)


def _defect(histogram: Histogram) -> Reason | None:
    """Say what is wrong with a histogram: bounds must ascend to +Inf, counts must not fall."""
    last_bound, last_count = -inf, 0.0
    for bound, count in histogram.buckets:
        if not (last_bound < bound and last_count <= count < inf):  # nor is it so for NaN
            return Reason.NOT_A_NUMBER if isnan(bound) or not isfinite(count) else Reason.INCONSISTENT
        last_bound, last_count = bound, count
    return None if last_bound == inf else Reason.INCONSISTENT
