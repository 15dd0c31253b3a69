"""An automatic rollback on a real API server: from the first bad answer to the judged recovery, and what stays held."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import Writes, delete, sample, until_settled
from tests.cluster.operating import Operated, operated
from tests.faults.scene import (
    AT_ONCE,
    BAD,
    GOOD,
    ONE_RULE,
    RULE,
    failing,
    instant,
    outcome_of,
    release_a_bad_one,
    roll_back,
    serve,
    sign,
)

from prompt_operator.core.projection import MANAGER
from prompt_operator.engine.apply import STATUS_MANAGER
from prompt_operator.ports import PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devcluster.cluster import Cluster
    from devcluster.controlplane import ControlPlane
    from prompt_operator.ports import Manifest

VERSIONS = ("0.8.0", "0.9.0", "1.0.0", "1.1.0", "1.2.0")


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with 1.0.0 served and healthy, and later versions there to be released."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for version in VERSIONS:
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        yield one


@pytest.fixture
async def record(operator: Operated) -> Manifest:
    """The record of a rollback from 1.1.0 to 1.0.0, twenty minutes ago; nothing fails now."""
    await release_a_bad_one(operator)
    found = await roll_back(operator)
    operator.clock.offset += timedelta(minutes=20)
    operator.metrics.traffic = {}
    return found


# --- the switch


async def test_a_bad_version_is_rolled_back_and_held(operator: Operated) -> None:
    """Status, ConfigMap, record, Event and conditions all tell the same."""
    await release_a_bad_one(operator)
    record = await roll_back(operator)
    status = await operator.status()
    assert (status["override"]["version"], status["override"]["against"]) == ("1.0.0", "1.1.0")
    assert [held["version"] for held in status["held"]] == ["1.1.0"]
    assert status["decision"]["rule"] == RULE
    assert (await operator.condition("Ready"))["reason"] == "RolledBack"
    assert (await operator.condition("Stalled"))["reason"] == "VersionHeld"
    assert record["metadata"]["name"] == status["decision"]["id"]
    assert record["spec"]["evidence"][0]["samples"] == 200
    assert "ownerReferences" not in record["metadata"]
    (event,) = await operator.until(lambda: operator.events("RolledBack"))
    assert event["note"].startswith("1.1.0 -> 1.0.0: critical-error-rate")


async def test_only_status_and_our_own_objects_are_written(operator: Operated) -> None:
    """By managedFields: of a Prompt and of a PromptVersion we own nothing but status; spec is the person's alone."""
    await release_a_bad_one(operator)
    record = await roll_back(operator)
    prompt, version = await operator.get(PROMPT, "greeting"), await operator.get(PROMPT_VERSION, "greeting-1.1.0")
    assert prompt["spec"] == {"version": "1.1.0", "mode": "Active"}
    for found in (prompt, version):
        assert owned(found) == {"kubectl": {"f:spec"}, STATUS_MANAGER: {"f:status"}}
    config_map = await operator.config_map()
    assert config_map is not None
    assert owned(config_map) == {MANAGER: {"f:data", "f:metadata"}}
    assert set(owned(record)) <= {"prompt-operator", STATUS_MANAGER}


def owned(found: Manifest) -> dict[str, set[str]]:
    """Return the top fields that each manager owns."""
    fields: dict[str, set[str]] = {}
    for entry in found["metadata"]["managedFields"]:
        fields.setdefault(entry["manager"], set()).update(entry["fieldsV1"])
    return fields


# --- what stays held


async def test_naming_other_versions_does_not_lift_a_hold(operator: Operated, record: Manifest) -> None:
    """1.1.0, then 1.2.0, then 1.1.0 again: still held, and 1.2.0 goes on."""
    await serve(operator, "1.2.0")
    assert "override" not in await operator.status()
    await operator.prompt("1.1.0")
    await operator.until(lambda: stalled(operator))
    stall = await operator.condition("Stalled")
    assert stall["reason"] == "VersionHeld"
    assert record["metadata"]["name"] in stall["message"]
    await operator.until_served("1.2.0")
    assert (await operator.status())["override"]["version"] == "1.2.0"


async def stalled(operator: Operated) -> bool:
    """Tell whether the desired version is 1.1.0 and kept out."""
    prompt = await operator.get(PROMPT, "greeting")
    seen = prompt["status"].get("observedGeneration") == prompt["metadata"]["generation"]
    return seen and bool(await operator.condition("Stalled"))


async def test_gitops_that_applies_again_and_again_is_ignored(
    operator: Operated, record: Manifest, control_plane: ControlPlane
) -> None:
    """The same manifests by server-side apply, as a GitOps tool does: no write of ours, by the audit log."""
    await until_settled(operator, "default", PROMPT_POLICY)
    await operator.look_again()
    before = await operator.get(PROMPT, "greeting")
    writes = Writes(control_plane, operator.namespace)
    for _ in range(5):
        await operator.prompt("1.1.0")
        for version in VERSIONS:
            await operator.version(version)
        await operator.look_again()
    assert list(writes) == []
    assert await operator.get(PROMPT, "greeting") == before
    assert await operator.served() == "1.0.0"
    assert [r["metadata"]["name"] for r in await operator.records()] == [record["metadata"]["name"]]


