"""The chain: each line names the SHA-256 of the one before it, so that no line can change, go or come unnoticed.

A line is RFC 8785 canonical JSON without a line break. Its `hash` covers all its other members, `prev` among them. A
chain has one writer, which is one leadership of one process; its first entry is a Takeover that names the last line of
the chain before it, so that the end of that one is fixed as well. The end of the last chain is fixed by an anchor,
which is kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from prompt_client.wire import CanonicalizationError, canonical_json
from prompt_operator.core.audit.entry import instant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from prompt_operator.core.audit.entry import Entry

FORM = "promptops.dev/audit/v1"
_DIGITS = 13
_DOMAIN = b"promptops.dev/audit/v1\n"


class Head(NamedTuple):
    """The last line of a chain."""

    writer: str
    seq: int
    hash: str

    @property
    def prefix(self) -> int:
        """The first 52 bits of the hash: what a metric, whose values are doubles, holds exactly."""
        return int(self.hash.removeprefix("sha256:")[:_DIGITS], 16)

    def __str__(self) -> str:
        return f"seq {self.seq} of {self.writer}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read, and what it says."""

    raw: bytes
    """Without its line break."""
    members: dict[str, Any]

    @property
    def head(self) -> Head:
        """The line as the head of its chain."""
        return Head(str(self.members["writer"]), int(self.members["seq"]), str(self.members["hash"]))


class Malformed(ValueError):  # noqa: N818  says what is wrong with the line
    """A line that is no entry; the message says why."""


def genesis(writer: str) -> Head:
    """Return what the first line of a writer follows."""
    return Head(writer, -1, "sha256:" + hashlib.sha256(_DOMAIN + writer.encode()).hexdigest())


def link(entry: Entry, before: Head, ts: datetime) -> tuple[bytes, Head]:
    """Return the line of an entry that follows `before`, without a line break, and the new head of the chain.

    Args:
        entry: what happened.
        before: the head so far.
        ts: when the line is written.
    """
    seq = before.seq + 1
    place = {"v": FORM, "writer": before.writer, "seq": str(seq), "ts": instant(ts), "prev": before.hash}
    texts = _texts({**entry.members(), **place})
    digest = _digest(texts)
    return _object({**texts, "hash": canonical_json(digest)}), Head(before.writer, seq, digest)


def hash_of(members: dict[str, Any]) -> str:
    """Return the hash of an entry's members, `hash` itself left out."""
    return _digest(_texts({name: value for name, value in members.items() if name != "hash"}))


def _texts(members: dict[str, Any]) -> dict[str, bytes]:
    """Return the canonical form of each member, so that a line is serialised once: for its hash and for itself."""
    return {name: canonical_json(value) for name, value in members.items()}


def _object(texts: dict[str, bytes]) -> bytes:
    """Put members together as RFC 8785 does; the names of an entry's members are ASCII and need no escapes."""
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), text) for name, text in sorted(texts.items())) + b"}"


def _digest(texts: dict[str, bytes]) -> str:
    return "sha256:" + hashlib.sha256(_object(texts)).hexdigest()


_MEMBERS = frozenset(
    ("v", "writer", "seq", "ts", "prev", "hash", "id", "at", "actor", "verb", "object", "decision", "reason", "inputs")
)


def read(raw: bytes) -> Line:
    """Read one line.

    Raises:
        Malformed: it is not an entry in canonical form.
    """
    try:
        members = json.loads(raw)
    except ValueError as error:
        raise Malformed("this is not JSON") from error
    if not isinstance(members, dict) or members.keys() != _MEMBERS or members["v"] != FORM:
        raise Malformed(f"this is not an entry of {FORM}")
    if not isinstance(members["seq"], str) or not members["seq"].isascii() or not members["seq"].isdigit():
        raise Malformed("seq is not a number")
    try:
        canonical = canonical_json(members)
    except (CanonicalizationError, RecursionError) as error:
        raise Malformed("this has no canonical form") from error
    if canonical != raw:
        raise Malformed("this is not in canonical form")
    return Line(raw, members)


def lines_of(text: bytes) -> Iterable[bytes]:
    """Split a log into its lines; empty ones are none."""
    return (line for line in text.split(b"\n") if line.strip())
