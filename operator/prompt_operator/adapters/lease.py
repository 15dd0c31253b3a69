"""Leader election by a Lease: the algorithm of the `kubernetes` package, with bounded requests and an orderly end.

The package's own loop can neither be stopped nor gives the Lease back, and its requests may hang; so its single step is
called from here, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from kubernetes import client
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_USUAL = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
"""Nobody has created the Lease yet; another candidate was faster."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Whole seconds; a little shorter than client-go's 15, 10 and 2, so that a takeover stays well under twenty."""

    duration: int = 12
    """After so long without a renewal another one may take the Lease."""
    renew_within: int = 8
    """After so long without success the holder gives up; less than `duration`, so that two never hold it."""
    retry: int = 2


class _Bounded:
    """An API whose every request has a time limit, and which keeps why one was refused: the package does not tell."""

    def __init__(self, api: Any, seconds: float) -> None:
        self._api, self._seconds, self.refusal = api, seconds, ""

    def __getattr__(self, name: str) -> Any:
        return partial(self._send, getattr(self._api, name))

    def _send(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.refusal = ""
        try:
            return method(*args, _request_timeout=self._seconds, **kwargs)
        except client.ApiException as error:
            if error.status not in _USUAL:
                self.refusal = f"{error.status} {error.reason}"
            raise


def _package(api: Any, lease: tuple[str, str, str], terms: Terms) -> tuple[Any, Any]:
    """Return the package's lock and election; it has no types for them."""
    untyped: Any = LeaseLock
    lock = untyped(*lease)
    # Two requests a step: both together may take no longer than the time in which a renewal must succeed.
    lock.api_instance = _Bounded(client.CoordinationV1Api(api), terms.renew_within / 2)
    config: Any = Config
    elected: Any = LeaderElection
    return lock, elected(config(lock, terms.duration, terms.renew_within, terms.retry, _nothing, _nothing))


class Election:
    """One candidate for one Lease.

    Args:
        configuration: the way to the API server, as the `kubernetes` package has it.
        namespace: of the Lease.
        name: of the Lease.
        identity: unique among all candidates.
        monotonic: a clock for intervals, in seconds.
        terms: times.
    """

    def __init__(
        self,
        configuration: Any,
        namespace: str,
        name: str,
        identity: str,
        *,
        monotonic: Callable[[], float],
        terms: Terms | None = None,
    ) -> None:
        self.lease, self.identity = f"{namespace}/{name}", identity
        self._terms, self._monotonic = terms or Terms(), monotonic
        configuration = copy.copy(configuration)
        configuration.retries = False  # the next step is the retry
        self._client: Any = client.ApiClient(configuration)
        self._lock, self._election = _package(self._client, (name, namespace, identity), self._terms)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        self._renewed_at = float("-inf")
        self._complaint = ""

    async def acquire(self) -> None:
        """Wait until this candidate holds the Lease."""
        while True:
            if await self._step():
                return
            await asyncio.sleep(self._terms.retry)

    async def keep(self) -> None:
        """Renew the Lease; return when that failed for so long that another one may take it soon."""
        while self._monotonic() - self._renewed_at < self._terms.renew_within:
            await asyncio.sleep(self._terms.retry)
            await self._step()

    async def release(self) -> None:
        """Give the Lease back if it is ours, so that another candidate need not wait, and close the connections."""
        try:
            await self._run(self._give_back)
        except Exception as error:  # noqa: BLE001  the package lets through whatever its transport raises
            _log.warning("Lease %s could not be given back, it runs out by itself: %s", self.lease, error)
        self._thread.shutdown(wait=False)
        self._client.close()

    async def _step(self) -> bool:
        """Try once to take or to renew the Lease."""
        began = self._monotonic()
        try:
            held = bool(await self._run(self._election.try_acquire_or_renew))
        except Exception as error:  # noqa: BLE001  the package lets through whatever its transport raises
            self._complain(str(error))
            return False
        if held:
            self._renewed_at, self._complaint = began, ""
        elif refusal := self._lock.api_instance.refusal:
            self._complain(refusal)
        return held

    def _complain(self, problem: str) -> None:
        if not self._complaint:
            _log.warning("Lease %s cannot be read or written, trying again: %s", self.lease, problem)
        self._complaint = problem

    async def _run(self, step: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    def _give_back(self) -> None:
        found, record = self._lock.get(self._lock.name, self._lock.namespace)
        if found and record.holder_identity == self.identity:
            lease = self._lock.lease_reference
            lease.spec.holder_identity = None
            self._lock.api_instance.replace_namespaced_lease(self._lock.name, self._lock.namespace, lease)


def _nothing() -> None:
    """The package asks for callbacks; its loop, which would call them, is not used."""
