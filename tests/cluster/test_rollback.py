"""An automatic rollback on a real API server, from the first bad answer to the judged recovery."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.cluster.operating import Operated, operated

from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devcluster.cluster import Cluster

BAD = (200.0, 120.0)
GOOD = (200.0, 0.0)
AT_ONCE = {"initialDelay": "0s", "recoveryWindow": "5m"}


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with 1.0.0 served and healthy, and 1.1.0 there to be released."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE)
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        yield one


async def release_a_bad_one(operator: Operated, version: str = "1.1.0") -> None:
    """Make a version desired, serve it, and let it fail."""
    await operator.prompt(version)
    await operator.until_served(version)
    operator.metrics.traffic = {("greeting", version): BAD}


async def test_a_bad_version_is_rolled_back_and_held(operator: Operated) -> None:
    """Status, ConfigMap, record and conditions all tell the same; spec is untouched."""
    await release_a_bad_one(operator)
    await operator.tick()
    await operator.until_served("1.0.0")
    status = await operator.status()
    assert status["override"]["against"] == "1.1.0"
    assert [held["version"] for held in status["held"]] == ["1.1.0"]
    assert status["decision"]["rule"] == "critical-error-rate"
    assert (await operator.condition("Ready"))["reason"] == "RolledBack"
    assert (await operator.condition("Stalled"))["reason"] == "VersionHeld"
    (record,) = await operator.until(lambda: operator.records("Executed"))
    assert record["metadata"]["name"] == status["decision"]["id"]
    assert record["spec"]["evidence"][0]["samples"] == 200


async def test_recovery_is_judged_after_its_window(operator: Operated) -> None:
    """The same rule on the restored version decides; before the window ends nothing is said."""
    await release_a_bad_one(operator)
    await operator.tick()
    await operator.until_served("1.0.0")
    operator.metrics.traffic = {("greeting", "1.0.0"): GOOD}
    await operator.tick()
    (record,) = await operator.records("Executed")
    assert "outcome" not in record.get("status", {})
    operator.clock.offset += timedelta(minutes=6)
    await operator.tick()
    await operator.look_again()
    name = record["metadata"]["name"]

    async def outcome() -> str:
        return str((await operator.get(PROMPT_ROLLBACK, name)).get("status", {}).get("outcome", ""))

    assert await operator.until(outcome) == "Recovered"
