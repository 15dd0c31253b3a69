"""Ready, Serving, Reconciling and Stalled: the table of the contract, one row per situation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prompt_operator.core.conditions import Wanted, find
from prompt_operator.core.reasons import ConditionType, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_operator.core.facts import Facts
    from prompt_operator.core.standing import Blocked

MISSING_GRACE = timedelta(seconds=60)
"""A version may arrive a moment after the Prompt that names it; longer than this is somebody's mistake."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the conditions are told from."""

    active: str
    desired: str
    mode: str
    suspended: bool
    blocked: Blocked | None
    """What is wrong, the first of several."""
    served: str
    """The version that applications read, be it another one; empty when they have nothing to read."""


def wanted(facts: Facts, situation: Situation, now: datetime) -> Iterator[Wanted]:
    """Yield Ready and Serving, and Reconciling or Stalled where they hold."""
    ready, trouble = _ready(situation), situation.blocked
    yield ready
    yield _serving(situation)
    if trouble is None or situation.suspended:
        return
    if _passing(facts, trouble, now):
        yield Wanted(ConditionType.RECONCILING, "True", trouble.reason, trouble.message)
    else:
        yield Wanted(ConditionType.STALLED, "True", trouble.reason, trouble.message)


def missing_until(facts: Facts, now: datetime) -> datetime:
    """Return until when a missing version may still arrive: counted from when it was first missed."""
    if _stalled_for(facts, Reason.VERSION_MISSING):
        return now
    old = find(facts.prompt.status.conditions, ConditionType.RECONCILING)
    since = old.last_transition_time if old is not None and old.reason == Reason.VERSION_MISSING else now
    return min(since, now) + MISSING_GRACE


def _stalled_for(facts: Facts, reason: Reason) -> bool:
    old = find(facts.prompt.status.conditions, ConditionType.STALLED)
    return old is not None and old.reason == reason and old.observed_generation == facts.prompt.metadata.generation


def _passing(facts: Facts, trouble: Blocked, now: datetime) -> bool:
    if trouble.reason is Reason.VERSION_MISSING:
        return now < missing_until(facts, now)
    return trouble.reason is Reason.API_ERROR


def _ready(situation: Situation) -> Wanted:
    active, desired, blocked = situation.active, situation.desired, situation.blocked
    if situation.suspended:
        status = "True" if active == desired else "False"
        return _wanted(
            status, Reason.SUSPENDED, f"suspended: {active or 'nothing'} stays active until spec.suspend is false"
        )
    if blocked is not None and blocked.reason is Reason.VERSION_HELD and active:
        return _wanted("False", Reason.ROLLED_BACK, f"{active} is active instead of {desired}: {blocked.message}")
    if blocked is not None:
        return _wanted("False", blocked.reason, blocked.message)
    if situation.mode != "Active":
        return _wanted("True", Reason.FALLBACK, "mode is Fallback: applications are told to use their built-in default")
    return _wanted("True", Reason.ACTIVE, f"{active} is active")


def _wanted(status: str, reason: Reason, message: str) -> Wanted:
    return Wanted(ConditionType.READY, status, reason, message)


def _serving(situation: Situation) -> Wanted:
    if situation.mode != "Active":
        return Wanted(ConditionType.SERVING, "False", Reason.FALLBACK, "applications use their built-in default")
    if situation.served and situation.active:
        return Wanted(ConditionType.SERVING, "True", Reason.ACTIVE, f"applications are served {situation.served}")
    return Wanted(
        ConditionType.SERVING,
        "False",
        Reason.NOTHING_SERVED,
        "no version was ever projected: applications have nothing to read",
    )
