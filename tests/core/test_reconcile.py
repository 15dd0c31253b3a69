"""Whole decisions: the contract's table of conditions, the order of effects, and that a second look finds nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.builders import (
    RULE,
    T0,
    V1,
    V2,
    a_config_map,
    a_policy,
    a_prompt,
    a_reading,
    a_record,
    a_record_manifest,
    a_status,
    a_version,
    a_version_manifest,
    after,
    condition,
    content_of,
    facts,
    hash_of,
    kinds,
    observed,
    of,
    readings,
)
from tests.core.world import CONFIG_MAP, World

from prompt_operator.core.conditions import find
from prompt_operator.core.plan import ApplyConfigMap, CreateRecord, Plan, Tell, WriteStatus
from prompt_operator.core.reasons import ConditionType
from prompt_operator.core.reconcile import reconcile, troubled
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_operator.api.promptstatus import PromptStatus
    from prompt_operator.core.facts import Facts

BOTH = (content_of(V1), content_of(V2))
NOW = after(minutes=10)
MET = readings(a_reading(errors=0, state=State.NORMAL))
BREACHED = readings(a_reading())


def looked(given: Facts, now: Any = NOW) -> PromptStatus:
    """Return status after one look."""
    writes = of(reconcile(given, now), WriteStatus)
    return writes[-1].status if writes else given.prompt.status


def serving(version: str = V2, desired: str = V2, **prompt: Any) -> Any:
    """Return a Prompt that serves a version and may want another one."""
    return a_prompt(desired, status=a_status(version, history=(V1,) if version != V1 else ()), **prompt)


# --- the table of conditions and GitOps health

MISSING, DRAFT = [a_version(V1)], [a_version(V1), a_version(V2, stage="Draft")]
CHANGED = [a_version(V1), replace(a_version(V2), content_hash=hash_of(V1))]
INCLUDES = [a_version(V1), a_version(V2, includes=[{"promptRef": {"name": "tone"}, "version": V1}])]
HUGE = content_of(V2, text="x" * 500_001)
LARGE = [a_version(V1), a_version(V2, text="x" * 500_001)]
HELD = [a_record(from_=V2, to=V1, at=T0)]
BAD_RULE: dict[str, Any] = {"rules": [{"name": "own", "condition": "error_rate > 5"}]}
T, F, U = "True", "False", "Unknown"
TABLE: dict[str, tuple[Facts, tuple[str, str], str, str, str | None, str | None]] = {
    "desired version active": (
        facts(serving(), config_map=observed(V2), readings=MET), (T, "Active"), T, T, None, None,
    ),
    "active, not judged yet": (facts(serving(), config_map=observed(V2)), (T, "Active"), T, U, None, None),
    "critical rule firing, not rolled back": (
        facts(serving(rollback={"auto": "Disabled"}), config_map=observed(V2), readings=BREACHED),
        (T, "Active"), T, F, None, None,
    ),
    "suspended, as desired": (
        facts(serving(suspend=True), config_map=observed(V2), readings=BREACHED), (T, "Suspended"), T, U, None, None,
    ),
    "suspended, something else active": (
        facts(serving(V1, suspend=True), config_map=observed(V1)), (F, "Suspended"), T, U, None, None,
    ),
    "Fallback": (
        facts(serving(mode="Fallback"), config_map=observed(V2), readings=MET), (T, "Fallback"), F, U, None, None,
    ),
    "rolled back, desired one held": (
        facts(serving(V1), config_map=observed(V1), records=HELD), (F, "RolledBack"), T, U, None, "VersionHeld",
    ),
    "version missing, nothing served": (
        facts(a_prompt(V2), versions=MISSING), (F, "VersionMissing"), F, U, "VersionMissing", None,
    ),
    "version missing, an older one served": (
        facts(serving(V1), versions=MISSING, config_map=observed(V1)),
        (F, "VersionMissing"), T, U, "VersionMissing", None,
    ),
    "version is a draft": (
        facts(serving(V1), versions=DRAFT, config_map=observed(V1)), (F, "VersionDraft"), T, U, None, "VersionDraft",
    ),
    "version with a bad hash": (
        facts(serving(V1), versions=CHANGED, config_map=observed(V1)), (F, "HashMismatch"), T, U, None, "HashMismatch",
    ),
    "version uses what is not there yet": (
        facts(serving(V1), versions=INCLUDES, config_map=observed(V1)),
        (F, "NotImplemented"), T, U, None, "NotImplemented",
    ),
    "version too large": (
        facts(serving(V1), versions=LARGE, config_map=observed(V1), contents=[HUGE]),
        (F, "TooLarge"), T, U, None, "TooLarge",
    ),
    "bad rule": (
        facts(serving(**BAD_RULE), config_map=observed(V2)), (F, "RuleInvalid"), T, U, None, "RuleInvalid",
    ),
    "policy not found, active as desired": (
        facts(serving(), config_map=observed(V2), policy_missing="strict"),
        (F, "PolicyNotFound"), T, U, None, "PolicyNotFound",
    ),
    "policy not found, a new version is not activated": (
        facts(serving(V1), config_map=observed(V1), policy_missing="strict"),
        (F, "PolicyNotFound"), T, U, None, "PolicyNotFound",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "ready", "serves", "healthy", "reconciling", "stalled"), TABLE.values(), ids=TABLE.keys()
)
def test_the_table_of_conditions(
    given: Facts, ready: tuple[str, str], serves: str, healthy: str, reconciling: str | None, stalled: str | None
) -> None:
    """Each situation of the contract is told as its row says."""
    status = looked(given)
    assert condition(status, "Ready") == ready
    told = {kind: condition(status, kind) for kind in ("Serving", "Healthy", "Reconciling", "Stalled")}
    assert told["Serving"] is not None
    assert told["Serving"][0] == serves
    assert told["Healthy"] is not None
    assert told["Healthy"][0] == healthy
    assert told["Reconciling"] == (("True", reconciling) if reconciling else None)
    assert told["Stalled"] == (("True", stalled) if stalled else None)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_the_four_conditions_are_always_there(row: str) -> None:
    """Ready, Serving, Healthy, Propagated after every look; Reconciling and Stalled never both."""
    kinds_ = {each.type for each in looked(TABLE[row][0]).conditions}
    assert {"Ready", "Serving", "Healthy", "Propagated"} <= kinds_
    assert not {"Reconciling", "Stalled"} <= kinds_


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_version_that_may_not_be_served_is_not_projected(row: str) -> None:
    """Whatever blocks the desired version, no effect brings its content."""
    given, (_, reason), *_ = TABLE[row]
    for apply in of(reconcile(given, NOW), ApplyConfigMap):
        assert apply.manifest["data"].get("version") != V2 or reason == "Fallback"


def test_a_missing_version_stalls_after_a_minute() -> None:
    """It may arrive a moment after its Prompt; the plan names the moment to look again."""
    world = World.with_versions(V1)
    world.want(V2)
    assert world.step().wake_at == after(seconds=60)
    world.pass_(seconds=59)
    world.step()
    assert condition(world.prompt().status, "Stalled") is None
    world.pass_(seconds=1)
    assert world.step().wake_at is None
    assert condition(world.prompt().status, "Stalled") == ("True", "VersionMissing")
    world.versions[V2] = a_version_manifest(V2)
    world.settle()
    assert condition(world.prompt().status, "Ready") == ("True", "Active")


@pytest.mark.parametrize("kind", [ConditionType.READY, ConditionType.STALLED])
def test_a_held_version_hides_no_other_trouble(kind: ConditionType) -> None:
    """The reason is the first trouble's; the message tells the rule that is off and the missing policy, too."""
    given = facts(serving(V1, **BAD_RULE), config_map=observed(V1), records=HELD, policy_missing="strict")
    told = find(looked(given).conditions, kind)
    assert told is not None
    assert "was rolled back and stays out" in told.message
    assert "; also PolicyNotFound: PromptPolicy strict does not exist" in told.message
    assert "; also RuleInvalid: rule own: column 14: " in told.message


