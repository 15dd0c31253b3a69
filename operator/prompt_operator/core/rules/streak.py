"""How long a verdict has stood: the states of a rule and their timers, as values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.model import NO_TIME

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class State(StrEnum):
    """The state of a rule, as status shows it."""

    NORMAL = "Normal"
    PENDING = "Pending"
    """The condition is true, not yet for as long as the rule asks."""
    FIRING = "Firing"
    RECOVERING = "Recovering"
    """Still firing: the condition is false, not yet for as long as the rule asks."""
    UNKNOWN = "Unknown"
    """Nothing can be said; the state beneath and its timers stand still."""


@dataclass(frozen=True, slots=True)
class Streak:
    """The state of one rule for one prompt version, with every instant that led to it (all UTC)."""

    state: State
    since: datetime
    """When this state began: for Pending `active_at`, for Firing `fired_at`, for Recovering `calm_at`."""
    beneath: State = State.NORMAL
    """What the state is but for missing knowledge; equals `state` unless that is Unknown."""
    active_at: datetime | None = None
    """When the condition became true, moved forward by the time nothing was known."""
    fired_at: datetime | None = None
    """When the rule fired; kept while it fires or recovers."""
    calm_at: datetime | None = None
    """When the condition became false while firing, moved forward likewise."""
    frozen_at: datetime | None = None
    """While Unknown: from when on time does not count."""
    last_true: datetime | None = None
    last_false: datetime | None = None
    last_unknown: datetime | None = None

    @property
    def firing(self) -> bool:
        """Whether the rule fires, also while it recovers and while nothing is known."""
        return self.beneath in {State.FIRING, State.RECOVERING}


def start(now: datetime) -> Streak:
    """Return the streak of a rule that was never judged."""
    return Streak(State.NORMAL, now)


def restore(state: State, since: datetime, now: datetime, *, beneath: State = State.NORMAL) -> Streak:
    """Rebuild a streak from what status kept. A `since` in the future counts as now.

    `beneath` matters for Unknown only: pass Firing when an incident of this rule is open, so that it is neither
    resolved nor fired a second time.
    """
    since = min(since, now)
    beneath = beneath if state is State.UNKNOWN else state
    return Streak(
        state=state,
        since=since,
        beneath=beneath,
        active_at=None if beneath is State.NORMAL else since,
        fired_at=since if beneath in {State.FIRING, State.RECOVERING} else None,
        calm_at=since if beneath is State.RECOVERING else None,
        frozen_at=since if state is State.UNKNOWN else None,
    )


def step(streak: Streak, verdict: Verdict, now: datetime, *, hold: timedelta, keep_firing_for: timedelta) -> Streak:
    """Take one verdict in.

    - Fires once the condition has been true for `hold`; one false verdict before that drops it to Normal.
    - Resolves once it has been false for `keep_firing_for`; one true verdict before that makes it fire on.
    - Unknown stops both timers: only time between two known verdicts that follow each other counts, so neither firing
      nor resolving can rest on a gap.
    """
    streak = _not_after(streak, now)
    if verdict is Verdict.UNKNOWN:
        return _freeze(streak, now)
    streak = _thaw(streak, now)
    if verdict is Verdict.TRUE:
        return _when_true(streak, now, hold)
    return _when_false(streak, now, keep_firing_for)


def _when_true(streak: Streak, now: datetime, hold: timedelta) -> Streak:
    if streak.firing:
        return _enter(streak, State.FIRING, streak.fired_at or now, calm_at=None, last_true=now)
    active_at = streak.active_at or now
    if now - active_at >= hold:
        return _enter(streak, State.FIRING, now, active_at=active_at, fired_at=now, last_true=now)
    return _enter(streak, State.PENDING, active_at, active_at=active_at, last_true=now)


def _when_false(streak: Streak, now: datetime, keep_firing_for: timedelta) -> Streak:
    calm_at = streak.calm_at or now
    if streak.firing and (keep_firing_for > now - calm_at):
        return _enter(streak, State.RECOVERING, calm_at, calm_at=calm_at, last_false=now)
    since = streak.since if streak.state is State.NORMAL else now
    return _enter(streak, State.NORMAL, since, active_at=None, fired_at=None, calm_at=None, last_false=now)


def _enter(streak: Streak, state: State, since: datetime, **instants: datetime | None) -> Streak:
    return replace(streak, state=state, beneath=state, since=since, **instants)


def _freeze(streak: Streak, now: datetime) -> Streak:
    if streak.state is State.UNKNOWN:
        return replace(streak, last_unknown=now)
    known = [instant for instant in (streak.last_true, streak.last_false) if instant]
    frozen_at = max(known, default=now)
    return replace(streak, state=State.UNKNOWN, since=now, frozen_at=frozen_at, last_unknown=now)


def _thaw(streak: Streak, now: datetime) -> Streak:
    """Leave Unknown: move the running timers forward by the time that does not count."""
    if streak.state is not State.UNKNOWN:
        return streak
    gap = now - (streak.frozen_at or now)
    return replace(
        streak,
        state=streak.beneath,
        since=now,
        active_at=_moved(streak.active_at, gap),
        calm_at=_moved(streak.calm_at, gap),
        frozen_at=None,
    )


def _moved(instant: datetime | None, gap: timedelta) -> datetime | None:
    return None if instant is None else instant + max(gap, NO_TIME)


def _not_after(streak: Streak, now: datetime) -> Streak:
    """The clock may have been set back: an instant in the future counts as now."""
    late: dict[str, Any] = {
        name: now for name in _INSTANTS if (instant := getattr(streak, name)) is not None and instant > now
    }
    return replace(streak, **late) if late else streak


_INSTANTS = tuple(field.name for field in fields(Streak) if field.name not in {"state", "beneath"})
