"""Nothing new, nothing written: counted in kube-apiserver's audit log, Events included."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import Writes, conditions_of, until_condition, until_settled, wake_everything
from tests.cluster.operating import Operated, operated

from prompt_operator.ports import CONFIG_MAP, EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.conftest import Kubectl

    from devcluster.controlplane import ControlPlane

BAD, GOOD = (200.0, 120.0), (200.0, 0.0)
AT_ONCE = {"initialDelay": "0s", "recoveryWindow": "5m"}
SHADOW = {"promptRef": {"name": "active"}, "type": "Shadow", "shadow": {"version": "1.0.0", "sample": "10%"}}
STATES: dict[str, dict[str, Any]] = {
    "active": {},
    "suspended": {"suspend": True},
    "fallback": {"mode": "Fallback"},
    "missing": {"version": "9.9.9"},
    "draft": {"version": "2.0.0"},
    "mismatched": {"version": "3.0.0"},
    "conflicting": {"delivery": {"configMapName": "foreign"}},
    "ruled": {"rules": [{"name": "mine", "condition": "error_rate > 5"}]},
    "orphaned": {"policyRef": {"name": "nowhere"}},
    "idle": {"rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}},
    "strict": {"policyRef": {"name": "strict"}},
}
READY = {
    "active": "Active",
    "suspended": "Suspended",
    "fallback": "Fallback",
    "missing": "VersionMissing",
    "draft": "VersionDraft",
    "mismatched": "HashMismatch",
    "conflicting": "ConfigMapConflict",
    "ruled": "RuleInvalid",
    "orphaned": "PolicyNotFound",
    "idle": "Active",
    "strict": "Active",
}


@pytest.fixture
async def operator(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Operated]:
    """A running operator whose prompts are in every state there is, all told and at rest."""
    async with operated(control_plane.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE)
        await one.policy(
            "strict", evidence={"minSamples": 50}, reports={"schedule": "0 7 * * 1", "channels": ["slack"]}
        )
        await one.policy("wrong", rules=[{"name": "theirs", "condition": "latency_p95 > 3000"}])
        foreign = {"name": "foreign", "namespace": namespace}
        await one.api.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": foreign, "data": {}})
        await one.start()
        for name in STATES:
            await one.version("1.0.0", prompt=name)
            await one.prompt("1.0.0", name=name)
        await one.version("2.0.0", prompt="draft", stage="Draft")
        await one.version("3.0.0", prompt="mismatched", contentHash="sha256:" + "0" * 64)
        for name, spec in STATES.items():
            await one.until_served("1.0.0", name)
            await one.prompt(**{"version": "1.0.0", "name": name, **spec})
        await one.apply(EXPERIMENT, "trial", SHADOW)
        await roll_back(one)
        for name, reason in READY.items():
            await until_condition(one, "Ready", reason, name)
        one.clock.offset += timedelta(minutes=6)  # the missing one stalls, the recovery is judged
        await one.tick()
        for _ in range(2):
            await wake_everything(one)
        yield one


async def roll_back(operator: Operated) -> None:
    """Have a bad version rolled back and held, a request refused, and one rule firing without effect."""
    for name in ("rolled", "firing"):
        for version in ("1.0.0", "1.1.0"):
            await operator.version(version, prompt=name)
            await operator.prompt(version, name=name, rollback={"auto": "Disabled"} if name == "firing" else {})
            await operator.until_served(version, name)
    operator.metrics.traffic = {("rolled", "1.1.0"): BAD, ("firing", "1.1.0"): BAD, ("active", "1.0.0"): GOOD}

    async def judged() -> bool:
        await operator.tick()  # the first may come before the operator watches what it has just activated
        firing = (await conditions_of(operator, "firing"))["Healthy"]
        return firing == "False AutoRollbackDisabled" and await operator.served("prompt-rolled") == "1.0.0"

    await operator.until(judged)
    operator.metrics.traffic |= {("rolled", "1.0.0"): GOOD}
    request = {"promptRef": {"name": "active"}, "fromVersion": "0.0.1", "reason": "late", "trigger": "Manual"}
    await operator.apply(PROMPT_ROLLBACK, "late-request", {**request, "requestedBy": "admin"})
    await until_condition(operator, "Ready", "RolledBack", "rolled")


@pytest.fixture
def writes(control_plane: ControlPlane, namespace: str) -> Writes:
    """The operator's writes in the namespace, from the beginning on."""
    return Writes(control_plane, namespace)


