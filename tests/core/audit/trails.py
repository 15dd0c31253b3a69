"""Trails for the tests: chains of entries, as the writers make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.core.builders import after

from prompt_operator.core.audit import entries
from prompt_operator.core.audit.chain import Head, genesis, link
from prompt_operator.core.audit.entry import Entry, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

A, B = "pod-a-00000001", "pod-b-00000002"


def an_entry(entry_id: str = "greeting-1", **changed: Any) -> Entry:
    """Return an entry about a release."""
    members: dict[str, Any] = {
        "id": entry_id,
        "at": after(minutes=1),
        "actor": "ada",
        "verb": Verb.RELEASE,
        "object": {"kind": "PromptRollback", "namespace": "shop", "name": "greeting-1"},
        "decision": "Done",
        "reason": "the provider was down",
    }
    return Entry(**(members | changed))


def a_chain(writer: str, told: Iterable[Entry], previous: Head | None = None) -> tuple[list[bytes], Head]:
    """Return the lines of one writer, its takeover first, and their head."""
    inputs = {"previous": named(previous)} if previous else {}
    head, lines = genesis(writer), []
    for entry in (entries.takeover(writer, inputs, after()), *told):
        line, head = link(entry, head, after(minutes=2))
        lines.append(line)
    return lines, head


def named(head: Head) -> dict[str, str]:
    """Return a head as a takeover names it."""
    return {"writer": head.writer, "seq": str(head.seq), "hash": head.hash}


def two_writers(first: int = 4, second: int = 4) -> tuple[list[bytes], dict[str, Head]]:
    """Return a trail of two writers with so many entries each, and its anchors."""
    one, end = a_chain(A, (an_entry(f"one-{n}") for n in range(first)))
    two, head = a_chain(B, (an_entry(f"two-{n}") for n in range(second)), end)
    return one + two, {A: end, B: head}
