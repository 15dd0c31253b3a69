"""What tests look at beside the operator itself: conditions at a glance, its writes in the audit log, edits by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devcluster.bench.audit import whole_lines
from devcluster.mount import payload
from prompt_operator.engine.store import Key, Name
from prompt_operator.ports import CONFIG_MAP, EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.cluster.operating import Operated

    from devcluster.controlplane import ControlPlane
    from prompt_operator.ports import Kind, Manifest

TEST_AGENTS = ("kubectl", "prompt-operator/test", "kube-controller-manager", "kube-apiserver")
"""User agents that are not the operator under test: the test's own clients and the control plane."""


def conditions(status: Mapping[str, Any]) -> dict[str, str]:
    """Return `True Active` and the like by condition type."""
    return {each["type"]: f"{each['status']} {each['reason']}" for each in status.get("conditions") or ()}


def message(status: Mapping[str, Any], kind: str) -> str:
    """Return the message of a condition, empty without it."""
    return next((str(each["message"]) for each in status.get("conditions") or () if each["type"] == kind), "")


async def conditions_of(operator: Operated, name: str = "greeting") -> dict[str, str]:
    """Return the conditions of a Prompt at a glance."""
    return conditions(await operator.status(name))


async def until_condition(operator: Operated, kind: str, reason: str, name: str = "greeting") -> dict[str, str]:
    """Wait until a condition of a Prompt has this reason; return all conditions then."""

    async def has_reason() -> dict[str, str]:
        found = await conditions_of(operator, name)
        return found if found.get(kind, "").endswith(f" {reason}") else {}

    return await operator.until(has_reason)


async def until_settled(operator: Operated, name: str = "greeting", kind: Kind = PROMPT) -> Manifest:
    """Wait until the status of an object, usually a Prompt, tells of its present generation; return the object.

    A policy's status follows two seconds after what it tells of, so that many changes are one write.
    """

    async def settled() -> Manifest:
        found = await operator.get(kind, name)
        seen = (found.get("status") or {}).get("observedGeneration")
        return found if seen == found["metadata"]["generation"] else {}

    found = await operator.until(settled)
    await operator.settle()
    return found


async def edit(operator: Operated, name: str, *operations: tuple[str, str, Any]) -> Manifest:
    """Change a ConfigMap by hand: `(operation, JSON pointer, value)` as in RFC 6902."""
    patch = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    return await operator.api.json_patch(CONFIG_MAP, operator.namespace, name, patch)


async def delete(operator: Operated, kind: Kind, name: str) -> str:
    """Delete an object and return the uid it had."""
    uid = str((await operator.get(kind, name))["metadata"]["uid"])
    await operator.api.delete(kind, operator.namespace, name, uid=uid)
    return uid


def sample(operator: Operated, metric: str, **labels: str) -> float:
    """Return one of the operator's own metrics, 0 when nothing counted it yet."""
    assert operator.running is not None
    return operator.running.telemetry.registry.get_sample_value(metric, labels) or 0.0


def healed(operator: Operated) -> float:
    """Return how often the operator put a ConfigMap back."""
    return sum(sample(operator, "prompt_operator_tampering_healed_total", how=how) for how in ("apply", "remove"))


def mount(config_map: Manifest, folder: Path) -> None:
    """Write the keys of a ConfigMap as a plain folder of files, which the client reads too."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in payload(config_map).items():
        (folder / name).write_bytes(content)


@dataclass
class Writes:
    """The audit log from now on: every request but get, list and watch that the operator sent about a namespace."""

    control_plane: ControlPlane
    namespace: str
    _from: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from here, the beginning of a line."""
        self._from = whole_lines(self.control_plane.audit_log)

    def __iter__(self) -> Iterator[str]:
        """Yield `verb resource/name[/subresource] code` of each write; those of the test itself are left out."""
        with self.control_plane.audit_log.open("rb") as log:
            log.seek(self._from)
            lines = [json.loads(line) for line in log if line.endswith(b"\n")]
        yield from (_line(entry) for entry in lines if self._counts(entry))

    def _counts(self, entry: Mapping[str, Any]) -> bool:
        target = entry.get("objectRef") or {}
        ours = not str(entry.get("userAgent", "")).startswith(TEST_AGENTS)
        return ours and target.get("namespace") == self.namespace


def _line(entry: Mapping[str, Any]) -> str:
    target = entry["objectRef"]
    path = "/".join(target[part] for part in ("resource", "name", "subresource") if target.get(part))
    return f"{entry['verb']} {path} {entry['responseStatus']['code']}"


def texts(objects: Iterable[Mapping[str, Any]]) -> str:
    """Return everything the objects hold, to search in it."""
    return "\n".join(json.dumps(each, ensure_ascii=False) for each in objects)


async def wake_everything(operator: Operated) -> None:
    """Have every object of every kind looked at once more, and wait for it."""

    async def wake() -> None:
        assert operator.running is not None
        engine = operator.running.engine
        for kind in (PROMPT, PROMPT_VERSION, PROMPT_POLICY, EXPERIMENT):
            for name, _ in engine.store.names(kind):
                engine.queue.wake(Key(kind.kind, *name))

    await operator.settle()
    await operator.within(wake())
    await operator.settle()


async def until_watching(operator: Operated) -> None:
    """Wait until the watches are there: the end of an object is seen, which no list tells of."""
    assert operator.running is not None
    store = operator.running.engine.store
    probe = Name(operator.namespace, "probe-0.0.1")

    async def seen() -> bool:
        return probe in store.versions

    async def gone() -> bool:
        return probe not in store.versions

    await operator.version("0.0.1", prompt="probe")
    await operator.until(seen)
    await delete(operator, PROMPT_VERSION, probe.name)
    await operator.until(gone)
    await operator.settle()
