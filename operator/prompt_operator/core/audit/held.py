"""What a trail holds already, judged by the lines that a new writer reads back from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prompt_client.wire import canonical_json
from prompt_operator.core.audit.chain import Head, Line, Malformed, read
from prompt_operator.core.audit.entry import Verb, instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BEFORE = timedelta(minutes=10)
"""A first writer, and one that cannot read back what was told, tells what was decided in so long before.

An operator may have died between a record and its line. It costs a few repeats where nothing can be read back.
"""
_ROUNDED = timedelta(seconds=1)
"""Times in the API have whole seconds, and round down."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """The head of a writer as it is kept outside the trail."""

    head: Head
    sink: str
    until: datetime
    """What happened before is on the trail."""

    def told(self) -> dict[str, str]:
        """Return it as the anchor keeps it."""
        return {
            "seq": str(self.head.seq),
            "hash": self.head.hash,
            "sink": self.sink,
            "until": instant(self.until),
        }


@dataclass(frozen=True, slots=True)
class Held:
    """What a new writer starts from."""

    ids: frozenset[str]
    since: datetime
    """From here on `ids` is all that was told."""
    previous: Head | None
    """The last line of the trail."""
    anchored: Anchored | None
    """The newest anchor of this sink."""

    def inputs(self) -> dict[str, Any]:
        """Return what a takeover says of it."""
        heads = {"previous": self.previous, "anchored": self.anchored.head if self.anchored else None}
        return {name: _named(head) for name, head in heads.items() if head is not None}


def anchors_of(data: Mapping[str, str]) -> tuple[Anchored, ...]:
    """Return the anchors in the ConfigMap's data, oldest first; what is none is left out."""
    found = []
    for writer, text in data.items():
        try:
            told = json.loads(text)
            head = Head(writer, int(told["seq"]), told["hash"])
            found.append(Anchored(head, told["sink"], datetime.fromisoformat(told["until"])))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(sorted(found, key=lambda each: each.until))


def anchor_data(anchors: Iterable[Anchored]) -> dict[str, str]:
    """Return the data of the ConfigMap that keeps these anchors."""
    return {each.head.writer: canonical_json(each.told()).decode() for each in anchors}


def held_of(raw: Iterable[bytes], anchors: Iterable[Anchored], sink: str, now: datetime) -> Held:
    """Judge what is held.

    Args:
        raw: the last lines of the trail, oldest first; none where the sink cannot be read.
        anchors: all anchors, oldest first.
        sink: the kind of sink.
        now: the present.
    """
    lines = tuple(_entries(raw))
    anchored = next((each for each in reversed(tuple(anchors)) if each.sink == sink), None)
    ids = frozenset(str(line.members["id"]) for line in lines)
    previous = lines[-1].head if lines else None
    return Held(ids, _since(lines, anchored, now) - _ROUNDED, previous, anchored)


def _since(lines: tuple[Line, ...], anchored: Anchored | None, now: datetime) -> datetime:
    """Return from when on the ids are all there is.

    The ids cover everything that was told since the first of these lines was written. If that is the first line of all,
    they cover even what happened before it. Without lines the anchor says roughly how far the trail went.
    """
    if not lines:
        return (anchored.until if anchored else now) - BEFORE
    written = datetime.fromisoformat(lines[0].members["ts"])
    return written - BEFORE if _is_first(lines[0]) else written


def _is_first(line: Line) -> bool:
    inputs = line.members["inputs"]
    return line.members["verb"] == Verb.TAKEOVER and not {"previous", "anchored"} & inputs.keys()


def _entries(raw: Iterable[bytes]) -> Iterator[Line]:
    for each in raw:
        try:
            yield read(each)
        except Malformed:
            continue  # `verify` says so; here it only counts what is surely held


def _named(head: Head) -> dict[str, str]:
    return {"writer": head.writer, "seq": str(head.seq), "hash": head.hash}
