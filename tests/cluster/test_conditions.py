"""Conditions as the contract's table has them, on a real API server, with the real kubectl as the reader."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import (
    conditions,
    conditions_of,
    delete,
    message,
    until_condition,
    until_settled,
    wake_everything,
)
from tests.cluster.operating import Operated, operated

from devcluster.errors import DevError
from prompt_operator.core import unimplemented
from prompt_operator.engine.store import Key
from prompt_operator.ports import EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.conftest import Kubectl

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Kind, Manifest

ALWAYS = {"Ready", "Serving", "Healthy", "Propagated"}
ONLY_WHILE_TRUE = {"Reconciling", "Stalled"}
BAD = (200.0, 120.0)
AT_ONCE = {"initialDelay": "0s", "recoveryWindow": "5m"}


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with greeting 1.0.0 served, 1.1.0 there to be released, and a policy that rolls back at once."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE)
        for version in ("1.0.0", "1.1.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await one.settle()
        yield one


async def table_row(operator: Operated, ready_reason: str, name: str = "greeting") -> dict[str, str]:
    """Wait for a reason of Ready, check what holds in every row, and return the conditions."""
    await until_condition(operator, "Ready", ready_reason, name)
    prompt = await until_settled(operator, name)
    check_form(prompt)
    return conditions(prompt["status"])


def check_form(prompt: Manifest) -> None:
    """Check what every look leaves: the four are there, the two only while True, generations and times are right."""
    status, generation = prompt["status"], prompt["metadata"]["generation"]
    found = conditions(status)
    assert found.keys() >= ALWAYS
    assert all(found[kind].startswith("True ") for kind in ONLY_WHILE_TRUE & found.keys())
    assert status["observedGeneration"] == generation
    assert {each["observedGeneration"] for each in status["conditions"]} == {generation}
    for each in status["conditions"]:
        assert each["message"] or each["type"] == "Ready"
        assert datetime.fromisoformat(each["lastTransitionTime"]).tzinfo is not None


def without(found: dict[str, str], *kinds: str) -> bool:
    """Tell whether none of these conditions is there."""
    return found.keys().isdisjoint(kinds)


# --- the rows of the table


async def test_active(operator: Operated, kubectl: Kubectl) -> None:
    """Ready and Serving; `kubectl wait` sees it."""
    kubectl("wait", "--for=condition=Ready", "prompt/greeting", "--timeout=60s")
    kubectl("wait", "--for=condition=Serving", "prompt/greeting", "--timeout=60s")
    found = await table_row(operator, "Active")
    assert found["Ready"] == "True Active"
    assert found["Serving"] == "True Active"
    assert found["Healthy"] == "Unknown NoEvidence"
    assert without(found, *ONLY_WHILE_TRUE)


async def test_healthy_and_propagated_follow_the_metrics(operator: Operated) -> None:
    """Good traffic of the active version: Healthy and Propagated turn True."""
    operator.metrics.traffic = {("greeting", "1.0.0"): (200.0, 0.0)}
    await operator.tick()
    found = await table_row(operator, "Active")
    assert (found["Healthy"], found["Propagated"]) == ("True RulesNormal", "True SeenInMetrics")


async def release_a_bad_one(operator: Operated, **spec: Any) -> None:
    """Make 1.1.0 desired, serve it, and let it fail for one tick."""
    await operator.prompt("1.1.0", **spec)
    await operator.until_served("1.1.0")
    operator.metrics.traffic = {("greeting", "1.1.0"): BAD}
    await operator.tick()


@pytest.mark.parametrize(
    ("rollback", "reason"),
    [({"auto": "Disabled"}, "AutoRollbackDisabled"), ({"maxPerDay": 0}, "ManualInterventionRequired")],
)
async def test_a_critical_rule_fires_and_is_not_rolled_back(
    operator: Operated, rollback: dict[str, Any], reason: str
) -> None:
    """Ready stays True, Healthy is False with the guard's reason."""
    await release_a_bad_one(operator, rollback=rollback)
    found = await until_condition(operator, "Healthy", reason)
    assert found["Healthy"] == f"False {reason}"
    found = await table_row(operator, "Active")
    assert (found["Ready"], found["Serving"]) == ("True Active", "True Active")
    assert without(found, *ONLY_WHILE_TRUE)


