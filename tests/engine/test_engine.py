"""The engine in a world in memory: events in, runs, what stands in the world afterwards. Time is virtual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.core.builders import V1, V2, V3
from tests.engine.fake_time import play
from tests.engine.world import CONFIG_MAP_NAME, PROMPT_NAME, World, labels_of, refuse_writes_from

from prompt_operator.engine.texts import Texts
from prompt_operator.ports import (
    CONFIG_MAP,
    KINDS,
    PROMPT,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    Conflict,
    GiveUp,
    NotFound,
    Retry,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.world import Write

    from prompt_operator.ports import Kind, Manifest

HEALTHY, FAILING = (1000.0, 0.0), (1000.0, 500.0)


async def released(world: World) -> None:
    """Serve 1.0.0 first, then 2.0.0."""
    world.add_versions(V1, V2)
    world.want(V1)
    await world.rest()
    world.want(V2)
    await world.rest()


async def incident(world: World) -> None:
    """Serve 2.0.0, which fails for long enough that its rules fire, up to the decision."""
    await released(world)
    world.metrics.served = {V1: HEALTHY, V2: FAILING}
    await world.rest(120)
    await world.ticks(2)


def stages(world: World) -> dict[str, str]:
    """Return what the versions' own status says."""
    return {each["spec"]["version"]: each["status"]["stage"] for each in world.cluster.all(PROMPT_VERSION)}


def test_a_new_prompt_is_projected() -> None:
    """Prompt and version in: the ConfigMap, status of both and one Event out."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
        assert world.served() == V1
        assert world.condition("Ready") == ("True", "Active")
        version = world.cluster.found(PROMPT_VERSION, f"{PROMPT_NAME}-{V1}")
        assert version is not None
        assert version["status"]["stage"] == "Active"
        assert world.events.reasons() == ["Activated"]

    play(story(World()))


def test_a_restart_writes_nothing() -> None:
    """A new process over a world at rest reads no prompt text and writes nothing."""

    async def story(world: World) -> None:
        async with world.running():
            await incident(world)
            await world.rest(60)
        world.cluster.writes.clear()
        world.cluster.reads.clear()
        async with world.running():
            await world.rest()
            await world.ticks(2)
        assert [(w.verb, w.kind, w.name) for w in world.cluster.writes] == []
        assert not [name for kind, name in world.cluster.reads if kind == "PromptVersion" and name]

    play(story(World()))


def test_a_breach_switches_back_within_one_tick() -> None:
    """A failing version is left for the last good one, with one decision, one record and an Event."""

    async def story(world: World) -> None:
        async with world.running():
            await incident(world)
        assert world.served() == V1
        assert world.prompt().spec.version == V2
        assert world.condition("Ready") == ("False", "RolledBack")
        assert world.condition("Stalled") == ("True", "VersionHeld")
        (record,) = world.records()
        assert record["metadata"]["name"] == world.prompt().status.decision.id  # type: ignore[union-attr]
        assert world.events.reasons().count("RolledBack") == 1

    play(story(World()))


def test_own_writes_are_known_before_the_watch_tells() -> None:
    """With a watch that brings nothing at all, the engine still decides once and comes to rest."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            await released(world)
            world.cluster.delivering = False
            world.metrics.served = {V2: FAILING}
            await world.rest(120)
            await world.ticks(4)
            assert engine.store.prompts[next(iter(engine.store.prompts))].held == (V2,)
        assert world.served() == V1
        assert len(world.records()) == 1

    play(story(World()))


