"""The work queue keeps its contract: all times are virtual, nothing sleeps."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.fake_time import play

from prompt_operator.bucket import TokenBucket
from prompt_operator.engine.queue import Backoff, Queue
from prompt_operator.ports import Conflict, GiveUp, Retry
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Outcome = float | None | Exception


class Runs:
    """What `run` was called for and when; each call takes `takes` seconds and ends as `outcomes` say (then None)."""

    def __init__(self, outcomes: Sequence[Outcome] = (), takes: float = 0.0) -> None:
        self.outcomes, self.takes = list(outcomes), takes
        self.started: list[tuple[str, float]] = []
        self.active: Counter[str] = Counter()
        self.most_at_once = 0
        self.on_start: Callable[[str], None] = lambda _: None

    async def __call__(self, key: str) -> float | None:
        """Be the queue's `run`."""
        self.started.append((key, now()))
        self.active[key] += 1
        self.most_at_once = max(self.most_at_once, self.active.total())
        assert self.active[key] == 1, "one run per key at a time"
        self.on_start(key)
        await asyncio.sleep(self.takes)
        self.active[key] -= 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def times(self) -> list[float]:
        """When the runs began."""
        return [round(at, 6) for _, at in self.started]


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


def make(
    run: Runs,
    *,
    telemetry: Telemetry | None = None,
    workers: int = 16,
    backoff: Backoff | None = None,
    bucket: TokenBucket | None = None,
    jitter: float = 1.0,
    patient: Callable[[str], bool] = lambda _: False,
) -> Queue[str]:
    """Build a queue whose jitter always falls the same way (1.0: the whole delay)."""
    metrics = (telemetry or Telemetry()).queue("prompts")
    return Queue(
        run,
        metrics=metrics,
        jitter=lambda: jitter,
        workers=workers,
        backoff=backoff,
        bucket=bucket,
        patient=patient,
    )


async def at(seconds: float) -> None:
    """Wait until this virtual moment."""
    await asyncio.sleep(max(0.0, seconds - now()))


# --- one run per key, no wake lost


@given(
    wakes=st.lists(st.integers(0, 40), max_size=12),
    takes=st.integers(0, 5).map(lambda whole: whole + 1 / 64),
)
def test_one_key_runs_exactly_as_the_model_says(wakes: list[int], takes: float) -> None:
    """A wake at rest starts a run at once, any number during a run exactly one more, right after it.

    Runs never end at a whole second (1/64 adds up to one only after 64 runs), so no wake coincides with an end.
    """
    expected: list[float] = []
    for wake in sorted(wakes):
        end = expected[-1] + takes if expected else 0.0
        if end <= wake:
            expected.append(wake)
        elif expected[-1] <= wake:
            expected.append(end)
    expected = sorted(set(expected))

    async def scenario() -> list[float]:
        runs = Runs(takes=takes)
        async with make(runs) as queue:
            for wake in sorted(wakes):
                await at(wake)
                queue.wake("a")
            await queue.join()
        return [start for _, start in runs.started]

    assert play(scenario()) == pytest.approx(expected)


@given(
    wakes=st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abcdefgh")), max_size=40),
    workers=st.integers(1, 4),
    takes=st.sampled_from([0.0, 0.3, 1.7, 4.1]),
)
def test_no_wake_is_lost_and_no_limit_broken(wakes: list[tuple[int, str]], workers: int, takes: float) -> None:
    """Each wake is followed by a run of its key, never more runs than wakes, never more at once than workers."""

    async def scenario() -> tuple[Runs, dict[str, int]]:
        runs = Runs(takes=takes)
        async with make(runs, workers=workers) as queue:
            for when, key in sorted(wakes):
                await at(when)
                queue.wake(key)
            await queue.join()
            return runs, queue.sizes()

    runs, sizes = play(scenario())
    starts = Counter(key for key, _ in runs.started)
    asked = Counter(key for _, key in wakes)
    assert all(1 <= starts[key] <= asked[key] for key in asked)
    assert all(max(t for k, t in runs.started if k == key) >= when for when, key in wakes)
    assert runs.most_at_once <= workers
    assert set(sizes.values()) == {0}


