"""What rules mean for status, what an activation leaves there, and the status of the other kinds."""

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
    a_case,
    a_prompt,
    a_reading,
    a_record,
    a_status,
    a_version,
    after,
    facts,
    hash_of,
    readings,
)

from prompt_operator.api.common import rfc3339
from prompt_operator.api.experiment import ExperimentStatus
from prompt_operator.api.promptpolicy import PromptPolicyStatus
from prompt_operator.api.promptstatus import Decision, PromptStatus, RuleStatus
from prompt_operator.api.promptversion import PromptVersionStatus
from prompt_operator.core import health
from prompt_operator.core.activation import activated, override_of, rollbacks_of, rolled_back
from prompt_operator.core.companions import (
    PolicyProblems,
    experiment_status,
    policy_status,
    version_settled,
    version_status,
)
from prompt_operator.core.conditions import summary_of
from prompt_operator.core.ledger import Hold
from prompt_operator.core.reasons import Objection, Reason
from prompt_operator.core.rollback import Refused
from prompt_operator.core.rules.streak import State
from prompt_operator.core.safeguards import Refusal

NOW, UNKNOWN_AFTER = after(minutes=10), timedelta(minutes=10)
SERVING = a_prompt(V2, status=a_status(V2))
FIRING = a_reading(at=NOW)
CALM = a_reading(errors=0, state=State.NORMAL, at=NOW)
BLIND = a_reading(errors=0, requests=0, state=State.UNKNOWN, at=NOW)


def gone_blind(reading: Any, minutes: float) -> Any:
    """Return a reading whose last answer is so many minutes old."""
    streak = replace(reading.streak, state=State.UNKNOWN, beneath=reading.streak.state, frozen_at=NOW)
    return replace(reading, streak=streak, at=NOW), NOW + timedelta(minutes=minutes)


# --- rules in status


@pytest.mark.parametrize(("minutes", "state"), [(9.9, State.FIRING), (10, State.UNKNOWN)])
def test_unknown_shows_after_a_while(minutes: float, state: State) -> None:
    """Until then what was known before is shown."""
    reading, now = gone_blind(FIRING, minutes)
    assert health.visible_state(reading, UNKNOWN_AFTER, now) is state


def test_clock_and_decision_see_the_same_second() -> None:
    """The clock looks at microseconds and wakes once; a decision, in whole seconds, has to see what woke it."""
    frozen_at = NOW.replace(microsecond=631876)
    streak = replace(FIRING.streak, state=State.UNKNOWN, beneath=State.FIRING, frozen_at=frozen_at)
    reading, now = replace(FIRING, streak=streak), frozen_at + UNKNOWN_AFTER
    assert health.visible_state(reading, UNKNOWN_AFTER, now) is State.UNKNOWN
    assert health.visible_state(reading, UNKNOWN_AFTER, now.replace(microsecond=0)) is State.UNKNOWN


def test_only_rules_that_are_not_normal_are_in_status() -> None:
    """Sorted by name, with the time they came into that state."""
    low = a_reading("low-success-rate", at=NOW)
    rules = health.rule_statuses((), readings(low, CALM, a_reading("runaway-errors", at=NOW)), UNKNOWN_AFTER, NOW)
    assert [(each.name, each.state, each.since) for each in rules] == [
        ("low-success-rate", "Firing", NOW),
        ("runaway-errors", "Firing", NOW),
    ]


def test_a_state_keeps_its_time_and_message() -> None:
    """Values move with every tick and cause no write."""
    before = health.rule_statuses((), readings(FIRING), UNKNOWN_AFTER, NOW)
    worse = replace(a_reading(errors=180, at=after(minutes=11)), streak=FIRING.streak)
    assert health.rule_statuses(before, readings(worse), UNKNOWN_AFTER, after(minutes=11)) == before


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param(None, "Firing", ["Firing"], id="fires"),
        pytest.param("Pending", "Firing", ["Firing"], id="held long enough"),
        pytest.param("Firing", "Firing", [], id="still"),
        pytest.param("Firing", "Recovering", [], id="recovering is still firing"),
        pytest.param("Firing", None, ["Resolved"], id="resolved"),
        pytest.param("Firing", "Unknown", [], id="nothing is resolved by not knowing"),
        pytest.param(None, "Pending", [], id="not yet"),
    ],
)
def test_what_is_told_of_rules(before: str | None, now: str | None, told: list[str]) -> None:
    """An Event when a rule begins to fire and when it ceases to."""
    old, new = (
        PromptStatus(active_version=V2, rules=(RuleStatus(name=RULE, state=s, since=T0),) if s else ())
        for s in (before, now)
    )
    assert [change for change, _ in health.rule_transitions(old, new)] == told


