"""What comes too late: writes that were held up on their way, records that cannot be written, a server set back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import V1, V2, a_record_manifest
from tests.engine.fake_time import play
from tests.engine.world import World, labels_of

from prompt_operator.ports import CONFIG_MAP, KINDS, PROMPT, PROMPT_ROLLBACK, Conflict, GiveUp, Unavailable, WentBack

if TYPE_CHECKING:
    from prompt_operator.ports import Manifest

HEALTHY, FAILING = (1000.0, 0.0), (1000.0, 500.0)


async def failing_release(world: World) -> None:
    """Serve 1.0.0, then 2.0.0, which fails; its rules are judged up to the decision."""
    world.add_versions(V1, V2)
    for version in (V1, V2):
        world.want(version)
        await world.rest()
    world.metrics.served = {V1: HEALTHY, V2: FAILING}
    await world.rest(120)
    await world.ticks(2)


def test_a_write_that_arrives_late_does_not_undo_a_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The projection of 2.0.0 was given up after its timeout, written once more, and arrives after the rollback."""

    async def story(world: World) -> None:
        late: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        apply = world.cluster.apply

        async def held_up(*args: Any, **kwargs: Any) -> Manifest:
            kind, body = args
            if kind == CONFIG_MAP and body["data"]["version"] == V2 and not late:
                late.append((args, kwargs))
                raise Unavailable("no whole answer within 30 s")
            return await apply(*args, **kwargs)

        monkeypatch.setattr(world.cluster, "apply", held_up)
        async with world.running():
            await failing_release(world)
            assert world.served() == V1
            ((args, kwargs),) = late
            with pytest.raises(Conflict):
                await apply(*args, **kwargs)
            await world.rest()
        assert world.served() == V1
        assert "Healed" not in world.events.reasons()

    play(story(World()))


def test_foreign_keys_are_removed_and_the_rest_is_written_in_one_look() -> None:
    """The second write is fenced by what the first one made of the ConfigMap."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1, V2)
            world.want(V1)
            await world.rest()
            world.cluster.delivering = False
            found = world.cluster.all(CONFIG_MAP)[0]
            found["data"] |= {"mine": "too", "prompt.txt": "Say what I want."}
            changed = world.cluster.put(CONFIG_MAP, found)
            world.cluster.delivering = True
            before = len(world.cluster.writes)
            world.engine.observe(CONFIG_MAP, changed)
            await world.rest()
        kinds = [write.verb for write in world.cluster.writes[before:] if write.kind == CONFIG_MAP.kind]
        assert kinds == ["patch", "apply"]
        assert "mine" not in world.cluster.all(CONFIG_MAP)[0]["data"]

    play(story(World()))


def test_decisions_whose_records_are_refused_count_for_the_whole_cluster() -> None:
    """A full quota keeps records out; the limit over all prompts is the same, after a restart too."""

    async def story(world: World) -> None:
        async with world.running():
            world.cluster.before_write = lambda write: GiveUp("quota") if write.kind == PROMPT_ROLLBACK.kind else None
            await failing_release(world)
            assert world.served() == V1
            assert world.records() == []
            assert len(world.engine.store.automatic_rollbacks()) == 1
        async with world.running():
            assert len(world.engine.store.automatic_rollbacks()) == 1
            world.cluster.before_write = lambda _: None
            await world.rest(900)
            assert len(world.records()) == len(world.engine.store.automatic_rollbacks()) == 1

    play(story(World()))


def test_a_server_that_went_back_in_time_is_noticed() -> None:
    """After the restore of an old snapshot its objects are older than what is known: nothing is taken for true."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.add_versions(V1, V2)
            world.want(V1)
            await world.rest()
            snapshot, serial = dict(world.cluster.objects), world.cluster.serial
            world.want(V2)
            await world.rest()
            await engine.sweep(PROMPT)
            world.cluster.objects, world.cluster.serial = snapshot, serial
            with pytest.raises(WentBack, match="Prompt shop/greeting was at resourceVersion"):
                await engine.sweep(PROMPT)

    play(story(World()))


def test_a_list_older_than_the_watch_is_no_step_back() -> None:
    """Between two pages of a list objects change; the server is asked before it is mistrusted."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.add_versions(V1, V2)
            world.want(V1)
            await world.rest()
            old = world.cluster.found(PROMPT, "greeting")
            world.want(V2)
            await world.rest()
            assert old is not None
            listed = world.cluster.list

            async def behind(kind: Any, **options: Any) -> Any:
                async for each in listed(kind, **options):
                    yield old if kind == PROMPT else each

            world.cluster.list = behind  # type: ignore[method-assign]
            for kind in KINDS:
                await engine.sweep(kind, labels_of(kind))
            await world.rest()
        assert world.served() == V2

    play(story(World()))


def test_a_person_s_rollback_does_not_count_for_the_cluster() -> None:
    """Only what rules decided is spaced over all prompts."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1, V2)
            for version in (V1, V2):
                world.want(version)
                await world.rest()
            world.request(from_=V2)
            await world.rest()
            assert world.served() == V1
            assert world.engine.store.automatic_rollbacks() == {}
            world.cluster.put(PROMPT_ROLLBACK, a_record_manifest("by-rule"))
            await world.rest()
            assert len(world.engine.store.automatic_rollbacks()) == 1

    play(story(World()))
