"""When the rule clock asks for which window, as of which instant, and what it keeps in between. Time is set by hand."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.core.builders import NAMESPACE, PROMPT, V1, V2, a_policy
from tests.engine.test_ruleclock import FAILING, HEALTHY, NAME, Bench
from tests.engine.world import Metrics

from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.streak import State
from prompt_operator.engine.store import Name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prompt_operator.core.policy import Effective
    from prompt_operator.ports import Sample


@dataclass
class Recording(Metrics):
    """Remembers as of when each query was asked, and may fail those of one window."""

    lag: timedelta = timedelta()
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    failing_window: str = ""

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer, or fail where the window is the one that fails."""
        self.asked.append((promql, at))
        self.down = bool(self.failing_window) and f"[{self.failing_window}]" in promql
        return await super().query(promql, at)

    def windows(self) -> Counter[str]:
        """Return how many queries read each window, and forget them."""
        found = Counter(match[0] for promql, _ in self.asked if (match := re.findall(r"\[(\w+)\]", promql)))
        self.asked.clear()
        return found


def a_bench(*rules: dict[str, object], lag: timedelta = timedelta()) -> tuple[Bench, Recording]:
    """Watch the failing version under the built-in rules, and these."""
    bench = Bench()
    metrics = bench.metrics = Recording({V1: HEALTHY, V2: FAILING}, lag=lag)
    bench.rebuild()
    bench.watch(policy=a_policy(rules=list(rules)))
    return bench, metrics


def test_slow_windows_are_asked_for_when_they_are_due() -> None:
    """At the first tick every window is asked for; then each as often as it may have changed."""
    bench, metrics = a_bench()
    bench.tick(minutes=3)
    assert set(metrics.windows()) == {"1m", "5m", "10m", "15m", "1h", "24h"}
    looks = Counter[str]()
    for _ in range(40):
        bench.tick(seconds=15)
        looks.update(metrics.windows().keys())
    assert looks == {"1m": 40, "5m": 40, "10m": 10, "15m": 10, "1h": 5, "24h": 2}


def test_a_rule_is_judged_when_something_of_it_is_new() -> None:
    """Between two looks a rule over a slow window keeps its reading, with the instant it is of."""
    bench, _ = a_bench()
    bench.tick(minutes=3)
    first = bench.reading("low-success-rate")
    bench.tick(seconds=15)
    assert bench.reading("low-success-rate") is first
    assert bench.reading().at == bench.at
    bench.tick(seconds=45)
    assert bench.reading("low-success-rate").at == bench.at


def test_a_rule_over_several_windows_keeps_the_last_answer_of_the_slow_one() -> None:
    """It is judged at every tick by the newest of each, and its reading is as old as the oldest of them."""
    bench, metrics = a_bench({"name": "mixed", "condition": "error_rate[1h] > 3% and error_rate > 5%", "window": "5m"})
    bench.tick(minutes=3)
    first = bench.at
    metrics.windows()
    bench.tick(seconds=15)
    assert "1h" not in metrics.windows()
    reading = bench.reading("mixed")
    assert (reading.streak.state, reading.at) == (State.FIRING, first)
    assert reading.streak.last_true == bench.at


def test_a_slow_window_that_failed_is_asked_again_at_the_next_tick() -> None:
    """A failure is not an answer: until there is one the rule stands still, and the kept answer is not used."""
    bench, metrics = a_bench({"name": "mixed", "condition": "error_rate[1h] > 3% and error_rate > 5%", "window": "5m"})
    bench.tick(minutes=3)
    metrics.failing_window = "1h"
    bench.tick(minutes=2)
    assert bench.reading("mixed").streak.state is State.UNKNOWN
    metrics.windows()
    bench.tick(seconds=15)
    assert metrics.windows()["1h"] > 0
    metrics.failing_window = ""
    bench.tick(seconds=15)
    assert bench.reading("mixed").streak.state is State.FIRING


def test_a_new_version_does_not_wait_for_slow_windows() -> None:
    """A version that was activated between two looks has all its rules judged at its first one."""
    bench, metrics = a_bench()
    bench.tick(minutes=3)
    bench.rules.watch(Name(NAMESPACE, "other"), V1, bench.at, a_policy(), Baselines(), ())
    bench.tick(seconds=15)
    metrics.windows()
    bench.tick(minutes=2)
    assert "24h" in metrics.windows()
    readings = bench.rules.readings(Name(NAMESPACE, "other"))
    assert readings is not None
    assert len(readings.rules) == len(a_policy().rules)


def test_everything_of_a_tick_is_asked_as_of_one_instant() -> None:
    """All queries have the same time, the tick's less the lag of the source, and the streaks run on it."""
    lag = timedelta(seconds=30)
    bench, metrics = a_bench(lag=lag)
    bench.tick(minutes=3)
    assert {at for _, at in metrics.asked} == {bench.at - lag}
    assert bench.reading().at == bench.at - lag == bench.reading().streak.fired_at


def test_nothing_is_judged_before_the_answers_are_of_after_the_initial_delay() -> None:
    """With a lag the first answers that count come later by the lag."""
    bench, _ = a_bench(lag=timedelta(seconds=30))
    bench.tick(seconds=149)
    assert bench.rules.readings(NAME) is None
    bench.tick(seconds=1)
    assert bench.rules.readings(NAME) is not None


def test_prompts_that_are_well_share_their_readings() -> None:
    """Two prompts in lockstep cost the memory of one: their readings are the same objects."""
    bench, _ = a_bench()
    for number in range(2):
        bench.rules.watch(Name(NAMESPACE, f"quiet-{number}"), V1, bench.at, a_policy(), Baselines(), ())
    bench.tick(minutes=3)
    bench.tick(seconds=15)
    one, two = (bench.rules.readings(Name(NAMESPACE, f"quiet-{number}")) for number in range(2))
    assert one is not None
    assert two is not None
    assert all(a is b for a, b in zip(one.rules, two.rules, strict=True))


def test_the_figures_of_a_rule_that_is_well_are_kept_where_somebody_waits_for_them() -> None:
    """While the recovery from a rollback is judged rules tell their figures; else those that are well tell nothing."""
    for explained, told in ((False, False), (True, True)):
        bench = Bench()
        policy: Effective = a_policy()
        bench.rules.watch(Name(NAMESPACE, PROMPT), V1, None, policy, Baselines(), (), explained=explained)
        bench.tick(minutes=3)
        assert bool(bench.reading().alert.message) is told
