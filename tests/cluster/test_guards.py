"""Each safeguard of an automatic rollback, on a real API server: alone, and before a later one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from tests.cluster.looking import delete, message, sample, until_settled
from tests.cluster.operating import operated
from tests.faults.scene import (
    AT_ONCE,
    BAD,
    FEW,
    GOOD,
    ONE_RULE,
    RULE,
    SLIGHT,
    events,
    failing,
    release_a_bad_one,
    roll_back,
    serve,
    sign,
)

from prompt_operator.ports import PROMPT, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Manifest

LATER = timedelta(hours=4)
"""Longer than a reading stays fresh at the harness' tick of an hour."""


@dataclass
class Scene:
    """A prompt whose active version fails, with one rule that may roll it back, and switches for what objects."""

    operator: Operated
    version: str = "1.1.0"
    """The desired one."""
    active: str = "1.1.0"
    target: str = "1.0.0"
    traffic: tuple[float, float] = BAD
    spec: dict[str, Any] = field(default_factory=dict)
    safeguards: dict[str, Any] = field(default_factory=lambda: dict(AT_ONCE))

    async def push(self) -> None:
        """Apply Prompt and PromptPolicy as they are set here, and let the metrics tell the traffic."""
        operator = self.operator
        await operator.policy(rollback=self.safeguards, rules=ONE_RULE, evidence={"unknownAfter": "7d"})
        await operator.prompt(self.version, **self.spec)
        await operator.until(self._seen)
        operator.metrics.traffic = {("greeting", self.active): self.traffic}

    async def _seen(self) -> bool:
        """Tell whether the operator's store has what was applied."""
        await until_settled(self.operator)
        store = self.operator.running.engine.store if self.operator.running else None
        assert store is not None
        (policy,) = store.policies.values()
        block = policy.spec.rollback if policy.spec else None
        return block is not None and block.model_dump(by_alias=True, exclude_none=True) == self.safeguards

    async def fire(self) -> None:
        """Have the rule fire without a rollback or a record: at 9 % it is sure enough for an alert only."""
        self.operator.metrics.traffic = {("greeting", self.active): SLIGHT}
        await self.operator.tick()
        assert await self.operator.records("Refused") == []

    async def recreate(self, version: str, **spec: Any) -> None:
        """Delete a version and create it with other settings: its text, and so its hash, stays."""
        operator = self.operator
        await delete(operator, PROMPT_VERSION, f"greeting-{version}")
        created = await operator.version(version, **spec)
        await operator.until(lambda: self._has(created))
        await operator.settle()

    async def _has(self, created: Manifest) -> bool:
        assert self.operator.running is not None
        found = [v.uid for v in self.operator.running.engine.store.versions.values()]
        return created["metadata"]["uid"] in found


# --- what leads up to it


async def first(one: Operated) -> Scene:
    """A first version: nothing was served before."""
    await one.prompt("1.1.0")
    await one.until_served("1.1.0")
    return Scene(one)


async def second(one: Operated) -> Scene:
    """1.1.0 after 1.0.0."""
    await serve(one, "1.0.0", "1.1.0")
    return Scene(one)


async def restored(one: Operated) -> Scene:
    """1.0.0, restored by a rollback from 1.1.0 some time ago; 0.9.0 was served before both."""
    await serve(one, "0.9.0", "1.0.0")
    await release_a_bad_one(one, "1.1.0")
    await roll_back(one)
    one.clock.offset += timedelta(minutes=16)
    return Scene(one, active="1.0.0", target="0.9.0")


async def just_restored(one: Operated) -> Scene:
    """The same, a moment ago."""
    scene = await restored(one)
    one.clock.offset -= timedelta(minutes=15)
    return scene


async def once_more(one: Operated) -> Scene:
    """1.2.0, a minute after the rollback from 1.1.0 to 1.0.0."""
    await serve(one, "1.0.0")
    await release_a_bad_one(one, "1.1.0")
    await roll_back(one)
    await serve(one, "1.2.0")
    return Scene(one, version="1.2.0", active="1.2.0")


# --- what objects, and what ends it

Change: TypeAlias = "Callable[[Scene], Awaitable[None]]"


@dataclass(frozen=True)
class Cause:
    """One way to make one guard object, and to end exactly that.

    Attributes:
        guard: its reason.
        after: what leads up to it.
        impose: brings it about.
        lift: ends it; the rollback must follow.
        passing: it waits for evidence, and is told in status and an Event only.
    """

    guard: str
    impose: Change
    lift: Change
    after: Callable[[Operated], Awaitable[Scene]] = second
    passing: bool = False
    name: str = ""

    def __str__(self) -> str:
        return self.guard + self.name


async def nothing(_: Scene) -> None:
    """What leads up to it is enough."""


def spec(**values: Any) -> Change:
    """Set fields of the Prompt's spec; None removes one."""
    return lambda scene: _laid(scene.spec, values)


