"""One watched prompt version: its rules, how they stand, and one look at them with what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.core.facts import Readings, RuleReading
from prompt_operator.core.rules import promql, streak
from prompt_operator.core.rules.cadence import cadence
from prompt_operator.core.rules.judgement import Judgement, Verdict
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import Action, Rule
from prompt_operator.core.rules.reasons import GAPS, Reason
from prompt_operator.core.rules.recording import RECORDED_FROM
from prompt_operator.core.rules.streak import State
from prompt_operator.core.rules.units import NO_TIME
from prompt_operator.core.rules.verdict import judge
from prompt_operator.core.unrecorded import gap_told
from prompt_operator.engine.shared import Shared, Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prompt_operator.api.promptstatus import RuleStatus
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.baseline import Baselines
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.promql import Answer
    from prompt_operator.core.rules.streak import Streak
    from prompt_operator.engine.store import Name

_TIMED = frozenset({State.PENDING, State.RECOVERING})
_QUIET = timedelta(hours=1)  # even then looked at now and then
_SPARE = timedelta(minutes=1)  # beyond its cadence a kept answer is of no use


@dataclass(frozen=True, slots=True)
class Plan:
    """What a list of rules has to be told."""

    needed: frozenset[Need]
    of_rule: tuple[frozenset[Need], ...]
    kept: frozenset[Need]
    """Needs of rules over windows of several cadences: the last answer counts until the next one."""


@lru_cache(maxsize=1024)
def plan(rules: tuple[Rule, ...]) -> Plan:
    """Return what rules need; prompts under one policy share it."""
    of_rule = tuple(map(needs, rules))
    mixed = (each for each in of_rule if len({cadence(need.window) for need in each}) > 1)
    return Plan(frozenset().union(*of_rule), of_rule, frozenset().union(*mixed))


class Round:
    """What one tick brought for the prompts of one shard.

    Args:
        profile: the profile it was asked under; None when the operator does not know it.
        answers: what was answered, by need.
        refreshed: the needs that this tick was to answer; those without an answer have no data.
        lacking: the needs that nothing can answer, and why.
        now: the instant of the tick.
        shared: what prompts have in common.
    """

    def __init__(
        self,
        profile: Profile | None,
        answers: Mapping[Need, Answer],
        refreshed: frozenset[Need],
        lacking: Mapping[Need, Unusable],
        now: datetime,
        shared: Shared,
    ) -> None:
        self._profile, self._answers, self.refreshed, self.lacking = profile, answers, refreshed, lacking
        self.now, self.shared = now, shared
        self.silent = not any(_tells(answer) for answer in answers.values())
        """No answer holds a series of anybody."""
        self.gaps = frozenset(map(_gap, long)) if (long := _long(answers)) else None
        """How the recording of long windows stands; None when this tick did not ask for any."""
        self._judged: dict[int, tuple[Plan, tuple[bool, ...]]] = {}

    def measured(self, identity: Identity) -> dict[Need, Measured]:
        """Return what was just measured of one version."""
        return {} if self._profile is None else promql.reading(self._profile, identity, self._answers)

    def judged(self, plan: Plan) -> tuple[bool, ...]:
        """Tell for each rule whether there is anything new to judge it by."""
        found = self._judged.get(id(plan))
        if found is None:
            fresh = tuple(not needed.isdisjoint(self.refreshed) for needed in plan.of_rule)
            found = self._judged[id(plan)] = plan, fresh
        return found[1]


class _Kept(NamedTuple):
    measured: Measured
    at: datetime


_NOTHING_SHOWN = Shown(State.NORMAL, known=False, gap=None)


@dataclass(slots=True)
class Watched:
    """One activation of one version, and the state of its rules."""

    version: str
    activated_at: datetime | None
    policy: Effective
    baselines: Baselines
    explained: bool = False
    """The figures of rules that are well are wanted, too."""
    plan: Plan = field(init=False)
    readings: list[RuleReading | None] = field(init=False)
    """One per rule of the policy; None before it was judged."""
    shown: list[Shown] = field(init=False)
    """What the prompt was last woken for."""
    gaps: frozenset[Reason | None] | None = None
    """How the recording of long windows stood when it was last judged."""
    restored: dict[str, Streak] = field(default_factory=dict)
    """Streaks from status, of rules that were not judged since the start."""
    traffic: bool = False
    new: bool = True
    """A rule was never judged: all that it needs is asked at once."""
    quiet_until: datetime | None = None
    """Without any series nothing can change before: every rule is Unknown and none was firing. None: look each tick."""
    _kept: dict[Need, _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with no rule judged."""
        self._take(self.policy, {}, {})

    def remember(self, rules: Sequence[RuleStatus], now: datetime) -> None:
        """Take up the states that status remembers."""
        self.restored = {old.name: self._restored(old, now) for old in rules}
        shown = {rule.name: Shown(State(rule.state), known=False, gap=gap_told(rule.message)) for rule in rules}
        self._take(self.policy, {}, shown)

    def _restored(self, old: RuleStatus, now: datetime) -> Streak:
        """Go on from what status kept; a timer that could not run for so long ran on while nobody watched."""
        timers = [
            each for rule in self.policy.rules if rule.name == old.name for each in (rule.hold, rule.keep_firing_for)
        ]
        longest = max(timers, default=NO_TIME) + self.policy.unknown_after
        state, since = State(old.state), min(old.since, now)
        return _restored(state, since, now if state in _TIMED else since, old.fired_at, longest)

    def adopt(self, policy: Effective) -> None:
        """Follow a changed policy: rules that stay as they are keep their streaks, all others begin anew."""
        names = [rule.name for rule in self.policy.rules]
        same = {rule.name for rule in self.policy.rules if rule in policy.rules}
        readings = {name: reading for name, reading in zip(names, self.readings, strict=True) if name in same}
        self.restored = {name: old for name, old in self.restored.items() if name in same}
        self._take(policy, readings, dict(zip(names, self.shown, strict=True)))
        self.new, self.quiet_until = True, None

    def _take(self, policy: Effective, readings: Mapping[str, RuleReading | None], shown: Mapping[str, Shown]) -> None:
        self.policy, self.plan = policy, plan(policy.rules)
        self.readings = [readings.get(rule.name) for rule in policy.rules]
        self.shown = [shown.get(rule.name, _NOTHING_SHOWN) for rule in policy.rules]

    def snapshot(self) -> Readings | None:
        """Return the readings as facts; None before any rule was judged."""
        judged = tuple(reading for reading in self.readings if reading is not None)
        return Readings(self.version, self.activated_at, judged, self.traffic) if judged else None

    def settled(self, at: datetime) -> bool:
        """Tell whether its pods had the time to take it up, or a rule fires already."""
        if self.activated_at is None or at - self.activated_at >= self.policy.initial_delay:
            return True
        return any(reading is not None and reading.streak.firing for reading in self.readings)

    def look(self, name: Name, tick: Round) -> bool:
        """Judge what there is news for; return whether the prompt needs a decision."""
        quiet = self.quiet_until is not None and tick.now < self.quiet_until and tick.gaps in {None, self.gaps}
        if quiet and tick.silent:
            return False  # most prompts of a large cluster have no traffic: they cost next to nothing
        measured = tick.measured(Identity(name.namespace, name.name, self.version))
        silent = not any(map(_is_heard, measured.values()))
        if quiet and silent:
            return False
        self.gaps = self.gaps if tick.gaps is None else tick.gaps
        wake = self._see_traffic(measured)
        measured |= tick.lacking
        oldest = self._recall(measured, tick) if self.plan.kept else None
        for position, fresh in enumerate(tick.judged(self.plan)):
            if fresh:
                at = tick.shared.at if oldest is None else self._oldest(position, oldest, tick.shared.at)
                self.readings[position] = self._judged(position, measured, tick.shared, at)
        asking = any(map(_asks, self.readings))
        if asking and not self.explained:
            self._tell_all(measured, tick)
        self.new = self.new and None in self.readings
        wake |= self._is_news(tick.shared, tick.now) or asking
        self.quiet_until = self._quiet_until(tick.now) if silent else None
        return wake

    def _tell_all(self, measured: Mapping[Need, Measured], tick: Round) -> None:
        """Have the figures of all rules, as a rollback may be decided: they are the last look at this version."""
        for position, fresh in enumerate(tick.judged(self.plan)):
            reading = self.readings[position]
            if fresh and reading is not None and not reading.alert.findings and not _failed(reading.alert):
                alert = self._judgement(reading.rule, measured, self.policy.alert_confidence)
                self.readings[position] = replace(reading, alert=alert, rollback=alert)

    def _see_traffic(self, measured: Mapping[Need, Measured]) -> bool:
        """Note that some application serves the version; return whether that is news."""
        if self.traffic:
            return False
        requests = (found for need, found in measured.items() if need.quantity is Quantity.REQUESTS)
        self.traffic = any(isinstance(found, Amount) and found.value > 0 for found in requests)
        return self.traffic

    def _recall(self, measured: dict[Need, Measured], tick: Round) -> dict[Need, datetime]:
        """Keep what rules over several windows need again, add what was kept; return the instants of the latter."""
        for need in self.plan.kept & tick.refreshed:
            found = measured.get(need)
            if found is None:
                self._kept.pop(need, None)
            else:
                self._kept[need] = _Kept(found, tick.shared.at)
        oldest = {}
        for need in self.plan.kept - tick.refreshed:
            last = self._kept.get(need)
            if last is not None and tick.shared.at - last.at <= cadence(need.window) + _SPARE:
                measured[need], oldest[need] = last
        return oldest

    def _oldest(self, position: int, kept: Mapping[Need, datetime], at: datetime) -> datetime:
        return min((kept[need] for need in self.plan.of_rule[position] if need in kept), default=at)

    def _judged(self, position: int, measured: Mapping[Need, Measured], shared: Shared, at: datetime) -> RuleReading:
        """Judge one rule and take the verdict into its streak."""
        rule, before = self.policy.rules[position], self.readings[position]
        alert = self._judgement(rule, measured, self.policy.alert_confidence, told=False)
        old = before.streak if before is not None else self.restored.pop(rule.name, shared.beginning)
        new = shared.step(old, alert.verdict, rule, self.policy.unknown_after)
        if before is not None and _failed(alert):  # the last answer stands and grows old; the streak stands still
            return shared.reading(rule, new, before.alert, before.rollback, before.at, before.basis)
        alert = self._told(position, alert, new, measured, shared)
        rollback, basis = alert, None
        if new.firing and Action.ROLLBACK in rule.actions:
            rollback = self._judgement(rule, measured, self.policy.rollback_confidence)
            basis = {need: measured[need] for need in self.plan.of_rule[position] if need in measured}
        return shared.reading(rule, new, alert, rollback, at, basis)

    def _told(
        self, position: int, alert: Judgement, new: Streak, measured: Mapping[Need, Measured], shared: Shared
    ) -> Judgement:
        """Return the judgement with its findings where anybody may want to read them.

        A rule that is well has nothing to tell. One that is Unknown for the same reason as before has told it.
        """
        rule, before = self.policy.rules[position], self.readings[position]
        if not self.explained and new.beneath is State.NORMAL:
            if alert.verdict is Verdict.FALSE:
                return alert
            last = before.alert if before is not None else alert
            if last.findings and (last.verdict, last.because) == (alert.verdict, alert.because):
                return last
        judged = partial(self._judgement, rule, measured, self.policy.alert_confidence)
        found = [measured.get(need) for need in self.plan.of_rule[position]]
        if any(isinstance(each, Amount | Histogram) for each in found):
            return judged()
        return shared.blank(rule, self.policy, (*found, alert.because), judged)

    def _judgement(
        self, rule: Rule, measured: Mapping[Need, Measured], confidence: float, *, told: bool = True
    ) -> Judgement:
        least = self.policy.min_samples
        return judge(rule, measured, self.baselines, min_samples=least, confidence=confidence, told=told)

    def _is_news(self, shared: Shared, now: datetime) -> bool:
        """Tell whether a rule changed visibly: then the prompt has to be looked at."""
        news = False
        for position, reading in enumerate(self.readings):
            if reading is None:
                continue
            visible = shared.shown(reading, self.policy, now)
            if visible != self.shown[position]:
                self.shown[position] = visible
                news = True
        return news

    def _quiet_until(self, now: datetime) -> datetime | None:
        """Return until when a version without any series stays as it is; None where a rule fires beneath Unknown."""
        streaks = {id(reading): reading.streak for reading in self.readings if reading is not None}.values()
        if self.new or any(each.state is not State.UNKNOWN or each.beneath is not State.NORMAL for each in streaks):
            return None
        visible = [(each.frozen_at or each.since) + self.policy.unknown_after for each in streaks]
        return min((instant for instant in visible if instant > now), default=now + _QUIET)


@lru_cache(maxsize=4096)
def _restored(state: State, since: datetime, now: datetime, fired_at: datetime | None, longest: timedelta) -> Streak:
    """Restore a streak; prompts that came to a state without a timer at the same tick share it."""
    return streak.restore(state, since, now, fired_at=fired_at, longest=longest)


def _long(answers: Mapping[Need, Answer]) -> list[Answer]:
    return [answer for need, answer in answers.items() if need.window >= RECORDED_FROM]


def _gap(answer: Answer) -> Reason | None:
    return answer.reason if isinstance(answer, Unusable) and answer.reason in GAPS else None


def _tells(answer: Answer) -> bool:
    return _gap(answer) is None if isinstance(answer, Unusable) else bool(answer)


def _is_heard(found: Measured) -> bool:
    """Tell whether this is more than the news that nobody recorded it, which every version hears."""
    return not (isinstance(found, Unusable) and found.reason in GAPS)


def _asks(reading: RuleReading | None) -> bool:
    """Tell whether a rule asks for a rollback."""
    return reading is not None and reading.streak.firing and Action.ROLLBACK in reading.rule.actions


def _failed(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.UNKNOWN and judgement.because is Reason.QUERY_FAILED
