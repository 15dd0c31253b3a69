"""One run of the operator: assemble the adapters and the engine, fill the store, watch, and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import random  # noqa: TID251  the one place that hands out dice
import signal
import threading
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import kopf

from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.adapters.credentials import load as load_credentials
from prompt_operator.adapters.events import EventRecorder
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.core.audit import entries
from prompt_operator.engine.engine import Engine, Pace
from prompt_operator.handlers.auditing import audit_trail
from prompt_operator.handlers.leading import LeaseLost, election, work
from prompt_operator.handlers.serving import serve
from prompt_operator.handlers.watch import WATCHED, Forgetful, registry, scope
from prompt_operator.ports import GiveUp, NotFound, Retry, WentBack
from prompt_operator.settings import ModeWatch, SettingsError, flag
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from prompt_operator.adapters.audit import AuditTrail
    from prompt_operator.adapters.credentials import Credentials
    from prompt_operator.breaker import Breaker
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.ports import Clock, Metrics
    from prompt_operator.settings import Settings

_log = logging.getLogger(__name__)

_RETRY_LOAD = 2.0
_MODE_EVERY = 2.0
_DRAIN = 10.0


class WatchesEnded(Exception):  # noqa: N818  says what happened
    """A watch failed for good, as when the definition of a kind is gone: without watches the operator is blind."""


@dataclass(slots=True)
class _Mode:
    """The operator-wide mode of this moment."""

    now: str


@dataclass(slots=True)
class Running:
    """What a run shows of itself."""

    engine: Engine
    telemetry: Telemetry
    sources: Mapping[str, Metrics]
    mode: _Mode
    started_at: datetime
    store_since: datetime
    """Since when the store is whole, or is being filled."""
    waiting_for: str = "the store is being filled"
    """Why it is not ready; empty once the store holds everything that exists."""
    leading: bool = False
    """It decides and writes; until it holds the Lease it only watches."""
    lease_lost: str = ""
    """The Lease that could not be renewed in time."""
    outdated: str = ""
    """Why all that it knows is not true any more."""
    breakers: tuple[Breaker, ...] = ()
    trail: AuditTrail | None = None


async def operate(
    settings: Settings,
    *,
    sources: Mapping[str, Metrics] | None = None,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    started: asyncio.Future[Running] | None = None,
) -> None:
    """Run until `stop` is set or a signal asks for the end.

    Args:
        settings: the settings.
        sources: replace the metric sources of the settings.
        clock: replaces the machine's clocks.
        stop: ends the run.
        started: gets the running parts once the store is whole.

    Raises:
        LeaseLost: another operator takes over.
        WentBack: the API server was restored to an earlier state.
        SettingsError: a metric profile is wrong.
        WatchesEnded: nothing tells any more what changes.
    """
    profiles = _profiles(settings)
    clock, telemetry, stop = clock or SystemClock(), Telemetry(), stop or asyncio.Event()
    take_signals(stop)
    telemetry.collect_process()
    credentials = load_credentials(settings.kubeconfig, context=settings.context)
    release = version("prompt-operator")
    telemetry.info.labels(release, settings.mode).set(1)
    async with contextlib.AsyncExitStack() as stack:
        asked = [] if sources is not None else _connect(stack, settings, clock)
        if sources is None:
            sources = {each.name: each for each in asked}
        cluster = await stack.enter_async_context(ApiCluster(credentials, telemetry, clock, version=release))
        events = await stack.enter_async_context(
            EventRecorder(cluster, clock, telemetry, instance=platform.node(), jitter=random.random)
        )
        watch = ModeWatch(settings)
        mode = _Mode(watch.read())
        trail = audit_trail(settings, cluster, credentials.namespace, clock, telemetry)
        engine = Engine(
            cluster=cluster,
            sources=sources,
            events=events,
            clock=clock,
            telemetry=telemetry,
            profiles=profiles,
            mode=lambda: mode.now,
            pace=Pace(tick=settings.tick.total_seconds(), workers=settings.workers, jitter=random.random),
            namespaces=settings.namespaces or None,
            rule_metrics=settings.rule_metrics,
            trail=trail,
        )
        now = clock.now()
        running = Running(engine, telemetry, sources, mode, started_at=now, store_since=now)
        running.breakers, running.trail = tuple(each.breaker for each in asked), trail
        servers = await stack.enter_async_context(contextlib.AsyncExitStack())
        await serve(servers, settings, running, cluster, clock)
        await _fill(running, stop)
        running.store_since = clock.now()
        if not stop.is_set():
            if started is not None:
                started.set_result(running)
            candidate = election(settings.lease, credentials, clock)
            for end in ([candidate.release] if candidate else []) + ([trail.aclose] if trail else []):
                stack.push_async_callback(end)  # the trail ends before the Lease is given back
            beside = [_follow_mode(running, watch, clock), _sweep(running, stop)]
            beside.append(work(running, candidate, stop))
            await _watch(running, settings, credentials, stop, servers, beside)
    _tell_end(running)


def _tell_end(running: Running) -> None:
    """Say how the run ended."""
    if running.lease_lost:
        raise LeaseLost(f"Lease {running.lease_lost} could not be renewed in time: another operator takes over")
    if running.outdated:
        raise WentBack(
            f"the API server was restored to an earlier state ({running.outdated}): "
            "this process ends, the next one begins with what is there now"
        )
    _log.info("ended; what was projected stays, and the next start continues from it")


def _connect(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> list[PrometheusMetrics]:
    """Make a client for each metric source of the settings, closed with the stack; none is asked anything yet."""
    made = [PrometheusMetrics(source, monotonic=clock.monotonic) for source in settings.metric_sources()]
    for each in made:
        stack.push_async_callback(each.close)
    return made


def _profiles(settings: Settings) -> dict[str, Profile]:
    """Read the profiles first of all: with one that is wrong every rule on it would be unknown for good."""
    try:
        return load_profiles(Path(settings.profiles_dir) if settings.profiles_dir else None)
    except ValueError as error:
        raise SettingsError(f"{flag('profiles_dir')}: {error}") from error


async def _fill(running: Running, stop: asyncio.Event) -> None:
    """List everything before anything is decided: a hold that is not known yet would not hold."""
    for kind, labels in WATCHED:
        while not stop.is_set():
            try:
                await running.engine.sweep(kind, labels)
                break
            except (Retry, GiveUp) as error:
                missing = f"{kind.plural} are not known to the API server: apply the files in crds/"
                running.waiting_for = f"store_unavailable: {missing if isinstance(error, NotFound) else error}"
                _log.warning("%s; trying again", running.waiting_for)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _RETRY_LOAD)
    running.waiting_for = ""


async def _watch(
    running: Running,
    settings: Settings,
    credentials: Credentials,
    stop: asyncio.Event,
    servers: contextlib.AsyncExitStack,
    beside: Iterable[Coroutine[None, None, None]],
) -> None:
    """Run the queue, kopf's watches and what goes on beside them, until `stop` is set or kopf ends by itself."""
    engine, ended = running.engine, asyncio.Event()
    tasks = [asyncio.create_task(each) for each in (*beside, _end(running, stop, servers, ended))]
    _log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
    try:
        ours = asyncio.all_tasks()
        watches = await kopf.spawn_tasks(
            registry=registry(credentials, lambda kind, manifest, gone: engine.observe(kind, manifest, deleted=gone)),
            memories=Forgetful(),
            standalone=True,
            stop_flag=ended,
            **scope(settings.namespaces),
        )
        take_signals(stop)
        await _run_watches(watches, ours, stop)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.queue.stop(_DRAIN)


