"""Events as a person reads them with `kubectl events`: on transitions only, with reasons, never with prompt text."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import edit, texts, until_condition, wake_everything
from tests.cluster.operating import Operated, operated

from prompt_operator.adapters.events import CONTROLLER
from prompt_operator.ports import CONFIG_MAP, EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.conftest import Kubectl

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Manifest

SECRET = "Zanzibar-4711"
BAD = (200.0, 120.0)
AT_ONCE = {"initialDelay": "0s", "recoveryWindow": "5m"}


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with greeting 1.0.0 served; every version's text holds a word that must appear nowhere else."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE)
        for version in ("1.0.0", "1.1.0"):
            await one.version(version, text=f"{SECRET} {version}: greet {{{{ name }}}}.")
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        yield one


async def reasons(operator: Operated) -> list[str]:
    """Return the reasons of all Events, oldest first."""
    return [event["reason"] for event in await operator.events()]


async def until_told(operator: Operated, reason: str) -> Manifest:
    """Wait for an Event with this reason."""

    async def told() -> Manifest:
        return next((event for event in await operator.events() if event["reason"] == reason), {})

    return await operator.until(told)


async def test_an_activation_is_one_event_about_the_prompt(operator: Operated, kubectl: Kubectl) -> None:
    """events.k8s.io/v1 with all its fields, and kubectl shows it."""
    event = await until_told(operator, "Activated")
    prompt = await operator.get(PROMPT, "greeting")
    assert event["regarding"]["uid"] == prompt["metadata"]["uid"]
    assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("Prompt", "greeting")
    assert (event["type"], event["action"]) == ("Normal", "Activate")
    assert event["note"] == "nothing -> 1.0.0"
    assert event["reportingController"] == CONTROLLER
    assert event["reportingInstance"]
    shown = kubectl("events", "--for=prompt.v1alpha1.promptops.dev/greeting")
    assert "Activated" in shown
    assert "Activated" in kubectl("describe", "prompt", "greeting")


async def test_only_transitions_are_told(operator: Operated) -> None:
    """Looks, ticks and a restart that find nothing new tell nothing."""
    await until_told(operator, "Activated")
    for _ in range(3):
        await wake_everything(operator)
        await operator.tick()
    await operator.stop()
    before = await operator.events()
    await operator.start()
    await wake_everything(operator)
    await operator.tick()
    await operator.stop()
    assert await operator.events() == before


PROBLEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "VersionDraft": ({"stage": "Draft"}, {}),
    "HashMismatch": ({"contentHash": "sha256:" + "0" * 64}, {}),
    "TooLarge": ({"messages": [{"role": "User", "content": "x" * 65_000} for _ in range(8)]}, {}),
    "PolicyNotFound": ({}, {"policyRef": {"name": "nowhere"}}),
    "RuleInvalid": ({}, {"rules": [{"name": "mine", "condition": "error_rate > 5"}]}),
    "ConfigMapConflict": ({}, {"delivery": {"configMapName": "kube-root-ca.crt"}}),
}


@pytest.mark.parametrize(("reason", "problem"), PROBLEMS.items(), ids=PROBLEMS.keys())
async def test_each_problem_has_its_reason(
    operator: Operated, reason: str, problem: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """A Warning once, however often it is looked at."""
    version, prompt = problem
    if reason == "ConfigMapConflict":
        body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
        await operator.api.create(
            CONFIG_MAP, body | {"metadata": {"name": "kube-root-ca.crt", "namespace": operator.namespace}}
        )
    await operator.version("2.0.0", **version)
    await operator.prompt("2.0.0", **prompt)
    event = await until_told(operator, reason)
    assert event["type"] == "Warning"
    for _ in range(3):
        await wake_everything(operator)
    await operator.stop()
    assert (await reasons(operator)).count(reason) == 1
    assert all("series" not in event for event in await operator.events() if event["reason"] == reason)


async def test_a_missing_version_is_told_when_it_stalls(operator: Operated) -> None:
    """Not while it may still arrive."""
    await operator.prompt("2.0.0")
    await until_condition(operator, "Ready", "VersionMissing")
    await operator.settle()
    assert "VersionMissing" not in await reasons(operator)
    operator.clock.offset += timedelta(seconds=61)
    await operator.look_again()
    await until_told(operator, "VersionMissing")


async def test_a_rollback_is_told_from_the_rule_to_the_recovery(operator: Operated) -> None:
    """Rule, rollback and outcome each have their Event; figures are in the notes."""
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    operator.metrics.traffic = {("greeting", "1.1.0"): BAD}
    await operator.tick()
    await operator.until_served("1.0.0")
    event = await until_told(operator, "RolledBack")
    assert event["type"] == "Warning"
    assert event["note"].startswith("1.1.0 -> 1.0.0: ")
    operator.metrics.traffic = {("greeting", "1.0.0"): (200.0, 0.0)}
    await operator.tick()
    operator.clock.offset += timedelta(minutes=6)
    await operator.tick()
    await operator.look_again()
    await until_told(operator, "Recovered")
    assert (await reasons(operator)).count("RolledBack") == 1


async def test_repeats_are_a_series(operator: Operated) -> None:
    """Tampering three times: one Event that counts."""
    for number in range(3):
        await edit(operator, "prompt-greeting", ("replace", "/data/prompt.txt", f"Evil {number}."))

        async def healed() -> bool:
            return bool((await operator.get(CONFIG_MAP, "prompt-greeting"))["data"]["prompt.txt"].startswith(SECRET))

        await operator.until(healed)
        await operator.settle()
    await operator.stop()
    (event,) = [event for event in await operator.events() if event["reason"] == "ConfigMapHealed"]
    assert event["type"] == "Warning"
    assert event["series"]["count"] == 3


async def test_prompt_text_is_in_versions_and_configmaps_and_nowhere_else(
    operator: Operated, caplog: pytest.LogCaptureFixture
) -> None:
    """Status, Events, records, the log down to debug level and the store: whatever happens, the text is not there."""
    caplog.set_level(logging.DEBUG, "prompt_operator")
    await operator.version("2.0.0", messages=[{"role": "User", "content": SECRET + "x" * 65_000} for _ in range(8)])
    await operator.version("3.0.0", text=SECRET, contentHash="sha256:" + "0" * 64)
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    operator.metrics.traffic = {("greeting", "1.1.0"): BAD}
    await operator.tick()
    await operator.until_served("1.0.0")
    await edit(operator, "prompt-greeting", ("replace", "/data/prompt.txt", f"{SECRET} forged"))
    for version, reason in (("2.0.0", "TooLarge"), ("3.0.0", "HashMismatch")):
        await operator.prompt(version)
        await until_condition(operator, "Ready", reason)
    assert operator.running is not None
    store = operator.running.engine.store
    assert SECRET not in repr([vars(store)[name] for name in ("versions", "config_maps", "rollbacks", "prompts")])
    assert SECRET not in " ".join(str(record.manifest) for record in store.prompts.values())
    await operator.stop()
    found = await operator.events()
    assert {"RolledBack", "TooLarge", "HashMismatch"} <= {event["reason"] for event in found}
    assert SECRET not in texts(found)
    for kind in (PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, EXPERIMENT):
        assert SECRET not in texts([each async for each in operator.api.list(kind, namespace=operator.namespace)])
    statuses = [
        each.get("status", {}) async for each in operator.api.list(PROMPT_VERSION, namespace=operator.namespace)
    ]
    assert SECRET not in texts(statuses)
    assert SECRET not in "\n".join(record.getMessage() for record in caplog.records)
