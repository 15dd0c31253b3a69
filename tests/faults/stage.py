"""The real program between a real API server that can break and a metric source that a test scripts.

One operator looks after one namespace with many prompts, each a scene of its own: `s00`, `s01`, and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.adapters.answering import element, serving, vector
from tests.cluster.program import Program
from tests.faults import hurried
from tests.faults.proxy import Proxy
from tests.faults.scene import BAD, GOOD, ONE_RULE

from prompt_operator.adapters import credentials
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from tests.adapters.answering import Handler, Server

    from prompt_operator.ports import Kind, Manifest

T = TypeVar("T")

DEADLINE = 240.0
_FRESH = 0.1  # seconds
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
SAFEGUARDS = {
    "initialDelay": "0s",
    "recoveryWindow": "1s",
    "cooldown": "0s",
    "globalRateLimit": "10000/s",
    "correlatedBreach": {"atLeast": 10000},
}
"""Scenes fail side by side, and must not count as each other's neighbours."""


@dataclass
class Traffic:
    """What a Prometheus would know: every version of every scene does well, but for those that are bad."""

    namespace: str
    scenes: set[str] = field(default_factory=set)
    bad: set[tuple[str, str]] = field(default_factory=set)

    def __call__(self, handler: Handler) -> None:
        """Answer one query; anything but requests and errors has no series."""
        (promql,) = handler.server.asked[-1][1]["query"]
        if "evaluations" in promql or "llm_prompt_requests_total" not in promql:
            vector()(handler)
            return
        which = 1 if 'outcome="error"' in promql else 0
        vector(*(self._element(scene, version, which) for scene in self.scenes for version in VERSIONS))(handler)

    def _element(self, scene: str, version: str, which: int) -> dict[str, Any]:
        counts = BAD if (scene, version) in self.bad else GOOD
        return element(str(counts[which]), prompt_namespace=self.namespace, prompt=scene, version=version)