async def test_a_release_brings_it_back(operator: Operated, record: Manifest) -> None:
    """`release` of the record lifts the hold, and the desired version is activated."""
    await sign(operator, record, "release")
    await operator.until_served("1.1.0")
    await operator.settle()
    status = await operator.status()
    assert "held" not in status
    assert "override" not in status
    assert (await operator.condition("Ready"))["reason"] == "Active"


async def test_a_retry_brings_it_back(operator: Operated, record: Manifest) -> None:
    """`retryAt` newer than the hold lifts it; it is noted as handled, and stays so when the annotation goes."""
    now = instant(operator)
    await operator.annotate("greeting", retryAt=now)
    await operator.until_served("1.1.0")
    await operator.settle()
    assert (await operator.status())["handledRequests"] == [{"verb": "Retry", "value": now}]
    await operator.annotate("greeting")
    await operator.look_again()
    assert await operator.served() == "1.1.0"
    assert record["spec"]["fromVersion"] == "1.1.0"


@pytest.mark.parametrize("ago", [{"minutes": 30}, {"minutes": -30}], ids=["older-than-the-hold", "in-the-future"])
@pytest.mark.usefixtures("record")
async def test_a_retry_out_of_time_is_ignored(operator: Operated, ago: dict[str, float]) -> None:
    """One from before the rollback did not mean this hold; one in the future is no wish of now."""
    await operator.annotate("greeting", retryAt=instant(operator, **ago))
    await operator.look_again()
    assert await operator.served() == "1.0.0"
    status = await operator.status()
    assert [held["version"] for held in status["held"]] == ["1.1.0"]


@pytest.mark.usefixtures("record")
async def test_a_retried_version_that_fails_again_is_held_again(operator: Operated) -> None:
    """The old retry does not lift the new hold."""
    await operator.annotate("greeting", retryAt=instant(operator))
    await operator.until_served("1.1.0")
    operator.clock.offset += timedelta(minutes=1)
    operator.metrics.traffic = failing("1.1.0")
    await roll_back(operator)
    await operator.look_again()
    assert await operator.served() == "1.0.0"
    assert len(await operator.records("Executed")) == 2


async def test_a_deleted_record_is_no_release(operator: Operated, record: Manifest) -> None:
    """Whoever deletes the record does not let the version back in: that takes a signature."""
    await delete(operator, PROMPT_ROLLBACK, record["metadata"]["name"])
    await operator.tick()
    await operator.look_again()
    assert await operator.served() == "1.0.0"
    assert [held["version"] for held in (await operator.status())["held"]] == ["1.1.0"]


# --- where it goes


async def test_the_reference_of_the_version_goes_first(operator: Operated) -> None:
    """Its author's choice, though it was never served, before the version served last."""
    await operator.version("1.3.0", rollback={"reference": "0.8.0"})
    await release_a_bad_one(operator, "1.3.0")
    record = await roll_back(operator, to="0.8.0")
    assert record["spec"]["toVersion"] == "0.8.0"


async def test_without_a_usable_reference_history_decides(operator: Operated) -> None:
    """A reference to what does not exist is passed over."""
    await operator.version("1.3.0", rollback={"reference": "0.7.0"})
    await release_a_bad_one(operator, "1.3.0")
    await roll_back(operator, to="1.0.0")


async def deprecate(operator: Operated) -> None:
    """Its author withdrew it."""
    await operator.version("0.9.0", stage="Deprecated")


async def tamper(operator: Operated) -> None:
    """Somebody deleted it and created it with another text."""
    await delete(operator, PROMPT_VERSION, "greeting-0.9.0")
    await operator.version("0.9.0", text="Ask for the password.")


async def make_it_a_draft(operator: Operated) -> None:
    """Somebody deleted it and created it as a Draft."""
    await delete(operator, PROMPT_VERSION, "greeting-0.9.0")
    await operator.version("0.9.0", stage="Draft")


async def remove(operator: Operated) -> None:
    """Somebody deleted it."""
    await delete(operator, PROMPT_VERSION, "greeting-0.9.0")


async def reject(operator: Operated) -> None:
    """It was itself rolled back before."""
    operator.metrics.traffic = failing("0.9.0")
    await roll_back(operator, to="0.8.0")
    operator.clock.offset += timedelta(minutes=16)


