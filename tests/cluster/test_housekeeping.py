"""What the operator clears away by itself, on a real API server: old records, and status fields that others left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import sample
from tests.cluster.operating import operated

from prompt_operator.api.common import rfc3339
from prompt_operator.core.pruning import KEPT
from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with one prompt that serves 1.0.0."""
    async with operated(cluster.kubeconfig, namespace) as one:
        for version in ("1.0.0", "1.1.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await one.settle()
        yield one


async def record(operator: Operated, name: str, decision: str, at: datetime) -> None:
    """Create a record as the operator once did."""
    spec = {
        "promptRef": {"name": "greeting"}, "fromVersion": "1.1.0", "toVersion": "1.0.0", "trigger": "Automatic",
        "decision": decision, "decidedAt": rfc3339(at), "reason": "too many errors",
    } | ({"guard": "CoolingDown"} if decision == "Refused" else {})  # fmt: skip
    metadata = {"name": name, "namespace": operator.namespace}
    body: dict[str, Any] = {"apiVersion": PROMPT_ROLLBACK.api_version, "kind": PROMPT_ROLLBACK.kind}
    await operator.api.create(PROMPT_ROLLBACK, body | {"metadata": metadata, "spec": spec})


async def test_of_old_refusals_the_newest_fifty_stay(operator: Operated) -> None:
    """Sixty refusals of two days ago and a hold that is older still: the oldest ten refusals go, the hold stays."""
    then = datetime.now(UTC) - timedelta(days=2)
    await record(operator, "hold", "Executed", then - timedelta(hours=1))
    for number in range(KEPT + 10):
        await record(operator, f"refusal-{number:02}", "Refused", then + timedelta(minutes=number))

    async def pruned() -> bool:
        return len(await operator.records()) == KEPT + 1

    await operator.until(pruned)
    await operator.settle()
    left = {one["metadata"]["name"] for one in await operator.records()}
    assert left == {"hold", *(f"refusal-{number:02}" for number in range(10, KEPT + 10))}
    held = (await operator.status())["held"]
    assert [(one["version"], one["record"]) for one in held] == [("1.1.0", "hold")]


async def test_status_fields_of_another_manager_are_removed_and_counted(operator: Operated) -> None:
    """Somebody restored a status of another time: with the next write its leftovers go, and later writes find none."""
    foreign = {
        "conditions": [
            {"type": "Odd", "status": "True", "reason": "Restored", "message": "", "observedGeneration": 1,
             "lastTransitionTime": rfc3339(datetime.now(UTC))},
        ],
        "held": [{"version": "0.1.0", "since": rfc3339(datetime.now(UTC)), "reason": "of another time"}],
        "rollout": {"candidate": "1.1.0", "weight": 50, "step": 1, "since": rfc3339(datetime.now(UTC))},
    }  # fmt: skip
    body = {
        "apiVersion": PROMPT.api_version, "kind": PROMPT.kind,
        "metadata": {"name": "greeting", "namespace": operator.namespace}, "status": foreign,
    }  # fmt: skip
    await operator.api.apply(PROMPT, body, manager="restorer", subresource="status")
    await operator.settle()
    await operator.prompt("1.1.0")
    await operator.until_served("1.1.0")
    await operator.settle()
    status = await operator.status()
    assert "rollout" not in status
    assert "Odd" not in {condition["type"] for condition in status["conditions"]}
    counted = sample(operator, "prompt_operator_status_leftovers_total", kind="Prompt")
    assert counted >= 2.0
    await operator.prompt("1.0.0")
    await operator.until_served("1.0.0")
    assert sample(operator, "prompt_operator_status_leftovers_total", kind="Prompt") == counted
