"""Which rule decides, what a person's request does, and what the records say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    a_request,
    a_status,
    a_version,
    after,
    facts,
    hash_of,
    observed,
    readings,
)

from prompt_operator.api.common import rfc3339
from prompt_operator.core.plan import CreateRecord, ObserveRecord, Tell, WriteRecordStatus
from prompt_operator.core.reasons import Objection, Reason
from prompt_operator.core.records import (
    record_of_decision,
    record_of_refused_request,
    records_of_refusals,
    statuses,
)
from prompt_operator.core.recovery import next_judgement, recovery
from prompt_operator.core.rollback import Turn, consider, decision_id, firing, pending_request, shortened
from prompt_operator.core.rules.streak import State
from prompt_operator.core.standing import standing

if TYPE_CHECKING:
    from prompt_operator.core.facts import Facts

NOW = after(minutes=10)
SERVING = a_prompt(V2, status=a_status(V2, history=(V1,)))
ALL = [a_version(v) for v in (V1, V2, V3)]


def turn(given: Facts, mode: str = "Active") -> Turn:
    """Return what one look decides."""
    return consider(given, standing(given, NOW), mode, NOW)


def failing(*rules: str, **given: Any) -> Facts:
    """Return facts in which these rules fire on the active version."""
    return facts(SERVING, versions=ALL, readings=readings(*(a_reading(rule) for rule in rules or (RULE,))), **given)


# --- by rule


def test_a_rule_that_fires_decides() -> None:
    """From, to, both hashes, the rule and its evidence are in the decision."""
    decision = turn(failing()).decision
    assert decision is not None
    assert (decision.kind, decision.from_version, decision.to_version, decision.rule) == ("Rollback", V2, V1, RULE)
    assert (decision.from_hash, decision.to_hash) == (hash_of(V2), hash_of(V1))
    (evidence,) = decision.evidence
    assert (evidence.metric, evidence.samples, evidence.rule) == ("error_rate", 200, RULE)
    assert evidence.confidence == "99.99%"


def test_the_surest_of_several_rules_decides() -> None:
    """Severity, then confidence, then the name."""
    given = failing("low-success-rate", RULE, "runaway-errors", "elevated-error-rate")
    assert [reading.rule.name for reading in firing(given, standing(given, NOW))] == [
        "runaway-errors",
        RULE,
        "low-success-rate",
    ]
    decision = turn(given).decision
    assert decision is not None
    assert decision.rule == "runaway-errors"


@pytest.mark.parametrize("state", [State.NORMAL, State.PENDING, State.RECOVERING], ids=str)
def test_a_rule_that_does_not_fire_decides_nothing(state: State) -> None:
    """Pending is not yet, Recovering not any more."""
    assert turn(facts(SERVING, readings=readings(a_reading(state=state)))) == Turn()


@pytest.mark.parametrize("other", [{"version": V1}, {"activated_at": after(minutes=1)}], ids=["version", "activation"])
def test_readings_of_another_activation_decide_nothing(other: dict[str, Any]) -> None:
    """What was measured before the switch says nothing of what is active now."""
    assert turn(facts(SERVING, readings=readings(a_reading(), **other))) == Turn()


def test_during_an_activation_nothing_is_decided() -> None:
    """Another version is about to become active: there is nothing settled to roll back."""
    given = facts(a_prompt(V3, status=a_status(V2, history=(V1,))), versions=ALL, readings=readings(a_reading()))
    assert turn(given) == Turn()


def test_an_objection_is_kept_with_its_rule() -> None:
    """Status, record and Event show the same one."""
    (refused,) = turn(failing(policy=a_policy(rollback={"auto": "DryRun"}))).refused
    assert (refused.reading.rule.name, refused.refusal.objection) == (RULE, Objection.DRY_RUN)
    assert V1 in refused.refusal.message


@pytest.mark.parametrize("where", ["version", "prompt", "policy"])
def test_disabled_wins_wherever_it_stands(where: str) -> None:
    """Version, prompt and policy can each switch it off; Enabled elsewhere does not bring it back."""
    off: dict[str, Any] = {"rollback": {"auto": "Disabled"}}
    on: dict[str, Any] = {"rollback": {"auto": "Enabled"}}
    policy = a_policy(off if where == "prompt" else on, **(off if where == "policy" else on))
    versions = [a_version(V1), a_version(V2, **(off if where == "version" else {}))]
    given = facts(SERVING, versions=versions, readings=readings(a_reading()), policy=policy)
    (refused,) = turn(given).refused
    assert refused.refusal.objection is Objection.AUTO_ROLLBACK_DISABLED


def test_a_second_step_back_is_a_persons() -> None:
    """The version that a rollback restored fails too."""
    prompt = a_prompt(V3, status=a_status(V2, history=(V3, V1)))
    given = facts(prompt, versions=ALL, records=[a_record(from_=V3, to=V2)], readings=readings(a_reading()))
    (refused,) = turn(given).refused
    assert refused.refusal.objection is Objection.ROLLBACK_OF_ROLLBACK


def test_a_version_that_is_back_is_not_rolled_back_on_what_it_did_before() -> None:
    """It was released eight minutes after its rollback; a rule over ten minutes still counts what that rested on."""
    record = a_record(at=after(minutes=2), release={"by": "ada", "reason": "fixed"})
    relaxed = a_policy(rollback={"cooldown": "0s"})
    refused = turn(failing("low-success-rate", records=[record], policy=relaxed)).refused
    assert [each.refusal.objection for each in refused] == [Objection.EVIDENCE_STALE] * len(refused) != []
    earlier = a_record(at=T0, release={"by": "ada", "reason": "fixed"})
    assert turn(failing("low-success-rate", records=[earlier], policy=relaxed)).decision is not None


def test_a_first_version_has_nowhere_to_go() -> None:
    """NoTarget, and the message names Fallback."""
    given = facts(a_prompt(V2, status=a_status(V2)), versions=[a_version(V2)], readings=readings(a_reading()))
    (refused,) = turn(given).refused
    assert refused.refusal.objection is Objection.NO_TARGET
    assert "Fallback" in refused.refusal.message


def test_ids_are_equal_for_equal_decisions_only() -> None:
    """Readable, sortable, and another for another activation, rule or second."""
    one = decision_id("greeting", T0, "uid", V2, RULE)
    assert one == decision_id("greeting", T0, "uid", V2, RULE)
    assert one.startswith("greeting-20261121t080000z-")
    others = {
        decision_id("greeting", after(seconds=1), "uid", V2, RULE),
        decision_id("greeting", T0, "uid", V1, RULE),
        decision_id("greeting", T0, "uid", V2, "other"),
        decision_id("greeting", T0, "uid-2", V2, RULE),
    }
    assert len(others) == 4
    assert one not in others


def test_long_reasons_are_cut_to_what_the_api_takes() -> None:
    """1024 characters, the last of them an ellipsis."""
    assert shortened("x" * 1024) == "x" * 1024
    assert len(shortened("x" * 2000)) == 1024
    assert shortened("x" * 2000).endswith("…")


# --- by a person

STOPPED: dict[str, dict[str, Any]] = {
    "suspended": {"suspend": True},
    "switched off": {"rollback": {"auto": "Disabled"}},
    "in DryRun": {"rollback": {"auto": "DryRun"}},
    "at its limit": {"rollback": {"maxPerDay": 0}},
    "in Fallback": {"mode": "Fallback"},
}


@pytest.mark.parametrize("spec", STOPPED.values(), ids=STOPPED)
def test_no_guard_stops_a_person(spec: dict[str, Any]) -> None:
    """Suspend, Disabled, DryRun, limits and mode are for rules; a rollback just before does not matter either."""
    prompt = a_prompt(V2, status=a_status(V2, history=(V1,)), **spec)
    given = facts(prompt, versions=ALL, records=[a_record(from_=V3, to=V2, at=T0), a_request()])
    decision = turn(given).decision
    assert decision is not None
    assert (decision.kind, decision.to_version, decision.requested_by) == ("ManualRollback", V1, "ada")
    assert decision.request_ref == "please"


def test_a_person_goes_before_a_rule() -> None:
    """One look decides one thing."""
    decision = turn(failing(records=[a_request()])).decision
    assert decision is not None
    assert decision.kind == "ManualRollback"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(a_request(from_=V1), Reason.STALE_REQUEST, id="another version is active"),
        pytest.param(a_request(to="9.9.9"), Objection.TARGET_UNHEALTHY, id="no such version"),
        pytest.param(a_request(to=V3), Objection.TARGET_UNHEALTHY, id="held"),
    ],
)
def test_requests_that_are_refused(request_: Any, reason: str) -> None:
    """A stale fromVersion, and a target that is not usable."""
    given = facts(SERVING, versions=ALL, records=[request_, a_record(from_=V3, to=V2)])
    refused = turn(given).refused_request
    assert refused is not None
    assert refused.reason == reason


def test_without_any_earlier_version_a_request_is_refused() -> None:
    """NoTarget for people as well."""
    given = facts(a_prompt(V2, status=a_status(V2)), versions=[a_version(V2)], records=[a_request()])
    refused = turn(given).refused_request
    assert refused is not None
    assert refused.reason == Objection.NO_TARGET


def test_requests_are_answered_in_their_order_and_once() -> None:
    """The oldest first; one that a record or the decision names is never taken up again."""
    first, second = a_request("b", at=T0), a_request("a", at=after(seconds=1))
    assert pending_request(facts(SERVING, records=[second, first])) == first
    answer = a_record("answer", requestRef={"name": "b"})
    assert pending_request(facts(SERVING, records=[second, first, answer])) == second
    decided = {
        "id": "d",
        "kind": "ManualRollback",
        "decision": "Executed",
        "at": "2026-11-21T08:00:00Z",
        "request": "b",
    }
    prompt = a_prompt(V2, status=a_status(V2, decision=decided))
    assert pending_request(facts(prompt, records=[first])) is None


# --- records


def test_the_record_of_a_decision_says_what_the_decision_says() -> None:
    """Named by the decision, without ownerReference, with hash and evidence; created once."""
    given = failing()
    decision = turn(given).decision
    assert decision is not None
    record = record_of_decision(given, decision)
    assert record is not None
    metadata, spec = record.manifest["metadata"], record.manifest["spec"]
    assert metadata["name"] == decision.id
    assert "ownerReferences" not in metadata
    assert (spec["trigger"], spec["decision"], spec["contentHash"]) == ("Automatic", "Executed", hash_of(V2))
    assert spec["evidence"][0]["metric"] == "error_rate"
    assert record_of_decision(replace(given, records=(a_record(decision.id),)), decision) is None


def refusals(given: Facts) -> list[Any]:
    """Return the records of refusals that a look asks for."""
    return [e.manifest for e in records_of_refusals(given, turn(given).refused, NOW) if isinstance(e, CreateRecord)]


DRY = a_policy(rollback={"auto": "DryRun"})


def test_one_record_per_rule_guard_and_episode() -> None:
    """The same name while the rule keeps firing; another for another rule, guard or episode."""
    (one,) = refusals(failing(policy=DRY))
    later = replace(failing(policy=DRY), readings=readings(a_reading(at=after(seconds=615), fired_at=NOW)))
    assert [each["metadata"]["name"] for each in refusals(later)] == [one["metadata"]["name"]]
    new = replace(failing(policy=DRY), readings=readings(a_reading(fired_at=after(minutes=9))))
    off = failing(policy=a_policy(rollback={"auto": "Disabled"}))
    both = failing(RULE, "low-success-rate", policy=DRY)
    names = {each["metadata"]["name"] for given in (new, off, both) for each in refusals(given)}
    assert len(names) == 4
    assert refusals(replace(failing(policy=DRY), records=(a_record(one["metadata"]["name"], decision="DryRun"),))) == []


def test_a_refusal_is_recorded_with_its_guard_and_told() -> None:
    """DryRun is a decision of its own; any other guard is Refused."""
    (dry,) = refusals(failing(policy=DRY))
    assert (dry["spec"]["decision"], dry["spec"]["guard"]) == ("DryRun", "DryRun")
    (off,) = refusals(failing(policy=a_policy(rollback={"auto": "Disabled"})))
    assert (off["spec"]["decision"], off["spec"]["guard"]) == ("Refused", "AutoRollbackDisabled")
    given = failing(policy=DRY)
    told = [e for e in records_of_refusals(given, turn(given).refused, NOW) if isinstance(e, Tell)]
    assert [each.reason for each in told] == [Reason.ROLLBACK_DRY_RUN]


@pytest.mark.parametrize(
    "waiting",
    [{"errors": 2, "requests": 3}, {"errors": 18}, {"at": after(minutes=5)}],
    ids=["few samples", "not sure", "stale"],
)
def test_waiting_for_evidence_makes_no_record(waiting: dict[str, Any]) -> None:
    """It comes and goes with every tick."""
    assert refusals(facts(SERVING, versions=ALL, readings=readings(a_reading(**waiting)))) == []


def test_a_refused_request_gets_a_record_that_answers_it() -> None:
    """It names the request, and its name is the same at every look."""
    given = facts(SERVING, versions=ALL, records=[a_request(from_=V1)])
    refused = turn(given).refused_request
    assert refused is not None
    record, told = record_of_refused_request(given, refused, NOW)
    again, _ = record_of_refused_request(given, refused, after(minutes=20))
    assert isinstance(record, CreateRecord)
    assert isinstance(again, CreateRecord)
    assert record.manifest["spec"]["requestRef"] == {"name": "please"}
    assert record.manifest["spec"]["decision"] == "Refused"
    assert record.manifest["metadata"]["name"] == again.manifest["metadata"]["name"]
    assert isinstance(told, Tell)
    assert told.rollback == "please"


# --- recovery

DUE = after(minutes=15)
RESTORED = a_prompt(V2, status=a_status(V1))


def judged(reading: Any = None, **given: Any) -> tuple[str, str]:
    """Judge the rollback from 2.0.0 to 1.0.0 when it is due."""
    record = a_record(rule=given.pop("rule", RULE))
    known = readings(*([reading] if reading else []), version=V1)
    outcome = recovery(facts(given.pop("prompt", RESTORED), records=[record], readings=known), record, DUE)
    return outcome.reason, outcome.status


def test_recovery_is_judged_after_its_window() -> None:
    """Before that it is watched, and the plan names the moment."""
    record = a_record(rule=RULE)
    given = facts(RESTORED, records=[record])
    assert recovery(given, record, after(minutes=14)).reason is Reason.WATCHING
    assert next_judgement(given, after(minutes=14)) == DUE
    assert next_judgement(facts(RESTORED, records=[a_record(outcome="Recovered")]), T0) is None


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(a_reading(errors=0, at=DUE, state=State.NORMAL), ("Recovered", "True"), id="well again"),
        pytest.param(a_reading(errors=100, at=DUE), ("NotRecovered", "False"), id="as bad as before"),
        pytest.param(
            a_reading(errors=0, requests=0, at=DUE, state=State.UNKNOWN), ("Inconclusive", "Unknown"), id="idle"
        ),
        pytest.param(a_reading(errors=0, at=after(minutes=13)), ("Inconclusive", "Unknown"), id="stale"),
        pytest.param(a_reading("low-success-rate", errors=0, at=DUE), ("Inconclusive", "Unknown"), id="another rule"),
    ],
)
def test_the_outcomes_of_recovery(reading: Any, expected: tuple[str, str]) -> None:
    """The same rule on the restored version decides; no traffic decides nothing."""
    assert judged(reading) == expected


def test_the_snapshot_holds_every_metric_and_window_once() -> None:
    """The rule that decides comes first; the others add what it does not tell, and nothing twice."""
    given = failing(RULE, "low-success-rate", "runaway-errors")
    decision = turn(given).decision
    assert decision is not None
    told = [(each.rule, each.metric) for each in decision.evidence]
    assert told == [("runaway-errors", "error_rate"), ("low-success-rate", "success_rate")]


def test_a_record_tells_what_was_measured_before_and_after() -> None:
    """Before: the rejected version, from the record's own evidence. After: the restored one, once it is judged."""
    evidence = [{"metric": "error_rate", "value": "0.5", "samples": 200, "window": "5m", "at": rfc3339(T0)}]
    record = a_record(evidence=evidence)
    watched = next(iter(statuses(facts(RESTORED, records=[record]), T0)))
    assert isinstance(watched, WriteRecordStatus)
    (before,) = watched.status.before
    assert (before.metric, before.value, before.samples, before.version) == ("error_rate", "0.5", 200, V2)
    assert watched.status.after == ()
    well = a_reading(errors=1, state=State.NORMAL, at=DUE)
    given = facts(RESTORED, records=[record], readings=readings(well, version=V1))
    judged_status = next(e for e in statuses(given, DUE) if isinstance(e, WriteRecordStatus)).status
    assert judged_status.before == (before,)
    (after_,) = judged_status.after
    assert (after_.metric, after_.value, after_.version) == ("error_rate", "0.005", V1)


