"""Holds, spacing and counts, rebuilt from records; targets of a rollback; and who may stand in for a held version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.core.builders import (
    RULE,
    T0,
    V1,
    V2,
    V3,
    a_prompt,
    a_record,
    a_request,
    a_status,
    a_version,
    after,
    facts,
    hash_of,
    observed,
)

from prompt_operator.api.common import rfc3339
from prompt_operator.api.promptstatus import Decision, Held
from prompt_operator.core.ledger import holds_of, ledger_of
from prompt_operator.core.reasons import Reason
from prompt_operator.core.standing import RETRY_ANNOTATION, retry, standing, target_from
from prompt_operator.core.target import Candidate, choose, history_of, unusable

DECISION = Decision(
    id="decision-1", kind="Rollback", decision="Executed", from_version=V2, to_version=V1, from_hash=hash_of(V2),
    reason=RULE, at=after(minutes=1), inputs="{}",
)  # fmt: skip
ALL = {v: a_version(v) for v in (V1, V2, V3)}

# --- ledger and holds


@pytest.mark.parametrize(
    ("record", "held"),
    [
        pytest.param(a_record(), True, id="executed"),
        pytest.param(a_record(trigger="Manual"), True, id="executed for a person"),
        pytest.param(a_record(release={"by": "ada", "reason": "fixed"}), False, id="released"),
        pytest.param(a_record(acknowledge={"by": "ada", "reason": "seen"}), True, id="acknowledged"),
        pytest.param(a_record(decision="Refused"), False, id="refused"),
        pytest.param(a_record(decision="DryRun"), False, id="rehearsed"),
        pytest.param(a_request(), False, id="a request"),
    ],
)
def test_which_records_hold(record: Any, held: bool) -> None:  # noqa: FBT001  a factor
    """What was left by an executed rollback is held until that record is released."""
    assert set(holds_of([record], None, [], None)) == ({V2} if held else set())


def test_a_decision_without_a_record_holds_as_well() -> None:
    """Between the status write and the record a crash forgets nothing."""
    assert holds_of([], DECISION, [], None)[V2].record == "decision-1"
    assert holds_of([a_record("decision-1", release={"by": "ada", "reason": "x"})], DECISION, [], None) == {}


def test_status_remembers_a_hold_whose_record_is_gone() -> None:
    """A deleted record does not lift the hold; one that exists decides by itself."""
    held = Held(version=V2, since=T0, record="record-1")
    assert set(holds_of([], None, [held], None)) == {V2}
    released = a_record(release={"by": "ada", "reason": "fixed"})
    assert holds_of([released], None, [held], None) == {}


def test_the_newest_hold_of_a_version_counts() -> None:
    """Rejected, released, rejected again: the second record is the one to release."""
    records = [a_record("record-1"), a_record("record-2", at=after(hours=1))]
    assert holds_of(records, None, [], None)[V2].record == "record-2"


@pytest.mark.parametrize(("seconds", "held"), [(-1, True), (0, True), (1, False)])
def test_a_retry_lifts_what_is_older(seconds: int, held: bool) -> None:  # noqa: FBT001  a factor
    """A retry is ignored when it is not newer than the hold."""
    assert bool(holds_of([a_record()], None, [], after(seconds=seconds))) is held


def test_the_ledger_counts_automatic_ones_and_remembers_all() -> None:
    """Manual and acknowledged ones only space; refused and rehearsed ones do nothing."""
    records = [
        a_record("a", at=after(hours=1)),
        a_record("b", at=after(hours=2), trigger="Manual"),
        a_record("c", at=after(hours=3), acknowledge={"by": "ada", "reason": "seen"}),
        a_record("d", at=after(hours=4), decision="Refused"),
    ]
    ledger = ledger_of(records, None)
    assert ledger.last_at == after(hours=3)
    assert ledger.automatic_since(T0) == 1
    assert ledger.automatic_since(after(hours=1)) == 0
    assert ledger_of([], DECISION).automatic_since(T0) == 1
    assert len(ledger_of([a_record("decision-1")], DECISION).executed) == 1


SIGNED = {"by": "ada", "reason": "seen"}
AT_LIMIT = {"at": after(hours=4), "decision": "Refused", "guard": "DailyLimitReached"}


def capped(**changed: dict[str, Any]) -> str:
    """Return which refusal waits for a person, after three rollbacks and two refusals; records changed by name."""
    given: dict[str, dict[str, Any]] = {
        "a": {"at": after(hours=1)},
        "b": {"at": after(hours=2)},
        "c": {"at": after(hours=3)},
        "d": AT_LIMIT,
        "e": AT_LIMIT | {"at": after(hours=50)},
        **changed,
    }
    waiting = ledger_of([a_record(name, **record) for name, record in given.items()], None).handed_over(3)
    return waiting.record if waiting else ""


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        pytest.param({}, "d", id="two days later"),
        pytest.param({"d": AT_LIMIT | {"guard": "CoolingDown"}}, "", id="another guard"),
        pytest.param({"d": AT_LIMIT | {"acknowledge": SIGNED}}, "", id="acknowledged"),
        pytest.param(
            {"e": AT_LIMIT | {"at": after(hours=50), "acknowledge": SIGNED}}, "", id="a later one acknowledged"
        ),
        pytest.param({"b": {"at": after(hours=2), "acknowledge": SIGNED}}, "", id="a rollback acknowledged"),
        pytest.param({"b": {"at": after(hours=2), "release": SIGNED}}, "d", id="a release is none"),
        pytest.param({"f": {"at": after(hours=5), "acknowledge": SIGNED}}, "d", id="a rollback after it"),
        pytest.param(
            {"b": {"at": after(hours=2), "acknowledge": SIGNED}, "f": {"at": AT_LIMIT["at"]}},
            "",
            id="a rollback that followed within its second",
        ),
    ],
)
def test_the_limit_waits_for_a_person(changed: dict[str, Any], waits: str) -> None:
    """Not for time: until the refusal is acknowledged, or a rollback that it counted."""
    assert capped(**changed) == waits


# --- targets


def chosen(**changed: Any) -> str:
    """Choose a target among 1.0.0 and 3.0.0 (newest first), of which something is changed."""
    given: dict[str, Any] = {
        "reference": "", "history": [Candidate(V3), Candidate(V1)], "versions": ALL, "held": (), "left": (),
    }  # fmt: skip
    return choose(**given | changed).version


@pytest.mark.parametrize(
    ("changed", "target"),
    [
        pytest.param({}, V3, id="the newest"),
        pytest.param({"reference": V1}, V1, id="the reference"),
        pytest.param({"reference": V1, "held": (V1,)}, V3, id="the reference is held"),
        pytest.param({"reference": "9.9.9"}, V3, id="the reference does not exist"),
        pytest.param({"reference": V1, "left": (V1,)}, V1, id="a reference may have been left"),
        pytest.param({"held": (V3,)}, V1, id="the newest is held"),
        pytest.param({"left": (V3,)}, V1, id="the newest was left by a rollback"),
        pytest.param({"versions": ALL | {V3: a_version(V3, stage="Draft")}}, V1, id="a draft"),
        pytest.param({"versions": ALL | {V3: a_version(V3, stage="Deprecated")}}, V1, id="deprecated"),
        pytest.param({"versions": ALL | {V3: a_version(V3, deleting=True)}}, V1, id="being deleted"),
        pytest.param({"versions": {V1: ALL[V1]}}, V1, id="gone"),
        pytest.param({"history": [Candidate(V3, hash_of(V1)), Candidate(V1)]}, V1, id="other content than served"),
        pytest.param({"held": (V1, V3)}, "", id="none usable"),
        pytest.param({"history": []}, "", id="none at all"),
    ],
)
def test_the_order_of_choice(changed: dict[str, Any], target: str) -> None:
    """Reference, then the newest of history that is usable and was not left by a rollback."""
    assert chosen(**changed) == target


def test_a_reference_must_have_the_content_it_was_served_with() -> None:
    """The reference is checked against the hash that history knows, like any other target."""
    assert chosen(reference=V1, history=[Candidate(V1, hash_of(V2))]) == ""


def test_each_rejected_candidate_is_named_once() -> None:
    """The message of TargetUnhealthy says of every candidate what is wrong with it."""
    choice = choose(V1, [Candidate(V1), Candidate(V3)], ALL, (V1, V3), ())
    assert choice.rejected == (f"{V1} is held", f"{V3} is held")
    assert choose("", [], ALL, (), ()).rejected == ()


def test_history_without_status_is_read_from_the_versions() -> None:
    """Where status was lost, the versions' own status tells which were served and when."""
    served = [replace(ALL[v], activated_at=rfc3339(at)) for v, at in ((V1, T0), (V2, after(hours=1)))]
    found = history_of([], [*served, ALL[V3]], V3)
    assert [candidate.version for candidate in found] == [V2, V1]
    assert found[0].known_hash == hash_of(V2)
    assert [c.version for c in history_of([(V3, hash_of(V3)), (V2, hash_of(V2))], served, V3)] == [V2, V1]


