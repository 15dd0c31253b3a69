"""Whether the API server answers, asked by those who look at health."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from prompt_operator.adapters.pulse import Pulse
from prompt_operator.ports import Forbidden, Unavailable

if TYPE_CHECKING:
    from prompt_operator.ports import Clock, Cluster


class Server:
    """An API server that fails, hangs or answers; and a clock."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hangs = False
        self.asked = 0
        self.at = 100.0

    async def create(self, _kind: object, _body: object) -> dict[str, Any]:
        """Answer who asks."""
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return {}

    def monotonic(self) -> float:
        """Return the seconds of the clock."""
        return self.at


def pulse_of(server: Server) -> Pulse:
    """A pulse with little patience."""
    return Pulse(cast("Cluster", server), cast("Clock", server), patience=0.001)


@pytest.mark.parametrize("failure", [Unavailable("connection refused"), Forbidden("403")])
async def test_a_failure_is_told(failure: Exception) -> None:
    """Whatever it is, in its own words."""
    server = Server()
    server.failure = failure
    assert str(failure) in await pulse_of(server).trouble()


async def test_no_answer_is_told() -> None:
    """A server that hangs does not make health hang."""
    server = Server()
    server.hangs = True
    assert await pulse_of(server).trouble() == "the API server has not answered within 0.001 s"


async def test_many_who_look_are_one_who_asks() -> None:
    """An answer counts for five seconds; then it is asked again."""
    server = Server()
    pulse = pulse_of(server)
    assert await asyncio.gather(*(pulse.trouble() for _ in range(50))) == [""] * 50
    assert server.asked == 1
    server.at += 5.0
    server.failure = Unavailable("gone")
    assert "gone" in await pulse.trouble()
    assert server.asked == 2