def test_a_wake_during_its_own_run_means_exactly_one_more() -> None:
    """A run that wakes its own key three times is followed by one run, not three and not none."""

    async def scenario() -> list[float]:
        runs = Runs(takes=1.0)
        async with make(runs) as queue:

            def wake_thrice(key: str) -> None:
                for _ in range(3 if len(runs.started) == 1 else 0):
                    queue.wake(key)

            runs.on_start = wake_thrice
            queue.wake("a")
            await queue.join()
        return runs.times

    assert play(scenario()) == [0.0, 1.0]


def test_a_wake_starts_its_run_in_the_next_turn_of_the_loop() -> None:
    """No timer and no polling lies between a wake and its run."""

    async def scenario() -> int:
        runs = Runs()
        async with make(runs) as queue:
            queue.wake("a")
            await asyncio.sleep(0)
            return len(runs.started)

    assert play(scenario()) == 1


def test_first_come_first_served() -> None:
    """A key that is woken again while it runs goes behind those that wait already."""

    async def scenario() -> list[str]:
        runs = Runs(takes=1.0)
        async with make(runs, workers=1) as queue:
            for key in "abc":
                queue.wake(key)
            await at(0.5)
            queue.wake("a")
            await queue.join()
        return [key for key, _ in runs.started]

    assert play(scenario()) == ["a", "b", "c", "a"]


def test_patient_keys_give_way_and_are_not_forgotten() -> None:
    """A thousand prompts that change at once come before the status of their versions, also one woken last."""

    async def story() -> list[str]:
        runs = Runs(takes=1.0)
        queue = make(runs, workers=1, patient=str.islower)
        async with queue:
            for key in ("a", "B", "b", "C"):
                queue.wake(key)
            await asyncio.sleep(2.5)
            queue.wake("D")
            queue.wake("a")
            await queue.join()
        return [key for key, _ in runs.started]

    assert play(story()) == ["a", "B", "C", "D", "b", "a"]


def test_what_was_woken_before_the_start_runs_at_the_start() -> None:
    """The watch may fill the queue before the store is whole; nothing runs until then and nothing is lost."""

    async def scenario() -> list[tuple[str, float]]:
        runs = Runs()
        queue = make(runs)
        for key in "aab":
            queue.wake(key)
        queue.wake_at("c", 7.0)
        await at(5)
        assert runs.started == []
        queue.start()
        await at(8)
        await queue.stop()
        return runs.started

    assert play(scenario()) == [("a", 5.0), ("b", 5.0), ("c", 7.0)]


# --- deadlines


