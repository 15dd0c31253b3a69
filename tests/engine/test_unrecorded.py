"""The condition for missing recording rules: it comes once, harms nothing, and goes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.core.builders import V1
from tests.engine.fake_time import play
from tests.engine.world import Metrics, World

if TYPE_CHECKING:
    from prompt_operator.api.promptstatus import RuleStatus

MISSING = ("True", "RecordingRulesMissing")
LONG = ("negative-feedback", "user-satisfaction-drop")
MINUTES = 4
"""Ticks in a minute."""


def unrecorded(**traffic: tuple[float, float]) -> World:
    """A world whose Prometheus evaluates no recording rules."""
    return World(metrics=Metrics({V1: (1000.0, 0.0)} | traffic, recorded=False))


async def served_for_a_while(world: World, minutes: int = 15) -> None:
    """Serve a version until its unknown rules show."""
    world.add_versions(V1)
    world.want(V1)
    await world.rest()
    await world.ticks(minutes * MINUTES)


def rule(world: World, name: str) -> RuleStatus:
    """A rule as status shows it."""
    return next(rule for rule in world.prompt().status.rules if rule.name == name)


def test_missing_rules_are_named_and_harm_nothing() -> None:
    """The condition names the rules concerned and what to load; Ready and Healthy are as without it."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
        assert world.condition("NotRecorded") == MISSING
        (told,) = [each.message for each in world.prompt().status.conditions if each.type == "NotRecorded"]
        assert all(name in told for name in LONG)
        assert "manifests/recording-rules/native.prometheusrule.yaml" in told
        assert all("recording rules missing" in (rule(world, name).message or "") for name in LONG)
        assert world.condition("Ready") == ("True", "Active")
        assert world.condition("Healthy") == ("True", "RulesNormal")
        assert world.condition("Stalled") is None

    play(story(unrecorded()))


def test_it_is_told_once_and_writes_no_more() -> None:
    """An hour of missing rules after the first minutes is no further write."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
            world.cluster.writes.clear()
            await world.ticks(60 * MINUTES)
        assert world.cluster.writes == []

    play(story(unrecorded()))


def test_it_goes_when_the_rules_are_loaded() -> None:
    """The next look at long windows ends the condition; a rule that is unknown for another cause says so since then."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
            before = rule(world, LONG[0])
            world.metrics.recorded = True
            await world.ticks(5 * MINUTES)
        assert world.condition("NotRecorded") is None
        assert "no data" in (rule(world, LONG[0]).message or "")
        assert rule(world, LONG[0]).since == before.since

    play(story(unrecorded()))


def test_a_prompt_without_traffic_is_told_the_same() -> None:
    """Nobody uses the prompt: the condition still comes, and it still goes."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
            assert world.condition("NotRecorded") == MISSING
            world.metrics.recorded = True
            await world.ticks(5 * MINUTES)
        assert world.condition("NotRecorded") is None

    world = unrecorded()
    world.metrics.served.clear()
    play(story(world))


def test_recorded_without_feedback_is_not_missing() -> None:
    """Rules that are loaded and a prompt that nobody rates: unknown, without the condition."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
        assert world.condition("NotRecorded") is None
        assert "no data" in (rule(world, LONG[0]).message or "")

    play(story(World(metrics=Metrics({V1: (1000.0, 0.0)}))))


def test_a_restart_keeps_it_and_writes_nothing() -> None:
    """A new process knows from status what was told already."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
        world.cluster.writes.clear()
        async with world.running():
            await world.rest()
            await world.ticks(4)
        assert world.cluster.writes == []
        assert world.condition("NotRecorded") == MISSING

    play(story(unrecorded()))


def test_rules_that_were_loaded_during_a_restart_end_it() -> None:
    """What status remembers is compared with what is measured now."""

    async def story(world: World) -> None:
        async with world.running():
            await served_for_a_while(world)
        world.metrics.recorded = True
        async with world.running():
            await world.rest()
            await world.ticks(2)
        assert world.condition("NotRecorded") is None

    play(story(unrecorded()))
