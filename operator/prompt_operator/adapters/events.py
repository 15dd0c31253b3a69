"""The recorder of Kubernetes Events: events.k8s.io/v1, repeats as a series, floods dropped and counted.

kopf's own poster writes one unaggregated core/v1 Event per call under a new name; this one behaves as client-go's does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from prompt_operator.bucket import TokenBucket
from prompt_operator.ports import GiveUp, Kind, Manifest, NotFound, Retry, Terminating

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from prompt_operator.ports import Clock, Cluster, Happening
    from prompt_operator.telemetry import Telemetry

EVENT = Kind("events.k8s.io/v1", "Event", "events")
CONTROLLER = "promptops.dev/prompt-operator"

_NOTE_BYTES = 1024  # the API server counts bytes
_NAME_LENGTH = 128  # of action, reason and reportingInstance
_QUEUE = 1000
_OBJECTS = 4096  # whose buckets are remembered
_OBJECT_BURST, _OBJECT_RATE = 25, 1 / 300  # client-go's spam filter
_BURST, _RATE = 50, 10
_SERIES_SECONDS = 360.0  # client-go: a series ends after six minutes without a repeat
_SERIES_WRITE_EVERY = 60.0
_TICK = 10.0
_ATTEMPTS = 5
_FIGURE = re.compile(r"[(<>=~]*[-+]?\d+(?:[.,]\d+)?(?:%|ms|s|m|h|d|x)?[),;:.]*")
_log = logging.getLogger(__name__)


class _Observed(NamedTuple):
    happening: Happening
    at: datetime


@dataclass(slots=True)
class _Series:
    """One Event object that exists, and how often what it says was seen."""

    namespace: str
    name: str
    last_at: datetime
    last: float
    count: int = 1
    written: int = 1
    write_after: float = 0.0

    def due(self, now: float) -> bool:
        """Tell whether repeats wait to be written; the first one is at once, later ones once a minute."""
        return self.count > self.written and now >= self.write_after


class EventRecorder:
    """`ports.Events` on a cluster; an async context manager whose end writes what still waits.

    Args:
        cluster: where Events are created, read and patched.
        clock: gives the times Events carry, and intervals.
        telemetry: counts what was written and what was dropped.
        instance: the reportingInstance: the pod's or machine's name.
        jitter: gives numbers in [0, 1) to spread retries.
    """

    def __init__(
        self, cluster: Cluster, clock: Clock, telemetry: Telemetry, *, instance: str, jitter: Callable[[], float]
    ) -> None:
        self._cluster, self._clock, self._telemetry = cluster, clock, telemetry
        self._instance, self._jitter = instance[:_NAME_LENGTH], jitter
        self._queue: asyncio.Queue[_Observed] = asyncio.Queue(_QUEUE)
        self._all = TokenBucket(_RATE, _BURST, now=clock.monotonic())
        self._objects: OrderedDict[str, TokenBucket] = OrderedDict()
        self._series: dict[str, _Series] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._refused = False

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work(), name="events")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def publish(self, happening: Happening) -> None:
        """Queue the Event; never blocks, never raises."""
        if self._closed:
            self._drop("closed")
            return
        try:
            self._queue.put_nowait(_Observed(happening, self._clock.now()))
        except asyncio.QueueFull:
            self._drop("queue_full")

    async def aclose(self, grace: float = 5.0) -> None:
        """Write what waits, for at most `grace` seconds, and end; what is left is dropped and counted."""
        self._closed = True
        try:
            async with asyncio.timeout(grace):
                if self._worker is not None:
                    await self._queue.join()
                await self._write_series(lambda series: series.count > series.written)
        except TimeoutError:
            _log.warning("%d Events were not written before the end", self._queue.qsize())
        for _ in range(self._queue.qsize()):
            self._drop("closed")
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    # --- the worker

    async def _work(self) -> None:
        while True:
            observed = await self._next()
            try:
                if observed is not None:
                    await self._record(observed)
                await self._tend()
            except Exception:  # noqa: BLE001  a bug in one Event must not end the others
                _log.exception("an Event could not be recorded")
                self._drop("error")
            finally:
                if observed is not None:
                    self._queue.task_done()

    async def _next(self) -> _Observed | None:
        """Wait for the next Event; None when a series may have to be written or forgotten."""
        try:
            async with asyncio.timeout(_TICK if self._series else None):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def _record(self, observed: _Observed) -> None:
        now, key = self._clock.monotonic(), identity(observed.happening)
        series = self._series.get(key)
        if series is not None and now - series.last < _SERIES_SECONDS:
            series.count, series.last, series.last_at = series.count + 1, now, observed.at
        elif self._allowed(observed.happening.regarding["uid"], now):
            await self._begin(key, observed)
        else:
            self._drop("object_limit")

    async def _begin(self, key: str, observed: _Observed) -> None:
        """Create the Event; when it exists, from before a restart, go on with its series."""
        body = manifest(observed.happening, observed.at, key=key, instance=self._instance)
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        known = 0

        async def create() -> None:
            nonlocal known
            if await self._cluster.create(EVENT, body) is None:
                known = _count(await self._cluster.get(EVENT, namespace, name))

        if await self._attempt(create):
            now = self._clock.monotonic()
            self._series[key] = _Series(namespace, name, observed.at, now, count=known + 1, written=known or 1)

    async def _tend(self) -> None:
        now = self._clock.monotonic()
        await self._write_series(lambda series: series.due(now))
        for key in [key for key, series in self._series.items() if now - series.last >= _SERIES_SECONDS]:
            if self._series[key].count > self._series[key].written:
                await self._write(key, self._series[key])
            self._series.pop(key, None)

    async def _write_series(self, which: Callable[[_Series], bool]) -> None:
        for key, series in [pair for pair in self._series.items() if which(pair[1])]:
            await self._write(key, series)

    async def _write(self, key: str, series: _Series) -> None:
        count = series.count
        value = {"count": count, "lastObservedTime": micro_time(series.last_at)}
        patch = [{"op": "add", "path": "/series", "value": value}]

        async def write() -> None:
            await self._cluster.json_patch(EVENT, series.namespace, series.name, patch)

        if await self._attempt(write):
            series.written, series.write_after = count, self._clock.monotonic() + _SERIES_WRITE_EVERY
        else:
            self._series.pop(key, None)  # gone or refused: the next one begins anew

    # --- limits and failures

    async def _attempt(self, request: Callable[[], Awaitable[None]]) -> bool:
        """Send a request within the overall limit, again while that may help; False when it was dropped."""
        while wait := self._all.take(self._clock.monotonic()):  # noqa: ASYNC110  it waits for time
            await asyncio.sleep(wait)
        for attempt in range(_ATTEMPTS):
            try:
                await request()
            except Retry as error:
                await asyncio.sleep((error.after or 0.0) + 0.5 * 2**attempt * (1 + self._jitter()) / 2)
            except GiveUp as error:
                self._refuse(error)
                return False
            else:
                self._telemetry.events.labels("written").inc()
                self._refused = False
                return True
        self._drop("unavailable")
        return False

    def _refuse(self, error: GiveUp) -> None:
        if not self._refused and not isinstance(error, (NotFound, Terminating)):
            _log.warning("Events are refused, this is said once: %s", error)
            self._refused = True
        self._drop("refused")

    def _allowed(self, uid: str, now: float) -> bool:
        bucket = self._objects.pop(uid, None) or TokenBucket(_OBJECT_RATE, _OBJECT_BURST, now=now)
        self._objects[uid] = bucket
        if len(self._objects) > _OBJECTS:
            self._objects.popitem(last=False)
        return bucket.take(now) == 0.0

    def _drop(self, reason: str) -> None:
        self._telemetry.events_dropped.labels(reason).inc()


def identity(happening: Happening) -> str:
    """Return the same short digest for the same object, reason and note, whatever figures the note carries.

    `error rate 5.1 %` and `error rate 6 %` are one series; `activated 1.2.0` and `activated 1.3.0` are two.
    """
    note = " ".join("#" if _FIGURE.fullmatch(word) else word for word in happening.note.split())
    parts = (happening.regarding["uid"], happening.type, happening.reason, happening.action, note)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def manifest(happening: Happening, at: datetime, *, key: str, instance: str) -> Manifest:
    """Return the Event object; its name follows from what it says, so that it is not written twice."""
    fields = ("apiVersion", "kind", "namespace", "name", "uid")
    regarding = {name: happening.regarding[name] for name in fields if name in happening.regarding}
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "namespace": regarding.get("namespace", "default"),
            "name": f"{regarding['name'][:200].rstrip('.-')}.{key}",
        },
        "eventTime": micro_time(at),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": regarding,
        "type": happening.type,
        "reason": happening.reason[:_NAME_LENGTH],
        "action": happening.action[:_NAME_LENGTH],
        "note": cut(happening.note, _NOTE_BYTES),
    }


def cut(text: str, limit: int) -> str:
    """Return the text in at most `limit` bytes of UTF-8, never half a character; an ellipsis shows the cut."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - len("…".encode())].decode(errors="ignore") + "…"


def micro_time(at: datetime) -> str:
    """Return Kubernetes' MicroTime of an instant in UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def _count(event: Manifest) -> int:
    return int((event.get("series") or {}).get("count", 1))
