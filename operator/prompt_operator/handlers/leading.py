"""When this process decides and writes: at once, or only while it holds the Lease. Until then it watches only."""

from __future__ import annotations

import asyncio
import logging
import platform
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

from prompt_operator.adapters.lease import Election

if TYPE_CHECKING:
    from prompt_operator.adapters.credentials import Credentials
    from prompt_operator.handlers.lifecycle import Running
    from prompt_operator.ports import Clock

_PATIENCE = 2.0
"""Seconds that the start waits to know what the audit trail holds; after that it goes on, and the trail follows."""
_log = logging.getLogger(__name__)


class LeaseLost(Exception):  # noqa: N818  says what happened
    """The Lease could not be renewed: another operator takes over, and this process ends."""


def election(lease: str, credentials: Credentials, clock: Clock) -> Election | None:
    """Return the candidacy for the Lease that the settings name, None without one.

    A pod's name is its identity, so that a container that crashed takes its own Lease again at once.
    """
    if not lease:
        return None
    namespace, _, name = lease.rpartition("/")
    identity = platform.node() if credentials.in_pod else f"{platform.node()}_{uuid.uuid4().hex[:8]}"
    return Election(
        credentials.configuration,
        namespace or credentials.namespace,
        name,
        identity,
        monotonic=clock.monotonic,
    )


async def work(running: Running, candidate: Election | None, stop: asyncio.Event) -> None:
    """Decide, write and judge rules while this process leads; a Lease that is lost ends the run."""
    if candidate is not None:
        _log.info("standing by until Lease %s is free; this is %s", candidate.lease, candidate.identity)
        await candidate.acquire()
        _log.info("leading: Lease %s is held", candidate.lease)
    running.leading = True
    running.telemetry.leader.set(1)
    if running.trail is not None:
        context = {"release": version("prompt-operator"), "mode": str(running.mode.now)}
        await running.trail.start(context, running.engine.wake_audited, patience=_PATIENCE)
    running.engine.queue.start()
    loops = [asyncio.create_task(loop) for loop in running.engine.measuring()]
    try:
        if candidate is None:
            await stop.wait()
            return
        await candidate.keep()
        running.leading, running.lease_lost = False, candidate.lease
        running.telemetry.leader.set(0)
        stop.set()
    finally:
        for loop in loops:
            loop.cancel()
