"""A GitOps tool applies the same manifests each second, and a rollback comes in between: nobody fights."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.faults.stage import Stage, prepare, staged, texts
from tests.faults.stories import BY_RULE, end, quiet

from prompt_operator.ports import CONFIG_MAP, PROMPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from devcluster.controlplane import ControlPlane

SCENE = "s01"
EVERY = 1.0
"""Seconds between two rounds of applying, more than a hundred times as often as usual."""


@contextlib.asynccontextmanager
async def applied_again_and_again(stage: Stage) -> AsyncIterator[list[int]]:
    """Apply Prompt and versions as Git has them, for as long as this lasts; yield the rounds done."""
    rounds: list[int] = []

    async def forever() -> None:
        while True:
            await texts(stage, SCENE)
            await stage.apply(PROMPT, SCENE, version="1.1.0")
            rounds.append(1)
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(forever())
    try:
        yield rounds
        assert not task.done(), "it is never refused"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_rollback_and_a_loop_that_applies_each_second_do_not_fight(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Git names the bad version all the time: one switch, the hold stays, nothing is written by the operator."""
    async with staged(control_plane.kubeconfig, control_plane.admin_token, namespace, tmp_path) as stage:
        await prepare(stage, SCENE)
        async with applied_again_and_again(stage) as rounds:
            stage.proxy.arm(SCENE)
            await BY_RULE.live(stage, SCENE)
            await quiet(stage, SCENE)
            found, config_map = await end(stage, SCENE), await stage.api.get(CONFIG_MAP, namespace, f"prompt-{SCENE}")
            stage.proxy.arm(SCENE)
            done = len(rounds)
            await stage.until(lambda: _reached(rounds, done + 5))
            assert stage.proxy.log[SCENE] == []
            assert await stage.api.get(CONFIG_MAP, namespace, f"prompt-{SCENE}") == config_map
        assert {key: found[key] for key in BY_RULE.expected} == BY_RULE.expected
        assert (await stage.api.get(PROMPT, namespace, SCENE))["spec"]["version"] == "1.1.0", "spec is Git's"


async def _reached(rounds: list[int], count: int) -> bool:
    return len(rounds) >= count