async def _sweep(running: Running, stop: asyncio.Event) -> None:
    """Keep the store whole; end the run where the API server went back in time, as its watches would stay silent."""
    try:
        await running.engine.sweep_forever(WATCHED)
    except WentBack as error:
        running.outdated = str(error)
        stop.set()


async def _run_watches(
    watches: Collection[asyncio.Task[None]], ours: Collection[asyncio.Task[Any]], stop: asyncio.Event
) -> None:
    """Run kopf until one of its tasks ends, which ends everything: kopf alone would wait for the others without limit.

    A watch may overlook that it is cancelled; the end of the event loop cancels it once more, which it does not.
    """
    whole = asyncio.create_task(kopf.run_tasks(watches, ignored=ours))
    try:
        await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.wait({whole}, timeout=_DRAIN)
    finally:
        whole.cancel()
        await asyncio.gather(whole, return_exceptions=True)
    for failed in (each.exception() for each in watches if each.done() and not each.cancelled()):
        if failed is not None:
            raise WatchesEnded(
                f"watching failed: {failed}; what was projected stays, and the next start continues from it"
            ) from failed


async def _end(running: Running, stop: asyncio.Event, servers: contextlib.AsyncExitStack, ended: asyncio.Event) -> None:
    """Finish runs and requests before kopf ends: it waits five seconds for tasks on its loop that are not its own.

    Without the Lease nothing is finished: another operator may be at it by now. Nor is what rests on a lost past.
    """
    await stop.wait()
    await running.engine.queue.stop(0.0 if running.lease_lost or running.outdated else _DRAIN)
    if running.trail is not None:
        await running.trail.aclose()
    await servers.aclose()
    ended.set()


def take_signals(stop: asyncio.Event) -> None:
    """Let SIGINT and SIGTERM ask for an orderly end; kopf installs handlers of its own, so this is done again then."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _follow_mode(running: Running, watch: ModeWatch, clock: Clock) -> None:
    """Take the mode from the settings file as it is now, and have every prompt looked at when it changed."""
    while True:
        await asyncio.sleep(_MODE_EVERY)
        mode = watch.read()
        if mode != running.mode.now:
            if running.leading:  # whoever takes over later tells the mode that it finds
                running.engine.trail.offer(entries.mode(running.mode.now, mode, clock.now()))
            running.mode.now = mode
            running.engine.wake_all()
