"""Status is lost, wholly or with the ConfigMap, or everything is restored elsewhere: the records remember."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import delete
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, ONE_RULE, content, failing, release_a_bad_one, roll_back, serve, sign

from prompt_operator.ports import (
    CONFIG_MAP,
    PROMPT,
    PROMPT_POLICY,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Kind, Manifest

BACKED_UP = (PROMPT_POLICY, PROMPT_VERSION, PROMPT_ROLLBACK, PROMPT, CONFIG_MAP)


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator that rolled 1.1.0 back to 1.0.0, its watch over the recovery over."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await release_a_bad_one(one)
        await roll_back(one)
        yield one


async def remove_status(operator: Operated, kind: Kind, name: str) -> None:
    """Take the status of an object away."""
    patch = [{"op": "remove", "path": "/status"}]
    await operator.api.json_patch(kind, operator.namespace, name, patch, subresource="status")


async def lose_the_prompts_status(operator: Operated) -> None:
    """The status of the Prompt alone."""
    await operator.wipe_status()


async def lose_status_and_config_map(operator: Operated) -> None:
    """The status of the Prompt, and the ConfigMap that tells what was served."""
    await operator.wipe_status()
    await delete(operator, CONFIG_MAP, "prompt-greeting")


async def lose_every_status(operator: Operated) -> None:
    """The status of every object, and the ConfigMap."""
    for kind in (PROMPT_VERSION, PROMPT_ROLLBACK, PROMPT_POLICY):
        names = [o["metadata"]["name"] async for o in operator.api.list(kind, namespace=operator.namespace)]
        for name in names:
            if "status" in await operator.get(kind, name):
                await remove_status(operator, kind, name)
    await lose_status_and_config_map(operator)


LOSSES = (lose_the_prompts_status, lose_status_and_config_map, lose_every_status)


async def until_rebuilt(operator: Operated, *, decided: bool = False) -> dict[str, Any]:
    """Wait until 1.0.0 is served against the held 1.1.0, with the one rollback in the ledger; return status."""

    async def rebuilt() -> dict[str, Any]:
        status = await operator.status()
        return status if status.get("rollbacks") and status.get("projection") else {}

    await operator.until(rebuilt)
    await operator.until_served("1.0.0")
    await operator.settle()
    status = await operator.status()
    (record,) = await operator.records()
    assert [(held["version"], held["record"]) for held in status["held"]] == [("1.1.0", record["metadata"]["name"])]
    assert {key: status["override"][key] for key in ("version", "against", "because", "since")} == {
        "version": "1.0.0",
        "against": "1.1.0",
        "because": "Rollback",
        "since": record["spec"]["decidedAt"],
    }
    assert [entry["id"] for entry in status["rollbacks"]["recent"]] == [record["metadata"]["name"]]
    assert ("decision" in status) == decided
    assert (await operator.condition("Ready"))["reason"] == "RolledBack"
    assert (await operator.condition("Stalled"))["reason"] == "VersionHeld"
    return status


async def assert_cooling_down(operator: Operated) -> None:
    """The next bad version is not rolled back within 15 minutes of the rollback that status forgot."""
    await release_a_bad_one(operator, "1.2.0")
    await operator.tick()
    assert (await operator.condition("Healthy"))["reason"] == "CoolingDown"
    assert await operator.served() == "1.2.0"
    assert len(await operator.records("Executed")) == 1


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("running", [True, False], ids=["while-it-runs", "while-it-is-down"])
async def test_it_is_rebuilt_from_the_records(operator: Operated, lose: Any, running: bool) -> None:  # noqa: FBT001
    """Hold, override and ledger come back, nothing is decided or recorded again, and the cooldown still holds."""
    before = await content(operator)
    if not running:
        await operator.kill()
    await lose(operator)
    if not running:
        await operator.start()
    await until_rebuilt(operator)
    await operator.tick()
    await until_rebuilt(operator)
    after = await content(operator)
    assert after.pop("revision") >= before.pop("revision")
    assert after == before
    await assert_cooling_down(operator)


async def test_the_daily_count_survives(operator: Operated) -> None:
    """Two of two rollbacks, all status lost, the process killed: the third waits for a person, also on the next day."""
    await operator.policy(rollback={**AT_ONCE, "cooldown": "0s", "maxPerDay": 2}, rules=ONE_RULE)
    await operator.version("1.3.0")
    await release_a_bad_one(operator, "1.2.0")
    await roll_back(operator)
    await operator.kill()
    await lose_every_status(operator)
    await operator.start()
    await operator.until_served("1.0.0")
    assert {held["version"] for held in (await operator.status())["held"]} == {"1.1.0", "1.2.0"}
    await release_a_bad_one(operator, "1.3.0")
    await operator.tick()
    assert (await operator.condition("Healthy"))["reason"] == "ManualInterventionRequired"
    assert await operator.served() == "1.3.0"
    operator.clock.offset += timedelta(hours=24)
    await operator.tick()
    assert (await operator.condition("Healthy"))["reason"] == "ManualInterventionRequired"
    (refused,) = await operator.records("Refused")
    await sign(operator, refused, "acknowledge")
    record = await roll_back(operator)
    assert record["spec"]["fromVersion"] == "1.3.0"


async def test_a_retry_is_remembered_without_status(operator: Operated) -> None:
    """The annotation that lifted the hold lifts it again."""
    operator.clock.offset += timedelta(minutes=20)
    await operator.annotate("greeting", retryAt=f"{operator.clock.now():%Y-%m-%dT%H:%M:%SZ}")
    await operator.until_served("1.1.0")
    operator.metrics.traffic = {}
    await operator.kill()
    await lose_every_status(operator)
    await operator.start()
    await operator.until_served("1.1.0")
    assert "held" not in await operator.status()


async def test_a_refusal_is_not_recorded_twice(operator: Operated) -> None:
    """A kill in the middle of an incident: the rule's firing goes on, and so does its one Refused record."""
    await assert_cooling_down(operator)
    (refusal,) = await operator.records("Refused")
    await operator.kill()
    await operator.start()
    await operator.tick()
    assert (await operator.condition("Healthy"))["reason"] == "CoolingDown"
    assert [r["metadata"]["name"] for r in await operator.records("Refused")] == [refusal["metadata"]["name"]]


