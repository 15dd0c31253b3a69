"""What happens to a prompt while its operator is killed or its API server fails, and how it must end."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.faults.stage import Stage, prepare

from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.faults.proxy import Point, Write

    from prompt_operator.ports import Manifest

End = dict[str, Any]
_QUIET = 2.5
"""Seconds without a write, more than two ticks: nothing more comes."""


@dataclass(frozen=True)
class Story:
    """A scene: what leads up to it, what people and fleets do in it, and the one right end.

    Attributes:
        prepare: what leads up to it; its writes are not counted.
        live: goes on until all that is decided was decided.
        expected: members of the end that are said in words; the rest must be as in an undisturbed run.
    """

    prepare: Callable[[Stage, str], Awaitable[None]]
    live: Callable[[Stage, str], Awaitable[None]]
    expected: End


# --- a rule rolls back


async def fails(stage: Stage, scene: str) -> None:
    """1.1.0 fails until 1.0.0 is restored and found well."""
    stage.traffic.bad.add((scene, "1.1.0"))
    await stage.until(lambda: judged(stage, scene, 1))


async def judged(stage: Stage, scene: str, count: int) -> bool:
    """Tell whether so many rollbacks were executed and judged."""
    found = await stage.records(scene, "Executed")
    return len(found) == count and all((each.get("status") or {}).get("outcome") for each in found)


BY_RULE = Story(
    prepare,
    fails,
    {
        "active": "1.0.0",
        "override": {"version": "1.0.0", "against": "1.1.0", "because": "Rollback"},
        "held": ["1.1.0"],
        "history": [("1.0.0", None), ("1.1.0", "Rollback"), ("1.0.0", "Activation")],
        "records": [("Executed", "Automatic", "1.1.0", "1.0.0", "Recovered")],
    },
)


# --- a person rolls back, another one is too late, a third one releases


async def watched_for_long(stage: Stage, scene: str) -> None:
    """The restored version is watched until somebody does something else."""
    await prepare(stage, scene, rollback={"recoveryWindow": "1h"})


async def asked_and_released(stage: Stage, scene: str) -> None:
    """Two people ask to leave 1.1.0; when both are answered it is released."""
    for name in ("of-ana", "of-ben"):
        await ask(stage, scene, name)
    answers = await stage.until(lambda: answered(stage, scene))
    (executed,) = [each for each in answers if each["spec"]["decision"] == "Executed"]
    await stage.sign(executed["metadata"]["name"], "release")
    await stage.until(lambda: judged(stage, scene, 1))


async def ask(stage: Stage, scene: str, name: str) -> None:
    """Create a person's request."""
    spec = {"promptRef": {"name": scene}, "fromVersion": "1.1.0", "reason": "odd answers", "requestedBy": "ana"}
    metadata = {"name": f"{scene}-{name}", "namespace": stage.namespace}
    body = {"apiVersion": PROMPT_ROLLBACK.api_version, "kind": PROMPT_ROLLBACK.kind, "metadata": metadata, "spec": spec}
    await stage.api.create(PROMPT_ROLLBACK, body)


async def answered(stage: Stage, scene: str) -> list[Manifest]:
    """Return both records once requests and records have their status."""
    found = await stage.records(scene)
    return [each for each in found if each["spec"].get("decision")] if _told(found) else []


def _told(found: Sequence[Manifest]) -> bool:
    return len(found) == 4 and all(each.get("status") for each in found)


BY_HAND = Story(
    watched_for_long,
    asked_and_released,
    {
        "active": "1.1.0",
        "override": {"version": None, "against": None, "because": None},
        "held": [],
        "history": [("1.1.0", None), ("1.0.0", "Activation"), ("1.1.0", "ManualRollback"), ("1.0.0", "Activation")],
        "records": [
            ("", "Manual", "1.1.0", None, "Inconclusive"),
            ("", "Manual", "1.1.0", None, "Refused"),
            ("Executed", "Manual", "1.1.0", "1.0.0", "Inconclusive"),
            ("Refused", "Manual", "1.1.0", None, "Refused"),
        ],
    },
)


# --- the cap of a day is full, until a person takes note


async def capped(stage: Stage, scene: str) -> None:
    """1.1.0 was rolled back; 1.2.0 fails as well, and one a day is all that is allowed."""
    rollback = {"maxPerDay": 1}
    await prepare(stage, scene, rollback=rollback)
    await fails(stage, scene)
    stage.traffic.bad.add((scene, "1.2.0"))
    await stage.apply(PROMPT, scene, version="1.2.0", rollback=rollback)
    await stage.until(lambda: intervention_required(stage, scene))


async def intervention_required(stage: Stage, scene: str) -> bool:
    """Tell whether a person is asked for, and the refusal's record is whole."""
    conditions = (await stage.status(scene)).get("conditions", ())
    asked = any(each["reason"] == "ManualInterventionRequired" for each in conditions)
    refused = await stage.records(scene, "Refused")
    return asked and len(refused) == 1 and all(each.get("status") for each in refused)


