"""The writer of the audit trail and its sinks: nothing twice, nothing lost in silence, nobody delayed."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from tests.core.audit.trails import a_chain, an_entry
from tests.core.builders import NAMESPACE, after
from tests.engine.fake_time import play
from tests.engine.world import Clock, Cluster

from prompt_operator.adapters.audit import Anchor, AuditTrail, FileSink, SegmentSink, StdoutSink
from prompt_operator.adapters.audit.segments import KEY, LIMIT
from prompt_operator.adapters.audit.trail import QUEUE
from prompt_operator.core.audit.chain import lines_of, read
from prompt_operator.core.audit.held import BEFORE, Anchored, anchors_of, held_of
from prompt_operator.core.audit.verify import verify
from prompt_operator.ports import CONFIG_MAP, Conflict, Forbidden, Unavailable
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.engine.world import Write

    from prompt_operator.core.audit.chain import Head

LINES, HEAD = a_chain("pod-a-00000001", (an_entry(f"e-{n}") for n in range(3)))


class Memory:
    """A sink in memory that can fail or hang."""

    kind = "file"

    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        self.lines = list(lines)
        self.error: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def read_back(self) -> Sequence[bytes]:
        """Return all."""
        await self.free.wait()
        return list(self.lines)

    async def append(self, lines: Sequence[bytes]) -> None:
        """Keep the lines, fail or hang."""
        await self.free.wait()
        if self.error is not None:
            raise self.error
        self.lines += lines

    async def close(self) -> None:
        """Nothing is open."""

    def ids(self) -> list[str]:
        """Return the ids of the entries."""
        return [str(read(line).members["id"]) for line in self.lines]


def a_trail(sink: Any, anchor: Anchor | None = None, writer: str = "pod-b-00000002") -> AuditTrail:
    """Return a trail on the virtual clock."""
    return AuditTrail(sink, anchor, Clock(), Telemetry(), writer=writer)


async def begin(trail: AuditTrail) -> AuditTrail:
    """Start it."""
    await trail.start({"mode": "Active"}, lambda: None, patience=2.0)
    return trail


def lost(trail: AuditTrail) -> float:
    """Return how many entries were given up."""
    return trail._telemetry.registry.get_sample_value("prompt_operator_audit_lost_total") or 0.0


def test_a_new_writer_names_the_one_before_and_tells_nothing_twice() -> None:
    """What the sink holds is read back: its ids are not taken again, its head is in the takeover."""

    async def scenario() -> None:
        sink = Memory(LINES)
        trail = await begin(a_trail(sink))
        for entry_id in ("e-2", "e-3", "e-3"):
            trail.offer(an_entry(entry_id))
        await trail.aclose()
        assert sink.ids()[4:] == ["takeover/pod-b-00000002", "e-3"]
        takeover = read(sink.lines[4]).members
        assert takeover["inputs"]["previous"] == {"writer": HEAD.writer, "seq": "3", "hash": HEAD.hash}
        assert takeover["reason"] == "pod-b-00000002 takes over from pod-a-00000001"
        assert verify(sink.lines, {}).broken is None

    play(scenario())


def test_a_hanging_sink_delays_nobody_and_what_is_lost_is_told() -> None:
    """Offers return at once; beyond the queue, what nothing else tells of is counted as lost, and the count is told."""

    async def scenario() -> None:
        sink = Memory()
        trail = await begin(a_trail(sink))
        sink.free.clear()
        await asyncio.sleep(0)
        for n in range(QUEUE + 200):
            trail.offer(an_entry(f"e-{n}", fleeting=True))
        await asyncio.sleep(61)
        given_up = lost(trail)
        assert 0 < given_up <= 200
        assert trail.trouble == f"the sink file does not answer; {trail._queue.qsize()} entries wait"
        sink.free.set()
        await trail.aclose()
        told = [read(line).members for line in sink.lines]
        assert [each["inputs"]["count"] for each in told if each["verb"] == "Lost"] == [f"{given_up:.0f}"]
        assert trail.trouble == ""
        assert verify(sink.lines, {}).broken is None

    play(scenario())


def test_what_found_no_room_is_asked_for_again_once_there_is_some() -> None:
    """A record outlives a hanging sink: it is not lost, the engine is told to look again, and it is told once."""

    async def scenario() -> None:
        sink = Memory()
        wanted = [an_entry(f"e-{n}") for n in range(2 * QUEUE + 200)]
        trail = a_trail(sink)

        def look() -> None:
            for each in wanted:
                trail.offer(each)

        await trail.start({}, look, patience=2.0)
        await asyncio.sleep(1)
        await trail.aclose()
        told = sink.ids()
        assert sorted(told) == sorted({"takeover/pod-b-00000002", *(each.id for each in wanted)})
        assert lost(trail) == 0
        assert verify(sink.lines, {}).broken is None

    play(scenario())


def test_a_start_with_a_hanging_sink_knows_nothing_of_the_trail_and_goes_on() -> None:
    """Nothing is said to be due until it is known what is held; then the engine is told to look."""

    async def scenario() -> None:
        sink, woken = Memory(), []
        sink.free.clear()
        trail = a_trail(sink)
        await trail.start({}, lambda: woken.append(True), patience=2.0)
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)
        assert (trail.audited, woken) == (None, [])
        sink.free.set()
        await asyncio.sleep(1)
        assert trail.audited is not None
        assert woken == [True]
        await trail.aclose()

    play(scenario())


def test_a_failing_sink_is_tried_again_and_said() -> None:
    """A full disk: the entries wait, /health/deep says so, and they are written once it has room."""

    async def scenario() -> None:
        sink = Memory()
        trail = await begin(a_trail(sink))
        await asyncio.sleep(1)
        sink.error = OSError(28, "No space left on device")
        trail.offer(an_entry("e-1"))
        await asyncio.sleep(100)
        assert "No space left on device" in trail.trouble
        sink.error = None
        await asyncio.sleep(60)
        assert sink.ids()[-1] == "e-1"
        assert trail.trouble == ""
        await trail.aclose()

    play(scenario())


def test_the_end_does_not_wait_for_a_hanging_sink() -> None:
    """Five seconds, then it ends; records tell the next writer."""

    async def scenario() -> None:
        sink = Memory()
        trail = await begin(a_trail(sink))
        await asyncio.sleep(1)
        sink.free.clear()
        trail.offer(an_entry("e-1"))
        began = asyncio.get_running_loop().time()
        await trail.aclose()
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)

    play(scenario())


def test_an_entry_without_a_canonical_form_is_counted_and_keeps_no_other_back() -> None:
    """Whoever restores a backup may write any number into a record's inputs."""

    async def scenario() -> None:
        sink = Memory()
        trail = await begin(a_trail(sink))
        trail.offer(an_entry("bad", inputs={"n": 2**60}))
        trail.offer(an_entry("good"))
        await trail.aclose()
        assert "good" in sink.ids()
        assert lost(trail) == 1

    play(scenario())


