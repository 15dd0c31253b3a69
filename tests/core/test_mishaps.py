"""What people do to the protocol's own objects, at the worst moment: records tidied up, targets deleted, no version."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.builders import (
    V1,
    V2,
    V3,
    a_prompt,
    a_reading,
    a_record,
    a_record_manifest,
    a_request,
    a_status,
    after,
    condition,
    facts,
    kinds,
    observed,
    of,
    readings,
)
from tests.core.world import World

from prompt_operator.core.ledger import record_of
from prompt_operator.core.plan import CreateRecord, Plan, WriteStatus
from prompt_operator.core.pruning import KEPT
from prompt_operator.core.reasons import Reason
from prompt_operator.core.reconcile import reconcile

SIGNED = {"by": "ana", "reason": "fixed"}


def served_in_turn(*versions: str) -> World:
    """Return a world in which these versions were served for an hour each."""
    world = World.with_versions(*versions)
    for version in versions:
        world.want(version)
        world.settle()
        world.pass_(hours=1)
    return world


def breached(*versions: str) -> World:
    """Return one in which a rule of the last of them fires."""
    world = served_in_turn(*versions)
    active, since = world.status["activeVersion"], world.prompt().status.activated_at
    world.readings = readings(a_reading(at=world.now), version=active, activated_at=since)
    return world


def rolled_back() -> tuple[World, dict[str, Any]]:
    """Return a world at rest after a rollback from 2.0.0 to 1.0.0, and its record."""
    world = breached(V1, V2)
    world.step()
    world.readings = None
    world.settle()
    (record,) = world.executed()
    return world, record


def by_hand(world: World, record: dict[str, Any]) -> None:
    """Somebody deletes the record."""
    del world.records[record["metadata"]["name"]]


def by_pruning(world: World, record: dict[str, Any]) -> None:
    """So many refusals follow that the operator prunes it."""
    for number in range(KEPT):
        name = f"refusal-{number}"
        refusal = a_record_manifest(name, decision="Refused", at=world.now, outcome="Refused", guard="DryRun")
        world.records[name] = refusal
    world.pass_(hours=25)
    world.settle()
    assert record["metadata"]["name"] not in world.records


@pytest.mark.parametrize("goes", [by_hand, by_pruning])
def test_a_released_record_that_goes_brings_no_hold_back(goes: Any) -> None:
    """The last decision stands in status for ever; with its record gone it must not hold again what was released."""
    world, record = rolled_back()
    record["spec"]["release"] = SIGNED
    record["metadata"]["generation"] += 1
    world.settle()
    assert world.served() == V2
    goes(world, record)
    world.settle()
    assert world.served() == world.status["activeVersion"] == V2
    assert "held" not in world.status
    assert world.executed() == []


def test_a_record_that_holds_is_written_again() -> None:
    """Deleting is not releasing: the hold stays, and where it can be released is there again."""
    world, record = rolled_back()
    by_hand(world, record)
    world.settle()
    (again,) = world.executed()
    assert again["metadata"]["name"] == record["metadata"]["name"]
    assert world.served() == V1
    again["spec"]["release"] = SIGNED
    world.settle()
    assert world.served() == V2


def decided_then_target_deleted(*versions: str) -> World:
    """Return a world whose operator died right after a decision; the target is deleted before it is projected."""
    world = breached(*versions)
    plan = world.look()
    world.step(crash_after=kinds(plan.effects).index("WriteStatus") + 1)
    world.readings = None
    target = world.status["activeVersion"]
    del world.versions[target]
    world.settle()
    return world


def test_a_target_that_goes_before_it_is_served_is_replaced() -> None:
    """Applications are not left with the version that was rejected, where an earlier one is usable."""
    world = decided_then_target_deleted(V1, V2, V3)
    assert world.served() == world.status["activeVersion"] == V1
    assert [held["version"] for held in world.status["held"]] == [V3]
    (record,) = world.executed()
    assert record["spec"]["toVersion"] == V2


def test_without_another_target_status_says_what_is_really_served() -> None:
    """Nothing is left to switch to: the ConfigMap keeps the rejected version, and Serving names it."""
    world = decided_then_target_deleted(V1, V2)
    assert world.served() == V2
    conditions = {each["type"]: each for each in world.status["conditions"]}
    assert conditions["Ready"]["reason"] == "VersionMissing"
    assert conditions["Serving"]["message"] == f"applications are served {V2}"


def test_it_is_projected_when_it_is_there_again() -> None:
    """Whoever deleted the target and creates it again has it served."""
    world = decided_then_target_deleted(V1, V2)
    world.versions |= World.with_versions(V1).versions
    world.settle()
    assert world.served() == V1


def planned(*args: Any, **given: Any) -> Plan:
    """Look once, ten minutes later."""
    return reconcile(facts(*args, **given), after(minutes=10))


def test_a_request_where_nothing_was_ever_active_is_refused_at_once() -> None:
    """It is answered, and the operator does not look again and again."""
    plan = planned(a_prompt(V3), records=[a_request()])
    (record,) = of(plan, CreateRecord)
    assert record.manifest["spec"]["guard"] == Reason.STALE_REQUEST
    assert plan.wake_at is None or plan.wake_at > after(minutes=10)


def test_a_request_that_was_answered_is_not_executed_when_its_record_is_deleted() -> None:
    """Its own status tells that it was; the version came back by a retry, and nobody asked anew."""
    manifest = a_record_manifest("please", trigger="Manual", requestedBy="ada")
    for member in ("decision", "decidedAt", "contentHash", "toVersion"):
        del manifest["spec"][member]
    manifest["status"] = {"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}
    prompt = a_prompt(V2, status=a_status(V2, history=(V1,)))
    plan = planned(prompt, records=[record_of(manifest)], config_map=observed(V2))
    assert of(plan, CreateRecord) == []
    assert plan.decision is None


def test_a_request_is_answered_though_the_active_version_is_held_and_alone() -> None:
    """There is nothing to go back to, and the person is told so."""
    held = a_prompt(V2, status=a_status(V2))
    plan = planned(held, records=[a_record(), a_request(at=after(minutes=5))], versions=[], config_map=observed(V2))
    (record,) = of(plan, CreateRecord)
    assert record.manifest["spec"]["decision"] == "Refused"
    assert condition(of(plan, WriteStatus)[-1].status, "Serving") == ("True", "Active")
