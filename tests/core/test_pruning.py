"""Which records may go: never one that a hold, the daily count, a recovery or a request rests on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import T0, a_record, a_request, after

from prompt_operator.core.ledger import DAY, RollbackRecord, holds_of, ledger_of
from prompt_operator.core.pruning import KEPT, prunable

NOW = after(days=9)
OLD = NOW - timedelta(hours=24)


def old(number: int, **record: Any) -> RollbackRecord:
    """Return a refusal of a week ago."""
    spent = {"decision": "Refused", "outcome": "Refused", "at": T0 + timedelta(minutes=number)} | record
    return a_record(f"record-{number:03}", **spent)


def newer(count: int = KEPT) -> list[RollbackRecord]:
    """Return so many records newer than any other here."""
    return [old(900 + number, at=NOW - timedelta(minutes=number)) for number in range(count)]


def names(*records: RollbackRecord) -> list[str]:
    """Return what may go of these, beside fifty newer ones."""
    return [record.name for record in prunable([*newer(), *records], NOW)]


def test_the_newest_fifty_stay() -> None:
    """Of sixty refusals the ten oldest go, oldest first."""
    assert [r.name for r in prunable(map(old, range(60)), NOW)] == [f"record-{n:03}" for n in range(10)]


def test_a_hold_is_never_pruned() -> None:
    """An Executed record stays for as long as nobody releases it."""
    held = old(1, decision="Executed", outcome="Recovered")
    assert names(held) == []
    released = old(1, decision="Executed", outcome="Recovered", release={"by": "ana", "reason": "fixed"})
    assert names(released) == ["record-001"]


def test_what_counts_for_the_day_stays() -> None:
    """A record goes when it is a day old, not a second before."""
    assert names(old(1, at=OLD)) == ["record-001"]
    assert names(old(1, at=OLD + timedelta(seconds=1))) == []


def test_what_waits_for_a_person_stays() -> None:
    """The refusal at the daily limit, with the rollbacks it counted, also when those are released; not later ones."""
    signed = {"by": "ana", "reason": "fixed"}
    limit = old(5, guard="DailyLimitReached")
    counted = old(4, decision="Executed", outcome="Recovered", release=signed)
    assert names(old(2, guard="DailyLimitReached", at=T0 - timedelta(days=2)), counted, limit) == ["record-002"]
    later = old(6, guard="DailyLimitReached", at=T0 + timedelta(days=2))
    assert names(counted, limit, later) == ["record-006"]
    assert names(counted, old(5, guard="DailyLimitReached", acknowledge=signed)) == ["record-004", "record-005"]


def test_what_is_still_judged_stays() -> None:
    """A rollback whose recovery has no outcome yet is needed to judge it."""
    assert names(old(1, outcome="")) == []


def test_a_request_and_its_answer_stay_together() -> None:
    """A person's request is not ours to delete, and without its answer it would be executed again."""
    request, answer = a_request("please", at=T0), old(1, requestRef={"name": "please"})
    assert names(request, answer) == []
    assert names(answer) == ["record-001"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["Executed", "Refused", "DryRun"]), st.booleans(), st.integers(0, 60 * 24 * 9)),
        max_size=120,
    )
)
def test_no_hold_and_no_count_is_lost(given: list[tuple[str, bool, int]]) -> None:
    """Whatever there is: holds and the ledger of the last day are the same without what may go."""
    records = [
        old(n, decision=decision, outcome="Refused", at=T0 + timedelta(minutes=minutes),
            **({"release": {"by": "ana", "reason": "fixed"}} if released else {}))
        for n, (decision, released, minutes) in enumerate(given)
    ]  # fmt: skip
    gone = {record.name for record in prunable(records, NOW)}
    left = [record for record in records if record.name not in gone]
    assert len(left) >= min(len(records), KEPT)
    assert holds_of(left, None, (), None) == holds_of(records, None, (), None)
    assert ledger_of(left, None).automatic_since(NOW - DAY) == ledger_of(records, None).automatic_since(NOW - DAY)