def test_usable_means_all_five() -> None:
    """Exists, hash right, not Draft, not Deprecated, not held."""
    assert unusable(Candidate(V1, hash_of(V1)), ALL, ()) == ""
    assert "HashMismatch" in unusable(Candidate(V1, hash_of(V2)), ALL, ())


# --- standing


def stands(desired: str = V2, active: str = V1, **given: Any) -> tuple[str, Reason | None]:
    """Return which version should be active, and what keeps the desired one out."""
    spec = given.pop("spec", {})
    annotations = given.pop("annotations", {})
    status = given.pop("status", a_status(active) if active else {})
    prompt = a_prompt(desired, status=status, annotations=annotations, **spec)
    stand = standing(facts(prompt, **given), after(hours=1))
    return stand.active, stand.blocked.reason if stand.blocked else None


RETRIED = {RETRY_ANNOTATION: rfc3339(after(minutes=30))}
TOO_OLD = {RETRY_ANNOTATION: rfc3339(T0 - timedelta(hours=1))}
RELEASED: dict[str, Any] = {"release": {"by": "ada", "reason": "fixed"}}
FOREIGN_HASH = a_status(V2, activeHash=hash_of(V1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, (V2, None), id="the desired one"),
        pytest.param({"records": [a_record()]}, (V1, Reason.VERSION_HELD), id="held"),
        pytest.param({"records": [a_record(**RELEASED)]}, (V2, None), id="released"),
        pytest.param({"records": [a_record()], "annotations": RETRIED}, (V2, None), id="retried"),
        pytest.param({"records": [a_record()], "annotations": TOO_OLD}, (V1, Reason.VERSION_HELD), id="old"),
        pytest.param({"spec": {"suspend": True}}, (V1, None), id="suspended"),
        pytest.param({"spec": {"suspend": True}, "records": [a_record()]}, (V1, None), id="suspended and held"),
        pytest.param({"versions": [ALL[V1]]}, (V1, Reason.VERSION_MISSING), id="missing"),
        pytest.param({"versions": [ALL[V1], a_version(V2, deleting=True)]}, (V1, Reason.VERSION_MISSING), id="going"),
        pytest.param({"versions": [ALL[V1], a_version(V2, stage="Draft")]}, (V1, Reason.VERSION_DRAFT), id="draft"),
        pytest.param(
            {"versions": [ALL[V1], a_version(V2, contentHash=hash_of(V1))]}, (V1, Reason.HASH_MISMATCH), id="declared"
        ),
        pytest.param({"active": V2, "status": FOREIGN_HASH}, (V2, Reason.HASH_MISMATCH), id="changed"),
        pytest.param({"policy_missing": "strict"}, (V1, Reason.POLICY_NOT_FOUND), id="policy missing"),
        pytest.param({"active": V2, "policy_missing": "strict"}, (V2, None), id="policy missing, active already"),
        pytest.param({"active": ""}, (V2, None), id="nothing yet"),
        pytest.param({"active": "", "records": [a_record()]}, (V1, Reason.VERSION_HELD), id="status lost, held"),
        pytest.param(
            {"active": "", "records": [a_record()], "versions": [ALL[V2]]}, ("", Reason.VERSION_HELD), id="no other one"
        ),
        pytest.param(
            {"active": "", "config_map": observed(V1), "versions": [ALL[V1]]},
            (V1, Reason.VERSION_MISSING), id="status lost, ConfigMap kept",
        ),
        pytest.param(
            {"active": V2, "records": [a_record()]}, (V1, Reason.VERSION_HELD), id="the active one is held"
        ),
        pytest.param(
            {"versions": [ALL[V1], a_version(V2, stage="Deprecated")]}, (V2, None), id="deprecated, and wished for"
        ),
    ],
)  # fmt: skip
def test_standing(given: dict[str, Any], expected: tuple[str, Reason | None]) -> None:
    """The desired version if it may be active, else the one that is, and the reason."""
    assert stands(**given) == expected


