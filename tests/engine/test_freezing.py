"""Measuring what was normal: which queries, at which time, what is tried again and what is given up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import NAMESPACE, PROMPT, T0, V1, V2, a_policy, after
from tests.engine.fake_time import play
from tests.engine.world import NATIVE, World

from prompt_operator.core.baseline import Freeze, Reference
from prompt_operator.core.rules.metrics import METRICS
from prompt_operator.engine.freezing import LAG, Freezing
from prompt_operator.engine.store import Name
from prompt_operator.ports import DEFAULT_SOURCE, Sample, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from prompt_operator.core.policy import Effective

NAME = Name(NAMESPACE, PROMPT)
HOUR, DAY = timedelta(hours=1), timedelta(hours=24)
UNTIL = after(hours=5)
OF = Reference(V1, T0, UNTIL)
LADDER = (HOUR, DAY)
"""Built-in windows of every metric compared with a baseline here."""


@dataclass
class Prometheus:
    """Counts of tokens and requests, by window, of whatever version is asked for."""

    requests: dict[str, float] = field(default_factory=lambda: {"[1h]": 100.0, "[24h]": 2000.0})
    prompts: tuple[str, ...] = (PROMPT,)
    lag: timedelta = timedelta()
    down: bool = False
    refused: str = ""
    """Queries with this text fail."""
    asked: list[tuple[str, datetime]] = field(default_factory=list)

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer with the count of the window; every request takes 30 tokens."""
        self.asked.append((promql, at))
        await asyncio.sleep(0)
        if self.down or (self.refused and self.refused in promql):
            raise Unavailable("Prometheus does not answer")
        count = next(count for window, count in self.requests.items() if window in promql)
        count *= 900 if "sumsq" in promql else 15 if "tokens" in promql else 1
        labels = {"prompt_namespace": NAMESPACE, "version": V1}
        return [Sample(labels | {"prompt": prompt}, count) for prompt in self.prompts]


class Bench:
    """Freezing with a clock that is set by hand, a minute after the activation."""

    def __init__(self) -> None:
        self.prometheus, self.woken, self.at = Prometheus(), list[Name](), UNTIL + timedelta(minutes=1)
        self.freezing = Freezing({DEFAULT_SOURCE: self.prometheus}, {"native": NATIVE}, self, self.woken.append)

    def now(self) -> datetime:
        """Return the instant that was set."""
        return self.at

    def monotonic(self) -> float:
        """Return the same in seconds."""
        return (self.at - T0).total_seconds()

    def want(
        self,
        *metrics: str,
        name: Name = NAME,
        of: Reference = OF,
        windows: tuple[timedelta, ...] = LADDER,
        policy: Effective | None = None,
    ) -> None:
        """Ask for metrics, the mean of tokens if none is named."""
        wanted = tuple((METRICS[metric], windows) for metric in metrics or ("tokens_avg",))
        self.freezing.want(name, Freeze(of, wanted), policy or a_policy())

    def round(self, **span: float) -> list[Name]:
        """Let time pass, ask, and return who was woken."""
        self.at += timedelta(**span)
        self.woken.clear()
        self.prometheus.asked.clear()
        asyncio.run(self.freezing.round())
        return list(self.woken)

    def found(self, name: Name = NAME) -> list[tuple[str, str, int | None, str | None, datetime]]:
        """Return what was measured."""
        found = self.freezing.found(name)
        return [(each.metric, each.value, each.samples, each.window, each.at) for each in found]


@pytest.fixture
def bench() -> Bench:
    """A prompt whose V2 was activated a minute ago; V1 had 100 requests in the hour before."""
    return Bench()


def test_what_was_served_before_is_measured_at_the_activation(bench: Bench) -> None:
    """Every query is about that version alone and carries the time of the activation; the prompt is woken."""
    bench.want()
    assert bench.round() == [NAME]
    assert bench.found() == [("tokens_avg", "30", 100, "1h", UNTIL)]
    assert {at for _, at in bench.prometheus.asked} == {UNTIL}
    for promql, _ in bench.prometheus.asked:
        assert 'prompt_namespace="shop",prompt="greeting",version="1.0.0"' in promql


def test_an_answer_is_asked_for_once(bench: Bench) -> None:
    """While it is not in status yet it is kept; wanting it again asks nothing."""
    bench.want()
    bench.round()
    bench.want()
    assert bench.round() == []
    assert bench.prometheus.asked == []
    assert len(bench.found()) == 1


