"""The one clock of all rules: a few grouped queries per tick, verdicts and streaks in memory, a wake on a transition.

Nothing here writes. What a rule means for its prompt is decided by the reconcile that the clock wakes.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.core.facts import Readings, RuleReading
from prompt_operator.core.health import known, visible_state
from prompt_operator.core.rules import promql, streak
from prompt_operator.core.rules.judgement import Judgement, Verdict
from prompt_operator.core.rules.measure import Amount, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import Action, Rule
from prompt_operator.core.rules.reasons import GAPS, Reason
from prompt_operator.core.rules.verdict import judge
from prompt_operator.ports import DEFAULT_SOURCE, GiveUp, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prompt_operator.api.promptstatus import RuleStatus
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.baseline import Baselines
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.promql import Answer
    from prompt_operator.core.rules.streak import Streak
    from prompt_operator.engine.store import Name
    from prompt_operator.ports import Clock, Metrics
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)

_QUIET = timedelta(hours=1)  # even then looked at now and then
_BREATH = 50  # prompts judged before other work gets a turn on the event loop


@dataclass(slots=True)
class Watched:
    """One activation of one version, and the state of its rules."""

    version: str
    activated_at: datetime | None
    policy: Effective
    baselines: Baselines
    readings: dict[str, RuleReading] = field(default_factory=dict)
    restored: dict[str, Streak] = field(default_factory=dict)
    """Streaks from status, for rules that were not judged since the start."""
    shown: dict[str, tuple[streak.State, bool]] = field(default_factory=dict)
    """What the prompt was last woken for: the visible state of each rule, and whether it was ever known."""
    traffic: bool = False
    needed: frozenset[Need] = frozenset()
    """What its rules have to be told."""
    lacking: Mapping[Need, Unusable] = field(default_factory=dict)
    """What of it nothing can tell, and why."""
    quiet_until: datetime | None = None
    """Without any series nothing can change before: every rule is Unknown and none was firing. None: look each tick."""

    def snapshot(self) -> Readings | None:
        """Return the readings as facts; None before the first tick."""
        if not self.readings:
            return None
        rules = tuple(self.readings[rule.name] for rule in self.policy.rules if rule.name in self.readings)
        return Readings(self.version, self.activated_at, rules, self.traffic)


class RuleClock:
    """Judges the rules of every watched prompt once per tick.

    Args:
        sources: where queries go, by name; rules of a prompt whose source is not among them stay unknown.
        profiles: metric profiles by name.
        clock: the wall clock.
        wake: called with the name of a prompt whose rules need a decision.
        telemetry: counts of rules by state, tick times.
        namespaces: restricts queries; None means all.
    """

    def __init__(
        self,
        sources: Mapping[str, Metrics],
        profiles: Mapping[str, Profile],
        clock: Clock,
        *,
        wake: Callable[[Name], None],
        telemetry: Telemetry,
        namespaces: tuple[str, ...] | None = None,
    ) -> None:
        self._sources, self._profiles, self._clock = sources, profiles, clock
        self._wake, self._telemetry, self._namespaces = wake, telemetry, namespaces
        self._watched: dict[Name, Watched] = {}
        self._lacking = lru_cache(maxsize=1024)(self._find_lacking)  # shared by thousands of prompts
        self.failing: dict[str, datetime] = {}
        """Source -> when its queries began to fail; absent while its last answers were whole."""
        self.judged_at: datetime | None = None
        """Instant of the newest tick."""

    @property
    def failing_since(self) -> datetime | None:
        """When the queries of a source began to fail; None while all answer."""
        return min(self.failing.values(), default=None)

    def watch(
        self,
        name: Name,
        version: str,
        activated_at: datetime | None,
        policy: Effective,
        baselines: Baselines,
        remembered: tuple[RuleStatus, ...],
    ) -> None:
        """Judge this version from the next tick on; the same activation keeps its streaks."""
        known = self._watched.get(name)
        if known is None or (known.version, known.activated_at) != (version, activated_at):
            now = self._clock.now()
            restored = {rule.name: streak.restore(streak.State(rule.state), rule.since, now) for rule in remembered}
            self._watched[name] = Watched(version, activated_at, policy, baselines, restored=restored)
            self._see_needs(self._watched[name])
            return
        known.baselines = baselines
        if known.policy != policy:
            kept = {rule.name for rule in known.policy.rules if rule in policy.rules}
            known.policy, known.quiet_until = policy, None
            self._see_needs(known)
            known.readings = {name: reading for name, reading in known.readings.items() if name in kept}
            known.restored = {name: old for name, old in known.restored.items() if name in kept}

    def _see_needs(self, watched: Watched) -> None:
        """Note what the rules have to be told, and what of it the profile cannot tell."""
        watched.needed = _needs_of(watched.policy.rules)
        watched.lacking = self._lacking(watched.policy.profile, watched.needed)

    def _find_lacking(self, profile: str, needed: frozenset[Need]) -> Mapping[Need, Unusable]:
        if (known := self._profiles.get(profile)) is not None:
            return promql.unmeasured(known, needed)
        return dict.fromkeys(needed, Unusable(Reason.NOT_MEASURED, f"there is no metric profile {profile}"))

    def forget(self, name: Name) -> None:
        """Judge this prompt no longer."""
        self._watched.pop(name, None)

    def readings(self, name: Name) -> Readings | None:
        """Return what is known of a prompt's rules; None before the first tick."""
        watched = self._watched.get(name)
        return watched.snapshot() if watched is not None else None

    def snapshots(self) -> Iterator[tuple[Name, Readings]]:
        """Yield what is known of every watched prompt that was judged."""
        for name, watched in self._watched.items():
            readings = watched.snapshot()
            if readings is not None:
                yield name, readings

    async def tick(self) -> None:
        """Query once, judge every watched prompt, wake those that need a decision."""
        began, now = self._clock.monotonic(), self._clock.now()
        self.judged_at = now
        needed = self._needed()
        found = await asyncio.gather(*(self._ask(*key, wanted, now) for key, wanted in needed.items()))
        answers = dict(zip(needed, found, strict=True))
        self._note_failures(answers, now)
        for position, (name, watched) in enumerate(list(self._watched.items())):
            if position % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            if self._watched.get(name) is watched:
                self._judge(name, watched, answers.get(_asked_of(watched), {}), now)
        self._count()
        self._telemetry.tick_duration.observe(self._clock.monotonic() - began)

    def _needed(self) -> dict[_Asked, set[Need]]:
        distinct = {(_asked_of(watched), id(watched.needed)): watched.needed for watched in self._watched.values()}
        needed: dict[_Asked, set[Need]] = {}
        for (asked, _), wanted in distinct.items():
            needed.setdefault(asked, set()).update(wanted)
        return needed

    async def _ask(self, source: str, profile: str, needed: set[Need], at: datetime) -> dict[Need, Answer]:
        """Run the queries of one source and profile; the metrics adapter limits how many run at once."""
        known, metrics = self._profiles.get(profile), self._sources.get(source)
        if known is None or metrics is None:
            return {}
        asked = promql.queries(known, needed, self._namespaces)
        found = await asyncio.gather(*(self._answer(metrics, query, at) for query in asked))
        return {query.need: answer for query, answer in zip(asked, found, strict=True)}

    async def _answer(self, metrics: Metrics, query: promql.Query, at: datetime) -> Answer:
        began = self._clock.monotonic()
        try:
            samples = await metrics.query(query.promql, at)
        except (Retry, GiveUp) as error:
            self._telemetry.query_failures.inc()
            return Unusable(Reason.QUERY_FAILED, str(error))
        finally:
            self._telemetry.query_duration.observe(self._clock.monotonic() - began)
        return promql.absorb(query, samples)

    def _note_failures(self, answers: Mapping[_Asked, Mapping[Need, Answer]], at: datetime) -> None:
        """Keep since when each source fails, with one line in the log at its beginning and one at its end."""
        for source in self._sources:
            given = [each for asked, found in answers.items() if asked.source == source for each in found.values()]
            failed = [answer for answer in given if isinstance(answer, Unusable) and answer.reason not in GAPS]
            if failed and source not in self.failing:
                self.failing[source] = at
                _log.warning(
                    "metric source %s: %d of %d queries failed: rules keep their state. %s",
                    *(source, len(failed), len(given), failed[0].detail),
                )
            elif given and not failed and self.failing.pop(source, None) is not None:
                _log.info("metric source %s answers again; rules are judged from here on", source)

    def _judge(self, name: Name, watched: Watched, answers: Mapping[Need, Answer], now: datetime) -> None:
        settled = watched.activated_at is None or now - watched.activated_at >= watched.policy.initial_delay
        if not settled and not any(reading.streak.firing for reading in watched.readings.values()):
            return  # pods may still serve the version before
        profile = self._profiles.get(watched.policy.profile)
        identity = Identity(name.namespace, name.name, watched.version)
        measured = promql.reading(profile, identity, answers) if profile is not None else {}
        silent = not any(map(_is_heard, measured.values()))
        if silent and watched.quiet_until is not None and now < watched.quiet_until:
            return  # most prompts of a large cluster have no traffic: they cost next to nothing
        wake = self._see_traffic(watched, measured)
        told = {**measured, **watched.lacking}
        for rule in watched.policy.rules:
            before = watched.readings.get(rule.name)
            after = _reading(rule, before, watched, told, now)
            watched.readings[rule.name] = after
            wake |= self._is_news(watched, after, now)
        watched.quiet_until = _quiet_until(watched, now) if silent else None
        if wake:
            self._wake(name)

    def _see_traffic(self, watched: Watched, measured: Mapping[Need, Measured]) -> bool:
        """Note that some application serves the version; return whether that is news."""
        if watched.traffic:
            return False
        requests = (found for need, found in measured.items() if need.quantity is Quantity.REQUESTS)
        watched.traffic = any(isinstance(found, Amount) and found.value > 0 for found in requests)
        return watched.traffic

    @staticmethod
    def _is_news(watched: Watched, reading: RuleReading, now: datetime) -> bool:
        """Tell whether the prompt has to be looked at: a visible transition, or a rule that asks for a rollback."""
        name = reading.rule.name
        restored = watched.restored.get(name)
        before = watched.shown.get(name, (restored.state if restored else streak.State.NORMAL, False))
        after = visible_state(reading, watched.policy.unknown_after, now), known(reading)
        watched.shown[name] = after
        return before != after or (reading.streak.firing and Action.ROLLBACK in reading.rule.actions)

    def _count(self) -> None:
        counts = dict.fromkeys((state.value for state in streak.State), 0)
        for watched in self._watched.values():
            for reading in watched.readings.values():
                counts[reading.streak.state.value] += 1
        self._telemetry.set_rule_states(counts)