async def test_suspended_with_the_desired_version(operator: Operated) -> None:
    """Ready True, Healthy Unknown."""
    await operator.prompt("1.0.0", suspend=True)
    found = await table_row(operator, "Suspended")
    assert (found["Ready"], found["Serving"]) == ("True Suspended", "True Active")
    assert found["Healthy"] == "Unknown Suspended"
    assert without(found, *ONLY_WHILE_TRUE)


async def test_suspended_with_another_version(operator: Operated) -> None:
    """A version that was made desired while suspended is not activated: Ready False, nothing stalls."""
    await operator.prompt("1.1.0", suspend=True)
    found = await table_row(operator, "Suspended")
    assert (found["Ready"], found["Serving"]) == ("False Suspended", "True Active")
    assert without(found, *ONLY_WHILE_TRUE)
    assert await operator.served() == "1.0.0"


async def test_fallback(operator: Operated, kubectl: Kubectl) -> None:
    """Ready True, Serving False."""
    await operator.prompt("1.0.0", mode="Fallback")
    found = await table_row(operator, "Fallback")
    assert found["Ready"] == "True Fallback"
    assert found["Serving"] == "False Fallback"
    assert found["Healthy"] == "Unknown Fallback"
    assert without(found, *ONLY_WHILE_TRUE)
    kubectl("wait", "--for=condition=Serving=false", "prompt/greeting", "--timeout=60s")


async def test_rolled_back(operator: Operated, kubectl: Kubectl) -> None:
    """Ready False, Stalled VersionHeld, Serving True; the message says how to release."""
    await release_a_bad_one(operator)
    await operator.until_served("1.0.0")
    found = await table_row(operator, "RolledBack")
    assert (found["Ready"], found["Serving"]) == ("False RolledBack", "True Active")
    assert found["Stalled"] == "True VersionHeld"
    assert without(found, "Reconciling")
    assert "spec.release" in message(await operator.status(), "Stalled")
    kubectl("wait", "--for=condition=Stalled", "prompt/greeting", "--timeout=60s")


async def test_a_missing_version_reconciles_for_a_minute_then_stalls_then_recovers(operator: Operated) -> None:
    """60 seconds by the clock, counted from when it was first missed; the version's arrival alone ends it."""
    await operator.prompt("2.0.0")
    found = await table_row(operator, "VersionMissing")
    assert (found["Ready"], found["Serving"]) == ("False VersionMissing", "True Active")
    assert found["Reconciling"] == "True VersionMissing"
    assert without(found, "Stalled")
    operator.clock.offset += timedelta(seconds=20)  # and what has really passed meanwhile
    await operator.look_again()
    assert without(await conditions_of(operator), "Stalled")
    operator.clock.offset += timedelta(seconds=41)
    await operator.look_again()
    found = await table_row(operator, "VersionMissing")
    assert found["Stalled"] == "True VersionMissing"
    assert without(found, "Reconciling")
    await operator.version("2.0.0")
    await operator.until_served("2.0.0")
    assert without(await table_row(operator, "Active"), *ONLY_WHILE_TRUE)


async def test_a_missing_version_wakes_its_prompt_when_the_minute_is_over(operator: Operated) -> None:
    """The queue holds the deadline: no event is needed for Reconciling to become Stalled."""
    assert operator.running is not None
    planned, key = operator.running.engine.queue._planned, Key(PROMPT.kind, operator.namespace, "greeting")
    assert key not in planned
    await operator.prompt("2.0.0")
    await table_row(operator, "VersionMissing")
    assert key in planned


