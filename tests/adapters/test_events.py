"""The recorder of Events: series, limits, failures; all times are virtual."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.fake_time import play

from prompt_operator.adapters.events import EVENT, EventRecorder, cut, identity, manifest
from prompt_operator.ports import GiveUp, Happening, Kind, Manifest, NotFound, Retry
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

REGARDING = {
    "apiVersion": "promptops.dev/v1alpha1",
    "kind": "Prompt",
    "namespace": "team",
    "name": "greeting",
    "uid": "u-1",
    "resourceVersion": "12",
}
ROLLED_BACK = Happening(REGARDING, "Warning", "RolledBack", "Rollback", "2.0.0 to 1.0.0: error rate 7.1 % > 5 %")
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class LoopClock:
    """The virtual loop's time, from noon."""

    def now(self) -> datetime:
        """Return noon plus the loop's time."""
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()


@dataclass
class FakeCluster:
    """Keeps Events by name; `failing` decides whether a request fails."""

    objects: dict[str, Manifest] = field(default_factory=dict)
    requests: list[tuple[str, float]] = field(default_factory=list)
    failing: Callable[[int], Exception | None] = lambda _: None

    def _count(self, verb: str) -> None:
        self.requests.append((verb, asyncio.get_running_loop().time()))
        if error := self.failing(len(self.requests)):
            raise error

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Create an Event."""
        assert kind == EVENT
        self._count("create")
        name = body["metadata"]["name"]
        return None if name in self.objects else self.objects.setdefault(name, dict(body))

    async def get(self, _kind: Kind, _namespace: str, name: str) -> Manifest:
        """Read an Event."""
        self._count("get")
        return self.objects[name]

    async def json_patch(
        self, _kind: Kind, namespace: str, name: str, operations: Sequence[Mapping[str, Any]]
    ) -> Manifest:
        """Set the series."""
        self._count("patch")
        assert namespace == "team"
        if name not in self.objects:
            raise NotFound(name)
        (operation,) = operations
        assert (operation["op"], operation["path"]) == ("add", "/series")
        self.objects[name]["series"] = operation["value"]
        return self.objects[name]

    @property
    def verbs(self) -> list[str]:
        """The requests so far, without their times."""
        return [verb for verb, _ in self.requests]


@asynccontextmanager
async def recording(cluster: FakeCluster, telemetry: Telemetry | None = None) -> AsyncIterator[EventRecorder]:
    """Start a recorder on the fake cluster."""
    telemetry = telemetry or Telemetry()
    async with EventRecorder(
        cluster,  # type: ignore[arg-type]
        LoopClock(),
        telemetry,
        instance="pod-0",
        jitter=lambda: 1.0,
    ) as recorder:
        yield recorder


def dropped(telemetry: Telemetry, reason: str) -> float | None:
    """Return how many Events were dropped for this reason."""
    return telemetry.registry.get_sample_value("prompt_operator_events_dropped_total", {"reason": reason})


def test_an_event_says_who_what_and_to_which_object() -> None:
    """All fields that events.k8s.io/v1 requires are there; regarding carries the uid and no resourceVersion."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            recorder.publish(ROLLED_BACK)
        return cluster

    (event,) = play(scenario()).objects.values()
    assert event["metadata"]["namespace"] == "team"
    assert event["metadata"]["name"].startswith("greeting.")
    assert event["regarding"] == {name: value for name, value in REGARDING.items() if name != "resourceVersion"}
    assert event["reportingController"] == "promptops.dev/prompt-operator"
    assert event["eventTime"] == "2026-11-21T12:00:00.000000Z"
    assert (event["reportingInstance"], event["type"]) == ("pod-0", "Warning")
    assert (event["reason"], event["action"], event["note"]) == ("RolledBack", "Rollback", ROLLED_BACK.note)
    assert "series" not in event


