"""The condition for missing recording rules on a real API server: told, shown by kubectl, and gone again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.operating import operated
from tests.faults.scene import time_passes

if TYPE_CHECKING:
    from devcluster.cluster import Cluster


async def test_missing_recording_rules_come_and_go_as_a_condition(cluster: Cluster, namespace: str) -> None:
    """The API server keeps it; the Prompt stays Ready; loading the rules is all that somebody has to do."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        operator.metrics.traffic["greeting", "1.0.0"] = 1000.0, 0.0
        operator.metrics.recorded = False
        await operator.version("1.0.0")
        await operator.prompt("1.0.0")
        await operator.start()
        await operator.until_served("1.0.0")
        for minutes in (3, 6, 6):
            await time_passes(operator, minutes)
        told = await operator.condition("NotRecorded")
        assert (told["status"], told["reason"]) == ("True", "RecordingRulesMissing")
        assert "user-satisfaction-drop" in told["message"]
        assert (await operator.condition("Ready"))["status"] == "True"
        operator.metrics.recorded = True
        await time_passes(operator, 6)
        assert await operator.condition("NotRecorded") == {}