@given(deadlines=st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_of_several_deadlines_the_earliest_stands(deadlines: list[int]) -> None:
    """However often wake_at is called for a resting key, it runs once, at the earliest moment."""

    async def scenario() -> list[float]:
        runs = Runs()
        async with make(runs) as queue:
            for deadline in deadlines:
                queue.wake_at("a", deadline)
            await at(600)
        return runs.times

    assert play(scenario()) == [min(deadlines)]


def test_a_deadline_set_from_outside_survives_an_earlier_run() -> None:
    """wake_at is a promise: a wake in between does not use it up."""

    async def scenario() -> list[float]:
        runs = Runs()
        async with make(runs) as queue:
            queue.wake_at("a", 10.0)
            queue.wake("a")
            await at(20)
        return runs.times

    assert play(scenario()) == [0.0, 10.0]


def test_what_a_run_returns_replaces_what_the_run_before_returned() -> None:
    """Run at 0 asks for 10 s, a wake at 4 asks for 3 s: the next is at 7, and none at 10."""

    async def scenario() -> list[float]:
        runs = Runs([10.0, 3.0])
        async with make(runs) as queue:
            queue.wake("a")
            await at(4)
            queue.wake("a")
            await at(60)
        return runs.times

    assert play(scenario()) == [0.0, 4.0, 7.0]


def test_replaced_deadlines_do_not_pile_up() -> None:
    """10,000 ever earlier deadlines of one key leave a heap of bounded size."""

    async def scenario() -> int:
        queue = make(Runs())
        async with queue:
            for deadline in range(10_000, 0, -1):
                queue.wake_at("a", deadline)
            return len(queue._heap)

    assert play(scenario()) < 100


def test_a_key_at_rest_holds_no_memory() -> None:
    """After failures, retries, deadlines and successes not one entry is left."""

    async def scenario() -> list[int]:
        runs = Runs([Retry("busy"), RuntimeError("bug"), 5.0])
        async with make(runs) as queue:
            queue.wake("a")
            await at(1000)
            stores = (queue._added, queue._asked, queue._planned, queue._failures, queue._running, queue._ready)
            return [len(store) for store in (*stores, queue._heap)]

    assert play(scenario()) == [0] * 7


# --- failures


def gaps(outcomes: Sequence[Outcome], *, jitter: float = 1.0, backoff: Backoff | None = None) -> list[float]:
    """Return the seconds between the runs of one key."""

    async def scenario() -> list[float]:
        runs = Runs(outcomes)
        async with make(runs, jitter=jitter, backoff=backoff) as queue:
            queue.wake("a")
            await at(10_000)
        return runs.times

    times = play(scenario())
    return [round(later - earlier, 6) for earlier, later in pairwise(times)]


def test_retries_back_off_exponentially_and_success_resets() -> None:
    """0.05 s doubles with each failure in a row; after a success it begins again."""
    busy = Retry("busy")
    assert gaps([busy] * 4 + [1.0, busy]) == [0.05, 0.1, 0.2, 0.4, 1.0, 0.05]


def test_the_back_off_ends_at_a_minute() -> None:
    """The delay stays at 60 s, also after more failures than a float's exponent holds."""
    assert gaps([Retry("busy")] * 20)[-1] == 60.0
    assert Backoff().delay(Retry("busy"), 100_000, 1.0) == 60.0


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_bounds(failures: int, jitter: float) -> None:
    """Whatever the dice say, a delay is between 0.05 s and 60 s, and never less than the floor the other side asked."""
    assert 0.05 <= Backoff().delay(Retry("busy"), failures, jitter) <= 60
    assert Backoff().delay(Retry("busy", after=7), failures, jitter) >= 7


def test_retry_after_is_a_floor() -> None:
    """A server that asks for 30 s is not asked again before."""
    assert gaps([Retry("429", after=30)]) == [30.05]


def test_conflicts_are_retried_after_milliseconds() -> None:
    """A lost race is decided again at once, but a key that loses every race still backs off."""
    conflict = Conflict("modified")
    assert gaps([conflict] * 3) == [0.01, 0.02, 0.04]


def test_giving_up_is_looked_at_again_much_later() -> None:
    """What only a change can mend is not hammered, and not forgotten either."""
    assert gaps([GiveUp("403")]) == [600.0]


def test_a_wake_does_not_wait_for_the_back_off() -> None:
    """A key at 60 s of back-off runs at once when something happens, and its old retry is gone after the success."""

    async def scenario() -> list[float]:
        runs = Runs([Retry("down", after=60)])
        async with make(runs) as queue:
            queue.wake("a")
            await at(3)
            queue.wake("a")
            await at(300)
        return runs.times

    assert play(scenario()) == [0.0, 3.0]


def test_a_bug_is_logged_once_with_traceback_and_kills_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The failing key is retried for ever, other keys run on, the log holds one traceback for the whole streak."""

    async def scenario() -> Counter[str]:
        runs = Runs([ZeroDivisionError("bug")] * 5)
        async with make(runs, workers=1) as queue:
            queue.wake("a")
            await at(100)
            queue.wake("b")
            await queue.join()
        return Counter(key for key, _ in runs.started)

    with caplog.at_level(logging.ERROR):
        assert play(scenario()) == {"a": 6, "b": 1}
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False, False, False]


def test_only_lasting_trouble_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Nine failures in a row are one warning, not nine."""
    with caplog.at_level(logging.WARNING):
        gaps([Retry("busy")] * 9)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "failure 5 in a row" in caplog.text


def test_a_cancelled_wait_inside_a_run_is_a_failure_like_others() -> None:
    """A library that cancels what the run waits for does not make the key forgotten."""
    assert gaps([asyncio.CancelledError()]) == [0.05]  # type: ignore[list-item]


# --- limits


def test_the_bucket_limits_how_many_runs_start_per_second() -> None:
    """Two at once, then one each half second, in order."""

    async def scenario() -> list[float]:
        runs = Runs()
        async with make(runs, bucket=TokenBucket(2, 2, now=0.0)) as queue:
            for key in "abcdef":
                queue.wake(key)
            await queue.join()
        return runs.times

    assert play(scenario()) == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0]


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 10), st.integers(1, 5))
def test_a_bucket_never_gives_more_than_it_promises(pauses: list[float], rate: float, burst: int) -> None:
    """In any span the tokens taken are at most burst + rate * span, also when the clock stands still or steps back."""
    bucket, time, taken = TokenBucket(rate, burst, now=0.0), 0.0, 0
    for pause in pauses:
        time += pause
        taken += bucket.take(time) == 0.0
        taken += bucket.take(time - 1) == 0.0
    assert taken <= burst + rate * time + 1e-6


