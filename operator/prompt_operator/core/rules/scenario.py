"""Rules played on series that somebody made up: what they would do, instant by instant, without a cluster.

Counts go the way that the counts of Prometheus go: the increase over each window, the estimate with its bounds, the
judgement, the streak. A value that is given directly is taken at its word, as a count is: nothing bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.core.duration import exact
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.increase import increase
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import CustomSeries, Quantity, Total
from prompt_operator.core.rules.model import Action
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.streak import FOREVER, State, start, step
from prompt_operator.core.rules.units import format_window
from prompt_operator.core.rules.values import format_value
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.promql import Answer
    from prompt_operator.core.rules.series import Series
    from prompt_operator.core.rules.written import Written

_MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
_VERSION = Identity("test", "test", "1.0.0")
_GIVEN = "given"
"""In place of a namespace: the series is the metric's own values."""


@dataclass(frozen=True, slots=True)
class Given:
    """The series of one version, a sample per interval from the instant 0 on."""

    interval: timedelta
    values: Mapping[tuple[str, timedelta | None], Series]
    """(metric, window) -> its value at each instant, in base units; window None: over every window without its own."""
    counts: Mapping[Quantity, Series]
    """Quantity -> its counter."""
    buckets: tuple[tuple[float, Series], ...] = ()
    """(upper bound in seconds, counter of the observations at or below), ascending."""
    baselines: Baselines = field(default_factory=Baselines)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the policy in force asks for, and by which metric names its applications export."""

    min_samples: int
    alert_confidence: float
    rollback_confidence: float
    profile: Profile
    unknown_after: timedelta = FOREVER
    """What was seen before a rule was unknown for longer counts no more."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What somebody expects of a rule at an instant; None where nothing is expected."""

    at: timedelta
    rule: str
    state: State
    value: Written | None = None
    """Of the metric that the condition names first."""
    rollback: bool | None = None
    """Whether the evidence is enough to roll back; safeguards such as the cooldown are not played."""

    def __str__(self) -> str:
        return _told(self.state, self.value.text if self.value else "", self.rollback)


class Moment(NamedTuple):
    """One rule at one instant."""

    at: timedelta
    rule: Rule
    state: State
    judgement: Judgement
    """At the confidence of alerts; drives the state."""
    surely: Judgement
    """At the confidence of rollbacks."""

    @property
    def rolls_back(self) -> bool:
        """Whether the rule asks for a rollback on enough evidence."""
        asks = self.state is State.FIRING and Action.ROLLBACK in self.rule.actions
        return asks and self.surely.verdict is Verdict.TRUE

    @property
    def value(self) -> float | None:
        """Of the metric that the condition names first; None when it is unknown."""
        return self.judgement.findings[0].value


class Difference(NamedTuple):
    """An expectation that did not come true."""

    expected: Expectation
    got: str
    why: str


