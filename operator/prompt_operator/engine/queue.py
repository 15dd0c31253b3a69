"""The work queue: keyed, level-triggered, one run per key at a time.

A key says "look at this again", never what changed: ten wakes before a run are one run, a wake during a run is exactly
one more. What is held for a key that rests is nothing at all.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from prompt_operator.ports import Conflict, GiveUp, Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from prompt_operator.bucket import TokenBucket
    from prompt_operator.telemetry import QueueMetrics

K = TypeVar("K", bound="Hashable")

_PERSISTENT = 5  # failures in a row before a passing trouble is worth a warning
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays in seconds: `first * 2**n`, at most `longest`, the upper half of it left to jitter.

    After `GiveUp` nothing but a change helps, and not every change wakes the key (a Role, a quota): `recheck` is when
    to look again all the same.
    """

    first: float = 0.05
    longest: float = 60.0
    conflict: float = 0.01
    recheck: float = 600.0

    def delay(self, error: Exception, failures: int, jitter: float) -> float:
        """Return how long to wait after this failure, the `failures`-th in a row; jitter is in [0, 1)."""
        spread = (1 + jitter) / 2
        if isinstance(error, GiveUp):
            return self.recheck * spread
        first = self.conflict if isinstance(error, Conflict) else self.first
        # The exponent is bounded because 2.0**1024 overflows, and a key may fail for weeks.
        delay = min(self.longest, first * 2.0 ** min(failures - 1, 64)) * spread
        floor = error.after if isinstance(error, Retry) and error.after else 0.0
        return floor + max(delay, min(first, self.longest))


class _Deadline(NamedTuple):
    at: float
    order: int
    key: Hashable