@given(st.floats(0.001, 1000), st.floats(0, 1e6))
def test_waiting_as_long_as_the_bucket_says_is_enough(rate: float, start: float) -> None:
    """Rounding never makes the caller wait again and again for nothing."""
    bucket, time = TokenBucket(rate, 1, now=start), start
    for _ in range(20):
        while wait := bucket.take(time):
            assert time + wait > time
            time += wait


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0.5)])
def test_a_bucket_that_could_never_give_is_refused(rate: float, burst: float) -> None:
    """Values that would block for ever are an error at once."""
    with pytest.raises(ValueError, match="token bucket needs"):
        TokenBucket(rate, burst, now=0.0)


# --- the end


def test_stop_finishes_what_is_ready_and_running() -> None:
    """Work at hand is done within the grace, including the second run of a key; new wakes and deadlines are refused."""

    async def scenario() -> list[tuple[str, float]]:
        runs = Runs(takes=1.0)
        queue = make(runs, workers=1)
        queue.start()
        queue.wake("a")
        queue.wake("b")
        queue.wake_at("later", 2.5)
        await at(0.5)
        queue.wake("a")
        stopping = asyncio.create_task(queue.stop(grace=10))
        await asyncio.sleep(0)
        queue.wake("refused")
        queue.wake_at("refused", 1.0)
        await stopping
        assert now() == 3.0
        await at(100)
        return runs.started

    assert play(scenario()) == [("a", 0.0), ("b", 1.0), ("a", 2.0)]


def test_stop_cancels_what_outlasts_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    """A hanging run does not hold the process: it is cancelled, what was ready is dropped, and the log says so."""

    async def scenario() -> tuple[list[tuple[str, float]], float, dict[str, int]]:
        runs = Runs(takes=1000.0)
        queue = make(runs, workers=1)
        queue.start()
        queue.wake("a")
        queue.wake("b")
        await asyncio.sleep(0)
        await queue.stop(grace=10)
        return runs.started, now(), queue.sizes()

    started, ended, sizes = play(scenario())
    assert (started, ended) == ([("a", 0.0)], 10.0)
    assert set(sizes.values()) == {0}
    assert "stopped with 1 runs under way" in caplog.text


def test_stop_before_start_ends_at_once() -> None:
    """An operator that never became ready can still shut down."""

    async def scenario() -> dict[str, int]:
        queue = make(Runs())
        queue.wake("a")
        await queue.stop()
        await queue.join()
        return queue.sizes()

    assert set(play(scenario()).values()) == {0}


# --- metrics


def test_the_metrics_have_the_names_and_values_dashboards_expect() -> None:
    """Names and the label `name` are those of controller-runtime; the values follow a small history."""

    async def scenario(telemetry: Telemetry) -> dict[str, float]:
        async with make(Runs([Retry("busy")], takes=2.0), telemetry=telemetry, workers=1) as queue:
            for key in "aabc":
                queue.wake(key)
            await at(1.5)
            live = sample(telemetry)
            await at(60)
        return live

    def sample(telemetry: Telemetry) -> dict[str, float]:
        families = (family for family in telemetry.registry.collect() if family.name.startswith("workqueue"))
        samples = [one for family in families for one in family.samples if "le" not in one.labels]
        assert all(one.labels == {"name": "prompts"} for one in samples)
        return {one.name: one.value for one in samples if not one.name.endswith("_created")}

    telemetry = Telemetry()
    live, after = play(scenario(telemetry)), sample(telemetry)
    assert live["workqueue_depth"] == 3
    assert live["workqueue_unfinished_work_seconds"] == live["workqueue_longest_running_processor_seconds"] == 1.5
    assert after["workqueue_depth"] == after["workqueue_unfinished_work_seconds"] == 0
    assert after["workqueue_adds_total"] == 4
    assert after["workqueue_retries_total"] == 1
    assert after["workqueue_queue_duration_seconds_sum"] == pytest.approx(0 + 2 + 4 + 6)
    assert after["workqueue_work_duration_seconds_count"] == 4
    results = {
        result: telemetry.registry.get_sample_value(
            "prompt_operator_reconcile_total", {"queue": "prompts", "result": result}
        )
        for result in ("success", "retry")
    }
    assert results == {"success": 3, "retry": 1}