def beneath(state: str, *, firing: bool = True) -> PromptStatus:
    """Return the status of a rule in this state, which fires beneath it."""
    rule = RuleStatus(name=RULE, state=state, since=T0, fired_at=T0 if firing else None)
    return PromptStatus(active_version=V2, rules=(rule,))


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param(beneath("Unknown"), PromptStatus(active_version=V2), ["Resolved"], id="seen calm again"),
        pytest.param(beneath("Unknown"), beneath("Firing", firing=False), [], id="seen firing again"),
        pytest.param(beneath("Unknown", firing=False), beneath("Firing", firing=False), ["Firing"], id="fires anew"),
        pytest.param(beneath("Unknown", firing=False), PromptStatus(active_version=V2), [], id="was calm beneath"),
    ],
)
def test_a_firing_outlives_what_is_unknown(before: PromptStatus, now: PromptStatus, told: list[str]) -> None:
    """A rule that fired when its data went missing is neither told twice nor forgotten."""
    assert [change for change, _ in health.rule_transitions(before, now)] == told


def test_a_firing_rule_without_data_says_since_when() -> None:
    """Status keeps when it fired and says since when nothing is known; Healthy stays False."""
    reading, now = gone_blind(FIRING, 30)
    (rule,) = health.rule_statuses((), readings(reading), UNKNOWN_AFTER, now)
    assert (rule.state, rule.fired_at) == ("Unknown", FIRING.streak.fired_at)
    assert f"nothing since {rfc3339(NOW)}" in (rule.message or "")
    assert told(reading) == ("False", "CriticalRuleFiring")


def test_a_flapping_rule_says_so() -> None:
    """The third firing within an hour names the cure."""
    instants = tuple(NOW - timedelta(minutes=each) for each in (40, 20, 0))
    flapping = replace(FIRING, streak=replace(FIRING.streak, firings=instants))
    (rule,) = health.rule_statuses((), readings(flapping), UNKNOWN_AFTER, NOW)
    assert (rule.message or "").startswith("fired 3 times within 1h, keepFiringFor would steady it; error_rate ")


def test_a_switch_resolves_nothing() -> None:
    """Rules of another version than before begin anew."""
    old = PromptStatus(active_version=V2, rules=(RuleStatus(name=RULE, state="Firing", since=T0),))
    assert health.rule_transitions(old, PromptStatus(active_version=V1)) == ()


# --- Healthy


def told(
    *rules: Any, prompt: Any = SERVING, mode: str = "Active", refused: tuple[Refused, ...] = ()
) -> tuple[str, str]:
    """Return status and reason of Healthy."""
    known = readings(*rules) if rules else None
    wanted = health.healthy(facts(prompt, readings=known), mode, V2, refused, NOW)
    return wanted.status, wanted.reason


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((FIRING,), ("False", "CriticalRuleFiring"), id="fires"),
        pytest.param((CALM,), ("True", "RulesNormal"), id="calm"),
        pytest.param((BLIND,), ("Unknown", "NoEvidence"), id="no data"),
        pytest.param((BLIND, a_reading("low-success-rate", errors=0, state=State.NORMAL)), ("True", "RulesNormal"),
                     id="one has data"),
        pytest.param((a_reading(state=State.RECOVERING, errors=0),), ("False", "CriticalRuleFiring"), id="recovering"),
        pytest.param((a_reading(state=State.PENDING),), ("True", "RulesNormal"), id="pending"),
        pytest.param((a_reading("elevated-error-rate"), CALM), ("True", "RulesNormal"), id="only a warning fires"),
        pytest.param((), ("Unknown", "NoEvidence"), id="not judged yet"),
    ],
)  # fmt: skip
def test_critical_rules_make_health(rules: tuple[Any, ...], expected: tuple[str, str]) -> None:
    """Warnings alert; only critical rules touch Healthy, and no data is neither good nor bad."""
    assert told(*rules) == expected


def test_a_version_without_data_is_told_of_once() -> None:
    """Before and after its first judgement the condition is the same to the letter: no write once it is not new."""
    new = health.healthy(facts(SERVING), "Active", V2, (), NOW)
    judged = health.healthy(facts(SERVING, readings=readings(BLIND)), "Active", V2, (), NOW)
    assert new == judged


