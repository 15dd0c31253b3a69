"""Whether the API server answers, for `/health/deep`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prompt_operator.ports import GiveUp, Kind, Retry

if TYPE_CHECKING:
    from prompt_operator.ports import Clock, Cluster

_SELF_REVIEW = Kind("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews")
_FRESH = 5.0


class Pulse:
    """Asks when somebody wants to know, at most every five seconds however often that is: health is open to everybody.

    Args:
        cluster: the API server; it is asked who we are, which writes nothing and needs no right.
        clock: for the age of an answer.
        patience: seconds to wait for an answer.
    """

    def __init__(self, cluster: Cluster, clock: Clock, *, patience: float = 3.0) -> None:
        self._cluster, self._clock, self._patience = cluster, clock, patience
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._trouble = ""

    async def trouble(self) -> str:
        """Return what is wrong; empty when it answers."""
        async with self._asking:
            if self._clock.monotonic() - self._asked_at >= _FRESH:
                self._trouble = await self._ask()
                self._asked_at = self._clock.monotonic()
            return self._trouble

    async def _ask(self) -> str:
        body = {"apiVersion": _SELF_REVIEW.api_version, "kind": _SELF_REVIEW.kind, "metadata": {}}
        try:
            await asyncio.wait_for(self._cluster.create(_SELF_REVIEW, body), self._patience)
        except TimeoutError:
            return f"the API server has not answered within {self._patience:g} s"
        except (Retry, GiveUp) as error:
            return f"the API server does not answer as it should: {error}"
        return ""