async def acknowledged(stage: Stage, scene: str) -> None:
    """A person takes note of the first rollback; the second one follows."""
    (record,) = await stage.records(scene, "Executed")
    await stage.sign(record["metadata"]["name"], "acknowledge")
    await stage.until(lambda: judged(stage, scene, 2))


ACKNOWLEDGED = Story(
    capped,
    acknowledged,
    {
        "active": "1.0.0",
        "override": {"version": "1.0.0", "against": "1.2.0", "because": "Rollback"},
        "held": ["1.1.0", "1.2.0"],
        "records": [
            ("Executed", "Automatic", "1.1.0", "1.0.0", "Recovered"),
            ("Executed", "Automatic", "1.2.0", "1.0.0", "Recovered"),
            ("Refused", "Automatic", "1.2.0", None, "Refused"),
        ],
    },
)


# --- how it ends


async def end(stage: Stage, scene: str) -> End:
    """Return all that must come out the same: status, records, versions and ConfigMap, without names and times."""
    status, records = await stage.status(scene), await stage.records(scene)
    override = status.get("override") or {}
    executed = {each["metadata"]["name"] for each in records if each["spec"].get("decision") == "Executed"}
    return {
        "active": status.get("activeVersion"),
        "override": {key: override.get(key) for key in ("version", "against", "because")},
        "held": [each["version"] for each in status.get("held", ())],
        "history": [(each["version"], each.get("leftBecause")) for each in status["history"]],
        "conditions": sorted((c["type"], c["status"], c["reason"]) for c in status["conditions"]),
        "rules": sorted((each["name"], each["state"]) for each in status.get("rules", ())),
        "records": sorted(map(_record, records), key=str),
        "evidence": sorted(str(_evidence(each)) for each in records),
        "decided once": stage.proxy.decisions[scene] == executed,
        "audited once": set(stage.trail.times(each["metadata"]["name"] for each in records if _decided(each))) == {1},
        "ledger": {each["id"] for each in (status.get("rollbacks") or {}).get("recent", ())} == executed,
        "content": _content(await stage.served(scene)),
        "stages": await stage.stages(scene),
    }


def _decided(found: Manifest) -> bool:
    return "decision" in found["spec"]


def _record(found: Manifest) -> tuple[str | None, ...]:
    spec, status = found["spec"], found.get("status") or {}
    return spec.get("decision", ""), spec["trigger"], spec["fromVersion"], spec.get("toVersion"), status.get("outcome")


def _evidence(found: Manifest) -> list[dict[str, Any]]:
    """Return what the rule that decided rests on; what else was known depends on when slow windows were asked last."""
    spec = found["spec"]
    told = (each for each in spec.get("evidence", ()) if each.get("rule") == spec.get("rule"))
    return [{key: value for key, value in each.items() if key not in {"at", "query"}} for each in told]


def _content(data: dict[str, str]) -> dict[str, Any]:
    whole = json.loads(data["prompt.json"])
    return {**data, "prompt.json": {key: value for key, value in whole.items() if key not in {"revision", "prompt"}}}


async def undisturbed(stage: Stage, story: Story, scene: str) -> tuple[tuple[Write, ...], End]:
    """Play a scene without any trouble; return its writes and its end."""
    await story.prepare(stage, scene)
    stage.proxy.arm(scene)
    stage.proxy.decisions[scene] = {each["metadata"]["name"] for each in await stage.records(scene, "Executed")}
    await story.live(stage, scene)
    await quiet(stage, scene)
    return tuple(stage.proxy.log[scene]), await end(stage, scene)


async def quiet(stage: Stage, scene: str) -> None:
    """Wait until the operator writes nothing more about a scene."""
    log, seen, since = stage.proxy.log[scene], -1, time.monotonic()
    while time.monotonic() - since < _QUIET:
        if len(log) != seen:
            seen, since = len(log), time.monotonic()
        await asyncio.sleep(0.05)


async def play(stage: Stage, story: Story, scene: str, point: Point, right: End) -> bool:
    """Play a prepared scene with one thing going wrong, until it ended as it should; tell whether it went wrong.

    An operator that is busy with other scenes may say in one write what it says in two when it is not.
    """
    stage.proxy.arm(scene, point)
    async with stage.restarting():
        await story.live(stage, scene)
        await stage.proxy.arrived(scene)  # whatever a late write did must come right
        await until_right(stage, scene, right, f"{scene}, {point}")
    return scene in stage.proxy.hit


async def until_right(stage: Stage, scene: str, right: End, what: str) -> None:
    """Wait until a scene ended as it should; fail with what is different."""
    found: End = {}

    async def ended() -> bool:
        found.update(await end(stage, scene))
        return found.items() >= right.items()

    try:
        await stage.until(ended)
    except AssertionError as error:
        different = {key: (found[key], right[key]) for key in right if found.get(key) != right[key]}
        raise AssertionError(f"{what}: (found, right) {different}") from error