async def test_another_missing_version_gets_its_own_minute(operator: Operated) -> None:
    """Stalled over one version, then another is named: that one may still arrive."""
    await operator.prompt("2.0.0")
    await table_row(operator, "VersionMissing")
    operator.clock.offset += timedelta(seconds=61)
    await operator.look_again()
    assert (await table_row(operator, "VersionMissing"))["Stalled"] == "True VersionMissing"
    await operator.prompt("3.0.0")
    found = await table_row(operator, "VersionMissing")
    assert found["Reconciling"] == "True VersionMissing"
    assert without(found, "Stalled")


async def test_a_first_version_that_is_missing_serves_nothing(operator: Operated) -> None:
    """Serving is False only while nothing was ever projected."""
    await operator.prompt("1.0.0", name="new")
    found = await table_row(operator, "VersionMissing", "new")
    assert found["Serving"] == "False NothingServed"
    assert found["Healthy"] == "Unknown NothingServed"


BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "VersionDraft": ({"stage": "Draft"}, {}),
    "HashMismatch": ({"contentHash": "sha256:" + "0" * 64}, {}),
    "TooLarge": ({"messages": [{"role": "User", "content": "x" * 65_000} for _ in range(8)]}, {}),
    "NotImplemented": ({"includes": [{"promptRef": {"name": "tone"}, "version": "1.0.0"}]}, {}),
    "PolicyNotFound": ({}, {"policyRef": {"name": "nowhere"}}),
    "RuleInvalid": ({}, {"rules": [{"name": "mine", "condition": "error_rate > 5"}]}),
}


@pytest.mark.parametrize(("reason", "broken"), BROKEN.items(), ids=BROKEN.keys())
async def test_what_only_a_person_can_mend_stalls(
    operator: Operated, kubectl: Kubectl, reason: str, broken: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """Ready False and Stalled True with that reason at once, Serving True, and both end when it is mended."""
    version, prompt = broken
    await operator.version("2.0.0", **version)
    await operator.prompt("2.0.0", **prompt)
    found = await table_row(operator, reason)
    assert (found["Ready"], found["Stalled"]) == (f"False {reason}", f"True {reason}")
    assert found["Serving"] == "True Active"
    assert without(found, "Reconciling")
    kubectl("wait", "--for=condition=Ready=false", "prompt/greeting", "--timeout=60s")
    await operator.prompt("1.1.0")
    found = await table_row(operator, "Active")
    assert without(found, *ONLY_WHILE_TRUE)
    assert await operator.served() == "1.1.0"


async def test_trouble_with_the_api_reconciles_and_ends_by_itself(operator: Operated, kubectl: Kubectl) -> None:
    """A quota refuses the ConfigMap: ApiError at once and for each generation, what was served stays, then Active."""
    forbid_config_maps(kubectl)
    await operator.prompt("1.1.0", delivery={"configMapName": "elsewhere"})
    found = await table_row(operator, "ApiError")
    assert (found["Ready"], found["Serving"]) == ("False ApiError", "True Active")
    assert found["Reconciling"] == "True ApiError"
    assert without(found, "Stalled")
    assert await operator.served() == "1.0.0"
    await operator.prompt("1.1.0", delivery={"configMapName": "elsewhere"}, owner={"team": "support"})
    await table_row(operator, "ApiError")
    kubectl("delete", "resourcequota", "none")

    async def served() -> bool:
        await operator.look_again()
        return await operator.served("elsewhere") == "1.1.0"

    await operator.until(served)
    assert without(await table_row(operator, "Active"), *ONLY_WHILE_TRUE)


async def test_trouble_at_the_first_look_is_told_whole(operator: Operated, kubectl: Kubectl) -> None:
    """All four conditions are there although nothing could be served."""
    forbid_config_maps(kubectl)
    await operator.version("1.0.0", prompt="new")
    await operator.prompt("1.0.0", name="new")
    found = await table_row(operator, "ApiError", "new")
    assert (found["Serving"], found["Healthy"]) == ("False NothingServed", "Unknown NothingServed")


def forbid_config_maps(kubectl: Kubectl) -> None:
    """Let a quota refuse every further ConfigMap; the status that admission reads is set by hand, at once."""
    hard = {"configmaps": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}}
    kubectl("create", "--filename=-", stdin=json.dumps(quota))
    amounts = json.dumps({"status": {"hard": hard, "used": hard}})
    kubectl("patch", "resourcequota", "none", "--subresource=status", "--type=merge", f"--patch={amounts}")
    probe = ("create", "configmap", "probe", "--dry-run=server")
    for _ in range(100):  # admission learns of the quota by a watch of its own
        try:
            kubectl(*probe)
        except DevError:
            return
    pytest.fail("the quota never came into force")


