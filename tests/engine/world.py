"""The outside world in memory, behind the engine's ports: an API server, a Prometheus, a list of Events, two clocks.

It refuses what the real ones refuse: stale resourceVersions and uids, a status that does not fit its model, a second
object of the same name. Writes are counted and can be made to fail, before or after they took effect.
"""

from __future__ import annotations

import asyncio
import copy
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

from tests.core.builders import NAMESPACE, OWNER, T0, V1, a_version_manifest
from tests.core.world import merged

from prompt_operator.api.common import API_VERSION, rfc3339
from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.core.rules.profile import parse_profile
from prompt_operator.engine.engine import Engine, Pace
from prompt_operator.ports import (
    CONFIG_MAP,
    DEFAULT_SOURCE,
    KINDS,
    PROMPT,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    Conflict,
    Happening,
    Kind,
    Manifest,
    NotFound,
    Retry,
    Sample,
    Unavailable,
)
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

NATIVE = parse_profile(resources.files("prompt_operator.core.rules.profiles").joinpath("native.yaml").read_text())
PROMPT_NAME = OWNER.name
CONFIG_MAP_NAME = f"prompt-{PROMPT_NAME}"
_MODELS = {PROMPT.kind: Prompt, PROMPT_ROLLBACK.kind: PromptRollback}