def test_an_event_older_than_what_is_known_is_ignored() -> None:
    """A watch that lags brings what was before our own write: nothing is written again."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            await released(world)
            old = world.cluster.found(PROMPT, PROMPT_NAME)
            assert old is not None
            world.metrics.served = {V2: FAILING}
            await world.rest(120)
            await world.ticks(2)
            writes = len(world.cluster.writes)
            engine.observe(PROMPT, old)
            await world.rest()
            assert len(world.cluster.writes) == writes
        assert world.served() == V1

    play(story(World()))


CRASHES = range(1, 6)


@pytest.mark.parametrize("lost", [False, True], ids=["write refused", "answer lost"])
@pytest.mark.parametrize("nth", CRASHES)
def test_killed_between_any_two_writes_ends_the_same(nth: int, lost: bool) -> None:  # noqa: FBT001  a factor
    """However many writes of a rollback were done when the process died, the next one finishes that very decision."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.metrics.served = {V1: HEALTHY, V2: FAILING}
            await world.rest(120)
            first = len(world.cluster.writes) + nth
            world.cluster.before_write = refuse_writes_from(first + lost)
            if lost:
                world.cluster.after_write = refuse_writes_from(first)
            await world.engine.rules.tick()
            await world.rest(0.01)
        world.cluster.before_write = world.cluster.after_write = lambda _: None
        async with world.running():
            await world.rest()
            await world.ticks(12)
        (record,) = world.records()
        decision = world.prompt().status.decision
        assert decision is not None
        assert record["metadata"]["name"] == decision.id
        assert (record["spec"]["fromVersion"], record["spec"]["toVersion"]) == (V2, V1)
        assert world.served() == V1
        assert world.condition("Ready") == ("False", "RolledBack")

    play(story(World()))