@pytest.mark.parametrize("config_map", [observed(V1), None], ids=["stands", "gone"])
def test_a_stand_in_that_was_made_anew_is_told(config_map: Any) -> None:
    """At once, not only when its ConfigMap is lost, and never twice."""
    anew = [replace(a_version(V1), content_hash=hash_of(V2)), a_version(V2)]
    given = facts(
        serving(V1), config_map=config_map, records=HELD, versions=anew, contents=[content_of(V1, text="new")]
    )
    told = find(looked(given).conditions, ConditionType.STALLED)
    assert told is not None
    assert told.message.count("greeting-1.0.0 has not the content it had when it was activated") == 1


def test_one_trouble_is_told_once() -> None:
    """A missing policy that keeps a new version out is not repeated as a trouble of its own."""
    told = find(looked(TABLE["policy not found, a new version is not activated"][0]).conditions, ConditionType.READY)
    assert told is not None
    assert "; also " not in told.message


def test_trouble_with_the_api_is_progress() -> None:
    """ApiError: not ready, still served, reconciling; said once."""
    given = facts(serving(), config_map=observed(V2), readings=MET)
    status = troubled(given, "ConfigMaps are forbidden", NOW)
    assert status is not None
    assert condition(status, "Ready") == ("False", "ApiError")
    assert condition(status, "Serving") == ("True", "Active")
    assert condition(status, "Reconciling") == ("True", "ApiError")
    again = facts(a_prompt(V2, status=status.model_dump(by_alias=True, mode="json")))
    assert troubled(again, "ConfigMaps are still forbidden", after(minutes=11)) is None


