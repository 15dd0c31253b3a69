"""Replay: the inputs of an entry, given to the same guards, give the recorded verdict, and another one when changed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.builders import NAMESPACE, T0, V1, V2, a_case, a_reading, after
from tests.core.test_safeguards import OBJECTIONABLE

from prompt_operator.core.audit.basis import basis_of
from prompt_operator.core.audit.entry import packed
from prompt_operator.core.audit.inputs import case_of, inputs_of
from prompt_operator.core.audit.replay import Replayed, replay
from prompt_operator.core.ledger import Execution, HandOver, Ledger
from prompt_operator.core.reasons import Objection
from prompt_operator.core.safeguards import Case, first_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.facts import RuleReading

READING = a_reading()
RECORD = {"prompt": "greeting", "fromVersion": V2, "toVersion": V1}


def entry(case: Case, reading: RuleReading = READING, verb: str = "Rollback", **record: str) -> dict[str, Any]:
    """Return the members of a decision's entry that replay looks at, as they are read from a line."""
    inputs: Mapping[str, Any] = json.loads(packed(inputs_of(case, reading)))
    return {"id": "greeting-1", "verb": verb, "inputs": {**inputs, "record": {**RECORD, **record}}}


@pytest.mark.parametrize("objection", list(OBJECTIONABLE), ids=str)
def test_every_objection_is_found_again(objection: Objection) -> None:
    """For each guard: what it objected to, written down and read back, makes it object again."""
    changed = OBJECTIONABLE[objection]
    reading = next((r for r in SAMPLES if r.rollback == changed.get("judgement")), READING)
    found = replay(entry(a_case(**changed), reading, "Refuse", guard=str(objection)))
    assert found == Replayed("greeting-1", str(objection), str(objection))


@pytest.mark.parametrize(
    ("changed", "objection"),
    [
        ({"left_at": after(hours=30), "reach": timedelta(minutes=5)}, Objection.EVIDENCE_STALE),
        ({"handed_over": HandOver("refusal-1", T0)}, Objection.DAILY_LIMIT_REACHED),
    ],
)
def test_earlier_rollbacks_are_among_the_inputs(changed: dict[str, Any], objection: Objection) -> None:
    """What an earlier rollback was decided on, and that a person was asked for, is written down and read back."""
    found = replay(entry(a_case(**changed), verb="Refuse", guard=str(objection)))
    assert found is not None
    assert (found.replayed, found.problem) == (str(objection), "")


SAMPLES = (a_reading(errors=2, requests=3), a_reading(errors=18, requests=200))


def test_a_rollback_is_decided_again() -> None:
    """No guard objects: from and to are the verdict."""
    assert replay(entry(a_case())) == Replayed("greeting-1", "2.0.0 -> 1.0.0", "2.0.0 -> 1.0.0")


def test_a_changed_count_of_errors_gives_another_verdict() -> None:
    """The rule is judged on the recorded counts, not on its recorded verdict."""
    changed = entry(a_case())
    (errors,) = (each for each in changed["inputs"]["basis"]["measured"] if each["quantity"] == "errors")
    errors["count"] = "3.0"
    found = replay(changed)
    assert found is not None
    assert (found.differs, found.replayed) == (True, "NotConfident")


def test_a_changed_count_of_rollbacks_gives_another_verdict() -> None:
    """Three rollbacks within the day reached the cap; with one taken out there was room."""
    instants = [after(hours=30) - timedelta(hours=hours) for hours in (1, 2, 3)]
    case = a_case(ledger=Ledger(tuple(Execution(f"r-{at}", at, counted=True) for at in instants)))
    told = entry(case, verb="Refuse", guard="DailyLimitReached")
    assert replay(told) == Replayed("greeting-1", "DailyLimitReached", "DailyLimitReached")
    del told["inputs"]["executed"][1]
    found = replay(told)
    assert found is not None
    assert found.differs


@pytest.mark.parametrize(
    ("member", "value"),
    [("auto", "Disabled"), ("suspended", "true"), ("mode", "Fallback"), ("skewSeconds", "31"), ("overridden", "true")],
)
def test_a_changed_switch_gives_another_verdict(member: str, value: str) -> None:
    """What a person could have switched is part of the inputs."""
    changed = entry(a_case())
    changed["inputs"][member] = value
    found = replay(changed)
    assert found is not None
    assert found.differs