class Queue(Generic[K]):
    """Run `run(key)` for each key that was woken, at most `workers` at once, first come first served but for `patient`.

    `run` returns the seconds until the key wants to run again, or None. Its outcome (this, or the retry of a failure)
    replaces the outcome before it; a deadline given to `wake_at` stands until it is due. A wake always runs at once,
    also for a key that is backing off: it may bring what the key was waiting for.

    Errors of `run`: `Conflict` is retried after a few milliseconds, `Retry` with the back-off and not before its
    `after`, `GiveUp` after `Backoff.recheck`; anything else is a bug, logged with its traceback (once in a row) and
    retried too.

    Args:
        run: what to do for a key; never called twice at once for the same key.
        metrics: the work queue metrics of this queue.
        jitter: gives numbers in [0, 1); the only dice.
        workers: how many runs may be under way at once.
        backoff: the delays after failures.
        bucket: if given, limits how many runs start per second; its clock is the event loop's.
        patient: says which keys give way to all others that are ready.
    """

    def __init__(
        self,
        run: Callable[[K], Awaitable[float | None]],
        *,
        metrics: QueueMetrics,
        jitter: Callable[[], float],
        workers: int = 16,
        backoff: Backoff | None = None,
        bucket: TokenBucket | None = None,
        patient: Callable[[K], bool] = lambda _: False,
    ) -> None:
        self._run, self._metrics, self._jitter, self._workers = run, metrics, jitter, workers
        self._backoff, self._bucket = backoff or Backoff(), bucket
        self._patient = patient
        self._ready: deque[K] = deque()
        self._ready_after: deque[K] = deque()  # those that give way
        self._added: dict[K, float] = {}  # every key that has to run, and since when
        self._running: dict[K, tuple[float, asyncio.Task[None]]] = {}
        self._failures: dict[K, int] = {}
        self._asked: dict[K, float] = {}  # by wake_at
        self._planned: dict[K, float] = {}  # by the outcome of the last run
        self._heap: list[_Deadline] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._throttle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._rest: asyncio.Event = asyncio.Event()
        self._rest.set()
        metrics.observe(depth=lambda: len(self._added), unfinished=self._unfinished, longest=self._longest)

    def start(self) -> None:
        """Begin to run keys; those woken before are run now, in their order."""
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._added = dict.fromkeys(self._added, now)
        self._set_timer()
        self._pump()

    async def __aenter__(self) -> Queue[K]:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def wake(self, key: K) -> None:
        """Run this key as soon as a worker is free, or once more when it is being run."""
        if self._closed or key in self._added:
            return
        self._add(key)
        self._pump()

    def wake_at(self, key: K, deadline: float) -> None:
        """Wake this key at a moment of the event loop's clock; of several deadlines the earliest stands."""
        if not self._closed and deadline < self._asked.get(key, float("inf")):
            self._asked[key] = deadline
            self._push(deadline, key)

    async def join(self) -> None:
        """Wait until no key is ready or running; keys that wait for a deadline do not count."""
        await self._rest.wait()

    async def stop(self, grace: float = 10.0) -> None:
        """Take no more wakes, finish what is ready and running within `grace` seconds, cancel the rest."""
        self._closed = True
        self._forget_deadlines()
        if self._loop is None:
            self._discard()
            return
        try:
            async with asyncio.timeout(grace):
                await self.join()
        except TimeoutError:
            await self._abandon()

    def sizes(self) -> dict[str, int]:
        """Return how many keys are ready, running, delayed and failing, for `/diagnostics`."""
        delayed = len(self._asked.keys() | self._planned.keys())
        return {
            "ready": len(self._added),
            "running": len(self._running),
            "delayed": delayed,
            "failing": len(self._failures),
        }

    # --- what is ready

    def _add(self, key: K) -> None:
        self._added[key] = self._loop.time() if self._loop else 0.0
        self._metrics.adds.inc()
        self._rest.clear()
        if key not in self._running:
            self._line_up(key)

    def _line_up(self, key: K) -> None:
        (self._ready_after if self._patient(key) else self._ready).append(key)

    def _pump(self) -> None:
        if self._loop is None:
            return
        while (ready := self._ready or self._ready_after) and len(self._running) < self._workers:
            if self._throttled(self._loop):
                return
            self._begin(ready.popleft(), self._loop)

    def _throttled(self, loop: asyncio.AbstractEventLoop) -> bool:
        if self._throttle is not None:
            return True
        wait = self._bucket.take(loop.time()) if self._bucket else 0.0
        if wait > 0:
            self._throttle = loop.call_later(wait, self._unthrottle)
        return wait > 0

    def _unthrottle(self) -> None:
        self._throttle = None
        self._pump()

    # --- a run

    def _begin(self, key: K, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._metrics.queue_seconds.observe(now - self._added.pop(key))
        self._planned.pop(key, None)
        self._running[key] = (now, loop.create_task(self._work(key), name=f"run {key}"))

    async def _work(self, key: K) -> None:
        result = "cancelled"
        try:
            again = await self._run(key)
        except asyncio.CancelledError as error:
            if not self._closed:  # not by us: whoever cancelled what the run waited for, the key has still to be run
                self._plan_retry(key, Retry(repr(error)))
            raise
        except Exception as error:  # noqa: BLE001  a bug in one key's run must not stop the others
            result = self._failed(key, error)
        else:
            result = self._succeeded(key, again)
        finally:
            self._finish(key, result)

    def _succeeded(self, key: K, again: float | None) -> str:
        self._failures.pop(key, None)
        if again is None:
            return "success"
        self._plan(key, max(0.0, again))
        return "requeue"

    def _failed(self, key: K, error: Exception) -> str:
        delay = self._plan_retry(key, error)
        failures = self._failures[key]
        if isinstance(error, GiveUp):
            _log.error("%s: gave up, next look in %.0f s unless something changes: %s", key, delay, error)
            return "gave_up"
        if isinstance(error, Retry):
            level = logging.WARNING if failures == _PERSISTENT else logging.DEBUG
            _log.log(level, "%s: failure %d in a row, again in %.2f s: %s", key, failures, delay, error)
            return "conflict" if isinstance(error, Conflict) else "retry"
        _log.error(
            "%s: unexpected %r, failure %d, again in %.2f s", key, error, failures, delay, exc_info=failures == 1
        )
        return "error"

    def _plan_retry(self, key: K, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(error, failures, self._jitter())
        self._metrics.retries.inc()
        self._plan(key, delay)
        return delay

    def _finish(self, key: K, result: str) -> None:
        started, _ = self._running.pop(key)
        self._metrics.finished(result, self._now() - started)
        if key in self._added:
            self._line_up(key)
        self._pump()
        if not self._running and not self._ready and not self._ready_after:
            self._rest.set()

    # --- deadlines

    def _plan(self, key: K, delay: float) -> None:
        if self._closed:
            return
        self._planned[key] = self._now() + delay
        self._push(self._planned[key], key)

    def _push(self, at: float, key: K) -> None:
        heapq.heappush(self._heap, _Deadline(at, next(self._order), key))
        if len(self._heap) > 64 + 2 * (len(self._asked) + len(self._planned)):
            self._heap = [deadline for deadline in self._heap if self._stands(deadline)]
            heapq.heapify(self._heap)
        self._set_timer()

    def _stands(self, deadline: _Deadline) -> bool:
        key: K = deadline.key  # type: ignore[assignment]
        return deadline.at in (self._asked.get(key), self._planned.get(key))

    def _set_timer(self) -> None:
        if self._loop is None or not self._heap:
            return
        at = self._heap[0].at
        if self._timer is None or self._timer.when() > at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._now()
        while self._heap and self._heap[0].at <= now:
            deadline = heapq.heappop(self._heap)
            if self._stands(deadline):
                self._wake_due(deadline.key, deadline.at)  # type: ignore[arg-type]
        self._set_timer()

    def _wake_due(self, key: K, at: float) -> None:
        for deadlines in (self._asked, self._planned):
            if deadlines.get(key) == at:
                del deadlines[key]
        self.wake(key)

    def _forget_deadlines(self) -> None:
        self._heap.clear()
        self._asked.clear()
        self._planned.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the end

    async def _abandon(self) -> None:
        self._discard()
        tasks = [task for _, task in self._running.values()]
        _log.warning("stopped with %d runs under way; the next start does them again", len(tasks))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _discard(self) -> None:
        self._ready.clear()
        self._ready_after.clear()
        self._added.clear()
        if not self._running:
            self._rest.set()

    # --- read at a scrape

    def _now(self) -> float:
        return self._loop.time() if self._loop else 0.0

    def _unfinished(self) -> float:
        return sum(self._now() - started for started, _ in self._running.values())

    def _longest(self) -> float:
        return max((self._now() - started for started, _ in self._running.values()), default=0.0)
