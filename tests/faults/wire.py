"""The wire between one operator in this process and the API server, cut at one of its writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.handlers import lifecycle
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_ROLLBACK, PROMPT_VERSION, GiveUp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from prompt_operator.adapters.cluster import Ask
    from prompt_operator.ports import Manifest

COUNTED = (PROMPT, PROMPT_VERSION, PROMPT_ROLLBACK, CONFIG_MAP)
"""Kinds whose writes have numbers. Events are left out: they are written beside the decisions, in their own time."""


class Fault(StrEnum):
    """When it dies."""

    DEATH_BEFORE = "dies before it"
    DEATH_AFTER = "dies after it"


@dataclass(frozen=True)
class Write:
    """One write of a run: of which kind (and which version), and the how manieth of those."""

    what: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.what} #{self.nth}"


@dataclass
class Wire:
    """Counts the writes of the operators behind it, and lets one of them be the last.

    A process that dies and one whose requests no longer arrive are the same to the server, so a death is a cut: from
    that write on nothing is sent. The test then ends the operator.
    """

    log: list[Write] = field(default_factory=list)
    dead: bool = False
    happened: bool = False
    _at: Write | None = None
    _fault: Fault | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Wire:
        """Have every operator started from now on use this wire."""
        wire = self

        class Wired(ApiCluster):
            async def _write(self, ask: Ask) -> Manifest:
                return await wire._carry(ask, super()._write)

        monkeypatch.setattr(lifecycle, "ApiCluster", Wired)
        return self

    def arm(self, at: Write | None = None, fault: Fault | None = None) -> None:
        """Begin to count anew, and die once at this write."""
        self.log, self.dead, self.happened, self._at, self._fault = [], False, False, at, fault

    def mend(self) -> None:
        """Let everything through again, without another fault."""
        self.dead, self._at = False, None

    async def _carry(self, ask: Ask, send: Callable[[Ask], Awaitable[Manifest]]) -> Manifest:
        if self.dead:
            raise GiveUp("the process is dead")
        if ask.kind not in COUNTED:
            return await send(ask)
        what = _named(ask)
        write = Write(what, 1 + sum(each.what == what for each in self.log))
        self.log.append(write)
        if write != self._at or self.happened or self._fault is None:
            return await send(ask)
        self.happened = True
        return await self._die(self._fault, ask, send)

    async def _die(self, fault: Fault, ask: Ask, send: Callable[[Ask], Awaitable[Manifest]]) -> Manifest:
        self.dead = True
        if fault is Fault.DEATH_AFTER:
            await send(ask)
        raise GiveUp("the process is dead")


def _named(ask: Any) -> str:
    """Name a write; records have names of their own in every run, versions the same ones."""
    name = f" {ask.name}" if ask.kind == PROMPT_VERSION else ""
    subresource = f"/{ask.subresource}" if ask.subresource else ""
    return f"{ask.verb} {ask.kind.kind}{subresource}{name}"
