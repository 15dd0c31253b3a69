"""What the prompts of one tick have in common is worked out once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.core.facts import RuleReading
from prompt_operator.core.health import known, visible_state
from prompt_operator.core.rules import streak
from prompt_operator.core.rules.cadence import cadence_of
from prompt_operator.core.unrecorded import gap_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.judgement import Judgement, Verdict
    from prompt_operator.core.rules.measure import Measured, Need
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.reasons import Reason
    from prompt_operator.core.rules.streak import State, Streak

_MISSED = 4  # looks at a rule; what is further apart does not follow each other


class Shown(NamedTuple):
    """What a prompt's status shows of a rule."""

    state: State
    known: bool
    """It was ever true or false."""
    gap: Reason | None
    """The gap in the recording that keeps it unknown."""


class Shared:
    """Steps that many rules take alike at one tick are taken once.

    Prompts in lockstep (all that are well, all without traffic) so share their streaks and readings: ten thousand of
    them need the time and the memory of one. The keys are identities of objects that the values keep alive.
    """

    def __init__(self, at: datetime, tick: timedelta) -> None:
        self.at = at
        """The instant that the newest answers belong to."""
        self._tick = tick
        self.beginning = streak.start(at)
        self._steps: dict[tuple[int, Verdict, int, timedelta], tuple[Streak, Rule, Streak]] = {}
        self._readings: dict[tuple[int, int, int, int, datetime], RuleReading] = {}
        self._shown: dict[tuple[int, int], tuple[RuleReading, Effective, Shown]] = {}
        self._blank: dict[tuple[int | float, ...], tuple[Rule, Judgement]] = {}

    def step(self, old: Streak, verdict: Verdict, rule: Rule, unknown_after: timedelta) -> Streak:
        """Take a verdict into a streak; what was seen before nothing was known for `unknown_after` counts no more."""
        key = id(old), verdict, id(rule), unknown_after
        found = self._steps.get(key)
        if found is None:
            apart = _MISSED * max(self._tick, cadence_of(rule))
            new = streak.step(
                old,
                verdict,
                self.at,
                hold=rule.hold,
                keep_firing_for=rule.keep_firing_for,
                apart=apart,
                forget_after=max(unknown_after, apart),
            )
            found = self._steps[key] = old, rule, new
        return found[2]

    def reading(
        self,
        rule: Rule,
        new: Streak,
        alert: Judgement,
        rollback: Judgement,
        at: datetime,
        basis: Mapping[Need, Measured] | None,
    ) -> RuleReading:
        """Return the reading of these parts; a basis belongs to one rollback judgement only."""
        key = id(rule), id(new), id(alert), id(rollback), at
        found = self._readings.get(key)
        if found is None:
            found = self._readings[key] = RuleReading(rule, new, alert, rollback, at, basis)
        return found

    def shown(self, reading: RuleReading, policy: Effective, now: datetime) -> Shown:
        """Return what is to be seen of a reading."""
        key = id(reading), id(policy)
        found = self._shown.get(key)
        if found is None:
            state = visible_state(reading, policy.unknown_after, now)
            found = self._shown[key] = reading, policy, Shown(state, known(reading), gap_of(reading))
        return found[2]

    def blank(
        self, rule: Rule, policy: Effective, causes: Iterable[object], judged: Callable[[], Judgement]
    ) -> Judgement:
        """Return the judgement of a rule that has nothing to go by; equal ones are of the very same causes."""
        key = id(rule), policy.min_samples, policy.alert_confidence, *map(id, causes)
        known_already = self._blank.get(key)
        if known_already is None:
            known_already = self._blank[key] = rule, judged()
        return known_already[1]