def test_an_accepted_hash_is_the_right_one() -> None:
    """A person accepted the changed content by its very hash."""
    changed = a_version(V2, text="new", accepted=hash_of(V2, text="new"))
    assert stands(versions=[ALL[V1], changed]) == (V2, None)
    wrong = replace(changed, accepted_hash=hash_of(V1), first_hash=hash_of(V2))
    assert stands(versions=[ALL[V1], wrong]) == (V1, Reason.HASH_MISMATCH)


def test_the_held_message_says_how_to_release_it() -> None:
    """It names the record and both ways."""
    stand = standing(facts(a_prompt(V2, status=a_status(V1)), records=[a_record()]), after(hours=1))
    assert stand.blocked is not None
    assert "record-1" in stand.blocked.message
    assert RETRY_ANNOTATION in stand.blocked.message


@pytest.mark.parametrize("text", ["", "soon", "2026-11-21", "2026-11-21T08:00:00", "2026-11-21T09:01:00Z", "x" * 99])
def test_retries_that_are_none(text: str) -> None:
    """Malformed, without a zone, or in the future by more than clocks may differ."""
    assert retry(facts(a_prompt(annotations={RETRY_ANNOTATION: text})), after(hours=1)) == ""


def test_of_two_retries_the_newer_counts() -> None:
    """The annotation may be older than what was handled before, put back from a backup."""
    status = {"handledRequests": [{"verb": "Retry", "value": rfc3339(T0)}]}
    older, newer = {RETRY_ANNOTATION: rfc3339(T0 - timedelta(days=1))}, {RETRY_ANNOTATION: rfc3339(after(minutes=1))}
    assert retry(facts(a_prompt(status=status, annotations=older)), after(hours=1)) == rfc3339(T0)
    assert retry(facts(a_prompt(status=status, annotations=newer)), after(hours=1)) == rfc3339(after(minutes=1))


def test_naming_a_then_b_then_a_does_not_bring_a_back() -> None:
    """A hold does not end with the override."""
    assert stands(desired=V1, active=V1, records=[a_record()]) == (V1, None)
    assert stands(desired=V2, active=V1, records=[a_record()]) == (V1, Reason.VERSION_HELD)


def test_a_target_is_never_one_that_a_rollback_left() -> None:
    """Released does not mean good: it may be wished for again, but nothing automatic goes there."""
    prompt = a_prompt(V3, status=a_status(V3, history=(V2, V1)))
    given = facts(prompt, versions=ALL.values(), records=[a_record(**RELEASED)])
    assert target_from(given, V3, {}).version == V1