async def test_a_second_look_at_anything_writes_nothing(writes: Writes, operator: Operated) -> None:
    """Every object of every kind twice more, ticks included, until the last Event is flushed."""
    await operator.stop()
    assert any(line.startswith("create events/") for line in writes), "the log is the right one"
    assert any("prompts/active/status" in line for line in writes)
    await operator.start()
    writes.restart()
    for _ in range(2):
        await wake_everything(operator)
        await operator.tick()
    await operator.stop()
    assert list(writes) == []


async def test_a_restart_writes_nothing(writes: Writes, operator: Operated) -> None:
    """In order and by a kill: what status, records and ConfigMaps say is enough to go on."""
    await operator.stop()
    writes.restart()
    await operator.start()
    await operator.tick()
    await operator.kill()
    await operator.start()
    await wake_everything(operator)
    await operator.stop()
    assert list(writes) == []


async def test_a_sweep_writes_nothing(writes: Writes, operator: Operated) -> None:
    """Listing everything anew finds what is known."""
    await operator.stop()
    await operator.start()
    writes.restart()
    assert operator.running is not None
    for kind in (PROMPT, PROMPT_VERSION, PROMPT_POLICY, EXPERIMENT, PROMPT_ROLLBACK):
        await operator.within(operator.running.engine.sweep(kind))
    await operator.stop()
    assert list(writes) == []


async def test_ticks_without_news_write_nothing(writes: Writes, operator: Operated) -> None:
    """Ten ticks with figures that move a little: rules judge, nobody writes; a failing Prometheus neither."""
    await operator.tick()
    await operator.settle()
    writes.restart()
    for number in range(10):
        operator.clock.offset += timedelta(seconds=15)
        operator.metrics.traffic[("active", "1.0.0")] = (300.0 + number, 0.0)
        operator.metrics.traffic[("firing", "1.1.0")] = (300.0 + number, 150.0 + number)
        operator.metrics.failing = "down" if number in {4, 5} else ""
        await operator.tick()
    await operator.stop()
    assert list(writes) == []


async def test_the_same_manifests_applied_again_write_nothing(
    writes: Writes, operator: Operated, kubectl: Kubectl
) -> None:
    """A person, or Argo CD each three minutes, by server-side apply and by another manager's."""
    await operator.stop()
    await operator.start()
    writes.restart()
    for name, spec in STATES.items():
        await operator.version("1.0.0", prompt=name)
        await operator.prompt(**{"version": "1.0.0", "name": name, **spec})
    manifest = {
        "apiVersion": PROMPT.api_version,
        "kind": "Prompt",
        "metadata": {"name": "active"},
        "spec": {"version": "1.0.0"},
    }
    kubectl("apply", "--server-side", "--field-manager=argocd", "--filename=-", stdin=json.dumps(manifest))
    await operator.policy(rollback=AT_ONCE)
    await operator.apply(EXPERIMENT, "trial", SHADOW)
    await until_settled(operator, "active")
    await wake_everything(operator)
    await operator.stop()
    assert list(writes) == []


async def test_labels_and_annotations_of_others_write_nothing(
    writes: Writes, operator: Operated, kubectl: Kubectl
) -> None:
    """On a Prompt, a version and a ConfigMap."""
    await operator.stop()
    await operator.start()
    writes.restart()
    for target in ("prompt/active", "promptversion/active-1.0.0", "configmap/prompt-active"):
        kubectl("label", target, "team=support")
        kubectl("annotate", target, "example.org/note=mine")
    await wake_everything(operator)
    await operator.stop()
    assert list(writes) == []