def test_repeats_become_a_series_that_is_written_at_most_once_a_minute() -> None:
    """100 repeats in 100 seconds are one create, and three patches, the last with the whole count."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            for _ in range(101):
                recorder.publish(ROLLED_BACK)
                await asyncio.sleep(1)
        return cluster

    cluster = play(scenario())
    (event,) = cluster.objects.values()
    assert cluster.verbs == ["create", "patch", "patch", "patch"]
    assert event["series"] == {"count": 101, "lastObservedTime": "2026-11-21T12:01:40.000000Z"}


def test_a_series_ends_after_six_minutes_and_its_object_goes_on() -> None:
    """A repeat later than that meets the Event under the same name and counts on there; nothing stays in memory."""

    async def scenario() -> tuple[FakeCluster, int]:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            recorder.publish(ROLLED_BACK)
            await asyncio.sleep(400)
            forgotten = len(recorder._series)
            recorder.publish(ROLLED_BACK)
            await asyncio.sleep(1)
        return cluster, forgotten

    cluster, forgotten = play(scenario())
    (event,) = cluster.objects.values()
    assert cluster.verbs == ["create", "create", "get", "patch"]
    assert event["series"]["count"] == 2
    assert forgotten == 0


def test_a_restart_writes_the_same_event_once() -> None:
    """A second recorder that publishes what the first did continues the series instead of adding an object."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        for _ in range(3):
            async with recording(cluster) as recorder:
                recorder.publish(ROLLED_BACK)
        return cluster

    (event,) = play(scenario()).objects.values()
    assert event["series"]["count"] == 3


def test_an_event_that_expired_is_created_again() -> None:
    """When the object is gone at the second repeat, the third begins a new one."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            for _ in range(3):
                recorder.publish(ROLLED_BACK)
                await asyncio.sleep(1)
                cluster.objects.clear() if len(cluster.requests) == 1 else None
        return cluster

    cluster = play(scenario())
    assert cluster.verbs == ["create", "patch", "create"]
    assert len(cluster.objects) == 1


@pytest.mark.parametrize(
    ("note", "same"),
    [
        ("2.0.0 to 1.0.0: error rate 9 % > 5 %", True),
        ("2.0.0 to 1.0.0: error rate 12.25 % > 5 %", True),
        ("2.1.0 to 1.0.0: error rate 7.1 % > 5 %", False),
        ("2.0.0 to 1.0.0: latency 7.1 % > 5 %", False),
    ],
)
def test_figures_do_not_make_another_event_but_versions_do(note: str, same: bool) -> None:  # noqa: FBT001
    """A flapping value is one series; another version is another event."""
    assert (identity(replace(ROLLED_BACK, note=note)) == identity(ROLLED_BACK)) is same


def test_one_object_cannot_flood() -> None:
    """Of 100 different Events of one object 25 are written, then one per five minutes; other objects are not held."""

    async def scenario(telemetry: Telemetry) -> tuple[int, int]:
        cluster = FakeCluster()
        async with recording(cluster, telemetry) as recorder:
            for number in range(100):
                recorder.publish(replace(ROLLED_BACK, reason=f"Reason{number}"))
            recorder.publish(replace(ROLLED_BACK, regarding=REGARDING | {"uid": "u-2", "name": "other"}))
            await asyncio.sleep(60)
            first = len(cluster.objects)
            await asyncio.sleep(300)
            recorder.publish(replace(ROLLED_BACK, reason="Later"))
            recorder.publish(replace(ROLLED_BACK, reason="TooMuch"))
        return first, len(cluster.objects)

    telemetry = Telemetry()
    assert play(scenario(telemetry)) == (26, 27)
    assert dropped(telemetry, "object_limit") == 76


def test_a_full_queue_drops_and_counts() -> None:
    """While the server hangs, the caller is not held and memory is bounded."""

    async def scenario(telemetry: Telemetry) -> None:
        cluster = FakeCluster(failing=lambda _: Retry("down", after=3600))
        async with recording(cluster, telemetry) as recorder:
            for number in range(1500):
                recorder.publish(replace(ROLLED_BACK, reason=f"Reason{number}"))
                if number == 0:
                    await asyncio.sleep(0.1)

    telemetry = Telemetry()
    play(scenario(telemetry))
    assert dropped(telemetry, "queue_full") == 499
    assert dropped(telemetry, "closed") == 1000


def test_the_overall_limit_spreads_writes() -> None:
    """120 Events of 120 objects: 50 at once, then ten a second, none lost."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            for number in range(120):
                recorder.publish(
                    replace(ROLLED_BACK, regarding=REGARDING | {"uid": f"u-{number}", "name": f"p{number}"})
                )
            await asyncio.sleep(10)
        return cluster

    times = [when for _, when in play(scenario()).requests]
    assert len(times) == 120
    assert sum(when == 0 for when in times) == 50
    assert times[-1] == pytest.approx(7.0)