def test_the_last_samples_are_waited_for(bench: Bench) -> None:
    """Right after the activation nothing is asked; a source that is behind is given its time on top."""
    bench.at = UNTIL + LAG - timedelta(seconds=1)
    bench.want()
    assert bench.round() == []
    bench.prometheus.lag = timedelta(seconds=20)
    assert bench.round(seconds=20) == []
    assert bench.round(seconds=1) == [NAME]


def test_too_little_in_an_hour_is_asked_over_a_day(bench: Bench) -> None:
    """In the same round; a quiet prompt gets a baseline too."""
    bench.prometheus.requests["[1h]"] = 7.0
    bench.want()
    bench.round()
    assert bench.found() == [("tokens_avg", "30", 2000, "24h", UNTIL)]


def test_too_little_in_a_day_is_final_and_said(bench: Bench) -> None:
    """History does not change: it is not asked again."""
    bench.prometheus.requests = {"[1h]": 7.0, "[24h]": 9.0}
    bench.want()
    assert bench.round()
    assert bench.found() == []
    said = {"tokens_avg": "1.0.0 before 2026-11-21T13:00:00Z: too few samples (9 in 24h)"}
    assert bench.freezing.missing(NAME) == said
    bench.want()
    assert bench.round() == []
    assert bench.prometheus.asked == []


def test_while_prometheus_is_down_it_is_tried_again(bench: Bench) -> None:
    """A failure is no answer: nothing is known, nothing is given up, and later the same instant is asked about."""
    bench.want()
    bench.prometheus.down = True
    for _ in range(3):
        assert bench.round(minutes=10) == []
    assert (bench.found(), bench.freezing.missing(NAME)) == ([], {})
    bench.prometheus.down = False
    assert bench.round(hours=3) == [NAME]
    assert bench.found() == [("tokens_avg", "30", 100, "1h", UNTIL)]


def test_a_day_later_it_is_given_up(bench: Bench) -> None:
    """What was never measured within a day stays unknown, and says so; a start asks nothing about old activations."""
    bench.at = UNTIL + DAY + timedelta(seconds=1)
    bench.want()
    assert bench.round() == []
    assert bench.prometheus.asked == []
    assert bench.freezing.missing(NAME) == {"tokens_avg": "1.0.0 before 2026-11-21T13:00:00Z: not measured within 24h"}


def test_one_query_that_fails_does_not_hold_up_the_others(bench: Bench) -> None:
    """The day's tokens are too much for this server; the other metric is known all the same."""
    bench.prometheus.refused = "tokens"
    bench.want("tokens_avg", windows=(DAY,))
    bench.want("execution_count", name=Name(NAMESPACE, "farewell"))
    bench.prometheus.prompts = (PROMPT, "farewell")
    assert bench.round() == [Name(NAMESPACE, "farewell")]
    assert [found[0] for found in bench.found(Name(NAMESPACE, "farewell"))] == ["execution_count"]


def test_prompts_of_one_push_share_their_queries(bench: Bench) -> None:
    """250 prompts activated in the same second: three queries per quantity, never more than one at a time."""
    names = [Name(NAMESPACE, f"prompt-{number}") for number in range(250)]
    bench.prometheus.prompts = tuple(name.name for name in names)
    for name in names:
        bench.want("execution_count", name=name)
    assert sorted(bench.round()) == sorted(names)
    assert len(bench.prometheus.asked) == 3
    assert all(bench.found(name) for name in names)


def test_a_day_is_asked_for_few_prompts_at_once(bench: Bench) -> None:
    """A day of a hundred prompts would read as much as a tick of thousands."""
    names = [Name(NAMESPACE, f"prompt-{number}") for number in range(25)]
    for name in names:
        bench.want("execution_count", name=name, windows=(DAY,))
    bench.round()
    assert len(bench.prometheus.asked) == 3


def test_a_source_that_is_down_is_not_asked_for_every_prompt(bench: Bench) -> None:
    """After three failures the round ends."""
    for number in range(10):
        of = Reference(V1, T0, UNTIL - timedelta(minutes=number))
        bench.want("execution_count", name=Name(NAMESPACE, f"prompt-{number}"), of=of)
    bench.prometheus.down = True
    bench.round()
    assert len(bench.prometheus.asked) == 3