# --- nothing at all


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(facts(a_prompt(deleting=True)), id="deleted"),
        pytest.param(facts(serving(deleting=True), readings=BREACHED), id="deleted while it fails"),
        pytest.param(facts(a_prompt(), operator_mode="Frozen"), id="frozen"),
        pytest.param(facts(serving(), readings=BREACHED, operator_mode="Frozen"), id="frozen while it fails"),
    ],
)
def test_nothing_is_planned(given: Facts) -> None:
    """A Prompt that goes away, and an operator that is frozen, write nothing and wait for nothing."""
    assert reconcile(given, NOW) == Plan()


# --- the order of effects


def test_a_rollback_is_written_before_anything_moves() -> None:
    """Decision with its evidence to status, ConfigMap, record, the rest of status; Events never before the decision."""
    given = facts(serving(), config_map=observed(V2), readings=BREACHED, contents=BOTH)
    plan = reconcile(given, NOW)
    order = [kind for kind in kinds(plan.effects) if kind != "Tell"]
    assert order == ["WriteStatus", "ApplyConfigMap", "CreateRecord", "WriteStatus"]
    assert kinds(plan.effects)[0] == "WriteStatus"
    first = of(plan, WriteStatus)[0].status
    assert (first.active_version, first.decision.rule) == (V1, RULE)
    assert first.decision.evidence[0].metric == "error_rate"
    assert first.projection == given.prompt.status.projection
    assert condition(first, "Stalled") == ("True", "VersionHeld")
    assert of(plan, CreateRecord)[0].manifest["metadata"]["name"] == first.decision.id


def test_an_activation_is_projected_before_status_says_so() -> None:
    """It follows from spec alone, so a crash in between loses nothing."""
    plan = reconcile(facts(serving(V1), config_map=observed(V1), contents=BOTH), NOW)
    assert kinds(plan.effects) == ["ApplyConfigMap", "WriteStatus", "Tell"]


def decided_without_a_record() -> World:
    """Return a world whose operator died between the decision in status and its record."""
    world = World.with_versions(V1, V2)
    world.settle()
    world.want(V2)
    world.settle()
    world.pass_(minutes=10)
    world.readings = readings(a_reading(at=world.now))
    world.step(crash_after=1)
    return world


def test_a_decision_left_without_a_record_is_finished() -> None:
    """After a crash between status and record the next look creates that record, and decides nothing."""
    world = decided_without_a_record()
    decision = world.prompt().status.decision
    assert decision is not None
    assert not world.records
    world.readings = None
    world.settle()
    assert list(world.records) == [decision.id]
    assert world.served() == V1


def test_what_the_safeguards_were_given_moves_into_the_record() -> None:
    """Status keeps the inputs of a decision until the record has them: people read status, replay reads the record."""
    world = decided_without_a_record()
    decided = world.prompt().status.decision
    assert decided is not None
    assert decided.inputs is not None
    world.settle()
    assert world.records[decided.id]["spec"]["inputs"] == decided.inputs
    assert world.prompt().status.decision == decided.model_copy(update={"inputs": None})


def test_a_second_decision_does_not_lose_the_first_one() -> None:
    """A crash before the record, then a person's request: both decisions get their record and keep their hold."""
    world = World.with_versions(V1, V2, "3.0.0")
    for version in (V1, V2, "3.0.0"):
        world.want(version)
        world.settle()
    world.pass_(minutes=10)
    world.readings = readings(a_reading(at=world.now), version="3.0.0")
    world.step(crash_after=1)
    request = a_record_manifest("please", from_=V2, at=world.now, trigger="Manual", requestedBy="ada")
    for member in ("decision", "decidedAt", "contentHash", "toVersion"):
        del request["spec"][member]
    world.records["please"] = request
    world.settle()
    assert sorted(each["spec"]["fromVersion"] for each in world.executed()) == [V2, "3.0.0"]
    assert {held.version for held in world.prompt().status.held} == {V2, "3.0.0"}
    assert world.served() == V1


