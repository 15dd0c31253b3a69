"""A prompt watched as the operator watches it: its rules, streaks and guards, on counters that Prometheus reports.

What the rule clock and the reconcile do around the pure functions (compile, judge, step, first_refusal) is repeated
here without queries and writes. After a rollback a person is taken to name a new version at once, which fails as often:
so only spacing and the daily cap stand in the way of the next false rollback.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.simulation.traffic import BASELINE_P95, BOUNDS, PER_MINUTE, SCRAPE, Counters

from prompt_operator.core.ledger import Execution, Ledger
from prompt_operator.core.rules.baseline import of_values
from prompt_operator.core.rules.cadence import cadence
from prompt_operator.core.rules.increase import NEAR, extrapolated
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import Amount, Histogram, Need, needs
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import Action
from prompt_operator.core.rules.streak import State, start, step
from prompt_operator.core.rules.verdict import judge
from prompt_operator.core.safeguards import Case, first_refusal
from prompt_operator.core.target import Choice

if TYPE_CHECKING:
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.measure import Measured
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.streak import Streak

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=SCRAPE)
BASELINES = of_values({"latency_p95": BASELINE_P95})
TARGET = Choice("1.0.0")

Evidence = tuple[float, ...]
"""Increases over a window: of the requests and the errors, or of the buckets; empty with fewer than two samples."""


@dataclass(frozen=True, slots=True)
class Event:
    """A rollback that was executed, or a rule that began to fire and gives notice of it."""

    minute: float
    rule: str


@dataclass(slots=True)
class Judge:
    """Judgements by rule, confidence and evidence: equal counts are judged once, by all watches of one policy."""

    policy: Effective
    known: dict[tuple[str, float, Evidence], Judgement] = field(default_factory=dict)

    def __call__(self, rule: Rule, confidence: float, evidence: Evidence) -> Judgement:
        """Judge one rule."""
        key = (rule.name, confidence, evidence)
        if key not in self.known:
            self.known[key] = judge(
                rule, _reading(rule, evidence), BASELINES, min_samples=self.policy.min_samples, confidence=confidence
            )
        return self.known[key]


def _reading(rule: Rule, evidence: Evidence) -> dict[Need, Measured]:
    if not evidence:
        return {}
    if not _of_latency(rule):
        requests, errors = map(Amount, evidence)
        return {Need(Quantity.REQUESTS, rule.window): requests, Need(Quantity.ERRORS, rule.window): errors}
    return {Need(Quantity.LATENCY_BUCKETS, rule.window): Histogram(tuple(zip(BOUNDS, evidence, strict=True)))}


def _of_latency(rule: Rule) -> bool:
    return any(need.quantity is Quantity.LATENCY_BUCKETS for need in needs(rule))


_EXPORTED = frozenset({Quantity.REQUESTS, Quantity.ERRORS, Quantity.LATENCY_BUCKETS})


def judged(policy: Effective) -> tuple[Rule, ...]:
    """Return the rules that can be judged: the others ask for ratings, which nobody gives here, and stay unknown."""
    return tuple(rule for rule in policy.rules if {need.quantity for need in needs(rule)} <= _EXPORTED)


def _is_due(window: int, tick: int) -> bool:
    """Long windows are looked at as seldom as the operator does."""
    return tick % max(int(cadence(timedelta(seconds=window)).total_seconds()) // SCRAPE, 1) == 0


@dataclass(slots=True)
class Watched:
    """One rule of one activation; `seen` is the last tick at which the verdict still was the same."""

    rule: Rule
    streak: Streak
    verdict: Verdict | None = None
    seen: datetime = MIDNIGHT

    @property
    def asks(self) -> bool:
        """Whether it asks for a rollback."""
        return self.streak.beneath is State.FIRING and Action.ROLLBACK in self.rule.actions

    def take(self, verdict: Verdict, now: datetime) -> bool:
        """Take a verdict in and say whether the rule has begun to fire.

        While a rule is not true, equal verdicts in a row change nothing but the time of the last one, so the streak
        takes in only the first and the last of them.
        """
        if verdict is self.verdict and verdict is not Verdict.TRUE:
            self.seen = now
            return False
        before = self.streak.firing
        if self.verdict is not None:
            self._step(self.verdict, self.seen)
        self._step(verdict, now)
        self.verdict, self.seen = verdict, now
        return self.streak.firing and not before

    def _step(self, verdict: Verdict, now: datetime) -> None:
        rule = self.rule
        self.streak = step(self.streak, verdict, now, hold=rule.hold, keep_firing_for=rule.keep_firing_for)


class Watch:
    """Plays the ticks over a version's counters; `rollbacks` and `alerts` are what came of it.

    Args:
        judge_: Judges by the policy in force; may be shared.
        series: What is scraped, from the first request on.
        phase: Seconds from a scrape to the tick after it; a multiple of 1/8, so that sums of floats are exact.
    """

    def __init__(self, judge_: Judge, series: Counters, phase: float) -> None:
        self.judge, self.policy, self.series, self.phase = judge_, judge_.policy, series, phase
        self.rollbacks: list[Event] = []
        self.alerts: list[Event] = []
        self._ledger = Ledger()
        self._rules = [(rule, (_of_latency(rule), rule.window.seconds)) for rule in judged(self.policy)]
        self._sources = sorted({source for _, source in self._rules})
        self._activate(0)

    def _activate(self, tick: int) -> None:
        """A version is served from here on: new series, new streaks."""
        self._born, self._activated = tick, MIDNIGHT + tick * TICK
        self._watched = [(Watched(rule, start(self._activated)), source) for rule, source in self._rules]

    def play(self, *, until_rollback: bool = False) -> None:
        """Play all ticks, or until the first rollback."""
        for tick in range(len(self.series)):
            now = MIDNIGHT + tick * TICK
            if now - self._activated >= self.policy.initial_delay:
                self._tick(tick, now)
            if until_rollback and self.rollbacks:
                return

    def _tick(self, tick: int, now: datetime) -> None:
        evidence = {source: self._evidence(*source, tick) for source in self._sources if _is_due(source[1], tick)}
        confidence = self.policy.alert_confidence
        due = [(watched, source) for watched, source in self._watched if source in evidence]
        for watched, source in due:
            verdict = self.judge(watched.rule, confidence, evidence[source]).verdict
            if watched.take(verdict, now) and Action.ALERT in watched.rule.actions:
                self.alerts.append(Event(tick / PER_MINUTE, watched.rule.name))
        for watched, source in due:
            if watched.asks and self._may_roll_back(watched.rule, evidence[source], now):
                self._roll_back(watched.rule, tick, now)
                return

    def _evidence(self, of_latency: bool, window: int, tick: int) -> Evidence:  # noqa: FBT001  a part of a source
        """Return what `increase` says at a tick."""
        oldest = max(self._born, tick - window // SCRAPE + 1)
        if oldest == tick:
            return ()
        covered = (tick - oldest) * SCRAPE
        gap = window - covered - self.phase
        before = gap if gap < NEAR * SCRAPE else SCRAPE / 2
        series = self.series.buckets if of_latency else (self.series.error, self.series.success)
        born = self._born - 1
        grown = tuple([
            extrapolated(one[oldest] - one[born], one[tick] - one[oldest], covered, before, self.phase)
            for one in series
        ])  # fmt: skip
        return grown if of_latency else (sum(grown), grown[0])

    def _may_roll_back(self, rule: Rule, evidence: Evidence, now: datetime) -> bool:
        case = Case(
            now=now,
            suspended=False,
            mode=self.policy.mode,
            auto=self.policy.auto,
            policy=self.policy,
            judged_at=now,
            fresh_for=TICK,
            judgement=self.judge(rule, self.policy.rollback_confidence, evidence),
            activated_at=self._activated,
            choice=TARGET,
            overridden=False,
            ledger=self._ledger,
        )
        return first_refusal(case) is None

    def _roll_back(self, rule: Rule, tick: int, now: datetime) -> None:
        self.rollbacks.append(Event(tick / PER_MINUTE, rule.name))
        self._ledger = Ledger((*self._ledger.executed, Execution(f"rollback-{tick}", now, counted=True)))
        self._activate(tick + 1)
