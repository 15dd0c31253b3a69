"""The status of PromptVersion, PromptPolicy and Experiment, written by the running engine."""

from __future__ import annotations

from typing import Any

from tests.core.builders import NAMESPACE, V1, V2
from tests.engine.fake_time import play
from tests.engine.world import CONFIG_MAP_NAME, PROMPT_NAME, World

from prompt_operator.api.common import API_VERSION
from prompt_operator.ports import CONFIG_MAP, EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_VERSION, Kind


def status_of(world: World, kind: Kind, name: str) -> dict[str, Any]:
    """Return the status of an object."""
    found = world.cluster.found(kind, name)
    assert found is not None
    status: dict[str, Any] = found["status"]
    return status


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """Return the status of each condition."""
    return {each["type"]: each["status"] for each in status["conditions"]}


def manifest(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return an object with this spec."""
    return {
        "apiVersion": API_VERSION, "kind": kind, "metadata": {"namespace": NAMESPACE, "name": name}, "spec": spec,
    }  # fmt: skip


def test_stages_follow_what_is_active() -> None:
    """The version that is left becomes Staged again and remembers until when it was active."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1, V2)
            world.want(V1)
            await world.rest()
            world.want(V2)
            await world.rest()
        first, second = (status_of(world, PROMPT_VERSION, f"{PROMPT_NAME}-{v}") for v in (V1, V2))
        assert (first["stage"], second["stage"]) == ("Staged", "Active")
        assert "lastActiveAt" in first

    play(story(World()))


def test_content_changed_past_admission_is_told_and_not_projected() -> None:
    """Verified is False on the version, and applications keep the last good content."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            name = f"{PROMPT_NAME}-{V1}"
            changed = world.cluster.found(PROMPT_VERSION, name)
            assert changed is not None
            changed["spec"]["text"] = "Say what I want."
            world.cluster.put(PROMPT_VERSION, changed)
            await world.rest()
            assert conditions(status_of(world, PROMPT_VERSION, name))["Verified"] == "False"
            assert world.condition("Ready") == ("False", "HashMismatch")
            assert world.condition("Serving") == ("True", "Active")
            found = world.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
            assert found is not None
            assert found["data"]["prompt.txt"] == f"Greet, as {V1} does."

    play(story(World()))


def test_a_policy_counts_its_prompts_and_names_bad_rules() -> None:
    """Written once for many changes, a moment later; a policy's bad rule does not touch its prompts."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.cluster.put(
                PROMPT_POLICY,
                manifest("PromptPolicy", "default", rules=[{"name": "own", "condition": "error_rate > 5"}]),
            )
            world.want(V1)
            await world.rest(10)
        status = status_of(world, PROMPT_POLICY, "default")
        assert (status["prompts"], conditions(status)["Ready"]) == (1, "False")
        assert world.condition("Ready") == ("True", "Active")
        writes = [write for write in world.cluster.writes if write.kind == "PromptPolicy"]
        assert len(writes) == 1

    play(story(World()))


def test_a_policy_follows_prompts_that_come_and_go() -> None:
    """Long after its own last change: one more, moved to another policy, back, and gone."""

    async def story(world: World) -> None:
        def counts() -> list[int]:
            return [status_of(world, PROMPT_POLICY, name)["prompts"] for name in ("default", "strict")]

        async with world.running():
            for name in ("default", "strict"):
                world.cluster.put(PROMPT_POLICY, manifest("PromptPolicy", name))
            await world.rest(60)
            assert counts() == [0, 0]
            world.want(V1)
            await world.rest(10)
            assert counts() == [1, 0]
            world.want(V1, policyRef={"name": "strict"})
            await world.rest(10)
            assert counts() == [0, 1]
            world.cluster.remove(PROMPT, PROMPT_NAME)
            await world.rest(10)
            assert counts() == [0, 0]

    play(story(World()))


def test_an_experiment_is_answered() -> None:
    """It is accepted, does nothing, and says so."""

    async def story(world: World) -> None:
        async with world.running():
            world.cluster.put(EXPERIMENT, manifest("Experiment", "ab", type="ABTest"))
            await world.rest()
        assert conditions(status_of(world, EXPERIMENT, "ab")) == {"Ready": "False", "NotImplemented": "True"}

    play(story(World()))


def test_a_policy_that_appears_is_in_force_at_once() -> None:
    """Prompts under a policy in Fallback are told to use their default, and come back with it."""

    async def story(world: World) -> None:
        async with world.running():
            world.add_versions(V1)
            world.want(V1)
            await world.rest()
            world.cluster.put(PROMPT_POLICY, manifest("PromptPolicy", "default", mode="Fallback"))
            await world.rest()
            assert world.condition("Ready") == ("True", "Fallback")
            world.cluster.remove(PROMPT_POLICY, "default")
            await world.rest()
            assert world.condition("Ready") == ("True", "Active")

    play(story(World()))