def test_a_rollback_while_the_desired_version_is_blocked_says_why() -> None:
    """The active version fails while a draft is wanted: Ready tells of the draft, in that very look."""
    status = a_status(V2, history=(V1,))
    versions = [a_version(V1), a_version(V2), a_version("3.0.0", stage="Draft")]
    given = facts(
        a_prompt("3.0.0", status=status), versions=versions, config_map=observed(V2), readings=BREACHED, contents=BOTH
    )
    after_ = looked(given)
    assert after_.active_version == V1
    assert condition(after_, "Ready") == ("False", "VersionDraft")


def test_a_retry_stays_when_its_annotation_goes() -> None:
    """A tool that prunes annotations does not bring the rejected version's hold back."""
    world = World.with_versions(V1, V2)
    world.settle()
    world.want(V2)
    world.settle()
    world.records["record-1"] = a_record_manifest(from_=V2, to=V1, at=T0, outcome="Recovered")
    world.pass_(minutes=5)
    world.settle()
    assert world.served() == V1
    world.annotations["promptops.dev/retryAt"] = "2026-11-21T08:05:00Z"
    world.settle()
    assert world.served() == V2
    world.annotations.clear()
    world.settle()
    assert world.served() == V2


def test_a_version_too_large_does_not_stop_the_healing_of_the_active_one() -> None:
    """The active version's ConfigMap was edited while a version that does not fit is wanted."""
    world = World.with_versions(V1)
    world.settle()
    world.versions[V2] = a_version_manifest(V2, text="x" * 500_001)
    world.want(V2)
    world.settle()
    assert condition(world.prompt().status, "Stalled") == ("True", "TooLarge")
    right = dict(world.config_maps[CONFIG_MAP]["data"])
    world.config_maps[CONFIG_MAP]["data"]["prompt.txt"] = "Say what I want."
    world.settle()
    assert world.config_maps[CONFIG_MAP]["data"] == right


def test_fallback_does_not_let_a_version_in_that_is_too_large() -> None:
    """Activated while nothing was projected, it is refused when Fallback ends."""
    world = World(versions={V2: a_version_manifest(V2, text="x" * 500_001)})
    world.spec = {"version": V2, "mode": "Fallback"}
    world.settle()
    world.spec = {"version": V2}
    world.settle()
    assert condition(world.prompt().status, "Ready") == ("False", "TooLarge")
    assert world.config_maps[CONFIG_MAP]["data"]["mode"] == "Fallback"


@pytest.mark.parametrize("where", ["activation", "rollback"])
def test_content_that_changes_while_it_is_read_is_not_booked(where: str) -> None:
    """The store still knows the right hash, the read brings another content: nothing becomes active."""
    given = facts(serving(V1), config_map=observed(V1))
    if where == "rollback":
        given = facts(serving(V2), config_map=observed(V2), readings=BREACHED)
    target = V2 if where == "activation" else V1
    other = replace(content_of(target), content_hash=hash_of("9.9.9"))
    plan = reconcile(replace(given, contents={target: other}), NOW)
    assert not of(plan, ApplyConfigMap)
    assert {each.status.active_version for each in of(plan, WriteStatus)} <= {given.prompt.status.active_version}
    assert not of(plan, CreateRecord)


# --- status lost


@pytest.mark.parametrize("config_map", [True, False], ids=["ConfigMap kept", "ConfigMap lost too"])
def test_lost_status_forgets_no_hold(config_map: bool) -> None:  # noqa: FBT001  a factor
    """Rebuilt from the records, and from what is served: the rejected version stays out."""
    world = World.with_versions(V1, V2)
    world.settle()
    world.want(V2)
    world.settle()
    world.records["record-1"] = a_record_manifest(from_=V2, to=V1, at=T0)
    world.settle()
    world.status = {}
    if not config_map:
        world.config_maps.clear()
        world.applied.clear()
    world.settle()
    status = world.prompt().status
    assert (status.active_version, world.served()) == (V1, V1)
    assert [held.version for held in status.held] == [V2]
    assert condition(status, "Ready") == ("False", "RolledBack")


# --- a second look finds nothing


