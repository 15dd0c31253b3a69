"""Whether a trail is whole: every line as it was written, in its place, up to the heads known from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prompt_operator.core.audit.chain import Head, Line, Malformed, genesis, hash_of, read
from prompt_operator.core.audit.entry import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where the trail is not what it was."""

    where: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found."""

    entries: int = 0
    heads: tuple[Head, ...] = ()
    """The last line of each chain, in the order in which the chains begin."""
    broken: Broken | None = None
    loose: tuple[str, ...] = ()
    """A sentence per chain whose last lines nothing vouches for."""


class _Break(Exception):  # noqa: N818  control flow within this module only
    def __init__(self, where: str, expected: str, actual: str) -> None:
        super().__init__(where)
        self.found = Broken(where, expected, actual)


@dataclass(slots=True)
class _Trail:
    """What was read so far."""

    partial: bool
    heads: dict[str, Head] = field(default_factory=dict)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)
    """Hash of each line, by writer and seq."""
    vouched: dict[str, int] = field(default_factory=dict)
    """By writer, the highest seq that an anchor or a later writer names."""

    def take(self, line: Line, place: str) -> None:
        """Put a line in its place; a repeat of the very same line is none."""
        writer, seq, digest = line.head
        where = f"{place}, seq {seq} of {writer}"
        if hash_of(line.members) != digest:
            raise _Break(where, f"hash {hash_of(line.members)}", digest)
        if self.hashes.get((writer, seq)) == digest:
            return
        before = self.heads.get(writer) or self._beginning(line, where)
        if seq != before.seq + 1:
            raise _Break(where, f"seq {before.seq + 1}", f"seq {seq}")
        if line.members["prev"] != before.hash:
            raise _Break(where, f"prev {before.hash}", str(line.members["prev"]))
        self.heads[writer], self.hashes[writer, seq] = line.head, digest
        if line.members["verb"] == Verb.TAKEOVER:
            self._vouch(line, where)

    def _beginning(self, line: Line, where: str) -> Head:
        writer, seq, _ = line.head
        if seq and self.partial and not self.heads:
            return Head(writer, seq - 1, str(line.members["prev"]))
        if not seq and line.members["verb"] != Verb.TAKEOVER:
            raise _Break(where, f"verb {Verb.TAKEOVER}", str(line.members["verb"]))
        return genesis(writer)

    def _vouch(self, takeover: Line, where: str) -> None:
        """Compare with what a new writer found: in this trail the `previous` head, by the anchor the `anchored` one."""
        previous, anchored = _named(takeover, "previous"), _named(takeover, "anchored")
        if previous is not None and not (self.partial and previous.writer not in self.heads):
            self.vouch(previous, where)
        if anchored is not None and anchored.writer in self.heads:
            self.vouch(anchored, where)

    def vouch(self, named: Head, who: str) -> None:
        """Compare with a head that is known from elsewhere."""
        begun = self.heads.get(named.writer)
        found = self.hashes.get((named.writer, named.seq))
        if found is None and begun is not None and self.partial and not self._holds_older(named):
            return
        if found != named.hash:
            last = f"it ends at seq {begun.seq}" if begun else "nothing of this writer"
            raise _Break(f"{who}", f"{named} with {named.hash}", found or last)
        self.vouched[named.writer] = max(named.seq, self.vouched.get(named.writer, -1))

    def _holds_older(self, named: Head) -> bool:
        """Tell whether lines before this one are here: then it is missing, and not only older than all of them."""
        return any(writer == named.writer and seq < named.seq for writer, seq in self.hashes)

    def loose(self) -> tuple[str, ...]:
        return tuple(
            f"{head.seq - self.vouched.get(writer, -1)} entries of {writer} up to seq {head.seq} are not anchored"
            for writer, head in self.heads.items()
            if head.seq > self.vouched.get(writer, -1)
        )


def verify(
    lines: Iterable[bytes], anchors: Mapping[str, Head], *, partial: bool = False, places: Sequence[str] = ()
) -> Checked:
    """Check a trail from its first line on.

    Args:
        lines: the lines without line breaks, oldest first.
        anchors: by writer, the head that was anchored last; of writers that are long gone there is none.
        partial: the beginning was moved elsewhere: start wherever these lines start.
        places: what to call each line; without it, its number.
    """
    trail, entries = _Trail(partial), 0
    try:
        for raw in lines:
            place = places[entries] if places else f"line {entries + 1}"
            trail.take(_read(raw, place), place)
            entries += 1
        for anchor in anchors.values():
            if not partial or anchor.writer in trail.heads:
                trail.vouch(anchor, "the anchor")
    except _Break as found:
        return Checked(entries, tuple(trail.heads.values()), found.found)
    return Checked(entries, tuple(trail.heads.values()), None, trail.loose())


def _read(raw: bytes, place: str) -> Line:
    try:
        return read(raw)
    except Malformed as error:
        raise _Break(place, "an entry", str(error)) from None


def _named(takeover: Line, member: str) -> Head | None:
    named = takeover.members["inputs"].get(member)
    return Head(named["writer"], int(named["seq"]), named["hash"]) if named else None