def test_the_head_is_anchored_once_a_minute_and_at_the_end() -> None:
    """Many entries are one write a minute; after the end nothing is left unanchored."""

    async def scenario() -> None:
        cluster, sink = Cluster(Clock()), Memory()
        anchor = Anchor(cluster, NAMESPACE, "heads")
        trail = await begin(a_trail(sink, anchor))
        for n in range(100):
            trail.offer(an_entry(f"e-{n}"))
            await asyncio.sleep(3)
        await asyncio.sleep(1)
        writes = len(cluster.writes)
        assert writes == 6, "one at the takeover, five in five minutes"
        trail.offer(an_entry("last"))
        await trail.aclose()
        assert len(cluster.writes) == writes + 1
        assert verify(sink.lines, heads(cluster)).loose == ()
        again = await begin(a_trail(sink, anchor, "pod-c-00000003"))
        await again.aclose()
        assert len(heads(cluster)) == 2, "the heads of earlier writers stay"
        assert verify(sink.lines, heads(cluster)).loose == ()

    play(scenario())


def test_the_head_is_a_metric_too() -> None:
    """Number and hash of the last line, as they stand in the exposition: whoever scrapes it finds a cut-off end."""

    async def scenario() -> None:
        sink = Memory()
        trail = await begin(a_trail(sink))
        trail.offer(an_entry("e-1"))
        await trail.aclose()
        exposed = generate_latest(trail._telemetry.registry).decode().splitlines()
        seq, prefix = (
            float(line.split()[-1])
            for what in ("seq", "hash")
            for line in exposed
            if line.startswith(f'prompt_operator_audit_head_{what}{{writer="pod-b-00000002"}}')
        )
        last = read(sink.lines[-1]).members
        assert (f"{seq:.0f}", f"{int(prefix):013x}") == (last["seq"], last["hash"].removeprefix("sha256:")[:13])

    play(scenario())