@given(
    changed=st.fixed_dictionaries(
        {},
        optional={
            "suspended": st.booleans(),
            "auto": st.sampled_from(["Enabled", "DryRun", "Disabled"]),
            "overridden": st.booleans(),
            "skew": st.none() | st.timedeltas(timedelta(minutes=-1), timedelta(minutes=1)),
            "judged_at": st.timedeltas(timedelta(), timedelta(minutes=2)).map(lambda age: after(hours=30) - age),
            "activated_at": st.none() | st.timedeltas(timedelta(), timedelta(hours=30)).map(lambda age: T0 + age),
            "ledger": st.lists(st.timedeltas(timedelta(), timedelta(hours=40)), max_size=5).map(
                lambda ages: Ledger(
                    tuple(Execution(f"r-{n}", after(hours=30) - age, counted=bool(n % 3)) for n, age in enumerate(ages))
                )
            ),
            "elsewhere": st.lists(st.timedeltas(timedelta(), timedelta(minutes=2)), max_size=15).map(
                lambda ages: tuple(after(hours=30) - age for age in ages)
            ),
        },
    ),
    errors=st.integers(0, 300),
)
@settings(max_examples=150, deadline=None)
def test_any_case_gives_the_same_refusal_when_it_is_read_back(changed: dict[str, Any], errors: int) -> None:
    """Same guard, same sentence: nothing that a guard looks at is lost on the way.

    Of the rollbacks elsewhere only as many as the limit are kept, so that there its sentence may count more.
    """
    reading = a_reading(errors=errors, requests=300)
    case = a_case(judgement=reading.rollback, **changed)
    again = case_of(json.loads(packed(inputs_of(case, reading))))
    now, then = first_refusal(again), first_refusal(case)
    assert (now and now.objection) == (then and then.objection)
    assert now == then or (now is not None and now.objection is Objection.GLOBAL_RATE_LIMITED)


def test_a_persons_request_is_answered_again() -> None:
    """A request is subject to its own three objections, which replay finds as well."""
    told = {
        "id": "greeting-1",
        "verb": "Refuse",
        "inputs": {
            "now": "2026-11-21T08:00:00Z",
            "request": {"name": "please", "uid": "u", "fromVersion": V2},
            "active": V1,
            "target": {"version": V1, "rejected": []},
            "record": {**RECORD, "guard": "StaleRequest"},
        },
    }
    assert replay(told) == Replayed("greeting-1", "StaleRequest", "StaleRequest")
    told["inputs"]["active"] = V2  # type: ignore[index]
    assert replay(told) == Replayed("greeting-1", "StaleRequest", "2.0.0 -> 1.0.0")


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "no inputs: written by a release that kept no inputs"),
        ({"omitted": "20000 bytes are more than the 16384 that are kept"}, "no inputs: 20000 bytes are more than"),
        ({"now": "2026-11-21T08:00:00Z"}, "the inputs cannot be read: KeyError"),
        ({**json.loads(packed(inputs_of(a_case(), READING))), "executed": 3}, "the inputs cannot be read: TypeError"),
    ],
)
def test_what_cannot_be_replayed_is_said_and_is_no_difference(inputs: dict[str, Any], problem: str) -> None:
    """Old entries and entries whose inputs were too large are told apart from those with another verdict."""
    found = replay({"id": "x", "verb": "Rollback", "inputs": inputs})
    assert found is not None
    assert found.problem.startswith(problem)
    assert not found.differs


def test_what_is_no_decision_is_not_replayed() -> None:
    """A release or a takeover has no verdict."""
    assert replay({"id": "x", "verb": "Release", "inputs": {}}) is None


def test_inputs_hold_numbers_as_strings_and_no_text_of_a_prompt() -> None:
    """JSON numbers are read differently by different programs; and nothing a model is told is on the trail."""

    def leaves(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [leaf for each in value.values() for leaf in leaves(each)]
        return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]

    text = packed(inputs_of(a_case(), READING))
    assert all(isinstance(leaf, str) for leaf in leaves(json.loads(text)))
    assert "Greet, as" not in text
    assert NAMESPACE not in text


def test_the_basis_is_what_the_rule_needs_and_no_more() -> None:
    """Of everything that was measured at a tick only the counts that this rule was judged on are kept."""
    assert basis_of(READING) == {
        "measured": [
            {"quantity": "errors", "window": "5m", "count": "100"},
            {"quantity": "requests", "window": "5m", "count": "200"},
        ],
        "baselines": {},
    }
