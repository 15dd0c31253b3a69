"""The scene that the tests of rollbacks share: versions, traffic, one rule that may roll back, and what came of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from tests.cluster.operating import Operated

    from prompt_operator.ports import Manifest

BAD = (200.0, 120.0)
GOOD = (200.0, 0.0)
SLIGHT = (200.0, 18.0)
"""9 %: beyond 5 % at the confidence of alerts, not at that of rollbacks."""
FEW = (10.0, 10.0)
AT_ONCE = {"initialDelay": "0s", "recoveryWindow": "5m"}
RULE = "critical-error-rate"
ONE_RULE = [
    {"name": name, "state": "Disabled"}
    for name in ("low-success-rate", "runaway-errors", "collapsed-success", "stuck-latency")
]
"""Switches off every rule but RULE that would roll back."""


def failing(*versions: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Return traffic in which these versions fail."""
    return {("greeting", version): BAD for version in versions}


async def serve(operator: Operated, *versions: str, **spec: Any) -> None:
    """Make versions desired one after the other, a minute apart, each until it is served."""
    for version in versions:
        operator.clock.offset += timedelta(minutes=1)
        await operator.prompt(version, **spec)
        await operator.until_served(version)
    await operator.settle()


async def time_passes(operator: Operated, minutes: int) -> None:
    """Let the operator's clock run ahead, and its rules be judged."""
    operator.clock.offset += timedelta(minutes=minutes)
    await operator.tick()


async def release_a_bad_one(operator: Operated, version: str = "1.1.0", **spec: Any) -> None:
    """Make a version desired, serve it, and let it fail."""
    await serve(operator, version, **spec)
    operator.metrics.traffic = failing(version)


async def roll_back(operator: Operated, to: str = "1.0.0") -> Manifest:
    """Judge the rules, wait for the switch and its record, and return the newest Executed record."""
    before = {record["metadata"]["name"] for record in await operator.records("Executed")}
    await operator.tick()
    await operator.until_served(to)

    async def new() -> list[Manifest]:
        return [r for r in await operator.records("Executed") if r["metadata"]["name"] not in before]

    (record,) = await operator.until(new)
    await operator.settle()
    return record


async def sign(operator: Operated, record: Manifest | str, field: str) -> None:
    """Set `release` or `acknowledge` of a record, as a person does."""
    name = record if isinstance(record, str) else record["metadata"]["name"]
    value = {"by": "ana", "reason": "looked at it"}
    patch = [{"op": "add", "path": f"/spec/{field}", "value": value}]
    await operator.api.json_patch(PROMPT_ROLLBACK, operator.namespace, name, patch)


async def request(operator: Operated, name: str, from_version: str, **spec: Any) -> Manifest:
    """Create a person's request."""
    body = {
        "apiVersion": PROMPT_ROLLBACK.api_version,
        "kind": PROMPT_ROLLBACK.kind,
        "metadata": {"name": name, "namespace": operator.namespace},
        "spec": {
            "promptRef": {"name": "greeting"},
            "fromVersion": from_version,
            "reason": "it answers in the wrong language",
            "requestedBy": "ana",
            **spec,
        },
    }
    created = await operator.api.create(PROMPT_ROLLBACK, body)
    assert created is not None
    return created


async def answer_to(operator: Operated, name: str) -> Manifest:
    """Wait for the record that answers a request, and until all is told of it; there is never more than one."""

    async def answers() -> list[Manifest]:
        return [r for r in await operator.records() if (r["spec"].get("requestRef") or {}).get("name") == name]

    await operator.until(answers)
    await operator.settle()
    (answer,) = await answers()
    return answer


async def outcome_of(operator: Operated, record: Manifest) -> str:
    """Return the judged outcome of a record, empty while it is watched."""
    found = await operator.get(PROMPT_ROLLBACK, record["metadata"]["name"])
    return str(found.get("status", {}).get("outcome", ""))


def instant(operator: Operated, **ago: float) -> str:
    """Return the operator's present, less what is given as for timedelta, as a person writes it into an annotation."""
    return f"{operator.clock.now() - timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


async def content(operator: Operated) -> dict[str, Any]:
    """Return what the ConfigMap says, parsed, and its revision apart."""
    config_map = await operator.config_map()
    assert config_map is not None
    data = dict(config_map["data"])
    whole = json.loads(data.pop("prompt.json"))
    return {**data, "revision": whole.pop("revision"), "prompt.json": whole}
