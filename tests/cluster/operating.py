"""The whole operator in the test's own process, on the real API server, with metrics and time set by the test."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from prompt_operator.adapters import credentials
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.adapters.events import EVENT
from prompt_operator.handlers.lifecycle import Running, WatchesEnded, operate
from prompt_operator.handlers.watch import WATCHED
from prompt_operator.ports import (
    CONFIG_MAP,
    DEFAULT_SOURCE,
    PROMPT,
    PROMPT_POLICY,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    GiveUp,
    NotFound,
    Sample,
    Unavailable,
)
from prompt_operator.settings import Settings
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from prompt_operator.ports import Kind, Manifest, Metrics

T = TypeVar("T")

USER = "kubectl"
"""Field manager of what a person applies."""
DEADLINE = 60.0
"""Seconds until what has to come must have come: long, since a machine under load is slow and less gains nothing."""

SOON = 1.0
"""Seconds; what failed and is tried again so soon, as after a conflict, is work under way."""


class ShiftedClock(SystemClock):
    """The machine's clock, moved by `offset`."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        """Return the moved instant."""
        return super().now() + self.offset


@dataclass
class ScriptedMetrics:
    """Prometheus as the test wants it: counts by version, the same over every window."""

    traffic: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(prompt, version) -> (requests, errors)."""
    failing: str = ""
    """When set, every query fails with this message."""
    recorded: bool = True
    """Recording rules are evaluated: long windows are recorded as a whole, and hold nothing."""
    queries: list[str] = field(default_factory=list)
    namespace: str = ""
    lag: timedelta = timedelta()

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:  # noqa: ARG002  the port's shape
        """Answer from `traffic`; anything but requests and errors has no series."""
        self.queries.append(promql)
        if self.failing:
            raise Unavailable(self.failing)
        if "evaluations" in promql:
            return [Sample({}, 2016.0)] if self.recorded else []
        if "llm_prompt_requests_total" not in promql:
            return ()
        which = 1 if 'outcome="error"' in promql else 0
        return [
            Sample({"prompt_namespace": self.namespace, "prompt": prompt, "version": version}, counts[which])
            for (prompt, version), counts in self.traffic.items()
        ]


class _Thread(threading.Thread):
    """One run of the operator with an event loop of its own: kopf takes every task on its loop for one of its own."""

    def __init__(self, settings: Settings, sources: Mapping[str, Metrics] | None, clock: ShiftedClock) -> None:
        super().__init__(name="operator", daemon=True)
        self.started: concurrent.futures.Future[Running] = concurrent.futures.Future()
        self._arguments = (settings, sources, clock)
        self.loop: asyncio.AbstractEventLoop
        self.task: asyncio.Task[None]
        self.stop: asyncio.Event
        self.start()

    def run(self) -> None:
        """Run until stopped or cancelled, or until a test takes away what is watched."""
        with contextlib.suppress(asyncio.CancelledError, WatchesEnded):
            asyncio.run(self._run())

    async def _run(self) -> None:
        settings, sources, clock = self._arguments
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        started: asyncio.Future[Running] = self.loop.create_future()
        self.task = asyncio.create_task(
            operate(settings, sources=sources, clock=clock, stop=self.stop, started=started)
        )
        either: set[asyncio.Future[Any]] = {self.task, started}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self.task.done():
            self.started.set_result(started.result())
        try:
            await self.task
        except Exception as error:
            if not self.started.done():
                self.started.set_exception(error)
            raise
        finally:
            await close_connections()


async def close_connections() -> None:
    """Close what kopf leaves open when it is stopped while it connects; a process would end with them."""
    for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
        transport.close()
    await asyncio.sleep(0)


async def _dead(ask: object) -> NoReturn:
    """Stand in for the writes of a process that is no more."""
    raise GiveUp(f"{ask}: the process is dead")


@dataclass
class Operated:
    """A running operator and the means to act on its namespace like a person."""

    api: ApiCluster
    namespace: str
    metrics: ScriptedMetrics
    clock: ShiftedClock
    settings: Settings
    running: Running | None = None
    sources: Mapping[str, Metrics] | None = None
    """What stands for Prometheus; None: the servers of the settings."""
    keeps_time: bool = False
    """Whether the operator compares its (moved) clock with the API server's, which no test can move."""
    _thread: _Thread | None = None

    async def start(self) -> Self:
        """Start the operator and wait until its store is whole."""
        self._thread = _Thread(self.settings, self.sources, self.clock)
        self.running = await asyncio.wait_for(asyncio.wrap_future(self._thread.started), DEADLINE)
        if not self.keeps_time:
            self.set_skew(0.0)
        await self.settle()
        return self

    def set_skew(self, seconds: float) -> None:
        """Let the operator find the API server's clock ahead of its own by so much."""
        assert self.running is not None
        cluster: Any = self.running.engine._cluster
        cluster._skew, cluster._skew_at = seconds, float("inf")

    async def stop(self) -> None:
        """End the operator in order."""
        await self._end(lambda thread: thread.stop.set())

    async def kill(self) -> None:
        """End the operator without letting it finish anything: from this moment on it writes nothing more."""
        assert self.running is not None
        cluster: Any = self.running.engine._cluster
        cluster._write = _dead
        await self._end(lambda thread: thread.stop.set())

    async def _end(self, how: Callable[[_Thread], Any]) -> None:
        thread, self._thread, self.running = self._thread, None, None
        if thread is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself: its loop is closed
                thread.loop.call_soon_threadsafe(how, thread)
            await asyncio.to_thread(thread.join, DEADLINE)
            assert not thread.is_alive()

    async def within(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the operator's own event loop."""
        assert self._thread is not None
        future = asyncio.run_coroutine_threadsafe(coroutine, self._thread.loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), DEADLINE)

    async def rest(self) -> None:
        """Wait until the queue rests, whatever the watches have still to tell."""
        assert self.running is not None
        await self.within(self.running.engine.queue.join())

    async def settle(self) -> None:
        """Wait until the operator knows all that the namespace holds now, and has done and told what follows."""
        await self.until(self._settled)

    async def _settled(self) -> bool:
        await self.rest()
        await self._told()
        return await self._there() == await self.within(self._known())

    async def _told(self) -> None:
        """Wait until no Event is still to be written."""
        assert self.running is not None
        recorder: Any = self.running.engine._applier.events
        await self.within(recorder._queue.join())

    async def _there(self) -> set[tuple[str, str]]:
        """Return uid and resourceVersion of everything the operator watches, as the API server has it."""
        found = await asyncio.gather(*(self._listed(kind, labels) for kind, labels in WATCHED))
        return set().union(*found)

    async def _listed(self, kind: Kind, labels: str) -> set[tuple[str, str]]:
        listed = self.api.list(kind, namespace=self.namespace, labels=labels, metadata_only=True)
        return {(one["metadata"]["uid"], one["metadata"]["resourceVersion"]) async for one in listed}

    async def _known(self) -> set[tuple[str, str]] | None:
        """Return the same as the operator has it; None while it is at work."""
        assert self.running is not None
        store, queue = self.running.engine.store, self.running.engine.queue
        sizes, soon = queue.sizes(), asyncio.get_running_loop().time() + SOON
        tried_again = any(queue._planned.get(key, soon) < soon for key in queue._failures)
        if sizes["ready"] or sizes["running"] or tried_again:
            return None
        tables = store.tables.values()
        records = (each for table in tables for name, each in table.items() if name.namespace == self.namespace)
        return {(record.uid, record.resource_version) for record in records}

    async def tick(self) -> None:
        """Judge the rules of what is served once, and wait for what follows."""
        assert self.running is not None
        await self.settle()  # a version may be served a moment before its rules are watched
        await self.within(self.running.engine.tick())
        await self.settle()

    async def look_again(self) -> None:
        """Have every object reconciled once more, as time alone would, on what there is now."""

        async def wake() -> None:
            assert self.running is not None
            self.running.engine.wake_all()

        await self.settle()
        await self.within(wake())
        await self.settle()

    # --- acting like a person

    async def apply(self, kind: Kind, name: str, spec: dict[str, Any], **metadata: Any) -> Manifest:
        """Apply an object like `kubectl apply --server-side`."""
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": spec,
        }
        return await self.api.apply(kind, body, manager=USER)

    async def version(self, version: str, *, prompt: str = "greeting", **spec: Any) -> Manifest:
        """Apply a PromptVersion."""
        content = {} if "messages" in spec else {"text": f"Text of {version}: greet {{{{ name }}}}."}
        body = {"promptRef": {"name": prompt}, "version": version, **content, **spec}
        return await self.apply(PROMPT_VERSION, f"{prompt}-{version}", body)

    async def prompt(self, version: str, *, name: str = "greeting", **spec: Any) -> Manifest:
        """Apply a Prompt."""
        return await self.apply(PROMPT, name, {"version": version, **spec})

    async def policy(self, name: str = "default", **spec: Any) -> Manifest:
        """Apply a PromptPolicy."""
        return await self.apply(PROMPT_POLICY, name, spec)

    async def annotate(self, name: str, **annotations: str) -> None:
        """Set annotations of group promptops.dev on a Prompt."""
        full = {f"promptops.dev/{key}": value for key, value in annotations.items()}
        body = {
            "apiVersion": PROMPT.api_version,
            "kind": PROMPT.kind,
            "metadata": {"name": name, "namespace": self.namespace, "annotations": full},
        }
        await self.api.apply(PROMPT, body, manager="annotator")

    # --- looking

    async def get(self, kind: Kind, name: str) -> Manifest:
        """Read an object."""
        return await self.api.get(kind, self.namespace, name)

    async def status(self, name: str = "greeting") -> dict[str, Any]:
        """Return the status of a Prompt."""
        return (await self.get(PROMPT, name)).get("status") or {}

    async def condition(self, kind: str, name: str = "greeting") -> dict[str, Any]:
        """Return a condition of a Prompt, empty without it."""
        conditions = (await self.status(name)).get("conditions") or []
        return next((condition for condition in conditions if condition["type"] == kind), {})

    async def config_map(self, name: str = "prompt-greeting") -> Manifest | None:
        """Return a ConfigMap, None when there is none."""
        try:
            return await self.get(CONFIG_MAP, name)
        except NotFound:
            return None

    async def served(self, name: str = "prompt-greeting") -> str:
        """Return the version a ConfigMap serves, empty without one."""
        config_map = await self.config_map(name)
        return str((config_map or {}).get("data", {}).get("version", ""))

    async def events(self, reason: str = "") -> list[Manifest]:
        """Return the Events, oldest first, of one reason if given; those that are still to be written among them."""
        if self.running is not None:
            await self._told()
        found = [event async for event in self.api.list(EVENT, namespace=self.namespace)]
        found.sort(key=lambda event: str(event["eventTime"]))
        return [event for event in found if not reason or event["reason"] == reason]

    async def records(self, decision: str = "") -> list[Manifest]:
        """Return the PromptRollbacks, oldest first, of one decision if given."""
        found = [record async for record in self.api.list(PROMPT_ROLLBACK, namespace=self.namespace)]
        found.sort(key=lambda record: (record["metadata"]["creationTimestamp"], record["metadata"]["name"]))
        return [record for record in found if not decision or record["spec"].get("decision") == decision]

    async def until(self, what: Callable[[], Awaitable[T]]) -> T:
        """Poll until `what` returns something true, and return it; fail after the deadline with the last answer."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while True:
            answer = await what()
            if answer:
                return answer
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not within {DEADLINE} s: {inspect.getsource(what).strip()} (last: {answer!r})")
            await asyncio.sleep(0.02)

    async def until_served(self, version: str, name: str = "greeting") -> None:
        """Wait until the ConfigMap and the status say that this version is active, and what follows is done."""
        await self.until(lambda: self._serves(version, name))
        await self.settle()

    async def _serves(self, version: str, name: str) -> bool:
        active = (await self.status(name)).get("activeVersion")
        return (await self.served(f"prompt-{name}")) == version == active

    async def wipe_status(self, name: str = "greeting") -> None:
        """Delete the whole status of a Prompt, as a restore without status does."""
        await self.api.json_patch(
            PROMPT, self.namespace, name, [{"op": "remove", "path": "/status"}], subresource="status"
        )


@contextlib.asynccontextmanager
async def operated(kubeconfig: Path, namespace: str, **settings: Any) -> AsyncIterator[Operated]:
    """Yield an operator that looks after one namespace; not started yet."""
    chosen = Settings(
        kubeconfig=str(kubeconfig),
        namespaces=(namespace,),
        tick=timedelta(hours=1),  # ticks are made by hand
        health_address="",
        metrics_address="",
        **settings,
    )
    clock = ShiftedClock()
    access = credentials.load(str(kubeconfig))
    async with ApiCluster(access, Telemetry(), SystemClock(), version="test") as api:
        metrics = ScriptedMetrics(namespace=namespace)
        one = Operated(api, namespace, metrics, clock, chosen, sources={DEFAULT_SOURCE: metrics})
        try:
            yield one
        finally:
            await one.stop()
