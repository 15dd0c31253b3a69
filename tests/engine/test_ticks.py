"""The grid of the ticks: regular instants, no overlap, skipped ones counted. Time is virtual."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.core.builders import T0
from tests.engine.fake_time import play
from tests.engine.world import World

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.engine.engine import Engine

TICK = 15.0


async def ticking(world: World, engine: Engine, took: list[float]) -> list[tuple[datetime | None, datetime]]:
    """Tick until every duration was taken; return for each tick its due instant and when it really began."""
    seen = list[tuple["datetime | None", "datetime"]]()
    all_done = asyncio.Event()
    left = iter(took)

    async def tick(due: datetime | None = None) -> None:
        seen.append((due, world.clock.now()))
        seconds = next(left, None)
        if seconds is None:
            all_done.set()
            return
        await asyncio.sleep(seconds)

    engine.rules.tick = tick  # type: ignore[method-assign]
    task = asyncio.create_task(engine.tick_forever())
    await all_done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seen


def test_ticks_are_due_at_regular_instants() -> None:
    """The grid begins at an offset by chance and keeps to it, however long a tick takes within its time."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            seen = await ticking(world, engine, [0.0, 14.0, 3.0, 7.0])
        assert [due for due, _ in seen] == [T0 + timedelta(seconds=TICK * (0.5 + number)) for number in range(5)]

    play(story(World()))


def test_a_tick_that_takes_too_long_skips_the_next_ones() -> None:
    """Ticks never overlap: one of 40 s leaves out two, which is counted, and the next is on the grid again."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            seen = await ticking(world, engine, [40.0, 0.0])
            skipped = engine._telemetry.registry.get_sample_value("prompt_operator_ticks_skipped_total")
        assert skipped == 2
        assert [(due, began) for due, began in seen if due != began] == []
        assert [due for due, _ in seen] == [T0 + timedelta(seconds=TICK * (0.5 + number)) for number in (0, 3, 4)]

    play(story(World()))


def test_ticks_that_fail_are_no_ticks() -> None:
    """The clock goes on, and the deep health check says for how long nothing was judged."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            began = asyncio.Event()

            async def tick(_: datetime | None = None) -> None:
                began.set()
                raise ZeroDivisionError("ours")

            engine.rules.tick = tick  # type: ignore[assignment, method-assign]
            task = asyncio.create_task(engine.tick_forever())
            await asyncio.sleep(TICK * 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert began.is_set()
            assert engine.late >= TICK * 6

    play(story(World()))
