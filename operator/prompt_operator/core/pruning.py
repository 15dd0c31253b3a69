"""Which PromptRollback records have outlived their use. What a decision may still rest on is never among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.ledger import DAY, ledger_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from prompt_operator.core.ledger import RollbackRecord

KEPT = 50
"""So many of a prompt's records are always kept, the newest ones."""
YOUNG = DAY
"""Younger ones count for the daily limit."""


def prunable(records: Iterable[RollbackRecord], now: datetime) -> tuple[RollbackRecord, ...]:
    """Return the records of one prompt that may go, oldest first."""
    records = tuple(records)
    if len(records) <= KEPT:
        return ()  # as nearly always, at each look at a prompt
    newest_first = sorted(records, key=lambda record: (record.at, record.name), reverse=True)
    requests = {record.name for record in records if record.is_request}
    limit = _limit_reached(records)
    return tuple(
        record
        for record in reversed(newest_first[KEPT:])
        if _is_spent(record, requests, now) and not _is_waited_for(record, limit)
    )


def _limit_reached(records: tuple[RollbackRecord, ...]) -> datetime | None:
    """Return when the daily limit was reached that a person is asked about.

    Of the refusals since then, which come for as long as nobody answers, none stands on as many rollbacks.
    """
    ledger = ledger_of(records, None)
    refusals = (each.at for each in ledger.hand_overs)
    return max(refusals, key=lambda at: (ledger.counted_before(at), at), default=None)


def _is_waited_for(record: RollbackRecord, limit: datetime | None) -> bool:
    """A refusal at the daily limit waits for a person, and stands on the rollbacks of the day before it."""
    return limit is not None and not record.acknowledged and limit - DAY < record.at <= limit


def _is_spent(record: RollbackRecord, requests: set[str], now: datetime) -> bool:
    """A request is its author's; a record that answers one keeps it from being executed again."""
    if record.is_request or record.request_ref in requests:
        return False
    holds = record.executed and not record.released
    return not holds and bool(record.outcome) and now - record.at >= YOUNG
