"""The chain: whatever is done to a trail is found, and the place is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.audit.trails import A, B, a_chain, an_entry, two_writers
from tests.core.builders import after

from prompt_client.wire import canonical_json
from prompt_operator.core.audit.chain import Head, Malformed, genesis, hash_of, link, read
from prompt_operator.core.audit.entry import LARGEST, LONGEST
from prompt_operator.core.audit.verify import Checked, verify

LINES, ANCHORS = two_writers()
places = st.integers(0, len(LINES) - 1)


def resealed(line: bytes, **changed: Any) -> bytes:
    """Return a line with other members whose own hash fits them, as a careful forger would write it."""
    members = json.loads(line) | changed
    return canonical_json(members | {"hash": hash_of(members)})


def test_a_whole_trail_is_whole() -> None:
    """Two writers, the second of which names the end of the first: nothing broken, nothing loose."""
    assert verify(LINES, ANCHORS) == Checked(10, (ANCHORS[A], ANCHORS[B]))


@given(place=places, data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_found(place: int, data: st.DataObject) -> None:
    """One byte of one line is replaced by another."""
    line = LINES[place]
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    edited = line[:at] + bytes([byte]) + line[at + 1 :]
    assert verify([*LINES[:place], edited, *LINES[place + 1 :]], ANCHORS).broken


@given(place=places, member=st.sampled_from(["actor", "reason", "decision", "at", "id"]), text=st.text(max_size=9))
@settings(max_examples=60, deadline=None)
def test_a_changed_member_is_found_even_with_a_hash_that_fits(place: int, member: str, text: str) -> None:
    """The forger computes the hash of the changed line anew: then the next line, a later writer or the anchor tells."""
    forged = resealed(LINES[place], **{member: f"x{text}"})
    assert verify([*LINES[:place], forged, *LINES[place + 1 :]], ANCHORS).broken


@given(place=places, count=st.integers(1, len(LINES)))
@settings(max_examples=60, deadline=None)
def test_any_removal_is_found(place: int, count: int) -> None:
    """Lines are taken out anywhere: at the beginning, inside, a whole chain, the end."""
    assert verify([*LINES[:place], *LINES[place + count :]], ANCHORS).broken


@given(one=st.integers(0, 4), other=st.integers(0, 4), chain=st.sampled_from([0, 5]))
@settings(max_examples=60, deadline=None)
def test_any_other_order_within_a_chain_is_found(one: int, other: int, chain: int) -> None:
    """Two lines of one writer change places; those of two writers may be told in either order."""
    lines = list(LINES)
    lines[chain + one], lines[chain + other] = lines[chain + other], lines[chain + one]
    assert bool(verify(lines, ANCHORS).broken) == (one != other)


@given(place=st.integers(0, len(LINES)), writer=st.sampled_from([A, B, "pod-c-00000003"]), seq=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_any_insertion_is_found(place: int, writer: str, seq: int) -> None:
    """A line that was never written stands anywhere in the trail."""
    line, _ = link(an_entry("forged"), Head(writer, seq - 1, genesis(writer).hash), after())
    assert verify([*LINES[:place], line, *LINES[place:]], ANCHORS).broken


@given(place=places, again=places)
@settings(max_examples=30, deadline=None)
def test_a_repeated_line_is_one_line(place: int, again: int) -> None:
    """A log pipeline may tell a line twice, byte for byte; that is not an insertion."""
    later = max(place, again) + 1
    assert verify([*LINES[:later], LINES[place], *LINES[later:]], ANCHORS).broken is None


def test_where_it_breaks_is_said() -> None:
    """Line, seq and writer, what was expected and what was found."""
    broken = verify([*LINES[:2], *LINES[3:]], ANCHORS).broken
    assert str(broken) == f"line 3, seq 3 of {A}: expected seq 2, found seq 3"


def test_a_tail_that_is_cut_off_is_found_by_the_anchor_only() -> None:
    """Without an anchor nothing vouches for the last chain, and that is said; with it the loss is found."""
    cut = LINES[:-2]
    assert verify(cut, {}).loose == (f"3 entries of {B} up to seq 2 are not anchored",)
    assert str(verify(cut, ANCHORS).broken) == (
        f"the anchor: expected seq 4 of {B} with {ANCHORS[B].hash}, found it ends at seq 2"
    )


def test_entries_after_the_anchor_are_loose() -> None:
    """The anchor is written once a minute: what came since is whole, but not vouched for."""
    anchor = read(LINES[-3]).head
    assert verify(LINES, {B: anchor}) == Checked(
        10, (ANCHORS[A], ANCHORS[B]), None, (f"2 entries of {B} up to seq 4 are not anchored",)
    )


@pytest.mark.parametrize("start", range(1, 10))
def test_a_beginning_that_was_moved_elsewhere_may_be_missing_when_that_is_said(start: int) -> None:
    """Old files and segments may be archived: only then a trail may begin anywhere."""
    assert verify(LINES[start:], ANCHORS).broken
    assert verify(LINES[start:], ANCHORS, partial=True).broken is None


def test_inside_a_partial_trail_nothing_may_be_missing() -> None:
    """That its beginning is elsewhere excuses no gap and no missing end."""
    assert verify([*LINES[1:3], *LINES[4:]], ANCHORS, partial=True).broken
    assert verify(LINES[1:-1], ANCHORS, partial=True).broken


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "this is not JSON"),
        (b"\xff", "this is not JSON"),
        (b"[1]", "this is not an entry of promptops.dev/audit/v1"),
        (b'{"v":"promptops.dev/audit/v1"}', "this is not an entry of promptops.dev/audit/v1"),
        (LINES[0] + b" ", "this is not in canonical form"),
        (LINES[0].replace(b'"seq":"0"', b'"seq":0'), "seq is not a number"),
        (LINES[0].replace(b"{", b'{"more":1,', 1), "this is not an entry of promptops.dev/audit/v1"),
    ],
    ids=str,
)
def test_what_is_no_entry_is_said(raw: bytes, why: str) -> None:
    """A line that is not an entry in canonical form names its fault."""
    with pytest.raises(Malformed, match=why):
        read(raw)


@given(reason=st.text(), name=st.text(max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_line_is_canonical_and_one_line(reason: str, name: str) -> None:
    """Whatever a person writes as a reason: the line is RFC 8785, has no line break, and reads back the same."""
    line, head = link(an_entry(reason=reason, object={"name": name}), genesis(A), after())
    found = read(line)
    assert (found.head, b"\n" in line, canonical_json(found.members)) == (head, False, line)
    assert all(isinstance(value, str | dict) for value in found.members.values()), "numbers are strings"


def test_an_entry_has_bounds() -> None:
    """A long reason is cut, inputs that are too large are left out and their size is said."""
    large = {"judgement": "x" * LARGEST}
    line, _ = link(an_entry(reason="y" * 2 * LONGEST, inputs=large), genesis(A), after())
    members = read(line).members
    assert len(members["reason"]) == LONGEST
    assert members["inputs"] == {"omitted": "16400 bytes are more than the 16384 that are kept"}


def test_equal_entries_of_two_writers_differ_in_their_place_only() -> None:
    """What a restarted operator tells again is the same to the byte, but for writer, seq, ts, prev and hash."""
    (_, one), (_, other) = (a_chain(writer, [an_entry()])[0] for writer in (A, B))
    changed = {key for key, value in read(one).members.items() if read(other).members[key] != value}
    assert changed == {"writer", "prev", "hash"}