def heads(cluster: Cluster) -> dict[str, Head]:
    """Return the anchored heads."""
    manifest = cluster.found(CONFIG_MAP, "heads")
    assert manifest is not None
    return {each.head.writer: each.head for each in anchors_of(manifest["data"])}


@pytest.mark.parametrize("act", ["before_read", "before_write"])
def test_an_anchor_that_is_denied_keeps_no_line_back_and_is_said(act: str) -> None:
    """The trail goes on, /health/deep names the anchor; once it is allowed, the heads of earlier writers stay."""

    async def scenario() -> None:
        cluster, sink = Cluster(Clock()), Memory()
        before = await begin(a_trail(Memory(), Anchor(cluster, NAMESPACE, "heads"), "pod-a-00000001"))
        await before.aclose()
        allowed = getattr(cluster, act)
        setattr(cluster, act, lambda *_: Forbidden("you may not"))
        trail = await begin(a_trail(sink, Anchor(cluster, NAMESPACE, "heads")))
        trail.offer(an_entry("e-1"))
        await asyncio.sleep(1)
        assert sink.ids() == ["takeover/pod-b-00000002", "e-1"]
        assert trail.trouble == "the anchor of the audit trail cannot be read or written: you may not"
        setattr(cluster, act, allowed)
        await asyncio.sleep(61)
        assert trail.trouble == ""
        await trail.aclose()
        manifest = await cluster.get(CONFIG_MAP, NAMESPACE, "heads")
        assert set(manifest["data"]) == {"pod-a-00000001", "pod-b-00000002"}

    play(scenario())


def test_idle_costs_no_write() -> None:
    """An hour without entries: one anchor after the takeover, nothing more."""

    async def scenario() -> None:
        cluster = Cluster(Clock())
        trail = await begin(a_trail(Memory(), Anchor(cluster, NAMESPACE, "heads")))
        await asyncio.sleep(3600)
        assert len(cluster.writes) == 1
        await trail.aclose()
        assert len(cluster.writes) == 1

    play(scenario())


# --- the sinks


def test_segments_are_sealed_when_they_are_full() -> None:
    """None is larger than 500 KiB, all but the last are immutable, and together they are one whole trail."""

    async def scenario() -> None:
        cluster = Cluster(Clock())
        trail = await begin(a_trail(SegmentSink(cluster, NAMESPACE, "trail")))
        for n in range(1200):
            trail.offer(an_entry(f"e-{n}", reason="x" * 1000))
            await asyncio.sleep(0.01)
        await trail.aclose()
        found = sorted(cluster.all(CONFIG_MAP), key=lambda each: str(each["metadata"]["name"]))
        assert [each["metadata"]["name"] for each in found] == [f"trail-{n:06d}" for n in range(1, len(found) + 1)]
        assert len(found) >= 3
        assert all(len(each["data"][KEY].encode()) <= LIMIT for each in found)
        assert [bool(each.get("immutable")) for each in found] == [True] * (len(found) - 1) + [False]
        assert not any("ownerReferences" in each["metadata"] for each in found)
        lines = list(lines_of("".join(each["data"][KEY] for each in found).encode()))
        assert len(lines) == 1201
        assert verify(lines, {}).broken is None

    play(scenario())


@pytest.mark.parametrize("when", ["before_write", "after_write"])
@pytest.mark.parametrize("error", [Conflict("somebody else wrote"), Unavailable("cut off")], ids=["409", "lost"])
def test_a_segment_takes_each_line_once_whatever_happens_to_the_answer(when: str, error: Exception) -> None:
    """The answer to a write is lost, or the write itself: what is there is read again before the next attempt."""

    async def scenario() -> None:
        cluster = Cluster(Clock())
        trail = await begin(a_trail(SegmentSink(cluster, NAMESPACE, "trail")))
        await asyncio.sleep(1)
        setattr(cluster, when, once(cluster, when, error))
        trail.offer(an_entry("e-1"))
        await asyncio.sleep(5)
        trail.offer(an_entry("e-2"))
        await trail.aclose()
        again = await begin(a_trail(SegmentSink(cluster, NAMESPACE, "trail"), writer="pod-c-00000003"))
        again.offer(an_entry("e-2"))
        await again.aclose()
        (segment,) = cluster.all(CONFIG_MAP)
        lines = list(lines_of(segment["data"][KEY].encode()))
        assert [read(line).members["id"] for line in lines] == [
            *("takeover/pod-b-00000002", "e-1", "e-2", "takeover/pod-c-00000003")
        ]
        assert verify(lines, {}).broken is None

    play(scenario())