def test_another_version_in_between_leaves_it_open() -> None:
    """What was activated since says nothing about the rollback."""
    reading = a_reading(errors=0, at=DUE, state=State.NORMAL)
    later = a_prompt(V3, status=a_status(V3))
    assert judged(reading, prompt=later) == ("Inconclusive", "Unknown")
    record = a_record(rule=RULE)
    assert recovery(facts(later, records=[record]), record, DUE).message == f"{V3} was activated before {V1} was judged"


def test_a_manual_rollback_is_judged_by_the_worst_rule() -> None:
    """It names no rule: any that is true says it did not help."""
    assert judged(a_reading(errors=100, at=DUE), rule="") == ("NotRecovered", "False")
    assert judged(a_reading(errors=0, at=DUE, state=State.NORMAL), rule="") == ("Recovered", "True")


def written(given: Facts, now: Any) -> dict[str, Any]:
    """Return the status writes of records by name."""
    return {e.name: e.status for e in statuses(given, now) if isinstance(e, WriteRecordStatus)}


def test_record_and_request_say_the_same() -> None:
    """Both are Accepted and Executed while the recovery is watched, then both carry the outcome."""
    record, request = a_record(rule=RULE, requestRef={"name": "please"}, trigger="Manual"), a_request()
    given = facts(RESTORED, records=[record, request])
    watching = written(given, after(minutes=1))
    assert set(watching) == {"record-1", "please"}
    assert watching["please"].record == "record-1"
    assert {each.outcome for each in watching.values()} == {None}
    reading = a_reading(errors=0, at=DUE, state=State.NORMAL)
    final = written(replace(given, readings=readings(reading, version=V1)), DUE)
    assert {each.outcome for each in final.values()} == {"Recovered"}
    assert {each.judged_at for each in final.values()} == {DUE}