def test_a_few_that_always_fail_do_not_end_every_round(bench: Bench) -> None:
    """Their turn comes last in the next round."""
    names = [Name(NAMESPACE, f"prompt-{number}") for number in range(5)]
    bench.prometheus.prompts = tuple(name.name for name in names)
    bench.prometheus.refused = "tokens"
    for number, name in enumerate(names):
        of = Reference(V1, T0, UNTIL - timedelta(minutes=number))
        bench.want("tokens_avg" if number < 3 else "execution_count", name=name, of=of)
    assert bench.round() == []
    assert bench.round() == names[3:]


def test_a_custom_metric_is_asked_apart(bench: Bench) -> None:
    """Its query is a tenant's own: where that fails, the metrics of the same prompt are measured all the same."""
    custom = {"name": "chatter", "unit": "Ratio", "numerator": "sum by ($by) (increase(chat_long[$window]))"}
    custom["denominator"] = "sum by ($by) (increase(chat_total[$window]))"
    rule = {"name": "own", "condition": "chatter > baseline * 2 and execution_count > baseline * 2"}
    policy = a_policy(customMetrics=[custom], rules=[rule])
    named = next(each for each in policy.rules if each.name == "own").metrics
    freeze = Freeze(OF, tuple((metric, LADDER) for metric in named.values()))
    bench.freezing.want(NAME, freeze, policy)
    bench.prometheus.refused = "chat_total"
    assert bench.round() == [NAME]
    assert [found[0] for found in bench.found()] == ["execution_count"]
    bench.prometheus.refused = ""
    bench.round()
    assert min(found[:4] for found in bench.found()) == ("chatter", "1", 100, "1h")


def test_another_activation_forgets_the_question(bench: Bench) -> None:
    """What was found for the activation before is no answer to the new one."""
    bench.want()
    bench.round()
    bench.want(of=Reference(V1, T0, UNTIL + timedelta(seconds=20)))
    assert bench.found() == []
    bench.freezing.want(NAME, None, a_policy())
    assert bench.round() == []


def test_a_rule_that_comes_while_it_is_asked_is_asked_next(bench: Bench) -> None:
    """An answer to fewer metrics is not taken for "there is nothing" about another one."""

    async def meanwhile() -> None:
        asking = asyncio.create_task(bench.freezing.round())
        await asyncio.sleep(0)
        assert len(bench.prometheus.asked) == 1
        bench.want("tokens_avg", "execution_count")
        await asking

    bench.want("tokens_avg")
    asyncio.run(meanwhile())
    assert "execution_count" not in bench.freezing.missing(NAME)
    bench.round()
    assert sorted(found[0] for found in bench.found()) == ["execution_count", "tokens_avg"]


@pytest.mark.parametrize("policy", [{"profile": "elsewhere"}, {"source": "elsewhere"}])
def test_without_source_or_profile_it_is_unknown(bench: Bench, policy: dict[str, str]) -> None:
    """There is nobody to ask, and no other source is asked instead."""
    bench.want(policy=a_policy(metrics=policy))
    bench.round()
    assert bench.prometheus.asked == []
    assert "no data" in bench.freezing.missing(NAME)["tokens_avg"]


# --- in the engine

COUNTS = [
    {"name": "traffic-drop", "condition": "success_rate < baseline * 0.5"},
    *[{"name": name, "state": "Disabled"} for name in ("high-latency-p95", "elevated-latency", "lasting-latency")],
]


def test_a_restart_before_the_answer_asks_again() -> None:
    """The process that starts finds nothing in status, asks about the same instant, and writes once."""

    async def story(world: World) -> None:
        async with world.running() as engine:
            world.want(V1, rules=COUNTS)
            await world.rest()
            world.clock.shift += HOUR
            world.want(V2, rules=COUNTS)
            world.metrics.down = True
            await world.rest(60)
            await engine.freezing.round()
        assert not world.prompt().status.baseline
        world.metrics.down = False
        async with world.running() as engine:
            await world.rest(60)
            await engine.freezing.round()
            await world.rest()
            (found,) = world.prompt().status.baseline
            assert (found.metric, found.value, found.version) == ("success_rate", "0.9", V1)
            assert found.at == world.prompt().status.activated_at
            writes = len(world.cluster.writes)
            await engine.freezing.round()
            await world.rest(60)
            assert len(world.cluster.writes) == writes

    world = World()
    world.metrics.served = {V1: (500.0, 50.0), V2: (500.0, 50.0)}
    play(with_versions(world, story))


async def with_versions(world: World, story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story in a world with two versions."""
    world.add_versions(V1, V2)
    await story(world)