def play(rules: tuple[Rule, ...], given: Given, evidence: Evidence, *, until: timedelta) -> Iterator[Moment]:
    """Judge the rules at every interval, as the operator judges them at every tick."""
    streaks = {rule.name: start(_MIDNIGHT) for rule in rules}
    judged_as = {rule.name: _with_given(rule, given) for rule in rules}
    for index in range(until // given.interval + 1):
        at = index * given.interval
        for rule in rules:
            alert, surely = _judgements(judged_as[rule.name], given, evidence, index)
            streaks[rule.name] = step(
                streaks[rule.name],
                alert.verdict,
                _MIDNIGHT + at,
                hold=rule.hold,
                keep_firing_for=rule.keep_firing_for,
                forget_after=max(evidence.unknown_after, given.interval),
            )
            yield Moment(at, rule, streaks[rule.name].state, alert, surely)


def differences(
    rules: tuple[Rule, ...], given: Given, evidence: Evidence, expected: tuple[Expectation, ...]
) -> tuple[Difference, ...]:
    """Return the expectations that do not come true; each names one of the rules and an instant of a judgement."""
    named = tuple(rule for rule in rules if any(each.rule == rule.name for each in expected))
    until = max((each.at for each in expected), default=timedelta(0))
    moments = {(moment.at, moment.rule.name): moment for moment in play(named, given, evidence, until=until)}
    pairs = ((each, moments[each.at, each.rule]) for each in expected)
    return tuple(
        Difference(each, _got(each, one), _why(each, one, given)) for each, one in pairs if _differs(each, one)
    )


# --- what is measured at an instant


def _with_given(rule: Rule, given: Given) -> Rule:
    """Return the rule with the metrics whose values are given as totals of these: facts, which need no samples."""
    names = {name for name, _ in given.values}
    metrics = {
        name: replace(metric, formula=Total((CustomSeries(_GIVEN, name),))) if name in names else metric
        for name, metric in rule.metrics.items()
    }
    return replace(rule, metrics=metrics)


def _judgements(rule: Rule, given: Given, evidence: Evidence, index: int) -> tuple[Judgement, Judgement]:
    reading = _reading(rule, given, evidence.profile, index)
    alert, surely = (
        judge(rule, reading, given.baselines, min_samples=evidence.min_samples, confidence=confidence)
        for confidence in (evidence.alert_confidence, evidence.rollback_confidence)
    )
    return alert, surely


def _reading(rule: Rule, given: Given, profile: Profile, index: int) -> dict[Need, Measured]:
    """Return what the queries of the rule would have brought; the profile says what an absent series means."""
    asked = needs(rule)
    found = {need: _measured(need, given, index) for need in asked}
    answers: dict[Need, Answer] = {need: {} if one is None else {_VERSION: one} for need, one in found.items()}
    return promql.reading(profile, _VERSION, answers) | promql.unmeasured(profile, asked)


def _measured(need: Need, given: Given, index: int) -> Measured | None:
    quantity, window = need
    if isinstance(quantity, CustomSeries):
        series = given.values.get((quantity.template, window)) or given.values.get((quantity.template, None), ())
        value = series[index] if index < len(series) else None
        return None if value is None else _amount(value)
    if quantity is Quantity.LATENCY_BUCKETS:
        return _histogram(given, window, index)
    grown = _increase(given.counts.get(quantity, ()), given.interval, window, index)
    return None if grown is None else _amount(grown)


def _amount(value: float) -> Measured:
    return Unusable(Reason.NOT_A_NUMBER) if isnan(value) else Amount(value)


def _histogram(given: Given, window: timedelta, index: int) -> Histogram | None:
    grown = [(bound, _increase(series, given.interval, window, index)) for bound, series in given.buckets]
    known = tuple((bound, count) for bound, count in grown if count is not None)
    return Histogram(known) if known else None


def _increase(series: Series, interval: timedelta, window: timedelta, index: int) -> float | None:
    """Return what Prometheus says of a counter that is scraped once per interval."""
    oldest = max(0, index - window // interval)
    samples = [
        ((oldest + position) * interval.total_seconds(), value)
        for position, value in enumerate(series[oldest : index + 1])
        if value is not None
    ]
    return increase(samples, index * interval.total_seconds(), window.total_seconds())


# --- what came instead


def _differs(expected: Expectation, moment: Moment) -> bool:
    if expected.state is not moment.state:
        return True
    if expected.value is not None and (moment.value is None or not expected.value.says(moment.value)):
        return True
    return expected.rollback is not None and expected.rollback is not moment.rolls_back


def _got(expected: Expectation, moment: Moment) -> str:
    metric = moment.judgement.findings[0].metric
    value = "no value" if moment.value is None else format_value(metric, moment.value)
    return _told(
        moment.state, value if expected.value else "", None if expected.rollback is None else moment.rolls_back
    )


def _told(state: State, value: str, rollback: bool | None) -> str:  # noqa: FBT001  a member of a sentence
    asked = {True: "rollback", False: "no rollback", None: ""}[rollback]
    return ", ".join(part for part in (state.value, value, asked) if part)


def _why(expected: Expectation, moment: Moment, given: Given) -> str:
    """Return the sentence of the judgement that decided, and a hint where the series can never be judged."""
    of_rollback = expected.state is moment.state and expected.rollback and not moment.rolls_back
    judgement = moment.surely if of_rollback else moment.judgement
    return f"{judgement.message}{_hint(moment, given)}"


def _hint(moment: Moment, given: Given) -> str:
    """An increase needs two samples, and a window does not hold the sample at its own beginning."""
    windows = [finding.window for finding in moment.judgement.findings if finding.reason is Reason.NO_DATA]
    if not given.counts or not windows or min(windows) > given.interval:
        return ""
    return (
        f"; an interval of {exact(given.interval)} leaves one sample in {format_window(min(windows))}, "
        "and an increase needs two: choose a shorter interval"
    )