def test_an_outcome_is_judged_once() -> None:
    """A record with an outcome keeps it; a later release is only seen."""
    record = a_record(outcome="Recovered", generation=2)
    effects = list(statuses(facts(RESTORED, records=[record]), DUE))
    assert effects == [ObserveRecord("record-1", "1", 2)]


def test_when_recovery_was_judged_is_when_it_changed() -> None:
    """The lastTransitionTime of Recovered is the moment of the judgement, that of Executed the moment of the switch."""
    reading = a_reading(errors=0, at=DUE, state=State.NORMAL)
    given = facts(RESTORED, records=[a_record(rule=RULE)], readings=readings(reading, version=V1))
    conditions = {c.type: c.last_transition_time for c in written(given, DUE)["record-1"].conditions}
    assert conditions == {"Accepted": T0, "Executed": T0, "Recovered": DUE}


def test_a_refused_record_says_so() -> None:
    """Not accepted, not executed, with its outcome at once."""
    status = written(facts(RESTORED, records=[a_record(decision="Refused")]), NOW)["record-1"]
    assert status.outcome == "Refused"
    assert {c.type: c.status for c in status.conditions} == {
        "Accepted": "False",
        "Executed": "False",
        "Recovered": "False",
    }


def test_the_readings_of_the_config_map_do_not_matter() -> None:
    """Deciding needs no ConfigMap: it may be gone at that moment."""
    assert turn(failing()).decision == turn(failing(config_map=observed(V2))).decision