@pytest.mark.parametrize("objection", list(Objection), ids=str)
def test_the_guards_reason_is_shown(objection: Objection) -> None:
    """A critical rule that fires and is not rolled back says why; at the limit a person must decide."""
    expected = "ManualInterventionRequired" if objection is Objection.DAILY_LIMIT_REACHED else str(objection)
    assert told(FIRING, refused=(Refused(FIRING, Refusal(objection, "because"), a_case()),)) == ("False", expected)


def test_a_person_is_asked_for_until_one_comes() -> None:
    """The daily limit was reached: also when the rule fires no more, and after a restart, Healthy says so."""
    limit = a_record("limit", decision="Refused", guard="DailyLimitReached", at=after(minutes=1))
    spent = [a_record(f"record-{n}", at=T0) for n in range(3)]
    calm = facts(SERVING, records=[*spent, limit], readings=readings(CALM))
    for given in (calm, replace(calm, readings=None)):
        said = health.healthy(given, "Active", V2, (), NOW)
        assert (said.status, said.reason) == ("False", "ManualInterventionRequired")
        assert "acknowledge PromptRollback limit" in said.message
    taken = a_record(
        "limit", decision="Refused", guard="DailyLimitReached", acknowledge={"by": "ada", "reason": "on it"}
    )
    said = health.healthy(replace(calm, records=(*spent, taken)), "Active", V2, (), NOW)
    assert (said.status, said.reason) == ("True", "RulesNormal")


def test_suspended_and_fallback_prompts_are_not_judged() -> None:
    """Their rules decide nothing."""
    assert told(FIRING, prompt=a_prompt(V2, suspend=True, status=a_status(V2))) == ("Unknown", "Suspended")
    assert told(FIRING, mode="Fallback") == ("Unknown", "Fallback")


def test_a_restart_keeps_what_was_said() -> None:
    """Until the rules are judged again, what status said of this version stands."""
    said = {
        "type": "Healthy", "status": "False", "reason": "CoolingDown", "message": "m",
        "lastTransitionTime": rfc3339(T0),
    }  # fmt: skip
    assert told(prompt=a_prompt(V2, status=a_status(V2, conditions=[said]))) == ("False", "CoolingDown")


def test_propagated_once_seen_stays_seen() -> None:
    """A quiet hour does not take back that applications serve the version; another version does."""
    prompt = a_prompt(V2, status=a_status(V2))
    assert health.propagated(facts(prompt), V2).status == "Unknown"
    assert health.propagated(facts(prompt, readings=readings(CALM, traffic=True)), V2).status == "True"
    seen = {
        "type": "Propagated", "status": "True", "reason": "SeenInMetrics", "message": "m",
        "lastTransitionTime": rfc3339(T0),
    }  # fmt: skip
    quiet = facts(a_prompt(V2, status=a_status(V2, conditions=[seen])))
    assert health.propagated(quiet, V2).status == "True"
    assert health.propagated(quiet, V1).status == "Unknown"


# --- reviews

ASKING = readings(a_reading("lasting-latency", state=State.FIRING, at=NOW))
FIRED = (RuleStatus(name="lasting-latency", state="Firing", since=NOW),)
ASKED = {
    "type": "ReviewRequired", "status": "True", "reason": "ReviewRequested", "message": "asked before",
    "lastTransitionTime": rfc3339(NOW),
}  # fmt: skip


def review(rules: tuple[RuleStatus, ...], *, reviewed: str = "", asked: bool = False) -> str | None:
    """Return the message of ReviewRequired, None when nobody has to look."""
    annotations = {health.REVIEWED_ANNOTATION: reviewed} if reviewed else {}
    prompt = a_prompt(V2, status=a_status(V2, conditions=[ASKED] if asked else []), annotations=annotations)
    wanted = health.review_required(facts(prompt, readings=ASKING), rules)
    return wanted.message if wanted else None


def test_a_review_is_asked_for_until_a_person_looked() -> None:
    """It outlives the rule, and ends with an annotation that is newer than it."""
    assert review(()) is None
    message = review(FIRED)
    assert message is not None
    assert health.REVIEWED_ANNOTATION in message
    assert review((), asked=True) == "asked before"
    assert review((), asked=True, reviewed=rfc3339(after(minutes=9))) == "asked before"
    assert review((), asked=True, reviewed=rfc3339(after(minutes=11))) is None
    assert review(FIRED, asked=True, reviewed=rfc3339(after(minutes=11))) is None
    assert review(FIRED, reviewed="soon") is not None


# --- what an activation leaves