def test_a_passing_failure_is_tried_again() -> None:
    """Two failures and the server's Retry-After delay an Event, they do not lose it."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster(failing=lambda request: Retry("busy", after=2) if request < 3 else None)
        async with recording(cluster) as recorder:
            recorder.publish(ROLLED_BACK)
            await asyncio.sleep(30)
        return cluster

    cluster = play(scenario())
    assert [when for _, when in cluster.requests] == [0.0, 2.5, 5.5]
    assert len(cluster.objects) == 1


@pytest.mark.parametrize(
    ("error", "reason", "requests"), [(Retry("down"), "unavailable", 5), (GiveUp("403"), "refused", 1)]
)
def test_a_lasting_failure_drops_the_event(error: Exception, reason: str, requests: int) -> None:
    """After five attempts, or at once when the server refuses, the Event is counted as dropped."""

    async def scenario(telemetry: Telemetry) -> FakeCluster:
        cluster = FakeCluster(failing=lambda _: error)
        async with recording(cluster, telemetry) as recorder:
            recorder.publish(ROLLED_BACK)
            await asyncio.sleep(60)
        return cluster

    telemetry = Telemetry()
    assert len(play(scenario(telemetry)).requests) == requests
    assert dropped(telemetry, reason) == 1


def test_refusals_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A missing Role does not fill the log."""

    async def scenario() -> None:
        async with recording(FakeCluster(failing=lambda _: GiveUp("403"))) as recorder:
            for number in range(10):
                recorder.publish(replace(ROLLED_BACK, reason=f"Reason{number}"))

    play(scenario())
    assert len(caplog.records) == 1


def test_a_bug_ends_neither_the_caller_nor_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    """An Event without what it needs is logged; the next one is written."""

    async def scenario() -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster) as recorder:
            recorder.publish(replace(ROLLED_BACK, regarding={}))
            recorder.publish(ROLLED_BACK)
        return cluster

    assert len(play(scenario()).objects) == 1
    assert "could not be recorded" in caplog.text


def test_the_end_writes_open_series_and_refuses_more() -> None:
    """Closing flushes counts that waited for their minute; later calls are dropped, not raised."""

    async def scenario(telemetry: Telemetry) -> FakeCluster:
        cluster = FakeCluster()
        async with recording(cluster, telemetry) as recorder:
            for _ in range(5):
                recorder.publish(ROLLED_BACK)
                await asyncio.sleep(1)
            await recorder.aclose()
            recorder.publish(ROLLED_BACK)
        return cluster

    telemetry = Telemetry()
    (event,) = play(scenario(telemetry)).objects.values()
    assert event["series"]["count"] == 5
    assert dropped(telemetry, "closed") == 1


@given(st.text(max_size=600), st.integers(3, 1200))
def test_a_cut_is_whole_characters_within_the_bytes(text: str, limit: int) -> None:
    """However wide the characters are, the limit in bytes holds and no character is halved."""
    short = cut(text, limit)
    assert len(short.encode()) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_long_names_still_make_a_valid_event_name() -> None:
    """An object name of 253 characters gives an Event name the server accepts."""
    long = replace(ROLLED_BACK, regarding=REGARDING | {"name": "a" * 199 + "-" + "b" * 53})
    name = manifest(long, START, key="0" * 16, instance="pod-0")["metadata"]["name"]
    assert name == "a" * 199 + "." + "0" * 16