class Clock:
    """T0 plus the event loop's virtual time, plus what a test adds by hand."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        """Return the present instant."""
        return T0 + timedelta(seconds=self.monotonic()) + self.shift

    def monotonic(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()


@dataclass
class Write:
    """One write that arrived."""

    verb: str
    kind: str
    name: str
    number: int


@dataclass
class Cluster:
    """An API server; `watchers` get every change, when `delivering`, as their watch would bring it."""

    clock: Clock
    objects: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    owned: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """ConfigMap -> data keys that the projection's field manager owns."""
    writes: list[Write] = field(default_factory=list)
    reads: list[tuple[str, str]] = field(default_factory=list)
    watchers: list[Callable[[Kind, Manifest, bool], None]] = field(default_factory=list)
    delivering: bool = True
    before_write: Callable[[Write], Exception | None] = lambda _: None
    """Refuse this write with this error."""
    after_write: Callable[[Write], Exception | None] = lambda _: None
    """Do this write, and lose the answer."""
    before_read: Callable[[str, str], Exception | None] = lambda *_: None
    serial: int = 0
    server_skew: float | None = 0.0

    # --- what tests do as users

    def put(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create or replace an object as a user would."""
        manifest = copy.deepcopy(manifest)
        metadata = manifest["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        old = self.objects.get(key)
        metadata.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{metadata['name']}")
        metadata.setdefault("creationTimestamp", rfc3339(self.clock.now()))
        generation = old["metadata"].get("generation", 1) if old else 1
        changed = old is not None and old.get("spec") != manifest.get("spec")
        metadata["generation"] = generation + 1 if changed else generation
        return self._store(kind, manifest)

    def remove(self, kind: Kind, name: str) -> None:
        """Delete an object as a user would."""
        gone = self.objects.pop((kind.kind, NAMESPACE, name))
        self.owned.pop((kind.kind, NAMESPACE, name), None)
        self._tell(kind, gone, deleted=True)

    def found(self, kind: Kind, name: str) -> Manifest | None:
        """Return an object as it stands, or None."""
        return copy.deepcopy(self.objects.get((kind.kind, NAMESPACE, name)))

    def all(self, kind: Kind) -> list[Manifest]:
        """Return all objects of a kind."""
        return [copy.deepcopy(manifest) for key, manifest in self.objects.items() if key[0] == kind.kind]

    # --- the port

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        await asyncio.sleep(0)
        self._read(kind, name)
        found = self.objects.get((kind.kind, namespace, name))
        if found is None:
            raise NotFound(f"{kind.kind} {name} does not exist")
        return copy.deepcopy(found)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """Read all objects of a kind."""
        self._read(kind, "")
        label, _, value = labels.partition("=")
        for (_, where, _), manifest in [item for item in self.objects.items() if item[0][0] == kind.kind]:
            await asyncio.sleep(0)
            chosen = not label or manifest["metadata"].get("labels", {}).get(label) == value
            if namespace in {None, where} and chosen:
                whole = {key: manifest[key] for key in ("metadata",)} if metadata_only else manifest
                yield copy.deepcopy(whole)

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Create; None when it is there already."""
        async with self._writing("create", kind, body["metadata"]["name"]):
            metadata = body["metadata"]
            if (kind.kind, metadata["namespace"], metadata["name"]) in self.objects:
                return None
            return self.put(kind, json.loads(json.dumps(body)))

    async def apply(
        self, kind: Kind, body: Manifest, *, manager: str, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Server-side apply, as far as the operator uses it."""
        async with self._writing(f"apply {subresource}".strip(), kind, body["metadata"]["name"]):
            body = json.loads(json.dumps(body))
            metadata = body["metadata"]
            old = self.objects.get((kind.kind, metadata["namespace"], metadata["name"]))
            self._fence(metadata, old)
            if subresource == "status":
                return self._apply_status(kind, body, old)
            assert kind == CONFIG_MAP, "the operator owns no other objects"
            return self._apply_config_map(body, old, manager, force=force)

    async def json_patch(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Mapping[str, Any]], *, subresource: str = ""
    ) -> Manifest:
        """RFC 6902 with test, replace and remove."""
        async with self._writing(f"patch {subresource}".strip(), kind, name):
            key = (kind.kind, namespace, name)
            if key not in self.objects:
                raise NotFound(f"{name} does not exist")
            changed = copy.deepcopy(self.objects[key])
            for operation in operations:
                self._operate(changed, operation)
            return self._store(kind, changed)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid."""
        async with self._writing("delete", kind, name):
            found = self.objects.get((kind.kind, namespace, name))
            if found is None:
                return
            if found["metadata"]["uid"] != uid:
                raise Conflict(f"{name} is another object by now")
            self.remove(kind, name)

    # --- inside

    def _read(self, kind: Kind, name: str) -> None:
        self.reads.append((kind.kind, name))
        error = self.before_read(kind.kind, name)
        if error is not None:
            raise error

    @asynccontextmanager
    async def _writing(self, verb: str, kind: Kind, name: str) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        write = Write(verb, kind.kind, name, len(self.writes) + 1)
        self.writes.append(write)
        error = self.before_write(write)
        if error is not None:
            raise error
        yield
        error = self.after_write(write)
        if error is not None:
            raise error

    @staticmethod
    def _fence(metadata: Mapping[str, Any], old: Manifest | None) -> None:
        if old is None:
            if "uid" in metadata:
                raise Conflict("the object with this uid is gone")
            return
        for member in ("uid", "resourceVersion"):
            if metadata.get(member) not in {None, old["metadata"][member]}:
                raise Conflict(f"the object has another {member}")

    def _apply_status(self, kind: Kind, body: Manifest, old: Manifest | None) -> Manifest:
        if old is None:
            raise NotFound(f"{body['metadata']['name']} does not exist")
        return self._store(kind, {**copy.deepcopy(old), "status": body["status"]})

    def _apply_config_map(self, body: Manifest, old: Manifest | None, manager: str, *, force: bool) -> Manifest:
        key = (CONFIG_MAP.kind, body["metadata"]["namespace"], body["metadata"]["name"])
        if old is None:
            old = {"metadata": {k: body["metadata"][k] for k in ("name", "namespace")} | {"uid": f"cm-{self.serial}"}}
        elif not force and any(old["data"].get(k, v) != v for k, v in body["data"].items()):
            raise Conflict("another manager owns fields of this ConfigMap")
        if old.get("immutable"):
            raise Conflict("immutable: not writable")
        changed = merged(old, body, self.owned.get(key, set()))
        changed["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply"}]
        self.owned[key] = set(body["data"])
        return self._store(CONFIG_MAP, changed)

    @staticmethod
    def _operate(manifest: Manifest, operation: Mapping[str, Any]) -> None:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent = manifest
        for part in path:
            parent = parent[part]
        match operation["op"]:
            case "test" if parent[last] != operation["value"]:
                raise Conflict("the test of the patch failed")
            case "replace":
                parent[last] = operation["value"]
            case "remove":
                del parent[last]

    def _store(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Keep an object and tell the watchers, unless nothing changed."""
        metadata = manifest["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        old = self.objects.get(key)
        if old is not None and manifest == old:
            return copy.deepcopy(old)
        if kind.kind in _MODELS:
            _MODELS[kind.kind].model_validate(manifest)
        self.serial += 1
        metadata["resourceVersion"] = str(self.serial)
        self.objects[key] = copy.deepcopy(manifest)
        self._tell(kind, manifest, deleted=False)
        return copy.deepcopy(manifest)

    def _tell(self, kind: Kind, manifest: Manifest, *, deleted: bool) -> None:
        if not self.delivering:
            return
        for watcher in self.watchers:
            asyncio.get_running_loop().call_soon(watcher, kind, copy.deepcopy(manifest), deleted)


WHOLE = 2016.0
"""Evaluations of the recording rules in the longest window."""


@dataclass
class Metrics:
    """A Prometheus that knows, per version of the prompt, requests and errors of every window."""

    served: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Version -> (requests, errors)."""
    down: bool = False
    recorded: bool = True
    """Recording rules are evaluated: long windows are recorded as a whole, and hold nothing."""
    queries: list[str] = field(default_factory=list)
    lag: timedelta = timedelta()

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer the two queries about requests; nothing else was measured."""
        self.queries.append(promql)
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(f"Prometheus did not answer at {at}")
        if "evaluations" in promql:
            return [Sample({}, WHOLE)] if self.recorded else []
        if "llm_prompt_requests_total" not in promql:
            return []
        column = 1 if 'outcome="error"' in promql else 0
        return [
            Sample({"prompt_namespace": NAMESPACE, "prompt": PROMPT_NAME, "version": version}, counts[column])
            for version, counts in self.served.items()
        ]


@dataclass
class Events:
    """Events as they were published."""

    published: list[Happening] = field(default_factory=list)

    def publish(self, happening: Happening) -> None:
        """Keep it."""
        self.published.append(happening)

    def reasons(self) -> list[str]:
        """Return the reasons in their order."""
        return [happening.reason for happening in self.published]


@dataclass
class World:
    """All of it, and the engine that runs in it."""

    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    events: Events = field(default_factory=Events)
    mode: str = "Active"
    cluster: Cluster = field(init=False)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        """Connect the API server to the clock."""
        self.cluster = Cluster(self.clock)

    def add_versions(self, *names: str) -> None:
        """Create PromptVersions."""
        for name in names:
            self.cluster.put(PROMPT_VERSION, a_version_manifest(name, seen=False))

    def want(self, version: str = V1, **spec: Any) -> None:
        """Create the Prompt, or change its spec."""
        old = self.cluster.found(PROMPT, PROMPT_NAME) or {
            "apiVersion": API_VERSION,
            "kind": "Prompt",
            "metadata": {"namespace": NAMESPACE, "name": PROMPT_NAME, "uid": OWNER.uid},
        }
        self.cluster.put(PROMPT, old | {"spec": {"version": version} | spec})

    def request(self, name: str = "please", from_: str = "2.0.0", **spec: Any) -> None:
        """Ask for a rollback."""
        asked = {"promptRef": {"name": PROMPT_NAME}, "fromVersion": from_, "reason": "odd", "requestedBy": "ada"}
        manifest = {"apiVersion": API_VERSION, "kind": "PromptRollback", "spec": asked | {"trigger": "Manual"} | spec}
        self.cluster.put(PROMPT_ROLLBACK, manifest | {"metadata": {"namespace": NAMESPACE, "name": name}})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """Run an engine of its own: it lists, then watches; at the end it is gone with all it knew."""
        self.engine = Engine(
            cluster=self.cluster,
            sources={DEFAULT_SOURCE: self.metrics},
            events=self.events,
            clock=self.clock,
            telemetry=Telemetry(),
            profiles={"native": NATIVE},
            mode=lambda: self.mode,
            pace=Pace(),
        )
        for kind in KINDS:
            async for manifest in self.cluster.list(kind, labels=labels_of(kind)):
                self.engine.observe(kind, manifest)
        watcher = self._watcher(self.engine)
        self.cluster.watchers.append(watcher)
        self.engine.queue.start()
        try:
            yield self.engine
        finally:
            self.cluster.watchers.remove(watcher)
            await self.engine.queue.stop(grace=0.001)

    @staticmethod
    def _watcher(engine: Engine) -> Callable[[Kind, Manifest, bool], None]:
        def watch(kind: Kind, manifest: Manifest, deleted: bool) -> None:  # noqa: FBT001  as a watch calls it
            ours = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "prompt-operator"
            if kind != CONFIG_MAP or ours:
                engine.observe(kind, manifest, deleted=deleted)

        return watch

    async def rest(self, seconds: float = 5.0) -> None:
        """Let (virtual) time pass, and all runs end that it brings."""
        await asyncio.sleep(seconds)
        await self.engine.queue.join()

    async def ticks(self, count: int, every: float = 15.0) -> None:
        """Let the rule clock tick."""
        for _ in range(count):
            await self.rest(every)
            await self.engine.rules.tick()
            await self.rest(0.5)

    # --- what is seen

    def prompt(self) -> Prompt:
        """Return the Prompt as it stands."""
        found = self.cluster.found(PROMPT, PROMPT_NAME)
        assert found is not None
        return Prompt.from_manifest(found)

    def served(self) -> str:
        """Return the version in the ConfigMap; empty without one."""
        found = self.cluster.found(CONFIG_MAP, CONFIG_MAP_NAME)
        return str(found["data"].get("version", "")) if found else ""

    def records(self) -> list[Manifest]:
        """Return the operator's records."""
        return [each for each in self.cluster.all(PROMPT_ROLLBACK) if "decision" in each["spec"]]

    def condition(self, kind: str) -> tuple[str, str] | None:
        """Return status and reason of a condition of the Prompt."""
        conditions = self.prompt().status.conditions
        return next(((each.status, each.reason) for each in conditions if each.type == kind), None)


def labels_of(kind: Kind) -> str:
    """Return the selector that the watch of a kind uses."""
    return "app.kubernetes.io/managed-by=prompt-operator" if kind == CONFIG_MAP else ""


def refuse_writes_from(number: int, why: str = "the process is gone") -> Callable[[Write], Exception | None]:
    """Refuse this write and all after it: what a crash looks like from outside."""
    return lambda write: Retry(why) if write.number >= number else None
