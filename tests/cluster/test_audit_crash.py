"""The audit trail in the cluster, while its own writes are where the operator dies or the API server fails."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.faults.proxy import DEATHS, SILENCES, Fault, Point, Write
from tests.faults.stage import prepare, staged
from tests.faults.stories import judged

from prompt_operator.adapters.audit.segments import KEY, LABEL
from prompt_operator.core.audit.chain import lines_of
from prompt_operator.core.audit.verify import verify
from prompt_operator.ports import CONFIG_MAP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.stage import Stage

    from devcluster.controlplane import ControlPlane

TRAIL = "s99"
"""The proxy takes it for a scene whose only writes are those of the trail."""
LINE = Write("PATCH ConfigMap", 1)
FAULTS = (*DEATHS, Fault.CONFLICT, Fault.LOST_ANSWER, *SILENCES)


@asynccontextmanager
async def failing_at_a_line(stage: Stage, fault: Fault) -> AsyncIterator[None]:
    """Let the next write of the trail go wrong, and see that it did; a killed operator is started again."""
    stage.proxy.hit.discard(TRAIL)
    stage.proxy.arm(TRAIL, Point(LINE, fault))
    async with stage.restarting():
        yield
        await stage.until(lambda: _hit(stage))
        await stage.proxy.arrived(TRAIL)


async def _hit(stage: Stage) -> bool:
    return TRAIL in stage.proxy.hit


async def text(stage: Stage) -> bytes:
    """Return what the segments hold."""
    found = [each async for each in stage.api.list(CONFIG_MAP, namespace=stage.namespace, labels=LABEL)]
    found.sort(key=lambda each: str(each["metadata"]["name"]))
    return "".join(each["data"][KEY] for each in found).encode()


async def rollbacks_told(stage: Stage) -> Counter[str]:
    """Return how often each rollback stands in the trail."""
    told: list[dict[str, Any]] = [json.loads(line) for line in lines_of(await text(stage))]
    return Counter(each["id"] for each in told if each["verb"] == "Rollback")


async def executed(stage: Stage, scene: str) -> str:
    """Return the name of the record of a scene's rollback."""
    (record,) = await stage.records(scene, "Executed")
    return str(record["metadata"]["name"])


async def test_each_rollback_is_told_once_though_the_writes_of_the_trail_fail(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """At the line of the decision: killed before and after, 409, cut after it, silent, late; at a takeover: killed."""
    sink = ("--audit", "configMap", "--audit-name", f"{namespace}/trail-{TRAIL}")
    async with staged(control_plane.kubeconfig, control_plane.admin_token, namespace, tmp_path, *sink) as stage:
        scenes = {f"s{number:02}": fault for number, fault in enumerate(FAULTS)}
        await asyncio.gather(*(prepare(stage, scene) for scene in scenes))
        for scene, fault in scenes.items():
            async with failing_at_a_line(stage, fault):
                stage.traffic.bad.add((scene, "1.1.0"))
                await stage.until(lambda scene=scene: judged(stage, scene, 1))  # type: ignore[misc]
        for death in DEATHS:
            async with failing_at_a_line(stage, death):
                stage.kill()
        right = dict.fromkeys([await executed(stage, scene) for scene in scenes], 1)

        async def told() -> bool:
            return dict(await rollbacks_told(stage)) == right

        await stage.until(told)
        await stage.stop()
        assert dict(await rollbacks_told(stage)) == right
        assert verify(lines_of(await text(stage)), {}).broken is None
