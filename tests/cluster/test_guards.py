"""Each safeguard of an automatic rollback, on a real API server: alone, and before a later one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.cluster.looking import message, sample
from tests.cluster.operating import operated
from tests.faults.objections import CAUSES, PAIRS, Cause, Scene, once_more, second
from tests.faults.scene import (
    AT_ONCE,
    GOOD,
    ONE_RULE,
    RULE,
    sign,
)

from prompt_operator.ports import PROMPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Manifest


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with versions and a policy, and no Prompt yet."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for version in ("0.9.0", "1.0.0", "1.1.0", "1.2.0"):
            await one.version(version)
        yield await one.start()


async def shown(scene: Scene) -> tuple[str, str]:
    """Judge the rules once, and return what Healthy says: status and reason."""
    await scene.operator.tick()
    healthy = await scene.operator.condition("Healthy")
    return healthy["status"], healthy["reason"]


def expected(cause: Cause) -> tuple[str, str]:
    """Return what Healthy must say of a guard's objection."""
    if cause.guard == "Suspended":
        return "Unknown", "Suspended"
    return "False", "ManualInterventionRequired" if cause.guard == "DailyLimitReached" else cause.guard


async def refusals(scene: Scene, guard: str) -> list[Manifest]:
    """Return the records of a guard's objections."""
    return [r for r in await scene.operator.records() if r["spec"].get("guard") == guard]


async def assert_told(scene: Scene, cause: Cause) -> None:
    """Each objection has one Event and one count; a lasting one has one record, too."""
    operator, records = scene.operator, await refusals(scene, cause.guard)
    counted = sample(operator, "prompt_operator_refusals_total", guard=cause.guard)
    if cause.passing:
        assert (records, counted) == ([], 1.0)
        await operator.until(lambda: told(scene, "RollbackRefused", cause.guard))
        return
    (record,) = records
    spec, dry = record["spec"], cause.guard == "DryRun"
    assert (spec["decision"], spec["rule"], spec["fromVersion"]) == (
        "DryRun" if dry else "Refused",
        RULE,
        scene.active,
    )
    assert spec["evidence"][0]["samples"] == 200
    assert counted == 1.0
    reason = "RollbackDryRun" if dry else "RollbackRefused"
    (event,) = await operator.until(lambda: told(scene, reason, cause.guard))
    assert event["regarding"]["name"] == "greeting"
    assert spec["reason"] in event["note"]
    if cause.guard != "Suspended":
        assert spec["reason"] in message(await operator.status(), "Healthy")


async def told(scene: Scene, reason: str, guard: str) -> list[Manifest]:
    """Return the Events of a guard's objection."""
    return [event for event in await scene.operator.events(reason) if f": {guard}: " in event["note"]]


async def assert_rolled_back(scene: Scene) -> None:
    """Judge the rules once: the rollback happens, to the version meant."""
    await scene.operator.tick()
    await scene.operator.until_served(scene.target)
    assert (await scene.operator.status())["decision"]["from"] == scene.active


async def one_more_failure(scene: Scene) -> None:
    """Let the measured values move a little, as they do from tick to tick."""
    counts = scene.operator.metrics.traffic
    for key, (requests, errors) in counts.items():
        counts[key] = (requests + 1, errors + 1)


@pytest.mark.parametrize("cause", CAUSES, ids=str)
async def test_one_objection(operator: Operated, cause: Cause) -> None:
    """Only this guard objects: nothing switches, all is written once; ending just its cause, it is rolled back."""
    scene = await cause.after(operator)
    await scene.fire()
    await cause.impose(scene)
    await scene.push()
    served = await operator.config_map()
    assert await shown(scene) == expected(cause)
    prompt = await operator.get(PROMPT, "greeting")
    for _ in range(2):
        await one_more_failure(scene)
        assert await shown(scene) == expected(cause)
    assert await operator.get(PROMPT, "greeting") == prompt
    assert await operator.config_map() == served
    await assert_told(scene, cause)
    await cause.lift(scene)
    await scene.push()
    await assert_rolled_back(scene)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-before-{pair[1]}")
async def test_of_two_objections_the_earlier_is_shown(operator: Operated, pair: tuple[Cause, Cause]) -> None:
    """Both object: the earlier is told, the later is not; without the earlier the later is; without both it happens."""
    earlier, later = pair
    scene = await (later.after if later.after is not second else earlier.after)(operator)
    await scene.fire()
    for cause in (later, earlier):
        await cause.impose(scene)
    await scene.push()
    assert await shown(scene) == expected(earlier)
    if not later.passing and later.guard != "Suspended":
        assert await refusals(scene, later.guard) == []
    await assert_told(scene, earlier)
    await earlier.lift(scene)
    await scene.push()
    assert await shown(scene) == expected(later)
    await later.lift(scene)
    await scene.push()
    await assert_rolled_back(scene)


async def test_in_fallback_nothing_is_rolled_back(operator: Operated) -> None:
    """Outside mode Active no version is served that could be rolled back; back in it, the rule decides."""
    scene = await second(operator)
    await scene.fire()
    scene.spec["mode"] = "Fallback"
    await scene.push()
    for _ in range(2):
        assert await shown(scene) == ("Unknown", "Fallback")
    assert (await operator.status())["activeVersion"] == "1.1.0"
    del scene.spec["mode"]
    await scene.push()
    await operator.until_served("1.1.0")
    await assert_rolled_back(scene)


async def test_each_firing_has_its_own_record(operator: Operated) -> None:
    """However many looks a firing lasts, it has one record; when the rule fires anew, another."""
    scene = await second(operator)
    scene.safeguards["auto"] = "DryRun"
    for firing in (1, 2):
        await scene.push()
        for _ in range(3):
            assert await shown(scene) == ("False", "DryRun")
        assert len(await operator.records("DryRun")) == firing
        operator.clock.offset += timedelta(minutes=1)
        operator.metrics.traffic = {("greeting", "1.1.0"): GOOD}
        assert await shown(scene) == ("True", "RulesNormal")


@pytest.mark.parametrize("which", ["Executed", "Refused"])
async def test_after_the_cap_a_person_is_needed(operator: Operated, which: str) -> None:
    """It stays so over ticks and a kill, until the rollback that filled the cap, or the refusal, is acknowledged."""
    scene = await once_more(operator)
    scene.safeguards |= {"maxPerDay": 1, "cooldown": "0s"}
    await scene.push()
    for _ in range(3):
        assert await shown(scene) == ("False", "ManualInterventionRequired")
    await operator.kill()
    await operator.start()
    assert await shown(scene) == ("False", "ManualInterventionRequired")
    assert await operator.served() == scene.active
    (record,) = await operator.records(which)
    await sign(operator, record, "acknowledge")
    await operator.until_served(scene.target)
    await operator.until(lambda: rolled_back_twice(operator))
    await operator.settle()


async def rolled_back_twice(operator: Operated) -> bool:
    """Tell whether a second rollback is recorded."""
    return len(await operator.records("Executed")) == 2
