"""What can object to a rollback: one cause per safeguard, each with what ends exactly it, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.cluster.looking import delete, until_settled
from tests.faults.scene import (
    AT_ONCE,
    BAD,
    FEW,
    ONE_RULE,
    SLIGHT,
    failing,
    release_a_bad_one,
    roll_back,
    serve,
    sign,
)

from prompt_operator.ports import PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.cluster.operating import Operated

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


def skew(seconds: float) -> Change:
    """Let the API server's clock be ahead of the operator's by so much."""

    async def change(scene: Scene) -> None:
        scene.operator.set_skew(seconds)

    return change


SUSPENDED = Cause("Suspended", spec(suspend=True), spec(suspend=None))
DISABLED = Cause(
    "AutoRollbackDisabled", spec(rollback={"auto": "Disabled"}), spec(rollback=None), name="-in-the-prompt"
)
STALE = Cause("EvidenceStale", stop_answering, answer_again, passing=True)
SKEWED = Cause("ClockSkew", skew(-31), skew(-29), passing=True)
SETTLING = Cause("Settling", safeguards(initialDelay="7d"), safeguards(initialDelay="0s"), passing=True)
TOO_FEW = Cause("TooFewSamples", traffic(FEW), traffic(BAD), passing=True)
UNSURE = Cause("NotConfident", traffic(SLIGHT), traffic(BAD), passing=True)
NO_TARGET = Cause("NoTarget", nothing, anew(reference="1.0.0"), first)  # only its author can give a first version one
UNHEALTHY = Cause("TargetUnhealthy", stage("Deprecated"), stage("Staged"))
AGAIN = Cause("RollbackOfRollback", nothing, desire_what_is_active, restored)
COOLING = Cause("CoolingDown", nothing, wait, once_more)
LIMITED = Cause("DailyLimitReached", safeguards(maxPerDay=1, cooldown="0s"), acknowledge, once_more)
RATED = Cause(
    "GlobalRateLimited",
    safeguards(globalRateLimit="1/h", cooldown="0s"),
    safeguards(globalRateLimit="2/h"),
    once_more,
    passing=True,
)
DRY_RUN = Cause("DryRun", safeguards(auto="DryRun"), safeguards(auto=None))
CAUSES = (
    SUSPENDED,
    DISABLED,
    Cause("AutoRollbackDisabled", safeguards(auto="Disabled"), safeguards(auto=None), name="-in-the-policy"),
    Cause("AutoRollbackDisabled", anew(auto="Disabled"), anew(), name="-in-the-version"),
    STALE,
    SKEWED,
    SETTLING,
    TOO_FEW,
    UNSURE,
    NO_TARGET,
    UNHEALTHY,
    AGAIN,
    COOLING,
    LIMITED,
    RATED,
    DRY_RUN,
)
PAIRS = (
    (SUSPENDED, DISABLED),
    (DISABLED, STALE),
    (STALE, SKEWED),
    (SKEWED, SETTLING),
    (SETTLING, TOO_FEW),
    (SETTLING, UNSURE),
    # few samples and too little confidence are two ends of one judgement, no target and an unhealthy one of one choice
    (TOO_FEW, UNHEALTHY),
    (UNSURE, UNHEALTHY),
    (NO_TARGET, DRY_RUN),
    (UNHEALTHY, AGAIN),
    (AGAIN, Cause("CoolingDown", nothing, wait, just_restored)),
    (COOLING, Cause("DailyLimitReached", safeguards(maxPerDay=1), acknowledge, once_more)),
    (LIMITED, RATED),
    (RATED, DRY_RUN),
)
"""Two that object at once; what leads up to the second one serves both, where it is not the usual one."""
