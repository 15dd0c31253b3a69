"""The writer of the audit trail: a bounded queue and one task, so that no sink delays a decision or a notice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from prompt_operator.core.audit import entries
from prompt_operator.core.audit.chain import genesis, link
from prompt_operator.core.audit.entry import Audited
from prompt_operator.core.audit.held import Anchored, held_of
from prompt_operator.ports import GiveUp, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from prompt_operator.adapters.audit.anchor import Anchor
    from prompt_operator.core.audit.chain import Head
    from prompt_operator.core.audit.entry import Entry
    from prompt_operator.ports import Clock
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)

QUEUE = 1000
_BATCH = 100
_ANCHOR_EVERY = 60.0  # seconds
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds between two attempts
_LATE = 60.0  # seconds after which what waits is said to be stuck


class Sink(Protocol):
    """Where lines go. Methods raise OSError, Retry or GiveUp, and may hang."""

    kind: str

    async def read_back(self) -> Sequence[bytes]:
        """Return the last lines, oldest first; none where it cannot be read."""
        ...

    async def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, all or none; the same ones again after a failure are written once."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


class AuditTrail:
    """`ports.Trail` on a sink: one chain, from `start` to `aclose`.

    Args:
        sink: where lines go.
        anchor: keeps the head; None for none.
        clock: the clocks.
        telemetry: counts what was written and what was lost.
        writer: name of this chain, unique for ever.
    """

    def __init__(
        self,
        sink: Sink,
        anchor: Anchor | None,
        clock: Clock,
        telemetry: Telemetry,
        *,
        writer: str,
    ) -> None:
        self._sink, self._anchor, self._clock, self._telemetry = sink, anchor, clock, telemetry
        self.writer = writer
        self._queue: asyncio.Queue[Entry] = asyncio.Queue(QUEUE)
        self._ids: set[str] = set()
        self._audited: Audited | None = None
        self._ready, self._begun = asyncio.Event(), asyncio.Event()
        self._head: Head = genesis(writer)
        self._anchored: Head | None = None
        self._anchor_after = float("-inf")
        self._lost, self._lost_told = 0, 0
        self._worker: asyncio.Task[None] | None = None
        self._behind = False
        self._tell_again: Callable[[], None] = lambda: None
        self._busy_since: float | None = None
        self._complaint = self._anchor_complaint = ""
        telemetry.audit_waiting.set_function(self._queue.qsize)

    @property
    def audited(self) -> Audited | None:
        """What the trail holds; None until that was read back."""
        return self._audited

    @property
    def trouble(self) -> str:
        """What is wrong with the sink or the anchor, for /health/deep; empty when nothing is."""
        if self._complaint:
            return self._complaint
        if self._busy_since is not None and self._clock.monotonic() - self._busy_since > _LATE:
            return f"the sink {self._sink.kind} does not answer; {self._queue.qsize()} entries wait"
        return self._anchor_complaint

    def offer(self, entry: Entry) -> None:
        """Queue an entry unless one of its id is held; what finds no room is counted, and told when there is some."""
        if entry.id in self._ids:
            return
        try:
            self._queue.put_nowait(entry)
        except asyncio.QueueFull:
            self._refuse(entry)
        else:
            self._ids.add(entry.id)

    def _refuse(self, entry: Entry) -> None:
        """Have what outlives this told again once there is room, and count the rest as lost."""
        if entry.fleeting:
            self._lose(1, f"{QUEUE} entries wait for the sink {self._sink.kind}")
            return
        if not self._behind:
            _log.warning("%d audit entries wait: more are told once the sink %s took them", QUEUE, self._sink.kind)
        self._behind = True

    def _lose(self, count: int, why: str) -> None:
        if self._lost == self._lost_told:
            _log.error("audit entries are lost: %s", why)
        self._lost += count
        self._telemetry.audit_lost.inc(count)

    async def start(self, context: Mapping[str, str], ready: Callable[[], None], *, patience: float) -> None:
        """Begin the chain; return when it is known what the trail holds, or after `patience` seconds.

        Args:
            context: what the takeover says of this process.
            ready: has everything looked at, so that what the trail lacks is offered: called when it is known what that
                is, and when there is room again for what found none.
            patience: in seconds.
        """
        self._tell_again = ready
        self._worker = asyncio.create_task(self._work(context), name="audit")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ready.wait()

    async def aclose(self, grace: float = 5.0) -> None:
        """Write what waits and anchor the head, for at most `grace` seconds, and end; a second call does nothing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            async with asyncio.timeout(grace):
                await self._begun.wait()
                await self._queue.join()
                await self._keep_head()
        except TimeoutError:
            _log.warning("%d audit entries were not written before the end", self._queue.qsize())
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._sink.close()

    # --- the worker

    async def _work(self, context: Mapping[str, str]) -> None:
        try:
            await self._begin(context)
        except Exception:  # noqa: BLE001  a bug: the operator goes on without its trail, and says so
            self._complaint = "the audit trail could not begin, see the log: nothing is told until the next start"
            _log.exception("the audit trail could not begin: nothing is told until the next start")
            return
        while True:
            batch = await self._next()
            try:
                if batch:
                    await self._write(batch)
                await self._keep_head(due=self._anchor_after)
            except Exception:  # noqa: BLE001  a bug in one entry must not end the trail
                _log.exception("audit entries could not be written")
                self._lose(len(batch), "see above")
                self._ids.difference_update(entry.id for entry in batch)  # their records tell them again
            finally:
                for _ in batch:
                    self._queue.task_done()
            if self._behind and self._queue.empty():
                self._behind = False
                self._tell_again()

    async def _begin(self, context: Mapping[str, str]) -> None:
        """Read back what the trail holds, and write the takeover."""
        raw = await self._insist(self._sink.read_back)
        anchors = await self._anchors()
        now = self._clock.now()
        held = held_of(raw, anchors, self._sink.kind, now)
        self._ids |= held.ids
        inputs = {"sink": self._sink.kind, **context, **held.inputs()}
        self._audited = Audited(self._ids, held.since)
        self._ready.set()
        self._tell_again()
        await self._write([entries.takeover(self.writer, inputs, now)])
        self._begun.set()

    async def _anchors(self) -> Sequence[Anchored]:
        """Return what is anchored; an anchor that is denied must not keep the trail from being written."""
        if self._anchor is None:
            return ()
        try:
            return await self._anchor.read()
        except (Retry, GiveUp) as error:
            self._complain_of_anchor(error)
            return ()

    async def _next(self) -> list[Entry]:
        """Wait for entries; return none when the anchor is due."""
        timeout = None if self._is_anchored() else max(self._anchor_after - self._clock.monotonic(), 0.0)
        try:
            async with asyncio.timeout(timeout):
                batch = [await self._queue.get()]
        except TimeoutError:
            return []
        while len(batch) < _BATCH and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _write(self, batch: list[Entry]) -> None:
        now, lost = self._clock.now(), self._lost
        if lost > self._lost_told:
            batch = [*batch, entries.lost(self.writer, lost, lost - self._lost_told, now)]
        lines, head = self._linked(batch, now)
        await self._insist(lambda: self._sink.append(lines))
        self._head, self._lost_told = head, lost
        self._telemetry.audit_head.labels(self.writer).set(head.seq)
        self._telemetry.audit_head_hash.labels(self.writer).set(head.prefix)
        for entry in batch:
            self._telemetry.audit_entries.labels(entry.verb.value).inc()

    def _linked(self, batch: list[Entry], now: datetime) -> tuple[list[bytes], Head]:
        lines, head = [], self._head
        for entry in batch:
            try:
                line, head = link(entry, head, now)
            except ValueError as error:  # inputs of a restored record that have no canonical form
                self._lose(1, f"{entry.id}: {error}")
            else:
                lines.append(line)
        return lines, head

    async def _insist(self, act: Callable[[], Any]) -> Any:
        """Do it until it succeeds; what waits meanwhile waits in the queue."""
        wait, self._busy_since = _FIRST_WAIT, self._clock.monotonic()
        while True:
            try:
                answer = await act()
            except (OSError, Retry, GiveUp) as error:
                self._complain(f"the audit trail ({self._sink.kind}) cannot be read or written: {error}")
            else:
                self._complaint, self._busy_since = "", None
                return answer
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _complain(self, problem: str) -> None:
        self._telemetry.audit_failures.labels(self._sink.kind).inc()
        if not self._complaint:
            _log.error("%s; trying again, decisions go on", problem)
        self._complaint = problem

    # --- the anchor

    def _is_anchored(self) -> bool:
        return self._anchor is None or self._head.seq < 0 or self._head == self._anchored

    async def _keep_head(self, due: float = float("-inf")) -> None:
        """Anchor the head if it moved, not before `due`; a failure is tried again a minute later."""
        if self._anchor is None or self._is_anchored() or self._clock.monotonic() < due:
            return
        self._anchor_after = self._clock.monotonic() + _ANCHOR_EVERY
        head, until = self._head, self._clock.now()
        try:
            await self._anchor.write(Anchored(head, self._sink.kind, until))
        except (Retry, GiveUp) as error:
            self._complain_of_anchor(error)
        else:
            self._anchored, self._anchor_complaint = head, ""

    def _complain_of_anchor(self, error: Exception) -> None:
        problem = f"the anchor of the audit trail cannot be read or written: {error}"
        self._telemetry.audit_failures.labels("anchor").inc()
        if not self._anchor_complaint:
            _log.error("%s; trying again, the trail goes on", problem)
        self._anchor_complaint = problem