async def test_a_clock_set_back_does_not_forget_the_cooldown(operator: Operated) -> None:
    """After a restart with an earlier clock the rollback lies in the future: it counts as now, so it cools down."""
    operator.metrics.traffic = {}
    await operator.kill()
    operator.clock.offset -= timedelta(hours=2)
    await operator.start()
    await until_rebuilt(operator, decided=True)
    await assert_cooling_down(operator)


@pytest.fixture
def elsewhere(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A second, empty namespace."""
    name = f"{namespace}-b"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


async def backup(operator: Operated) -> list[tuple[Kind, Manifest]]:
    """Return every object without its status, as tools for backups keep them: ownerReferences included."""
    found = [(kind, o) for kind in BACKED_UP async for o in operator.api.list(kind, namespace=operator.namespace)]
    return [(kind, o) for kind, o in found if o["metadata"]["name"] != "kube-root-ca.crt"]


async def restore(operator: Operated, objects: list[tuple[Kind, Manifest]]) -> None:
    """Create the objects anew: new uids, new times, owners that are dead."""
    keep = ("name", "labels", "annotations", "ownerReferences")
    for kind, found in objects:
        metadata = {key: found["metadata"][key] for key in keep if key in found["metadata"]}
        metadata["namespace"] = operator.namespace
        payload: dict[str, Any] = {key: found[key] for key in ("spec", "data") if key in found}
        body: Manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **payload}
        assert await operator.api.create(kind, body) is not None


@pytest.mark.parametrize("with_config_map", [True, False], ids=["with-config-map", "without-config-map"])
async def test_a_backup_restored_elsewhere(
    operator: Operated,
    cluster: Cluster,
    elsewhere: str,
    with_config_map: bool,  # noqa: FBT001
) -> None:
    """In an empty namespace: the rejected version stays out, nothing is decided anew, the ConfigMap gets an owner."""
    before = await content(operator)
    objects = await backup(operator)
    await operator.stop()
    async with operated(cluster.kubeconfig, elsewhere) as other:
        other.clock.offset = operator.clock.offset
        await restore(other, [o for o in objects if with_config_map or o[0] != CONFIG_MAP])
        other.metrics.traffic = failing("1.1.0")
        await other.start()
        await until_rebuilt(other)
        await other.tick()
        await until_rebuilt(other)
        await other.until(lambda: owned(other))
        after = await content(other)
        whole, was = after.pop("prompt.json"), before.pop("prompt.json")
        assert whole["versions"] == was["versions"]
        assert after.pop("revision") >= before.pop("revision")
        assert after == before
        await assert_cooling_down(other)


async def owned(operator: Operated) -> bool:
    """Tell whether the ConfigMap has one owner, the Prompt that lives."""
    config_map = await operator.config_map()
    owners = (config_map or {}).get("metadata", {}).get("ownerReferences", ())
    return [owner["uid"] for owner in owners] == [(await operator.get(PROMPT, "greeting"))["metadata"]["uid"]]


async def test_without_status_a_good_history_is_still_known(operator: Operated) -> None:
    """The versions' own status tells what was served: the newest of them is the target of the next rollback."""
    operator.clock.offset += timedelta(minutes=20)
    operator.metrics.traffic = {}
    await serve(operator, "1.2.0")
    await operator.kill()
    await operator.wipe_status()
    await operator.start()
    await operator.until_served("1.2.0")
    operator.metrics.traffic = failing("1.2.0")
    record = await roll_back(operator)
    assert record["spec"]["toVersion"] == "1.0.0"