def once(cluster: Cluster, when: str, error: Exception) -> Callable[[Write], Exception | None]:
    """Fail one write, and let all others pass."""
    calm = getattr(cluster, when)

    def fail(_: Write) -> Exception:
        setattr(cluster, when, calm)
        return error

    return fail


async def test_a_file_is_opened_anew_after_rotation_and_read_back_with_what_was_rotated(tmp_path: Path) -> None:
    """Lines go to the file that has the name; a new writer knows the ids in the moved one as well."""
    path = tmp_path / "logs" / "audit.jsonl"
    sink = FileSink(path)
    await sink.append(LINES[:2])
    path.rename(path.with_name("audit.jsonl.1"))
    await sink.append(LINES[2:])
    await sink.close()
    assert list(lines_of(path.read_bytes())) == LINES[2:]
    assert list(await FileSink(path).read_back()) == LINES


async def test_a_torn_line_is_cut_off_and_not_counted_as_held(tmp_path: Path) -> None:
    """A crash in the middle of a write: what it left is no entry; it is told again, by the next chain."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(LINES[0] + b"\n" + LINES[1][:40])
    sink = FileSink(path)
    assert list(await sink.read_back()) == LINES[:1]
    await sink.append(LINES[1:2])
    await sink.close()
    assert path.read_bytes() == LINES[0] + b"\n" + LINES[1] + b"\n"


async def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a batch that fitted on the disk is taken back, so that the next attempt writes it once."""
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path)
    await sink.append(LINES[:1])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await sink.append(LINES[1:])
    assert list(lines_of(path.read_bytes())) == LINES[:1]
    monkeypatch.undo()
    await sink.append(LINES[1:])
    await sink.close()
    assert list(lines_of(path.read_bytes())) == LINES


async def test_only_the_end_of_a_large_file_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is cut by the beginning of what is read is left out."""
    monkeypatch.setattr("prompt_operator.adapters.audit.streams._READ_BACK", len(LINES[-1]) + 10)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in LINES))
    assert list(await FileSink(path).read_back()) == LINES[-1:]


async def test_stdout_has_entries_only(capfd: pytest.CaptureFixture[str]) -> None:
    """Pure JSON lines with their mark; the log of the same process goes to standard error."""
    sink = StdoutSink()
    await sink.append(LINES)
    shown = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["v"] for line in shown] == ["promptops.dev/audit/v1"] * len(LINES)
    assert list(await sink.read_back()) == []


# --- what a new writer takes for told


def test_without_a_trail_the_last_ten_minutes_count_as_untold() -> None:
    """History from before the first writer is not told, but what was decided by a process that died at its start is."""
    held = held_of((), (), "file", after())
    assert held.since == after(minutes=-10, seconds=-1)
    assert held.inputs() == {}


def test_a_whole_trail_covers_what_happened_before_it() -> None:
    """Its first line is the first of all: nothing older was told."""
    written = after(minutes=2)
    assert held_of(LINES, (), "file", after(days=1)).since == written - BEFORE - (after(seconds=1) - after())


def test_the_end_of_a_trail_covers_what_happened_since_it_begins() -> None:
    """Lines before were told and are not known: what is older than the first known line counts as told."""
    held = held_of(LINES[1:], (), "file", after(days=1))
    assert held.since == after(minutes=2, seconds=-1)
    assert held.ids == {"e-0", "e-1", "e-2"}


def test_where_nothing_can_be_read_back_the_anchor_says_how_far_it_went() -> None:
    """Standard output: the newest anchor of the same kind of sink; another sink's says nothing."""
    anchors = [Anchored(HEAD, "stdout", after(hours=1)), Anchored(HEAD, "file", after(hours=2))]
    held = held_of((), anchors, "stdout", after(hours=5))
    assert held.since == after(minutes=50, seconds=-1)
    assert held.inputs() == {"anchored": {"writer": HEAD.writer, "seq": "3", "hash": HEAD.hash}}


def test_a_damaged_anchor_is_none() -> None:
    """Whatever somebody wrote into the ConfigMap keeps no writer from beginning."""
    assert anchors_of({"a": "no JSON", "b": "[]", "c": "{}", "d": '{"seq":"x","hash":"","sink":"","until":""}'}) == ()