# --- times and generations


async def test_last_transition_time_moves_with_the_status_alone(operator: Operated) -> None:
    """Another reason keeps it, another status moves it, a look that finds nothing new writes nothing."""
    first = await operator.condition("Ready")
    operator.clock.offset += timedelta(hours=1)
    await operator.look_again()
    assert await operator.condition("Ready") == first
    await operator.prompt("1.0.0", mode="Fallback")
    await table_row(operator, "Fallback")
    assert (await operator.condition("Ready"))["lastTransitionTime"] == first["lastTransitionTime"]
    await operator.prompt("2.0.0")
    await table_row(operator, "VersionMissing")
    moved = datetime.fromisoformat((await operator.condition("Ready"))["lastTransitionTime"])
    assert moved - datetime.fromisoformat(first["lastTransitionTime"]) >= timedelta(hours=1)


async def test_observed_generation_follows_a_change_that_means_nothing(operator: Operated) -> None:
    """A spec change without any effect still moves observedGeneration, or `kubectl wait` would hang."""
    await operator.prompt("1.0.0", owner={"team": "support"})
    check_form(await until_settled(operator))


# --- what a release does not act on


FIELDS: dict[str, dict[str, Any]] = {
    "rollout.steps": {"rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}},
    "rollout.unit": {"rollout": {"strategy": "Canary", "steps": [{"weight": 5}], "unit": "User"}},
    "metrics.source": {"metrics": {"source": "main"}},
    "rollback.globalRateLimit": {"rollback": {"globalRateLimit": "5/min"}},
    "rollback.correlatedBreach": {"rollback": {"correlatedBreach": {"share": "20%", "atLeast": 3}}},
    "customMetrics": {"customMetrics": [{"name": "drift", "unit": "Score", "value": "a"}]},
    "escalation": {"escalation": {"critical": {"channels": ["slack"]}}},
    "models": {"models": {"providers": ["openai"]}},
    "require": {"require": ["message"]},
    "validation": {"validation": {"strictness": "Strict"}},
    "experiments": {"experiments": {"bandit": "Enabled"}},
    "reports": {"reports": {"schedule": "0 7 * * 1", "channels": ["slack"]}},
    "budgets": {"budgets": [{"name": "month", "metric": "Cost", "limit": "25.50", "per": "Month"}]},
}


@pytest.mark.parametrize("field", unimplemented.PROMPT)
async def test_a_field_of_a_prompt_without_effect_is_named(operator: Operated, field: str) -> None:
    """NotImplemented names it and goes with it; Ready is not touched."""
    await operator.prompt("1.0.0", **FIELDS[field])
    found = await until_condition(operator, "NotImplemented", "NotImplemented")
    assert (found["NotImplemented"], found["Ready"]) == ("True NotImplemented", "True Active")
    assert f"spec.{field}" in message(await operator.status(), "NotImplemented")
    check_form(await until_settled(operator))
    await operator.prompt("1.0.0")
    await until_settled(operator)
    assert without(await conditions_of(operator), "NotImplemented")


async def beside(operator: Operated, kind: Kind, name: str) -> dict[str, Any]:
    """Return the status of an object beside the prompts, once it tells of its generation."""
    await wake_everything(operator)  # a policy's status waits two seconds to be joined by others

    async def settled() -> dict[str, Any]:
        manifest = await operator.get(kind, name)
        status: dict[str, Any] = manifest.get("status") or {}
        return status if status.get("observedGeneration") == manifest["metadata"]["generation"] else {}

    return await operator.until(settled)


async def test_fields_of_a_policy_without_effect_are_named(operator: Operated) -> None:
    """All at once, then one by one: exactly those that are given."""
    await operator.policy(
        "all", **{key: value for field in unimplemented.PROMPT_POLICY for key, value in FIELDS[field].items()}
    )
    for field in unimplemented.PROMPT_POLICY:
        await operator.policy(f"only-{field.replace('.', '-').lower()}", **FIELDS[field])
    for field in unimplemented.PROMPT_POLICY:
        status = await beside(operator, PROMPT_POLICY, f"only-{field.replace('.', '-').lower()}")
        assert message(status, "NotImplemented").endswith(f": spec.{field}")
        assert conditions(status)["Ready"] == "True Valid"


async def test_fields_of_a_version_without_effect_are_named(operator: Operated) -> None:
    """Includes cannot be resolved yet: the version is not ready and says why."""
    await operator.version("2.0.0", includes=[{"promptRef": {"name": "tone"}, "version": "1.0.0"}])
    status = await beside(operator, PROMPT_VERSION, "greeting-2.0.0")
    assert unimplemented.PROMPT_VERSION == ("includes",)
    assert conditions(status)["NotImplemented"] == "True NotImplemented"
    assert "spec.includes" in message(status, "NotImplemented")
    assert conditions(status)["Ready"] == "False NotImplemented"


async def test_an_experiment_says_that_it_is_not_run(operator: Operated) -> None:
    """It is accepted, nothing is split, and its status says so for its generation."""
    shadow = {"promptRef": {"name": "greeting"}, "type": "Shadow", "shadow": {"version": "1.1.0", "sample": "10%"}}
    await operator.apply(EXPERIMENT, "trial", shadow)
    status = await beside(operator, EXPERIMENT, "trial")
    assert conditions(status) == {"Ready": "False NotImplemented", "NotImplemented": "True NotImplemented"}
    assert "traffic is not split" in message(status, "Ready")
    await operator.apply(EXPERIMENT, "trial", shadow | {"suspend": True})
    assert (await beside(operator, EXPERIMENT, "trial"))["observedGeneration"] == 2


# --- policies and versions


async def test_a_bad_rule_is_named_with_a_suggestion(operator: Operated) -> None:
    """The Prompt says which rule, why, and what was probably meant."""
    await operator.prompt("1.0.0", rules=[{"name": "mine", "condition": "error_rate > 5"}])
    await table_row(operator, "RuleInvalid")
    text = message(await operator.status(), "Ready")
    assert "mine" in text
    assert "5%" in text


async def test_a_bad_rule_of_a_policy_stays_there(operator: Operated) -> None:
    """The policy says it; the prompts under it stay Ready, and are counted."""
    await operator.policy(rules=[{"name": "theirs", "condition": "latency_p95 > 3000"}])
    status = await beside(operator, PROMPT_POLICY, "default")
    assert conditions(status)["Ready"] == "False RuleInvalid"
    assert "theirs" in message(status, "Ready")
    assert "3000ms" in message(status, "Ready")
    assert status["prompts"] == 1
    await operator.look_again()
    found = await table_row(operator, "Active")
    assert without(found, *ONLY_WHILE_TRUE)


async def test_an_unknown_profile_is_named_and_a_known_one_is_not(operator: Operated) -> None:
    """The policy and the prompts under it say which profile is missing; the prompt stays Ready, and both recover."""
    await operator.policy(metrics={"profile": "otel"})
    found = await until_condition(operator, "Healthy", "MetricsProfileNotFound")
    assert (found["Healthy"], found["Ready"]) == ("Unknown MetricsProfileNotFound", "True Active")
    assert "'otel'" in message(await operator.status(), "Healthy")
    status = await beside(operator, PROMPT_POLICY, "default")
    assert conditions(status)["Ready"] == "False MetricsProfileNotFound"
    await operator.policy(metrics={"profile": "otel-genai-v1"})
    recovered = await until_condition(operator, "Healthy", "NoEvidence")
    assert "NotImplemented" not in recovered
    assert conditions(await beside(operator, PROMPT_POLICY, "default"))["Ready"] == "True Valid"


async def test_a_policy_counts_the_prompts_under_it(operator: Operated) -> None:
    """By reference and, for `default`, by having none; it follows when a prompt goes."""
    await operator.policy("strict")
    for number in range(3):
        await operator.version("1.0.0", prompt=f"p{number}")
        await operator.prompt("1.0.0", name=f"p{number}", policyRef={"name": "strict"})
        await operator.until_served("1.0.0", f"p{number}")
    assert (await beside(operator, PROMPT_POLICY, "strict"))["prompts"] == 3
    assert (await beside(operator, PROMPT_POLICY, "default"))["prompts"] == 1
    await delete(operator, PROMPT, "p0")

    async def two() -> bool:
        return bool((await operator.get(PROMPT_POLICY, "strict"))["status"]["prompts"] == 2)

    await operator.until(two)


async def test_a_version_tells_its_hash_and_whether_it_is_active(operator: Operated) -> None:
    """Stage follows the prompt; times are kept when it is left."""

    async def stages() -> tuple[str, str]:
        statuses = [(await operator.get(PROMPT_VERSION, f"greeting-{v}"))["status"] for v in ("1.0.0", "1.1.0")]
        assert all(conditions(status) == {"Ready": "True Valid", "Verified": "True Identical"} for status in statuses)
        return statuses[0]["stage"], statuses[1]["stage"]

    async def first_active() -> bool:
        return await stages() == ("Active", "Staged")

    async def second_active() -> bool:
        return await stages() == ("Staged", "Active")

    await operator.until(first_active)
    await operator.prompt("1.1.0")
    await operator.until(second_active)
    left = (await operator.get(PROMPT_VERSION, "greeting-1.0.0"))["status"]
    assert left["contentHash"].startswith("sha256:")
    assert left["activatedAt"] <= left["lastActiveAt"]


async def test_a_version_with_another_hash_is_not_verified(operator: Operated) -> None:
    """What its author declared is not what it holds."""
    await operator.version("2.0.0", contentHash="sha256:" + "0" * 64)
    status = await beside(operator, PROMPT_VERSION, "greeting-2.0.0")
    assert conditions(status) == {"Ready": "False HashMismatch", "Verified": "False HashMismatch"}


# --- for the eye


async def test_printer_columns_tell_the_state(operator: Operated, kubectl: Kubectl) -> None:
    """`kubectl get prm,prv,prp` shows version, active version and conditions without -o yaml."""
    await operator.prompt("2.0.0")
    await table_row(operator, "VersionMissing")
    header, row = kubectl("get", "prm").splitlines()
    columns = dict(zip(header.split(), row.split(), strict=False))
    assert columns["NAME"] == "greeting"
    assert {"2.0.0", "1.0.0", "False"} <= set(row.split())
    assert {"READY", "AGE"} <= columns.keys()
    versions = kubectl("get", "prv").splitlines()
    assert len(versions) == 3
    assert any("Active" in line for line in versions)
    await beside(operator, PROMPT_POLICY, "default")
    assert "True" in kubectl("get", "prp")
