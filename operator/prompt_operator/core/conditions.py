"""Conditions: what each says in which situation, and when a time or a message changes.

A message changes only together with its status or reason, so values that move with every measurement never cause a
write. `Reconciling` and `Stalled` are present only while True (kstatus).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prompt_operator.api.common import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from prompt_operator.core.reasons import ConditionType


@dataclass(frozen=True, slots=True)
class Wanted:
    """A condition as it should be now."""

    type: ConditionType
    status: str
    reason: str
    message: str
    lively: bool = False
    """The message carries measured values: keep the one that came with the reason."""

    @property
    def short(self) -> tuple[str, str, str]:
        """Type, status and reason."""
        return self.type, self.status, self.reason


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of this type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def summary(generation: int | None, word: str | None, conditions: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return what a status says without its times and messages, to compare without keeping it.

    Args:
        generation: its observedGeneration.
        word: its stage or outcome.
        conditions: type, status and reason of each.
    """
    said = (f"{kind}={status}/{reason}" for kind, status, reason in sorted(conditions))
    return ("" if generation is None else str(generation), word or "", *said)


def summary_of(status: Mapping[str, Any], word: str) -> tuple[str, ...]:
    """Return the summary of a status as the API server gives it; `word` names the member with the stage or outcome."""
    conditions = ((each["type"], each["status"], each["reason"]) for each in status.get("conditions") or ())
    return summary(status.get("observedGeneration"), status.get(word), conditions)


_LONGEST = 32768  # what the API takes


def transition(
    before: tuple[Condition, ...], wanted: Iterable[Wanted], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions after this look: `lastTransitionTime` moves only with the status."""
    return tuple(_next(find(before, want.type), want, generation, now) for want in wanted)


def _next(old: Condition | None, want: Wanted, generation: int, now: datetime) -> Condition:
    same_status = old is not None and old.status == want.status
    keep_message = want.lively and old is not None and same_status and old.reason == want.reason
    return Condition(
        type=want.type,
        status=want.status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and same_status else now,
        reason=want.reason,
        message=old.message if old is not None and keep_message else want.message[:_LONGEST],
    )