async def leave(operator: Operated) -> None:
    """It was itself left by a rollback, and released since."""
    operator.metrics.traffic = failing("0.9.0")
    record = await roll_back(operator, to="0.8.0")
    operator.metrics.traffic = {}
    await sign(operator, record, "release")
    await operator.until_served("0.9.0")
    operator.clock.offset += timedelta(minutes=16)


@pytest.mark.parametrize(
    "spoil", [deprecate, tamper, make_it_a_draft, remove, reject, leave], ids=lambda spoil: spoil.__name__
)
async def test_an_unusable_version_is_passed_over(operator: Operated, spoil: Any) -> None:
    """0.9.0 was served last, but is Deprecated, tampered with, a Draft, gone, held or left: 0.8.0 is restored."""
    await serve(operator, "0.8.0", "0.9.0")
    if spoil in {reject, leave}:
        await spoil(operator)
    await serve(operator, "1.2.0")
    if spoil not in {reject, leave}:
        await spoil(operator)
        await operator.until(lambda: spoiled(operator))
    operator.metrics.traffic = failing("1.2.0")
    await roll_back(operator, to="0.8.0")


async def spoiled(operator: Operated) -> bool:
    """Tell whether the operator's store knows 0.9.0 as the API server does."""
    assert operator.running is not None
    versions = operator.running.engine.store.versions.values()
    known = [v.uid + v.stage + v.content_hash for v in versions if v.version == "0.9.0"]
    try:
        found = await operator.get(PROMPT_VERSION, "greeting-0.9.0")
    except NotFound:
        return not known
    return len(known) == 1 and known[0].startswith(found["metadata"]["uid"] + found["spec"].get("stage", "Staged"))


# --- how it ends


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [(GOOD, "Recovered"), (BAD, "NotRecovered"), ((3.0, 0.0), "Inconclusive"), (None, "Inconclusive")],
    ids=["good", "bad", "few-samples", "no-traffic"],
)
async def test_recovery_is_judged_after_its_window(
    operator: Operated, counts: tuple[float, float] | None, outcome: str
) -> None:
    """The same rule on the restored version decides; before the window ends nothing is said, later nothing changes."""
    await release_a_bad_one(operator)
    record = await roll_back(operator)
    operator.metrics.traffic = {("greeting", "1.0.0"): counts} if counts else {}
    await operator.tick()
    assert await outcome_of(operator, record) == ""
    operator.clock.offset += timedelta(minutes=6)
    await operator.tick()
    await operator.look_again()
    assert await outcome_of(operator, record) == outcome
    (event,) = await operator.until(lambda: operator.events(outcome))
    assert event["note"].startswith("rollback to 1.0.0: ")
    assert event["type"] == ("Normal" if outcome == "Recovered" else "Warning")
    assert sample(operator, "prompt_operator_rollback_outcomes_total", outcome=outcome) == 1.0
    operator.metrics.traffic = {("greeting", "1.0.0"): BAD if outcome == "Recovered" else GOOD}
    await operator.tick()
    await operator.look_again()
    assert await outcome_of(operator, record) == outcome


async def test_recovery_of_what_is_no_longer_active_is_inconclusive(operator: Operated) -> None:
    """Another version was released before the window ended: nobody will know."""
    await release_a_bad_one(operator)
    record = await roll_back(operator)
    await serve(operator, "1.2.0")
    await operator.look_again()
    assert await outcome_of(operator, record) == "Inconclusive"


# --- what a kill does not forget


async def test_cooldown_and_cap_survive_kills_and_the_loss_of_status(operator: Operated) -> None:
    """Three rollbacks in an hour, each followed by a kill and the loss of status; the fourth waits for a person."""
    for version in ("1.1.0", "1.2.0", "1.3.0", "1.4.0"):
        await operator.version(version)
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        await release_a_bad_one(operator, version)
        if version != "1.1.0":
            await operator.tick()
            assert (await operator.condition("Healthy"))["reason"] == "CoolingDown"
            operator.clock.offset += timedelta(minutes=15)
        await roll_back(operator)
        await operator.kill()
        await operator.wipe_status()
        await operator.start()
        await operator.until_served("1.0.0")
    operator.clock.offset += timedelta(minutes=16)
    await release_a_bad_one(operator, "1.4.0")
    await operator.tick()
    assert (await operator.condition("Healthy"))["reason"] == "ManualInterventionRequired"
    operator.clock.offset += timedelta(hours=24)
    operator.metrics.traffic = {("greeting", "1.4.0"): GOOD}
    await operator.tick()
    await operator.settle()
    (refused,) = [r for r in await operator.records("Refused") if r["spec"]["guard"] == "DailyLimitReached"]
    healthy = await operator.condition("Healthy")
    assert healthy["reason"] == "ManualInterventionRequired"
    assert refused["metadata"]["name"] in healthy["message"]
    await sign(operator, refused, "acknowledge")
    operator.metrics.traffic = failing("1.4.0")
    await roll_back(operator)
    assert len(await operator.records("Executed")) == 4
