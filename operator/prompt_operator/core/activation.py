"""What an activation or a rollback leaves in the Prompt's status. Pure bookkeeping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.api.promptstatus import (
    Decision,
    Held,
    HistoryEntry,
    LeaveCause,
    Override,
    PromptStatus,
    RollbackEntry,
    Rollbacks,
)
from prompt_operator.core.baseline import own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from prompt_operator.api.common import Measurement
    from prompt_operator.core.ledger import Hold, RollbackRecord

HISTORY = 10
RECENT = 20


def activated(
    status: PromptStatus,
    version: str,
    content_hash: str,
    *,
    cause: LeaveCause,
    by: str,
    reason: str,
    now: datetime,
    baseline: tuple[Measurement, ...] = (),
) -> PromptStatus:
    """Return the status with this version active: what was active becomes the previous one, a line of history is added.

    Rules are forgotten, because they were judged on another version; of the baseline stays what the caller keeps.
    """
    entry = HistoryEntry(version=version, hash=content_hash, at=now, by=by or None, reason=reason or None)
    return status.model_copy(
        update={
            "active_version": version,
            "active_hash": content_hash,
            "activated_at": now,
            "previous_version": status.active_version or status.previous_version,
            "history": (entry, *_left(status.history, cause))[:HISTORY],
            "rules": (),
            "baseline": baseline,
        }
    )


def _left(history: tuple[HistoryEntry, ...], cause: LeaveCause) -> tuple[HistoryEntry, ...]:
    if not history:
        return ()
    return (history[0].model_copy(update={"left_because": cause}), *history[1:])


def rolled_back(status: PromptStatus, decision: Decision, now: datetime) -> PromptStatus:
    """Return the status after a decision to roll back."""
    cause: LeaveCause = "ManualRollback" if decision.kind == "ManualRollback" else "Rollback"
    by = decision.requested_by or "prompt-operator"
    after = activated(
        status,
        decision.to_version or "",
        decision.to_hash or "",
        cause=cause,
        by=by,
        reason=decision.reason or "",
        now=now,
        baseline=own(status.baseline, decision.to_version or ""),
    )
    return after.model_copy(update={"decision": decision})


def override_of(
    status: PromptStatus, desired: str, active: str, hold: Hold | None, records: Iterable[RollbackRecord]
) -> Override | None:
    """Return the override in force: another version stands in for a desired one that is held."""
    if hold is None or active in ("", desired):
        return None
    old = status.override
    if old is not None and (old.version, old.against) == (active, desired):
        return old
    manual = any(record.name == hold.record and record.trigger == "Manual" for record in records) or (
        status.decision is not None and status.decision.id == hold.record and status.decision.kind == "ManualRollback"
    )
    return Override(
        version=active,
        because="ManualRollback" if manual else "Rollback",
        reason=hold.reason or None,
        since=hold.since,
        against=desired,
    )


def held_of(holds: Mapping[str, Hold]) -> tuple[Held, ...]:
    """Return the holds as status shows them."""
    return tuple(
        Held(
            version=hold.version,
            content_hash=hold.content_hash or None,
            reason=hold.reason or None,
            since=hold.since,
            record=hold.record or None,
        )
        for _, hold in sorted(holds.items())
    )


def rollbacks_of(records: Iterable[RollbackRecord], decision: Decision | None) -> Rollbacks | None:
    """Return the ledger as status shows it, rebuilt from the records and the decision not recorded yet."""
    entries = {
        record.name: RollbackEntry(
            id=record.name,
            trigger="Manual" if record.trigger == "Manual" else "Automatic",
            from_version=record.from_version,
            to_version=record.to_version,
            at=record.at,
        )
        for record in records
        if record.executed and record.to_version
    }
    if decision is not None and decision.kind != "Activation" and decision.from_version and decision.to_version:
        entries[decision.id] = RollbackEntry(
            id=decision.id,
            trigger="Manual" if decision.kind == "ManualRollback" else "Automatic",
            from_version=decision.from_version,
            to_version=decision.to_version,
            at=decision.at,
        )
    newest = sorted(entries.values(), key=lambda entry: (entry.at, entry.id), reverse=True)[:RECENT]
    return Rollbacks(last_at=newest[0].at, recent=tuple(newest)) if newest else None