BUSY = PromptStatus.model_validate(
    a_status(V1, rules=[{"name": RULE, "state": "Firing", "since": rfc3339(T0)}])
    | {"baseline": [{"metric": "latency_p95", "value": "1", "at": rfc3339(T0)}]}
)
DECISION = Decision(
    id="d-1", kind="Rollback", decision="Executed", from_version=V1, to_version=V2, from_hash=hash_of(V1),
    to_hash=hash_of(V2), reason="too many errors", at=NOW,
)  # fmt: skip


def test_an_activation_begins_anew_and_is_remembered() -> None:
    """Rules and baseline belong to the version before; history has a line, and says why the one before ended."""
    status = activated(BUSY, V2, hash_of(V2), cause="Activation", by="kubectl", reason="", now=NOW)
    assert (status.active_version, status.active_hash, status.activated_at) == (V2, hash_of(V2), NOW)
    assert (status.previous_version, status.rules, status.baseline) == (V1, (), ())
    assert [(each.version, each.by, each.left_because) for each in status.history] == [
        (V2, "kubectl", None),
        (V1, None, "Activation"),
    ]


def test_history_has_ten_lines() -> None:
    """The oldest go."""
    status = BUSY
    for patch in range(12):
        status = activated(status, f"1.0.{patch}", hash_of(V1), cause="Activation", by="", reason="", now=NOW)
    assert [each.version for each in status.history] == [f"1.0.{patch}" for patch in range(11, 1, -1)]


def test_a_rollback_says_so_in_history() -> None:
    """Who did it, and that the version before was left by it."""
    status = rolled_back(BUSY, DECISION, NOW)
    assert status.decision == DECISION
    assert (status.history[0].by, status.history[1].left_because) == ("prompt-operator", "Rollback")
    manual = DECISION.model_copy(update={"kind": "ManualRollback", "requested_by": "ada"})
    status = rolled_back(BUSY, manual, NOW)
    assert (status.history[0].by, status.history[1].left_because) == ("ada", "ManualRollback")


def test_an_override_stands_while_the_desired_version_is_held() -> None:
    """It ends when spec.version changes, and says whether a person or a rule put it there."""
    hold, status = Hold(V2, hash_of(V2), "why", T0, "record-1"), PromptStatus()
    automatic = override_of(status, V2, V1, hold, [a_record()])
    assert automatic is not None
    assert (automatic.version, automatic.because, automatic.against) == (V1, "Rollback", V2)
    manual = override_of(status, V2, V1, hold, [a_record(trigger="Manual")])
    assert manual is not None
    assert manual.because == "ManualRollback"
    assert override_of(status, V2, V1, None, []) is None
    assert override_of(status, V1, V1, hold, []) is None


def test_the_ledger_in_status_is_the_newest_twenty() -> None:
    """Rebuilt from records and from the decision that has none yet; newest first."""
    records = [a_record(f"record-{n:02}", at=after(hours=n)) for n in range(25)]
    shown = rollbacks_of(records, DECISION)
    assert shown is not None
    assert len(shown.recent) == 20
    assert shown.last_at == after(hours=24)
    assert rollbacks_of([], None) is None
    alone = rollbacks_of([a_record(decision="Refused")], DECISION)
    assert alone is not None
    assert [each.id for each in alone.recent] == ["d-1"]


# --- the other kinds


def settled(record: Any, status: PromptVersionStatus, activated_at: str = "") -> bool:
    """Tell whether a status, read back from the API server, needs no further write."""
    kept = status.model_dump(by_alias=True, exclude_none=True, mode="json")
    said = summary_of(kept, "stage")
    seen = replace(record, first_hash=kept.get("contentHash", ""), activated_at=kept.get("activatedAt", ""), seen=said)
    return version_settled(seen, activated_at)


@pytest.mark.parametrize("active", [None, T0], ids=["waiting", "active"])
@pytest.mark.parametrize(
    "record",
    [
        a_version(V1, seen=False),
        a_version(V1, stage="Draft"),
        a_version(V1, contentHash=hash_of(V2)),
        a_version(V1, includes=[{"promptRef": {"name": "tone"}, "version": V1}]),
        replace(a_version(V1, seen=False), content_hash=""),
    ],
    ids=["fine", "draft", "mismatch", "includes", "no canonical form"],
)
def test_a_version_status_is_written_once(record: Any, active: Any) -> None:
    """What was written is recognised from its digest alone."""
    status = version_status(record, PromptVersionStatus(), active, NOW)
    assert settled(record, status, rfc3339(active) if active else "")