def _worlds() -> st.SearchStrategy[World]:
    return st.builds(
        _world,
        desired=st.sampled_from((V1, V2, "3.0.0")),
        active=st.sampled_from(("", V1, V2)),
        lost=st.booleans(),
        extra=st.fixed_dictionaries(
            {},
            optional={
                "suspend": st.booleans(),
                "mode": st.sampled_from(("Active", "Fallback")),
                "rules": st.just(BAD_RULE["rules"]),
                "rollout": st.just({"strategy": "Canary", "steps": [{"weight": 10, "pause": "1m"}]}),
                "rollback": st.sampled_from(({"auto": "DryRun"}, {"auto": "Disabled"}, {"cooldown": "1s"})),
                "delivery": st.just({"configMapName": "elsewhere"}),
            },
        ),
        stages=st.fixed_dictionaries({v: st.sampled_from(("Draft", "Staged", "Deprecated")) for v in (V1, V2)}),
        record=st.sampled_from(("", "Executed", "Refused", "DryRun", "released")),
        edit=st.sampled_from(("", "value", "key", "immutable", "gone")),
        state=st.sampled_from((None, *State)),
        errors=st.sampled_from((0, 18, 100)),
        hours=st.sampled_from((0.1, 1, 30)),
        notes=st.sets(st.sampled_from(("promptops.dev/retryAt", "promptops.dev/reviewedAt"))),
    )


def _world(
    desired: str, active: str, *, lost: bool, extra: dict[str, Any], stages: dict[str, str], record: str, edit: str,
    state: State | None, errors: float, hours: float, notes: set[str],
) -> World:  # fmt: skip
    world = World(versions={name: a_version_manifest(name, stage=stage) for name, stage in stages.items()})
    world.spec = {"version": desired} | extra
    if active:
        world.status = {} if lost else a_status(active, history=(V1,) if active != V1 else ())
        world.config_maps = {CONFIG_MAP: a_config_map(active)}
    if record:
        decision = "Executed" if record == "released" else record
        given: dict[str, Any] = {"release": {"by": "ada", "reason": "fixed"}} if record == "released" else {}
        world.records["record-1"] = a_record_manifest(from_=V2, to=V1, at=T0, decision=decision, **given)
    _edit(world, edit)
    world.pass_(seconds=round(hours * 3600))
    if state is not None and active:
        reading = a_reading(state=state, errors=errors, at=world.now)
        world.readings = readings(reading, version=active, activated_at=T0)
    world.annotations = dict.fromkeys(notes, "2026-11-21T08:01:00Z")
    return world


def _edit(world: World, edit: str) -> None:
    found = world.config_maps.get(CONFIG_MAP)
    changes: dict[str, Callable[[Any], Any]] = {
        "value": lambda it: it["data"].update({"prompt.txt": "Say what I want."}),
        "key": lambda it: it["data"].update(mine="too"),
        "immutable": lambda it: it.update(immutable=True),
        "gone": lambda _: world.config_maps.clear(),
    }
    if found is not None and edit:
        changes[edit](found)


@given(world=_worlds())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_performed_leaves_nothing_to_plan(world: World) -> None:
    """For any facts: perform the plan, look again; after what one look can only begin, the plan is empty."""
    world.settle(most=4)


@given(world=_worlds(), crash=st.integers(0, 6))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_crash_changes_nothing_in_the_end(world: World, crash: int) -> None:
    """Wherever the first look ends, those after it come to rest, and no decision is left without its record."""
    world.step(crash_after=crash)
    world.settle(most=5)
    decision = world.prompt().status.decision
    assert decision is None or decision.id in world.records


def test_events_tell_what_changed_once() -> None:
    """An activation, a firing rule and its end are one Event each, however often one looks."""
    world = World.with_versions(V1, V2)
    world.spec = {"version": V1, "rollback": {"auto": "Disabled"}}
    world.settle()
    world.pass_(minutes=5)
    for state in (State.FIRING, State.FIRING, State.NORMAL, State.NORMAL):
        world.pass_(minutes=1)
        errors = 100 if state is State.FIRING else 0
        reading = a_reading(state=state, errors=errors, at=world.now, fired_at=after(minutes=6))
        world.readings = readings(reading, version=V1, activated_at=T0)
        world.settle()
    assert [each.reason for each in world.told if isinstance(each, Tell)] == [
        "Activated",
        "RollbackRefused",
        "RuleFiring",
        "RuleResolved",
    ]


def test_policy_of_the_facts_is_used() -> None:
    """A policy in Fallback puts every prompt under it there."""
    given = facts(serving(), config_map=observed(V2), policy=a_policy(mode="Fallback"))
    assert condition(looked(given), "Ready") == ("True", "Fallback")