ERRORS = {
    "conflict": lambda: Conflict("409"),
    "throttled": lambda: Retry("429", after=2),
    "server error": lambda: Retry("500"),
    "timeout": lambda: Unavailable("no answer"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("nth", CRASHES)
def test_a_write_that_fails_is_done_later(nth: int, error: Callable[[], Exception]) -> None:
    """One failed answer at any write of a rollback changes nothing in the end: one decision, one record."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.metrics.served = {V1: HEALTHY, V2: FAILING}
            await world.rest(120)
            at = len(world.cluster.writes) + nth
            world.cluster.before_write = lambda write: error() if write.number == at else None
            await world.ticks(6)
        assert world.served() == V1
        assert len(world.records()) == 1
        assert len({each.note for each in world.events.published if each.reason == "RolledBack"}) == 1
        assert world.condition("Ready") == ("False", "RolledBack")
        assert stages(world) == {V1: "Active", V2: "Staged"}, "whatever failed after the decision"

    play(story(World()))


def test_without_metrics_nothing_is_decided() -> None:
    """Prometheus away: states are frozen, a firing rule says EvidenceStale, and nothing is rolled back."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1, V2)
            world.want(V1)
            await world.rest()
            world.want(V2, rollback={"auto": "Disabled"})
            await world.rest()
            world.metrics.served = {V2: FAILING}
            await world.rest(120)
            await world.ticks(2)
            assert world.condition("Healthy") == ("False", "AutoRollbackDisabled")
            world.metrics.down = True
            await world.ticks(6)
            world.want(V2)
            await world.ticks(2)
            assert world.condition("Healthy") == ("False", "EvidenceStale")
            assert world.served() == V2
            assert all(record["spec"]["decision"] != "Executed" for record in world.records())
            world.metrics.down = False
            await world.ticks(2)
        assert world.served() == V1

    play(story(World()))


def test_a_sweep_repairs_a_deletion_the_watch_missed() -> None:
    """A ConfigMap deleted while nobody watched is written again after the sweep."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            world.cluster.delivering = False
            world.cluster.remove(CONFIG_MAP, CONFIG_MAP_NAME)
            world.cluster.delivering = True
            await world.rest(30)
            assert world.served() == ""
            for kind in KINDS:
                await engine.sweep(kind, labels_of(kind))
            await world.rest()
        assert world.served() == V1

    play(story(World()))


def test_a_sweep_takes_in_what_the_watch_missed() -> None:
    """A Prompt created, and one deleted, while nobody watched are known after the sweep."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.cluster.delivering = False
            world.add_versions(V1)
            world.want(V1)
            for kind in KINDS:
                await engine.sweep(kind, labels_of(kind))
            await world.rest()
            assert world.served() == V1
            world.cluster.remove(PROMPT, PROMPT_NAME)
            await engine.sweep(PROMPT)
            await world.rest()
            assert not engine.store.prompts
            assert engine.rules.readings(next(iter(engine.store.config_maps))) is None

    play(story(World()))


def test_trouble_that_lasts_shows_in_status_and_goes_away() -> None:
    """ConfigMaps cannot be written: Ready says ApiError, and is True once it works again."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.add_versions(V3)
            await world.rest(1)
            world.cluster.before_write = lambda w: GiveUp("403: forbidden") if w.kind == "ConfigMap" else None
            world.want(V3)
            await world.rest(1)
            assert world.condition("Ready") == ("False", "ApiError"), "the next look is minutes away: told at once"
            await world.rest(700)
            assert world.condition("Ready") == ("False", "ApiError")
            assert world.condition("Reconciling") == ("True", "ApiError")
            assert world.condition("Serving") == ("True", "Active")
            world.cluster.before_write = lambda _: None
            await world.rest(700)
            assert world.condition("Ready") == ("True", "Active")
            assert world.condition("Reconciling") is None
        assert world.served() == V3

    play(story(World()))


def test_a_single_failure_is_not_told() -> None:
    """A write that works at the second attempt leaves no trace in conditions."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            seen: set[str] = set()

            def note(kind: Kind, manifest: Manifest, _: bool) -> None:  # noqa: FBT001  as a watch calls it
                if kind == PROMPT:
                    seen.update(each["reason"] for each in manifest["status"]["conditions"])

            world.cluster.watchers.append(note)
            world.cluster.before_write = failing("ConfigMap", 1)
            world.want(V1)
            await world.rest()
            assert world.served() == V1
            assert "Active" in seen
            assert "ApiError" not in seen

    play(story(World()))


def no_version_can_be_read(kind: str, name: str) -> Exception | None:
    """Answer with an error."""
    return Retry("500") if kind == "PromptVersion" and name else None


def test_a_version_seen_a_moment_ago_is_not_read_again() -> None:
    """Its text is at hand, under the hash that the store knows; a reader sees the same ConfigMap."""

    async def story(world: World) -> None:
        world.cluster.before_read = no_version_can_be_read
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            quick = world.cluster.found(CONFIG_MAP, f"prompt-{PROMPT_NAME}")
            assert quick is not None
            world.cluster.before_read = lambda *_: None
            world.engine.store.texts = Texts()
            world.cluster.remove(CONFIG_MAP, f"prompt-{PROMPT_NAME}")
            await world.rest()
            read = world.cluster.found(CONFIG_MAP, f"prompt-{PROMPT_NAME}")
        assert read is not None
        assert read["data"] == quick["data"]

    play(story(World()))


def test_reads_that_fail_show_in_status_too() -> None:
    """The new version's content cannot be read: what was served stays, and status says why."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            world.cluster.before_read = no_version_can_be_read
            world.add_versions(V2)
            world.engine.store.texts = Texts(room=0)  # as if it was seen long ago
            world.want(V2)
            await world.rest(60)
            assert world.condition("Ready") == ("False", "ApiError")
            assert world.served() == V1
            world.cluster.before_read = lambda *_: None
            await world.rest(90)
        assert world.served() == V2
        assert world.condition("Ready") == ("True", "Active")

    play(story(World()))


def test_a_prompt_that_vanishes_under_a_write_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Deleted while it is written to, before the watch tells: one quiet look more, then it is forgotten."""

    def vanish(world: World, write: Write) -> Exception | None:
        if write.kind != "Prompt" or world.cluster.found(PROMPT, PROMPT_NAME) is None:
            return None
        world.cluster.delivering = False
        world.cluster.remove(PROMPT, PROMPT_NAME)
        return NotFound("404")

    async def story(world: World) -> None:
        async with world.running() as engine:
            await released(world)
            world.cluster.before_write = lambda write: vanish(world, write)
            world.want(V1)
            await world.rest(0.5)
            gone = next(iter(engine.store.prompts.items()))
            engine.wake(engine.store.forget(PROMPT, *gone[0], gone[1].uid))
            await world.rest()
            assert engine.queue.sizes() == {"ready": 0, "running": 0, "delayed": 0, "failing": 0}
        assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []

    play(story(World()))


def test_frozen_writes_nothing() -> None:
    """In mode Frozen changes are seen and none is acted on; afterwards everything is."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            await released(world)
            writes = len(world.cluster.writes)
            world.mode = "Frozen"
            world.want(V1)
            world.metrics.served = {V2: FAILING}
            await world.rest(120)
            await world.ticks(3)
            assert len(world.cluster.writes) == writes
            world.mode = "Active"
            engine.wake_all()
            await world.rest()
        assert world.served() == V1

    play(story(World()))


def test_fallback_and_back() -> None:
    """The operator-wide switch to Fallback empties the content of the ConfigMap, and the way back restores it."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            world.mode = "Fallback"
            engine.wake_all()
            await world.rest()
            found = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert found is not None
            assert found["data"]["mode"] == "Fallback"
            assert "prompt.txt" not in found["data"]
            assert world.condition("Serving") == ("False", "Fallback")
            world.mode = "Active"
            engine.wake_all()
            await world.rest()
            found = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert found is not None
            assert found["data"]["prompt.txt"] == f"Greet, as {V1} does."
        assert world.condition("Serving") == ("True", "Active")

    play(story(World()))


def _edit(data: dict[str, str]) -> None:
    data["prompt.txt"] = "Say what I want."


def _add(data: dict[str, str]) -> None:
    data["mine"] = "too"


@pytest.mark.parametrize("change", [_edit, _add], ids=["a value", "a key of theirs"])
def test_what_others_write_into_the_config_map_is_put_back(change: Callable[[dict[str, str]], None]) -> None:
    """A hand edit of the ConfigMap is healed, told, and leads to no second write."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            right = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert right is not None
            wrong = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert wrong is not None
            change(wrong["data"])
            world.cluster.put(CONFIG_MAP, wrong)
            await world.rest(1)
            healed = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert healed is not None
            assert healed["data"] == right["data"]
            writes = len(world.cluster.writes)
            await world.rest(60)
            assert len(world.cluster.writes) == writes
        assert world.events.reasons() == ["Activated", "ConfigMapHealed"]

    play(story(World()))


def test_a_request_of_a_person_is_answered_at_once() -> None:
    """A PromptRollback switches, gets its record and its status; the same request later does nothing more."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.request(from_=V2)
            await world.rest(1)
            assert world.served() == V1
            (record,) = world.records()
            assert record["spec"]["requestRef"]["name"] == "please"
            asked = world.cluster.found(PROMPT_ROLLBACK, "please")
            assert asked is not None
            assert asked["status"]["record"] == record["metadata"]["name"]
        async with world.running():
            await world.rest(60)
        assert len(world.records()) == 1

    play(story(World()))


def test_two_requests_for_the_same_version_execute_once() -> None:
    """Two people ask to leave 2.0.0: the second one is refused as stale, with a record that says so."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.request("ada", from_=V2)
            world.request("bob", from_=V2)
            await world.rest(1)
        outcomes = {each["spec"]["requestRef"]["name"]: each["spec"]["decision"] for each in world.records()}
        assert outcomes == {"ada": "Executed", "bob": "Refused"}
        assert world.served() == V1

    play(story(World()))


def test_two_engines_decide_once() -> None:
    """Two processes over one cluster (a rolling restart) race for a decision: resourceVersion lets one of them win."""

    async def story(world: World) -> None:
        other = World(clock=world.clock, metrics=world.metrics, events=world.events)
        other.cluster = world.cluster
        async with world.running(), other.running():
            await released(world)
            world.metrics.served = {V1: HEALTHY, V2: FAILING}
            await world.rest(120)
            await world.engine.rules.tick()
            await other.engine.rules.tick()
            await world.rest(30)
            await other.rest(30)
        assert len(world.records()) == 1
        assert world.served() == V1

    play(story(World()))


def failing(kind: str, times: int) -> Callable[[Write], Exception | None]:
    """Refuse the first writes of a kind."""
    left = [times]

    def refuse(write: Write) -> Exception | None:
        left[0] -= write.kind == kind
        return Retry("500") if write.kind == kind and left[0] >= 0 else None

    return refuse


def test_a_record_that_cannot_be_written_does_not_delay_the_switch() -> None:
    """Records fail for a while: the ConfigMap is switched at once, the record follows."""

    async def story(world: World) -> None:
        async with world.running():
            await released(world)
            world.cluster.before_write = failing("PromptRollback", 4)
            world.request(from_=V2)
            await world.rest(0.2)
            assert world.served() == V1
            await world.rest(60)
        assert len(world.records()) == 1

    play(story(World()))
