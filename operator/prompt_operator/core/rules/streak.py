"""How long a verdict has stood: the states of a rule and their timers, as values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.units import NO_TIME

if TYPE_CHECKING:
    from datetime import datetime


FOREVER = timedelta.max
SEEN_ANEW = timedelta(minutes=1)
"""So much of a hold must be seen after a restart: status keeps when it began, not whether somebody watched since."""
FLAPS, FLAPS_WITHIN = 3, timedelta(hours=1)
"""A rule that fires so often within this time is flapping; `keepFiringFor` is the cure."""


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


_FIRES = frozenset({State.FIRING, State.RECOVERING})


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
    restored_at: datetime | None = None
    """When it was rebuilt from status with a timer running, moved forward likewise."""
    firings: tuple[datetime, ...] = ()
    """The instants of the newest FLAPS firings."""

    @property
    def firing(self) -> bool:
        """Whether the rule fires, also while it recovers and while nothing is known."""
        return self.beneath in _FIRES

    @property
    def flapping(self) -> bool:
        """Whether it fired FLAPS times within FLAPS_WITHIN."""
        return len(self.firings) == FLAPS and self.firings[-1] - self.firings[0] <= FLAPS_WITHIN

    @property
    def last_known(self) -> datetime | None:
        """When it was last known to be true or false, or rebuilt."""
        return max(filter(None, (self.last_true, self.last_false, self.restored_at)), default=None)


def start(now: datetime) -> Streak:
    """Return the streak of a rule that was never judged."""
    return Streak(State.NORMAL, now)


def restore(
    state: State, since: datetime, now: datetime, *, fired_at: datetime | None = None, longest: timedelta = FOREVER
) -> Streak:
    """Rebuild a streak from what status kept. Instants in the future count as now.

    `fired_at` is given where the rule fires beneath Unknown or Recovering: it is neither resolved nor fired again.
    A timer older than `longest` ran on while nobody watched, and begins anew.
    """
    since = min(since, now)
    if fired_at or state in {State.FIRING, State.RECOVERING}:
        fired_at = min(fired_at or since, now)
    if state in {State.PENDING, State.RECOVERING} and now - since > longest:
        state, since = (State.FIRING, fired_at) if fired_at else (State.NORMAL, now)
    beneath = state if state is not State.UNKNOWN else State.FIRING if fired_at else State.NORMAL
    return Streak(
        state=state,
        since=since,
        beneath=beneath,
        active_at=since if state is State.PENDING else fired_at,
        fired_at=fired_at,
        calm_at=since if state is State.RECOVERING else None,
        frozen_at=since if state is State.UNKNOWN else None,
        restored_at=now if state in {State.PENDING, State.RECOVERING} else None,
    )


def step(
    streak: Streak,
    verdict: Verdict,
    now: datetime,
    *,
    hold: timedelta,
    keep_firing_for: timedelta,
    apart: timedelta = FOREVER,
    forget_after: timedelta = FOREVER,
) -> Streak:
    """Take one verdict in.

    - Fires once the condition has been true for `hold`; one false verdict before that drops it to Normal.
    - Resolves once it has been false for `keep_firing_for`; one true verdict before that makes it fire on.
    - Unknown stops both timers, and so do verdicts further apart than `apart`: only time between two known verdicts
      that follow each other counts, so neither firing nor resolving can rest on a gap.
    - After a gap longer than `forget_after` both timers begin anew. What fires still fires.
    """
    streak = _not_after(streak, now)
    if verdict is Verdict.UNKNOWN:
        return _freeze(streak, now, forget_after)
    streak = _resumed(streak, now, apart, forget_after)
    if verdict is Verdict.TRUE:
        return _when_true(streak, now, hold)
    return _when_false(streak, now, keep_firing_for)


def _when_true(streak: Streak, now: datetime, hold: timedelta) -> Streak:
    if streak.firing:
        return _enter(streak, State.FIRING, streak.fired_at or now, calm_at=None, last_true=now)
    active_at = streak.active_at or now
    if _lasted(streak, active_at, hold, now):
        firings = (*streak.firings, now)[-FLAPS:]
        return _enter(streak, State.FIRING, now, active_at=active_at, fired_at=now, last_true=now, firings=firings)
    return _enter(streak, State.PENDING, active_at, active_at=active_at, last_true=now)


def _when_false(streak: Streak, now: datetime, keep_firing_for: timedelta) -> Streak:
    calm_at = streak.calm_at or now
    if streak.firing and not _lasted(streak, calm_at, keep_firing_for, now):
        return _enter(streak, State.RECOVERING, calm_at, calm_at=calm_at, last_false=now)
    since = streak.since if streak.state is State.NORMAL else now
    return _enter(streak, State.NORMAL, since, active_at=None, fired_at=None, calm_at=None, last_false=now)


def _lasted(streak: Streak, begin: datetime, asked: timedelta, now: datetime) -> bool:
    """Say whether something lasted as long as asked; after a restart the last part of it must have been seen."""
    seen = asked if streak.restored_at is None else now - streak.restored_at
    return now - begin >= asked and seen >= min(asked, SEEN_ANEW)


def _enter(streak: Streak, state: State, since: datetime, **others: Any) -> Streak:
    return replace(streak, state=state, beneath=state, since=since, **others)


def _freeze(streak: Streak, now: datetime, forget_after: timedelta) -> Streak:
    if streak.state is State.UNKNOWN:
        late = now - (streak.frozen_at or now) > forget_after
        return replace(_forgotten(streak) if late else streak, last_unknown=now)
    frozen_at = streak.last_known or now
    return replace(streak, state=State.UNKNOWN, since=now, frozen_at=frozen_at, last_unknown=now)


def _resumed(streak: Streak, now: datetime, apart: timedelta, forget_after: timedelta) -> Streak:
    """After a time in which nothing was known, move the running timers forward by it, or drop them."""
    unknown = streak.state is State.UNKNOWN
    gap = now - ((streak.frozen_at if unknown else streak.last_known) or now)
    if not unknown and gap <= apart:
        return streak
    if gap > forget_after:
        streak = _forgotten(streak)
    return replace(
        streak,
        state=streak.beneath,
        since=now if unknown else streak.since,
        active_at=_moved(streak.active_at, gap),
        calm_at=_moved(streak.calm_at, gap),
        restored_at=_moved(streak.restored_at, min(gap, now - (streak.restored_at or now))),
        frozen_at=None,
    )


def _forgotten(streak: Streak) -> Streak:
    """Drop the timers: what was pending is normal, what was recovering fires."""
    if streak.firing:
        return replace(streak, beneath=State.FIRING, calm_at=None)
    return replace(streak, beneath=State.NORMAL, active_at=None)


def _moved(instant: datetime | None, gap: timedelta) -> datetime | None:
    return None if instant is None else instant + max(gap, NO_TIME)


def _not_after(streak: Streak, now: datetime) -> Streak:
    """The clock may have been set back: an instant in the future counts as now."""
    late: dict[str, Any] = {
        name: now for name in _INSTANTS if (instant := getattr(streak, name)) is not None and instant > now
    }
    return replace(streak, **late, firings=()) if late else streak


_INSTANTS = tuple(field.name for field in fields(Streak) if field.name not in {"state", "beneath", "firings"})
