"""The guards that look beyond one prompt, on a real API server: a common cause, and spacing over the whole cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.cluster.looking import sample
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, BAD, GOOD, ONE_RULE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster

NAMES = tuple(f"bot-{number}" for number in range(6))


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with six prompts that serve 2.0.0 after 1.0.0, all on one model."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for name in NAMES:
            for version in ("1.0.0", "2.0.0"):
                await one.version(version, prompt=name, model={"provider": "acme", "name": "large"})
            await one.prompt("1.0.0", name=name)
        await one.start()
        for name in NAMES:
            await one.until_served("1.0.0", name)
            await one.prompt("2.0.0", name=name)
            await one.until_served("2.0.0", name)
        await one.settle()
        yield one


def traffic(operator: Operated, *failing: str) -> None:
    """Let these prompts fail and the others do well, in whatever version."""
    operator.metrics.traffic = {
        (name, version): BAD if name in failing and version == "2.0.0" else GOOD
        for name in NAMES
        for version in ("1.0.0", "2.0.0")
    }


async def limit(operator: Operated, rate: str) -> None:
    """Set the rate over all prompts, and wait until the operator knows of it."""
    await operator.policy(rollback={**AT_ONCE, "globalRateLimit": rate}, rules=ONE_RULE)

    async def known() -> bool:
        assert operator.running is not None
        (policy,) = operator.running.engine.store.policies.values()
        block = policy.spec.rollback if policy.spec else None
        return block is not None and block.global_rate_limit == rate

    await operator.until(known)
    await operator.settle()


async def switched(operator: Operated) -> list[str]:
    """Return the prompts that were rolled back."""
    return [name for name in NAMES if (await operator.status(name))["activeVersion"] == "1.0.0"]


async def objections(operator: Operated) -> set[str]:
    """Return the reasons of Healthy over all prompts that still serve 2.0.0."""
    left = set(NAMES) - set(await switched(operator))
    return {(await operator.condition("Healthy", name))["reason"] for name in left}


def incidents(operator: Operated) -> list[tuple[str, bool]]:
    """Return the subjects of what /diagnostics lists, and whether it is over."""
    assert operator.running is not None
    return [(each["subject"], each["until"] is not None) for each in operator.running.telemetry.issues.document()]


async def test_a_common_cause_stops_every_rollback_and_is_named(operator: Operated) -> None:
    """Half of the prompts on one model fail: nothing switches, one incident names it; alone, one is rolled back."""
    operator.clock.offset += timedelta(minutes=61)
    traffic(operator, *NAMES[:3])
    for _ in range(2):
        await operator.tick()
    assert await switched(operator) == []
    healthy = await operator.condition("Healthy", NAMES[0])
    assert healthy["reason"] == "CorrelatedBreach"
    assert "3 of 6 prompts of model acme/large breach at once" in healthy["message"]
    assert sorted(r["spec"]["guard"] for r in await operator.records()) == ["CorrelatedBreach"] * 3
    assert incidents(operator) == [("common cause model acme/large", False)]
    assert sample(operator, "prompt_operator_common_causes", kind="model") == 1.0
    traffic(operator, NAMES[0])
    await operator.tick()
    await operator.until_served("1.0.0", NAMES[0])
    assert await switched(operator) == [NAMES[0]]
    operator.clock.offset += timedelta(minutes=6)
    await operator.tick()
    assert incidents(operator) == [("common cause model acme/large", True)]
    assert sample(operator, "prompt_operator_common_causes", kind="model") == 0.0


async def test_versions_released_together_are_each_rolled_back(operator: Operated) -> None:
    """The same breach within an hour of the release says nothing about a common cause."""
    traffic(operator, *NAMES[:3])
    await operator.tick()
    for name in NAMES[:3]:
        await operator.until_served("1.0.0", name)
    assert await switched(operator) == list(NAMES[:3])


async def test_the_rate_over_all_prompts_holds_over_a_restart(operator: Operated) -> None:
    """Six fail at once, two may switch in a minute: two do, also after a restart; a minute later two more."""
    await limit(operator, "2/min")
    traffic(operator, *NAMES)
    await operator.tick()
    await operator.settle()
    assert len(await switched(operator)) == 2
    assert await objections(operator) == {"GlobalRateLimited"}
    await operator.stop()
    await operator.start()
    await operator.tick()
    assert len(await switched(operator)) == 2
    operator.clock.offset += timedelta(seconds=61)
    await operator.tick()
    assert len(await switched(operator)) == 4
    assert [r["spec"]["decision"] for r in await operator.records()] == ["Executed"] * 4


async def test_a_clock_that_is_wrong_stops_rollbacks(operator: Operated) -> None:
    """Two minutes ahead of the real API server: the operator sees it from its answers alone and decides nothing."""
    await operator.stop()
    operator.keeps_time = True
    operator.clock.offset += timedelta(minutes=2)
    traffic(operator, NAMES[0])
    await operator.start()
    await operator.tick()
    healthy = await operator.condition("Healthy", NAMES[0])
    assert (await switched(operator), healthy["reason"]) == ([], "ClockSkew")
    assert "ahead of the API server's" in healthy["message"]