class _Asked(NamedTuple):
    """Whom to ask, and under which names."""

    source: str
    profile: str


def _asked_of(watched: Watched) -> _Asked:
    return _Asked(watched.policy.source or DEFAULT_SOURCE, watched.policy.profile)


@lru_cache(maxsize=1024)
def _needs_of(rules: tuple[Rule, ...]) -> frozenset[Need]:
    return frozenset().union(*map(needs, rules))


def _reading(
    rule: Rule, before: RuleReading | None, watched: Watched, measured: Mapping[Need, Measured], now: datetime
) -> RuleReading:
    """Judge one rule and take the verdict into its streak."""
    policy = watched.policy
    alert = _judgement(rule, measured, watched, policy.alert_confidence)
    old = before.streak if before is not None else watched.restored.get(rule.name) or streak.start(now)
    new = streak.step(old, alert.verdict, now, hold=rule.hold, keep_firing_for=rule.keep_firing_for)
    if before is not None and _failed(alert):
        return replace(before, streak=new)  # the last answer stands and grows old; the streak stands still
    rollback = alert
    if new.firing and Action.ROLLBACK in rule.actions:
        rollback = _judgement(rule, measured, watched, policy.rollback_confidence)
    return RuleReading(rule, new, alert, rollback, now)


def _judgement(rule: Rule, measured: Mapping[Need, Measured], watched: Watched, confidence: float) -> Judgement:
    return judge(rule, measured, watched.baselines, min_samples=watched.policy.min_samples, confidence=confidence)


def _is_heard(found: Measured) -> bool:
    """Tell whether this is more than the news that nobody recorded it, which every version hears."""
    return not (isinstance(found, Unusable) and found.reason in GAPS)


def _quiet_until(watched: Watched, now: datetime) -> datetime | None:
    """Return until when a version without any series stays as it is; None where a rule fires beneath Unknown."""
    streaks = [reading.streak for reading in watched.readings.values()]
    if any(each.state is not streak.State.UNKNOWN or each.beneath is not streak.State.NORMAL for each in streaks):
        return None
    visible = [(each.frozen_at or each.since) + watched.policy.unknown_after for each in streaks]
    return min((instant for instant in visible if instant > now), default=now + _QUIET)


def _failed(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.UNKNOWN and judgement.because is Reason.QUERY_FAILED