@dataclass
class Trail:
    """The audit file, read on from where it was read last."""

    path: Path
    told: Counter[str] = field(default_factory=Counter)
    """How many lines there are for each id."""
    _offset: int = 0

    def times(self, ids: Iterable[str]) -> list[int]:
        """Return how many times each of these was told."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is still being written
                self._offset += len(line)
                self.told[json.loads(line)["id"]] += 1
        return [self.told[each] for each in ids]


@dataclass
class _Looked:
    """The newest list of a kind."""

    found: dict[str, Manifest] = field(default_factory=dict)
    at: float = float("-inf")
    under_way: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Stage:
    """One operator, the proxy it goes through, and what a person does beside it."""

    api: ApiCluster
    namespace: str
    proxy: Proxy
    traffic: Traffic
    source: Server
    folder: Path
    token: str
    arguments: tuple[str, ...] = ()
    program: Program | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False
    """The last one that was started was ready once."""
    starts: int = 0
    trail: Trail = field(init=False)
    _looked: dict[str, _Looked] = field(default_factory=lambda: defaultdict(_Looked))

    def __post_init__(self) -> None:
        """Keep one audit file over all starts."""
        self.trail = Trail(self.folder / "audit.jsonl")

    async def start(self) -> Self:
        """Start the operator and wait until it is ready, or killed before it was."""
        self.starts += 1
        self.died.clear()
        self.ready = False
        folder = self.folder / f"{self.starts}"
        folder.mkdir(parents=True)
        arguments = (
            *("--namespace", self.namespace, "--tick", "1s", "--metrics-auth", "None"),
            *("--prometheus-url", self.source.url, *self.arguments),
        )
        if "--audit" not in arguments:
            arguments += ("--audit", "file", "--audit-file", str(self.trail.path))
        kubeconfig = self.proxy.kubeconfig(folder / "kubeconfig", self.token)
        program = Program(folder, kubeconfig, arguments, program=(sys.executable, "-P", hurried.__file__))
        self.program = program.__enter__()
        await self.until(self._ready_or_killed)
        return self

    async def _ready_or_killed(self) -> bool:
        assert self.program is not None
        status, _ = await asyncio.to_thread(self.program.get, "/readyz")
        self.ready = status == 200
        return self.ready or self.died.is_set()

    def kill(self) -> None:
        """SIGKILL it."""
        assert self.program is not None
        assert self.program.process is not None
        self.program.process.kill()
        self.program.process.wait()
        self.died.set()

    async def stop(self) -> None:
        """End it in order, also one that was not ready yet."""
        process = self.program.process if self.program is not None else None
        if self.program is not None and process is not None and process.poll() is None:
            await asyncio.to_thread(self.program.end)

    @contextlib.asynccontextmanager
    async def restarting(self) -> AsyncIterator[None]:
        """Start the operator anew whenever it was killed, as kubelet does."""

        async def again() -> None:
            while True:
                await self.died.wait()
                await self.start()

        task = asyncio.create_task(again())
        try:
            yield
            await self.until(self.lives)  # all may have been done when it was killed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def lives(self) -> bool:
        """Tell whether the operator runs and was ready once."""
        return self.ready and not self.died.is_set()

    @contextlib.asynccontextmanager
    async def another(self, folder: Path) -> AsyncIterator[Stage]:
        """Yield a second operator for the same namespace, with a proxy of its own."""
        async with Proxy(self.proxy.access) as proxy:
            stage = replace(self, proxy=proxy, folder=folder, program=None, died=asyncio.Event(), ready=False, starts=0)
            proxy.kill = stage.kill
            try:
                yield await stage.start()
            finally:
                await stage.stop()

    # --- a person

    async def apply(self, kind: Kind, name: str, **spec: Any) -> Manifest:
        """Apply an object as `kubectl apply --server-side` does."""
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        return await self.api.apply(kind, body, manager="kubectl")

    async def serve(self, scene: str, version: str, **spec: Any) -> None:
        """Name a version, and wait until it is served and found well."""
        await self.apply(PROMPT, scene, version=version, **spec)
        await self.until(lambda: self._well(scene, version))

    async def _well(self, scene: str, version: str) -> bool:
        status = await self.status(scene)
        healthy = any(c["type"] == "Healthy" and c["status"] == "True" for c in status.get("conditions", ()))
        if not healthy or status.get("activeVersion") != version:
            return False
        stages = await self.stages(scene)
        return all(stages.values()) and [each for each, stage in stages.items() if stage == "Active"] == [version]

    async def stages(self, scene: str) -> dict[str, str]:
        """Return what the versions of a scene say of themselves; nothing without a status."""
        listed = await self._listed(PROMPT_VERSION)
        found = {version: listed.get(f"{scene}-{version}", {}).get("status") or {} for version in VERSIONS}
        return {version: status.get("stage", "") for version, status in found.items()}

    async def sign(self, record: str, name: str) -> None:
        """Set `release` or `acknowledge` of a record."""
        patch = [{"op": "add", "path": f"/spec/{name}", "value": {"by": "ana", "reason": "looked at it"}}]
        await self.api.json_patch(PROMPT_ROLLBACK, self.namespace, record, patch)

    # --- looking

    async def status(self, scene: str) -> dict[str, Any]:
        """Return the status of a scene's prompt."""
        return (await self._listed(PROMPT)).get(scene, {}).get("status") or {}

    async def records(self, scene: str, decision: str | None = None) -> list[Manifest]:
        """Return what stands in PromptRollbacks about a scene, oldest first; "" are people's requests."""
        listed = (await self._listed(PROMPT_ROLLBACK)).values()
        found = [each for each in listed if each["spec"]["promptRef"]["name"] == scene]
        found.sort(key=lambda each: each["spec"].get("decidedAt", ""))
        return [each for each in found if decision is None or each["spec"].get("decision", "") == decision]

    async def served(self, scene: str) -> dict[str, str]:
        """Return the data of a scene's ConfigMap."""
        return dict((await self._listed(CONFIG_MAP))[f"prompt-{scene}"]["data"])

    async def _listed(self, kind: Kind) -> dict[str, Manifest]:
        """Return all objects of a kind by name: a hundred scenes look at the same list, at most a moment old."""
        looked = self._looked[kind.kind]
        async with looked.under_way:
            if time.monotonic() - looked.at > _FRESH:
                listed = [each async for each in self.api.list(kind, namespace=self.namespace)]
                looked.found, looked.at = {each["metadata"]["name"]: each for each in listed}, time.monotonic()
            return looked.found

    async def until(self, look: Callable[[], Awaitable[T]]) -> T:
        """Poll until what is seen is true, and return it; fail with the last of it."""
        deadline, pause = time.monotonic() + DEADLINE, 0.02
        while not (seen := await look()):
            assert time.monotonic() < deadline, f"not within {DEADLINE} s, last: {seen!r}"
            pause = min(1.3 * pause, 0.3)
            await asyncio.sleep(pause)
        return seen


async def prepare(stage: Stage, scene: str, **spec: Any) -> None:
    """Let a prompt serve 1.1.0 after 1.0.0, both well."""
    stage.traffic.scenes.add(scene)
    await texts(stage, scene)
    for version in ("1.0.0", "1.1.0"):
        await stage.serve(scene, version, **spec)


async def texts(stage: Stage, scene: str) -> None:
    """Apply the versions of a scene."""
    for version in VERSIONS:
        text = {"text": f"Text of {version}: greet {{{{ name }}}}."}
        await stage.apply(PROMPT_VERSION, f"{scene}-{version}", promptRef={"name": scene}, version=version, **text)


@contextlib.asynccontextmanager
async def staged(kubeconfig: Path, token: str, namespace: str, folder: Path, *arguments: str) -> AsyncIterator[Stage]:
    """Yield a stage whose operator is ready and whose policy holds; the operator ends with it."""
    access = credentials.load(str(kubeconfig))
    with serving() as source:
        source.behaviour = traffic = Traffic(namespace)
        async with ApiCluster(access, Telemetry(), SystemClock(), version="test") as api, Proxy(access) as proxy:
            stage = Stage(api, namespace, proxy, traffic, source, folder, token, arguments)
            proxy.kill = stage.kill
            rules, evidence = ONE_RULE, {"unknownAfter": "7d"}
            await stage.apply(PROMPT_POLICY, "default", rollback=SAFEGUARDS, rules=rules, evidence=evidence)
            try:
                yield await stage.start()
            finally:
                await stage.stop()