def test_the_hash_seen_first_is_kept() -> None:
    """Changed content does not change it, an accepted one does."""
    before = PromptVersionStatus(content_hash=hash_of(V2))
    assert version_status(a_version(V1, seen=False), before, None, NOW).content_hash == hash_of(V2)
    accepted = a_version(V1, seen=False, accepted=hash_of(V1))
    assert version_status(accepted, before, None, NOW).content_hash == hash_of(V1)


def test_a_version_remembers_when_it_was_active() -> None:
    """Stage and times follow the Prompt."""
    active = version_status(a_version(V1), PromptVersionStatus(), T0, NOW)
    assert (active.stage, active.activated_at, active.last_active_at) == ("Active", T0, None)
    left = version_status(a_version(V1), active, None, NOW)
    assert (left.stage, left.activated_at, left.last_active_at) == ("Staged", T0, NOW)


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        (PolicyProblems(), ("True", Reason.VALID)),
        (PolicyProblems(bad_rules=("rule own: bad",)), ("False", Reason.RULE_INVALID)),
        (PolicyProblems("", ("custom metric m: bad",), ("rule own: bad",)), ("False", Reason.CUSTOM_METRIC_INVALID)),
        (PolicyProblems("spec.rules: bad", (), ("rule own: bad",)), ("False", Reason.POLICY_INVALID)),
    ],
)
def test_the_status_of_a_policy(problems: PolicyProblems, expected: tuple[str, str]) -> None:
    """Ready says whether it is in force as written; the number of prompts under it is there."""
    spec: dict[str, Any] = {"budgets": [{}]}
    status = policy_status(spec, problems, PromptPolicyStatus(), prompts=3, generation=2, now=NOW)
    ready, idle = status.conditions
    assert (ready.status, ready.reason) == expected
    assert idle.type == "NotImplemented"
    assert (status.prompts, status.observed_generation) == (3, 2)


@pytest.mark.parametrize(
    ("kind", "reason"), [("profile", "MetricsProfileNotFound"), ("source", "MetricsSourceNotFound")]
)
def test_a_policy_that_names_unknown_metrics_is_not_ready(kind: str, reason: str) -> None:
    """What is missing is named; a bad rule is said first, since that one is off for good."""
    missing = PolicyProblems(**{f"{kind}_missing": "x"})  # type: ignore[arg-type]
    (ready,) = policy_status({}, missing, PromptPolicyStatus(), prompts=0, generation=1, now=NOW).conditions
    assert (ready.status, ready.reason) == ("False", reason)
    assert ready.message == f"spec.metrics.{kind} is x, which the operator does not have: no rule is judged under it"
    both = missing._replace(bad_rules=("rule own: bad",))
    (ready,) = policy_status({}, both, PromptPolicyStatus(), prompts=0, generation=1, now=NOW).conditions
    assert ready.reason == Reason.RULE_INVALID


@pytest.mark.parametrize("known", [None, readings(CALM)], ids=["not judged", "calm"])
def test_an_unknown_profile_says_so_instead_of_no_evidence(known: Any) -> None:
    """Healthy is Unknown and names the profile, whether or not rules were judged before."""
    blind = replace(facts(SERVING, readings=known), profile_missing="x")
    wanted = health.healthy(blind, "Active", V2, (), NOW)
    assert (wanted.status, wanted.reason) == ("Unknown", Reason.METRICS_PROFILE_NOT_FOUND)
    assert wanted.message == "the operator has no metric profile 'x': no rule is judged"


@pytest.mark.parametrize("reason", [Reason.METRICS_PROFILE_NOT_FOUND, Reason.METRICS_SOURCE_NOT_FOUND])
def test_what_was_not_found_is_not_carried_over(reason: Reason) -> None:
    """Once the name is put right, Healthy waits for evidence instead of repeating what is no longer so."""
    old = {"type": "Healthy", "status": "Unknown", "reason": reason, "message": "x", "lastTransitionTime": T0}
    status = {**a_status(V2), "conditions": [old]}
    wanted = health.healthy(facts(a_prompt(V2, status=status)), "Active", V2, (), NOW)
    assert (wanted.status, wanted.reason) == ("Unknown", Reason.NO_EVIDENCE)


def test_an_experiment_says_that_it_does_nothing() -> None:
    """Accepted, not run, and told so."""
    status = experiment_status({"type": "ABTest"}, ExperimentStatus(), generation=1, now=NOW)
    assert {each.type: each.status for each in status.conditions} == {"Ready": "False", "NotImplemented": "True"}
    again = experiment_status({"type": "ABTest"}, status, generation=1, now=after(hours=1))
    assert again == status
