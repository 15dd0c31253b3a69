"""The real operator is killed before and after every single write of the protocol, and comes to the same end."""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tests.faults.proxy import DEATHS, Point
from tests.faults.stage import Stage, staged
from tests.faults.stories import ACKNOWLEDGED, BY_HAND, BY_RULE, Story, play, undisturbed, until_right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.faults.proxy import Write
    from tests.faults.stories import End

    from devcluster.controlplane import ControlPlane


@pytest.fixture
async def stages(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[tuple[Stage, Stage]]:
    """Two stages side by side, as there are two cores."""
    second = f"{namespace}-b"
    control_plane.kubectl("create", "namespace", second)
    async with AsyncExitStack() as stack:
        token, kubeconfig = control_plane.admin_token, control_plane.kubeconfig
        both = [
            await stack.enter_async_context(staged(kubeconfig, token, name, tmp_path / name))
            for name in (namespace, second)
        ]
        yield both[0], both[1]
    control_plane.kubectl("delete", "namespace", second, "--wait=false")


async def killed_everywhere(stages: Sequence[Stage], stories: Sequence[Story]) -> list[Write]:
    """Count the writes of undisturbed scenes, kill at each of them twice, and return them."""
    numbers = itertools.count()
    plays: list[tuple[Story, str, Point, End]] = []
    writes: list[Write] = []
    for story in stories:
        log, right = await undisturbed(stages[0], story, f"s{next(numbers):02}")
        assert {key: right[key] for key in story.expected} == story.expected
        assert right["decided once"]
        assert right["audited once"]
        assert right["ledger"]
        assert [version for version, stage in right["stages"].items() if stage == "Active"] == [right["active"]]
        writes += log
        plays += [(story, f"s{next(numbers):02}", Point(write, death), right) for write in log for death in DEATHS]
    await asyncio.gather(*(_killed(stage, plays[index :: len(stages)]) for index, stage in enumerate(stages)))
    return writes


async def _killed(stage: Stage, plays: Sequence[tuple[Story, str, Point, End]]) -> None:
    await asyncio.gather(*(story.prepare(stage, scene) for story, scene, _, _ in plays))
    for _, scene, _, _ in plays:
        stage.proxy.decisions[scene] = {each["metadata"]["name"] for each in await stage.records(scene, "Executed")}
    for story, scene, point, right in plays:
        before = stage.starts
        assert await play(stage, story, scene, point, right), f"{point} was never reached"
        assert stage.starts == before + 1, "killed once"
    stage.kill()
    await stage.start()
    for _, scene, point, right in plays:
        await until_right(stage, scene, right, f"{scene}, {point}, long after")


def tell(what: str, writes: Sequence[Write]) -> None:
    """Print both numbers, and what was counted."""
    sys.stdout.write(f"\n{what}: N = {len(writes)} writes, 2N = {len(DEATHS) * len(writes)} kills\n")
    sys.stdout.writelines(f"  {write}\n" for write in writes)


async def test_a_rollback_survives_a_kill_at_every_write(stages: tuple[Stage, Stage]) -> None:
    """SIGKILL before each write reaches the server, and after it was answered: one decision, one record, same end."""
    writes = await killed_everywhere(stages, [BY_RULE])
    tell("automatic rollback", writes)
    assert len(writes) >= 9


async def test_what_people_do_survives_a_kill_at_every_write(stages: tuple[Stage, Stage]) -> None:
    """The same for two requests at once with a release after them, and for an acknowledgement and what it allows."""
    writes = await killed_everywhere(stages, [BY_HAND, ACKNOWLEDGED])
    tell("requests, release, acknowledgement", writes)
    assert len(writes) >= 20
