"""One run of the operator: assemble the adapters and the engine, fill the store, watch, and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import random  # noqa: TID251  the one place that hands out dice
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import kopf

from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.adapters.credentials import load as load_credentials
from prompt_operator.adapters.events import EventRecorder
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.engine.engine import Engine, Pace
from prompt_operator.handlers.serving import serve
from prompt_operator.handlers.watch import WATCHED, registry, scope
from prompt_operator.ports import GiveUp, NotFound, Retry
from prompt_operator.settings import ModeWatch
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.adapters.credentials import Credentials
    from prompt_operator.ports import Clock, Metrics
    from prompt_operator.settings import Settings

_log = logging.getLogger(__name__)

_RETRY_LOAD = 2.0
_MODE_EVERY = 2.0
_DRAIN = 10.0


@dataclass(slots=True)
class _Mode:
    """The operator-wide mode of this moment."""

    now: str


@dataclass(slots=True)
class Running:
    """What a run shows of itself."""

    engine: Engine
    telemetry: Telemetry
    metrics: Metrics | None
    mode: _Mode
    started_at: datetime
    store_since: datetime
    """Since when the store is whole, or is being filled."""
    waiting_for: str = "the store is being filled"
    """Why it is not ready; empty once the store holds everything that exists."""


async def operate(
    settings: Settings,
    *,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    started: asyncio.Future[Running] | None = None,
) -> None:
    """Run until `stop` is set or a signal asks for the end.

    Args:
        settings: the settings.
        metrics: replaces the Prometheus of the settings.
        clock: replaces the machine's clocks.
        stop: ends the run.
        started: gets the running parts once the store is whole.
    """
    clock, telemetry, stop = clock or SystemClock(), Telemetry(), stop or asyncio.Event()
    telemetry.collect_process()
    credentials = load_credentials(settings.kubeconfig, context=settings.context)
    release = version("prompt-operator")
    telemetry.info.labels(release, settings.mode).set(1)
    async with contextlib.AsyncExitStack() as stack:
        if metrics is None and settings.prometheus_url:
            metrics = prometheus = PrometheusMetrics(settings.prometheus_url, monotonic=clock.monotonic)
            stack.push_async_callback(prometheus.close)
        cluster = await stack.enter_async_context(ApiCluster(credentials, telemetry, clock, version=release))
        events = await stack.enter_async_context(
            EventRecorder(cluster, clock, telemetry, instance=platform.node(), jitter=random.random)
        )
        watch = ModeWatch(settings)
        mode = _Mode(watch.read())
        engine = Engine(
            cluster=cluster,
            metrics=metrics,
            events=events,
            clock=clock,
            telemetry=telemetry,
            profiles=load_profiles(),
            mode=lambda: mode.now,
            pace=Pace(tick=settings.tick.total_seconds(), workers=settings.workers, jitter=random.random),
            namespaces=settings.namespaces or None,
        )
        now = clock.now()
        running = Running(engine, telemetry, metrics, mode, started_at=now, store_since=now)
        await serve(stack, settings, running, cluster, clock)
        await _fill(running, stop)
        running.store_since = clock.now()
        if not stop.is_set():
            await _watch(running, watch, settings, credentials, stop, started)
    _log.info("ended; what was projected stays, and the next start continues from it")


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
    mode: ModeWatch,
    settings: Settings,
    credentials: Credentials,
    stop: asyncio.Event,
    started: asyncio.Future[Running] | None,
) -> None:
    """Run the queue, the rule clock, the sweep and kopf's watches until kopf ends."""
    engine = running.engine
    beside = [
        asyncio.create_task(engine.sweep_forever(WATCHED), name="sweep"),
        asyncio.create_task(_follow_mode(running, mode), name="mode"),
    ]
    if running.metrics is not None:
        beside.append(asyncio.create_task(engine.tick_forever(), name="rules"))
    engine.queue.start()
    if started is not None:
        started.set_result(running)
    _log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
    try:
        await kopf.operator(
            registry=registry(credentials, lambda kind, manifest, gone: engine.observe(kind, manifest, deleted=gone)),
            standalone=True,
            stop_flag=stop,
            **scope(settings.namespaces),
        )
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await engine.queue.stop(_DRAIN)


async def _follow_mode(running: Running, watch: ModeWatch) -> None:
    """Take the mode from the settings file as it is now, and have every prompt looked at when it changed."""
    while True:
        await asyncio.sleep(_MODE_EVERY)
        mode = watch.read()
        if mode != running.mode.now:
            running.mode.now = mode
            running.engine.wake_all()
