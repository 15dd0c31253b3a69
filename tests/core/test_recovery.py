"""A rollback has helped only by what the restored version did after the switch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import (
    RULE,
    T0,
    V1,
    V2,
    V3,
    a_policy,
    a_prompt,
    a_reading,
    a_record,
    a_status,
    after,
    facts,
    hash_of,
    readings,
)

from prompt_operator.api.common import rfc3339
from prompt_operator.core.plan import Tell, WriteRecordStatus
from prompt_operator.core.reasons import Reason
from prompt_operator.core.records import statuses
from prompt_operator.core.recovery import next_judgement, recovery
from prompt_operator.core.rules.cadence import reach_of
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.facts import Facts, RuleReading

RESTORED = a_prompt(V2, status=a_status(V1))
HOUR = a_policy(rules=[{"name": RULE, "condition": "error_rate > 5%", "window": "1h", "actions": ["Rollback"]}])


def well(at: datetime, window: str = "5m", *, errors: float = 0) -> RuleReading:
    """Return a reading of the rule, over this window, that was measured then."""
    reading = a_reading(errors=errors, state=State.NORMAL, at=at)
    return replace(reading, rule=compile_rule(RULE, "error_rate > 5%", window=window, actions=["Rollback"]))


def given(*known: RuleReading, rule: str = RULE, window: str = "5m") -> Facts:
    """Return facts after a rollback from 2.0.0 to 1.0.0 at T0."""
    policy = HOUR if window == "1h" else a_policy()
    return facts(RESTORED, records=[a_record(rule=rule)], readings=readings(*known, version=V1), policy=policy)


def judged(at: datetime, facts_: Facts) -> Reason:
    """Return the outcome at an instant."""
    return recovery(facts_, facts_.records[0], at).reason


def test_a_long_window_is_waited_for() -> None:
    """Fifteen minutes after the switch an hour is mostly the restored version's own past: that helped nobody."""
    early = given(well(after(minutes=15), "1h"), window="1h")
    assert judged(after(minutes=15), early) is Reason.WATCHING
    assert next_judgement(early, after(minutes=15)) == after(hours=1)
    assert recovery(early, early.records[0], after(minutes=15)).message == "1.0.0 is watched until 2026-11-21T09:00:00Z"
    late = given(well(after(hours=1), "1h"), window="1h")
    assert judged(after(hours=1), late) is Reason.RECOVERED


def test_a_reading_from_just_before_is_waited_out() -> None:
    """Due, but last measured when the window still began before the switch: the next look decides, and is soon."""
    due = timedelta(hours=1)
    waiting = given(well(T0 + due - timedelta(seconds=15), "1h"), window="1h")
    assert next_judgement(waiting, T0 + due) == T0 + due + timedelta(seconds=15)
    assert judged(T0 + due, waiting) is Reason.WATCHING
    stale = given(well(T0 + due - timedelta(minutes=30), "1h"), window="1h")
    assert judged(T0 + due, stale) is Reason.INCONCLUSIVE


def test_a_manual_rollback_is_not_judged_by_the_past() -> None:
    """A day's window that is true of the time before says nothing; with nothing else it stays open."""
    due = after(minutes=15)
    old, new = well(due, "24h", errors=100), well(due, "5m")
    assert judged(due, given(old, new, rule="")) is Reason.RECOVERED
    alone = given(old, rule="")
    assert judged(due, alone) is Reason.INCONCLUSIVE
    assert "no rule has data that lies wholly behind the switch" in recovery(alone, alone.records[0], due).message


def test_what_came_in_between_leaves_it_open() -> None:
    """The restored version is back: by a later rollback, or by hand. What it does now says nothing of the first one."""
    due, again = after(minutes=15), a_record("record-2", at=after(minutes=8))
    twice = replace(given(well(due)), records=(a_record(rule=RULE), replace(again, from_version=V3)))
    assert judged(due, twice) is Reason.INCONCLUSIVE
    assert recovery(twice, twice.records[0], due).message == "3.0.0 was activated before 1.0.0 was judged"
    moments = ((V1, after(minutes=9)), (V3, after(minutes=8)))
    entries = [{"version": version, "hash": hash_of(version), "at": rfc3339(at)} for version, at in moments]
    by_hand = replace(given(well(due)), prompt=a_prompt(V2, status=a_status(V1) | {"history": entries}))
    assert judged(due, by_hand) is Reason.INCONCLUSIVE


def test_an_outcome_that_was_lost_is_not_made_up() -> None:
    """A record came back without its status, a day after it was due: nothing is measured, told or counted any more."""
    late = after(hours=25)
    facts_ = given(well(late))
    (status,) = [each for each in statuses(facts_, late) if isinstance(each, WriteRecordStatus)]
    assert (status.status.outcome, status.status.judged_at, status.status.after) == ("Inconclusive", None, ())
    assert not [each for each in statuses(facts_, late) if isinstance(each, Tell)]
    assert judged(after(hours=24), given(well(after(hours=24)))) is Reason.RECOVERED


@pytest.mark.parametrize(
    ("condition", "reach"),
    [
        ("error_rate > 5%", timedelta(minutes=5)),
        ("error_rate[1h] > 5% and error_rate > 5%", timedelta(hours=1)),
        ("error_rate[24h] > 5%", timedelta(hours=24, minutes=6)),
    ],
)
def test_how_far_a_rule_looks_back(condition: str, reach: timedelta) -> None:
    """Its longest window; a recorded one ends up to six minutes ago."""
    assert reach_of(compile_rule("rule", condition)) == reach