def safeguards(**values: Any) -> Change:
    """Set fields of the policy's rollback block; None removes one."""
    return lambda scene: _laid(scene.safeguards, values)


async def _laid(block: dict[str, Any], values: dict[str, Any]) -> None:
    block.update(values)
    for name in [name for name, value in block.items() if value is None]:
        del block[name]


def traffic(counts: tuple[float, float]) -> Change:
    """Set requests and errors of the active version."""

    async def change(scene: Scene) -> None:
        scene.traffic = counts

    return change


def stage(name: str) -> Change:
    """Set the stage of the version to go back to."""

    async def change(scene: Scene) -> None:
        await scene.operator.version(scene.target, stage=name)

    return change


def anew(**rollback: str) -> Change:
    """Delete the active version and create it with this rollback block."""

    async def change(scene: Scene) -> None:
        await scene.recreate(scene.active, **({"rollback": rollback} if rollback else {}))

    return change


async def stop_answering(scene: Scene) -> None:
    """Prometheus tells of the breach while a person holds the rollback back, then no longer answers for hours."""
    await scene.operator.prompt(scene.version, **scene.spec, suspend=True)
    await scene.operator.settle()
    scene.operator.metrics.traffic = failing(scene.active)
    await scene.operator.tick()
    scene.operator.metrics.failing = "connection refused"
    scene.operator.clock.offset += LATER


async def answer_again(scene: Scene) -> None:
    """Prometheus is back."""
    scene.operator.metrics.failing = ""


async def desire_what_is_active(scene: Scene) -> None:
    """A person takes the restored version as the desired one: no override any more."""
    scene.version = scene.active


async def wait(scene: Scene) -> None:
    """The built-in cooldown passes."""
    scene.operator.clock.offset += timedelta(minutes=16)


async def acknowledge(scene: Scene) -> None:
    """A person takes note of the rollback that filled the day's cap."""
    (record,) = await scene.operator.records("Executed")
    await sign(scene.operator, record, "acknowledge")


SUSPENDED = Cause("Suspended", spec(suspend=True), spec(suspend=None))
DISABLED = Cause(
    "AutoRollbackDisabled", spec(rollback={"auto": "Disabled"}), spec(rollback=None), name="-in-the-prompt"
)
STALE = Cause("EvidenceStale", stop_answering, answer_again, passing=True)
SETTLING = Cause("Settling", safeguards(initialDelay="7d"), safeguards(initialDelay="0s"), passing=True)
TOO_FEW = Cause("TooFewSamples", traffic(FEW), traffic(BAD), passing=True)
UNSURE = Cause("NotConfident", traffic(SLIGHT), traffic(BAD), passing=True)
NO_TARGET = Cause("NoTarget", nothing, anew(reference="1.0.0"), first)  # only its author can give a first version one
UNHEALTHY = Cause("TargetUnhealthy", stage("Deprecated"), stage("Staged"))
AGAIN = Cause("RollbackOfRollback", nothing, desire_what_is_active, restored)
COOLING = Cause("CoolingDown", nothing, wait, once_more)
LIMITED = Cause("DailyLimitReached", safeguards(maxPerDay=1, cooldown="0s"), acknowledge, once_more)
DRY_RUN = Cause("DryRun", safeguards(auto="DryRun"), safeguards(auto=None))
CAUSES = (
    SUSPENDED,
    DISABLED,
    Cause("AutoRollbackDisabled", safeguards(auto="Disabled"), safeguards(auto=None), name="-in-the-policy"),
    Cause("AutoRollbackDisabled", anew(auto="Disabled"), anew(), name="-in-the-version"),
    STALE,
    SETTLING,
    TOO_FEW,
    UNSURE,
    NO_TARGET,
    UNHEALTHY,
    AGAIN,
    COOLING,
    LIMITED,
    DRY_RUN,
)
PAIRS = (
    (SUSPENDED, DISABLED),
    (DISABLED, STALE),
    (STALE, SETTLING),
    (SETTLING, TOO_FEW),
    (SETTLING, UNSURE),
    # few samples and too little confidence are two ends of one judgement, no target and an unhealthy one of one choice
    (TOO_FEW, UNHEALTHY),
    (UNSURE, UNHEALTHY),
    (NO_TARGET, DRY_RUN),
    (UNHEALTHY, AGAIN),
    (AGAIN, Cause("CoolingDown", nothing, wait, just_restored)),
    (COOLING, Cause("DailyLimitReached", safeguards(maxPerDay=1), acknowledge, once_more)),
    (LIMITED, DRY_RUN),
)
"""Two that object at once; what leads up to the second one serves both, where it is not the usual one."""


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
    """A lasting objection has one record, one Event and one count; a passing one has no record."""
    operator, records = scene.operator, await refusals(scene, cause.guard)
    counted = sample(operator, "prompt_operator_refusals_total", guard=cause.guard)
    if cause.passing:
        assert (records, counted) == ([], 0.0)
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
    return [event for event in await events(scene.operator, reason) if f": {guard}: " in event["note"]]


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
