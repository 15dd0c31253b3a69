"""The real program between a real API server that can break and a metric source that a test scripts.

One operator looks after one namespace with many prompts, each a scene of its own: `s00`, `s01`, and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.adapters.answering import element, serving, vector
from tests.cluster.program import Program
from tests.faults.proxy import Proxy
from tests.faults.scene import BAD, GOOD, ONE_RULE

from prompt_operator.adapters import credentials
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.adapters.answering import Handler, Server

    from prompt_operator.ports import Kind, Manifest

T = TypeVar("T")

DEADLINE = 60.0
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
    starts: int = 0

    async def start(self) -> Self:
        """Start the operator and wait until it is ready."""
        self.starts += 1
        self.died.clear()
        folder = self.folder / f"{self.starts}"
        folder.mkdir(parents=True)
        arguments = (
            *("--namespace", self.namespace, "--tick", "1s", "--metrics-auth", "None"),
            *("--prometheus-url", self.source.url, *self.arguments),
        )
        program = Program(folder, self.proxy.kubeconfig(folder / "kubeconfig", self.token), arguments)
        self.program = program.__enter__()
        await asyncio.to_thread(program.until, "/readyz", 200)
        return self

    def kill(self) -> None:
        """SIGKILL it."""
        assert self.program is not None
        assert self.program.process is not None
        self.program.process.kill()
        self.program.process.wait()
        self.died.set()

    async def stop(self) -> None:
        """End it in order."""
        if self.program is not None and not self.died.is_set():
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
            if self.died.is_set():  # all was done when it was killed: it has to come back to the same
                await self.until(self._lives)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _lives(self) -> bool:
        return not self.died.is_set()

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
        return healthy and status.get("activeVersion") == version and await self._stages_say(scene, version)

    async def _stages_say(self, scene: str, version: str) -> bool:
        found = [await self.api.get(PROMPT_VERSION, self.namespace, f"{scene}-{each}") for each in VERSIONS]
        active = [v["spec"]["version"] for v in found if (v.get("status") or {}).get("stage") == "Active"]
        return active == [version] and all("status" in v for v in found)

    async def sign(self, record: str, name: str) -> None:
        """Set `release` or `acknowledge` of a record."""
        patch = [{"op": "add", "path": f"/spec/{name}", "value": {"by": "ana", "reason": "looked at it"}}]
        await self.api.json_patch(PROMPT_ROLLBACK, self.namespace, record, patch)

    # --- looking

    async def status(self, scene: str) -> dict[str, Any]:
        """Return the status of a scene's prompt."""
        return (await self.api.get(PROMPT, self.namespace, scene)).get("status") or {}

    async def records(self, scene: str, decision: str | None = None) -> list[Manifest]:
        """Return what stands in PromptRollbacks about a scene, oldest first; "" are people's requests."""
        found = [each async for each in self.api.list(PROMPT_ROLLBACK, namespace=self.namespace)]
        found = [each for each in found if each["spec"]["promptRef"]["name"] == scene]
        found.sort(key=lambda each: each["spec"].get("decidedAt", ""))
        return [each for each in found if decision is None or each["spec"].get("decision", "") == decision]

    async def served(self, scene: str) -> dict[str, str]:
        """Return the data of a scene's ConfigMap."""
        found = await self.api.get(CONFIG_MAP, self.namespace, f"prompt-{scene}")
        return dict(found["data"])

    async def until(self, look: Callable[[], Awaitable[T]]) -> T:
        """Poll until what is seen is true, and return it; fail with the last of it."""
        deadline = time.monotonic() + DEADLINE
        while not (seen := await look()):
            assert time.monotonic() < deadline, f"not within {DEADLINE} s, last: {seen!r}"
            await asyncio.sleep(0.05)
        return seen


async def prepare(stage: Stage, scene: str, **spec: Any) -> None:
    """Let a prompt serve 1.1.0 after 1.0.0, both well."""
    stage.traffic.scenes.add(scene)
    for version in VERSIONS:
        text = {"text": f"Text of {version}: greet {{{{ name }}}}."}
        await stage.apply(PROMPT_VERSION, f"{scene}-{version}", promptRef={"name": scene}, version=version, **text)
    for version in ("1.0.0", "1.1.0"):
        await stage.serve(scene, version, **spec)


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
            await stage.start()
            try:
                yield stage
            finally:
                await stage.stop()
