"""Each fault of `metric_faults.py` against the rule clock and the adapter, with a real Prometheus behind them."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import pytest
from tests.adapters import answering
from tests.adapters.answering import Server, element, raw, refusal, serving, vector
from tests.core.builders import a_policy
from tests.faults import metric_faults
from tests.faults.metric_faults import AHEAD, BEHIND, FAULTS, REFUSED, RESTARTED, TENFOLD, TIMEOUT, TOO_MUCH, Fault

from devcluster.ports import LOOPBACK
from devcluster.prometheus import Prometheus
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import Limits, PrometheusMetrics
from prompt_operator.core.policy import BUILT_IN_RULES
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.streak import State
from prompt_operator.engine.ruleclock import RuleClock
from prompt_operator.engine.store import Name
from prompt_operator.ports import DEFAULT_SOURCE, Unavailable
from prompt_operator.sources import Source
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from prompt_operator.core.facts import RuleReading
    from prompt_operator.ports import Sample

BEGAN = datetime.fromtimestamp(int(time.time()) // 3600 * 3600 - 4 * 3600, UTC)
"""When the fault begins; it lasts an hour, and everything lies in the past, where samples can be filled in."""
ENDED = BEGAN + timedelta(hours=1)
SCRAPES = 15
NAMESPACE, VERSION = "shop", "1.0.0"
NORMAL, PENDING, FIRING = "normal", "pending", "firing"
RULES = [
    *({"name": rule.name, "state": "Disabled"} for rule in BUILT_IN_RULES),
    {"name": NORMAL, "condition": "error_rate > 90%", "severity": "Critical", "actions": ["Alert", "Rollback"]},
    {"name": PENDING, "condition": "error_rate > 5% for 30 minutes", "actions": ["Alert", "Rollback"]},
    {"name": FIRING, "condition": "error_rate > 5%", "severity": "Critical", "actions": ["Alert", "Rollback"]},
    {"name": "counted", "condition": "execution_count > 1000"},
]
POLICY = a_policy(rules=RULES, rollback={"initialDelay": "0s"})
TICK = timedelta(minutes=5)
BEFORE = [BEGAN - timedelta(minutes=10), BEGAN - timedelta(minutes=5), BEGAN]
LASTING = [BEGAN + timedelta(minutes=minutes) for minutes in range(5, 61, 5)]
AFTER = [BEGAN + timedelta(minutes=65), BEGAN + timedelta(minutes=70)]
READ_LITTLE = "--query.max-samples=1"
HASTY = Limits(connect_seconds=1.0, total_seconds=0.3)
"""For what never answers; whatever answers has all the time there is."""

Series: TypeAlias = "Callable[[int], float | None]"
"""Seconds since the fault began -> the count of a series, None where no sample is."""

# --- the histories


def steady(second: int) -> float:
    """Count one a second."""
    return float(second + 7200)


def within(value: float | None) -> Series:
    """Give a value in place of the count while the fault lasts."""
    return lambda second: value if 0 < second <= 3600 else steady(second)


def resetting(second: int) -> float:
    """Start anew at 0 every 400 seconds while the fault lasts: the program crashes over and over."""
    return float(second % 400) if second > 0 else steady(second)


def later(second: int) -> float | None:
    """Begin with the fault and end with it."""
    return steady(second) if 0 < second <= 3600 else None


HISTORIES: dict[str, list[Series]] = {
    "steady": [steady],
    "nan": [within(math.nan)],
    "inf": [within(math.inf)],
    "stale": [within(None)],
    "reset": [resetting],
    "tenfold": [steady, *[later] * 9],
    "ended": [lambda second: steady(second) if second <= 0 else None],
}
"""Prompt -> its series, one a scrape job; half of the requests fail."""
PROMPTS = {"NaN": "nan", "+Inf": "inf", "stale series": "stale", "counter reset": "reset", TENFOLD: "tenfold"}
PROMPTS |= {AHEAD: "ended"}


def open_metrics() -> Iterator[str]:
    """Yield every sample of every history, series by series."""
    for prompt, series in HISTORIES.items():
        for job, count in enumerate(series):
            for outcome in ("success", "error"):
                labels = f'prompt_namespace="{NAMESPACE}",prompt="{prompt}",version="{VERSION}"'
                name = f'llm_prompt_requests_total{{{labels},outcome="{outcome}",job="job-{job}"}}'
                yield from _samples(name, count)
    yield "# EOF\n"


def _samples(name: str, count: Series) -> Iterator[str]:
    for second in range(-3600, 3600 + 1800, SCRAPES):
        if (value := count(second)) is not None:
            text = {"nan": "NaN", "inf": "+Inf"}.get(str(value), repr(value))
            yield f"{name} {text} {int(BEGAN.timestamp()) + second}\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real one that holds all histories."""
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus.start(folder)
    try:
        _fill(server, folder)
        server.restart()
        yield server
    finally:
        server.stop()


def _fill(server: Prometheus, folder: Path) -> None:
    with (folder / "history.om").open("w") as file:
        file.writelines(open_metrics())
    command = [str(server.promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    subprocess.run([*command, str(folder / "history.om"), str(folder / "data")], check=True, capture_output=True)


@pytest.fixture
def broken() -> Iterator[Server]:
    """The HTTP server that answers in place of Prometheus while a fault lasts."""
    with serving() as running:
        yield running


# --- the stage


@dataclass
class Stage:
    """The rule clock, its clock, and the server that its source leads to at the moment."""

    prompt: str
    server: PrometheusMetrics
    at: datetime = BEGAN
    seconds: float = 0.0
    """The monotonic clock; it does not jump with the other one."""
    states: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in (NORMAL, PENDING, FIRING)})
    lasting: list[RuleReading] = field(default_factory=list)
    """Readings of the firing rule while the fault lasts."""
    evidence: list[bool] = field(default_factory=list)
    """At each of those, whether the firing rule has evidence of that instant for a rollback."""

    reasons: set[str] = field(default_factory=set)
    """Why, at each of those; while queries fail the last judgement stands and grows old."""

    lag = timedelta()

    def __post_init__(self) -> None:
        """Watch the prompt."""
        self.telemetry = Telemetry()
        sources, profiles = {DEFAULT_SOURCE: self}, load_profiles()
        self.rules = RuleClock(sources, profiles, self, wake=lambda _: None, telemetry=self.telemetry, tick=TICK)
        self.name = Name(NAMESPACE, self.prompt)
        self.rules.watch(self.name, VERSION, BEGAN - timedelta(hours=1), POLICY, Baselines(), ())

    def now(self) -> datetime:
        """Return the operator's time."""
        return self.at

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self.seconds

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Ask whatever stands at the address of the source now."""
        return await self.server.query(promql, at)

    async def tick(self, instants: Sequence[datetime]) -> None:
        """Judge the rules at these instants."""
        for self.at in instants:
            self.seconds += TICK.total_seconds()
            await self.rules.tick()
            for name, states in self.states.items():
                states.append(str(self.reading(name).streak.state))

    async def last(self, instants: Sequence[datetime]) -> None:
        """Do the same while the fault lasts."""
        for instant in instants:
            await self.tick([instant])
            reading = self.reading(FIRING)
            self.lasting.append(reading)
            self.reasons.add("QueryFailed" if self.rules.outages.failing else str(reading.alert.because))
            fresh = reading.at == self.at and reading.streak.state is State.FIRING
            self.evidence.append(fresh and reading.rollback.verdict is Verdict.TRUE)

    def reading(self, rule: str) -> RuleReading:
        """Return what is known of a rule."""
        readings = self.rules.readings(self.name)
        assert readings is not None
        return next(each for each in readings.rules if each.rule.name == rule)

    def passed(self, rule: str) -> tuple[str, ...]:
        """Return the states a rule went through, from the tick before the fault on."""
        return tuple(state for state, _ in groupby(self.states[rule][len(BEFORE) - 1 :]))


def duplicates(handler: answering.Handler) -> None:
    """Answer with two elements of each identity."""
    labels = {"prompt_namespace": NAMESPACE, "prompt": "steady", "version": VERSION}
    vector(element("10", **labels), element("20", **labels))(handler)


ANSWERS: Mapping[str, answering.Behaviour] = {
    **{status: refusal(int(status), "no") for status in ("400", "429", "500", "503")},
    "half a body": answering.half_a_body,
    "wrong JSON": raw(json.dumps({"status": "success", "data": [1]}).encode()),
    "warnings": vector(warnings=["a store did not answer"]),
    "partial answer (isPartial)": vector(isPartial=True),
    "duplicate series in the answer": duplicates,
    "empty vector": vector(),
}


def client(url: str, stage: Stage | None = None, limits: Limits | None = None) -> PrometheusMetrics:
    """Return the adapter for an address."""
    monotonic = stage.monotonic if stage else time.monotonic
    return PrometheusMetrics(Source(name=DEFAULT_SOURCE, url=url), monotonic=monotonic, limits=limits)


def free_address() -> str:
    """Return an address where nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as free:
        return f"http://{LOOPBACK}:{free.getsockname()[1]}"


@contextmanager
def halted(prometheus: Prometheus) -> Iterator[None]:
    """Have it answer nothing, as a process that swaps or whose disk hangs."""
    os.kill(prometheus.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(prometheus.pid, signal.SIGCONT)


async def played(fault: Fault, prometheus: Prometheus, broken: Server) -> Stage:
    """Let the fault happen between a good time and another one."""
    good = client(prometheus.url)
    stage = Stage(PROMPTS.get(fault.name, "steady"), good)
    await stage.tick(BEFORE)
    if fault.name in ANSWERS or fault.name == REFUSED:
        broken.behaviour = ANSWERS.get(fault.name, broken.behaviour)
        bad = stage.server = client(free_address() if fault.name == REFUSED else broken.url, stage)
        await stage.last(LASTING)
        broken.finish.set()
        stage.server = good
        await bad.close()
    elif fault.name == TIMEOUT:
        bad = stage.server = client(prometheus.url, stage, HASTY)
        with halted(prometheus):
            await stage.last(LASTING)
        stage.server = good
        await bad.close()
    elif fault.name == TOO_MUCH:
        prometheus.restart([READ_LITTLE])
        bad = stage.server = client(prometheus.url)
        await stage.last(LASTING)
        await bad.close()
        prometheus.restart()
        stage.server = client(prometheus.url)
    elif fault.name == RESTARTED:
        prometheus.stop()
        await stage.last(LASTING)
        prometheus.restart()
        stage.server = client(prometheus.url)
    elif fault.name in {AHEAD, BEHIND}:
        jump = timedelta(minutes=10 if fault.name == AHEAD else -10)
        await stage.last([BEGAN + jump, BEGAN + jump + timedelta(seconds=15)])
    else:
        await stage.last(LASTING)
    await stage.tick([BEGAN + timedelta(seconds=30)] if fault.name in {AHEAD, BEHIND} else AFTER)
    for each in {good, stage.server}:
        await each.close()
    return stage


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_never_fires_never_resolves_and_never_rolls_back(
    fault: Fault, prometheus: Prometheus, broken: Server
) -> None:
    """The states of the table, before, while and after; and for a rollback no evidence but what was really measured."""
    stage = asyncio.run(played(fault, prometheus, broken))
    passed = {rule: stage.passed(rule) for rule in (NORMAL, PENDING, FIRING)}
    assert passed == {NORMAL: fault.normal, PENDING: fault.pending, FIRING: fault.firing}
    assert stage.reasons == {fault.reason}
    assert all(reading.streak.firing for reading in stage.lasting)
    assert set(stage.evidence) == {fault.judged}
    assert stage.rules.outages.failing == {}, "over at the end"
    assert not any(reading.streak.fired_at and reading.streak.fired_at > BEGAN for reading in stage.lasting)


def test_a_tenfold_scrape_multiplies_what_is_counted(prometheus: Prometheus) -> None:
    """Ratios stay what they are; counts, totals and the number of samples are ten times as high, and nothing tells."""
    stage = Stage("tenfold", client(prometheus.url))
    asyncio.run(_once(stage, BEGAN))
    assert stage.reading("counted").alert.verdict is Verdict.FALSE
    stage = Stage("tenfold", client(prometheus.url))
    asyncio.run(_once(stage, LASTING[0]))
    assert stage.reading("counted").alert.verdict is Verdict.TRUE
    assert stage.reading(NORMAL).alert.verdict is Verdict.FALSE


async def test_a_time_limit_may_be_a_fraction_of_a_second(prometheus: Prometheus) -> None:
    """Prometheus is told the limit in a spelling that it reads."""
    metrics = PrometheusMetrics(Source(name=DEFAULT_SOURCE, url=prometheus.url, timeout="1500ms"))
    assert len(await metrics.query("vector(1)", BEGAN)) == 1
    await metrics.close()


async def test_a_query_that_reads_too_much_is_refused_by_prometheus_itself(prometheus: Prometheus) -> None:
    """The fault of the table is the one it is called."""
    prometheus.restart([READ_LITTLE])
    metrics = client(prometheus.url)
    with pytest.raises(Unavailable, match=r"answered 422: .*too many samples"):
        await metrics.query("sum(increase(llm_prompt_requests_total[5m]))", BEGAN)
    await metrics.close()
    prometheus.restart()


async def _once(stage: Stage, at: datetime) -> None:
    await stage.tick([at])
    await stage.server.close()


def test_the_page_has_the_table() -> None:
    """What people read at 3 a.m. is what is tested here."""
    page = metric_faults.PAGE.read_text("utf-8")
    assert page == metric_faults.filled(page), "run: python -m tests.faults.metric_faults"


def test_the_table_has_every_fault_and_none_that_fires_or_resolves() -> None:
    """By its own words: no Normal rule leaves Normal but for Unknown, no Firing one ends."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 18
    assert {state for fault in FAULTS for state in fault.normal} <= {"Normal", "Unknown"}
    assert {state for fault in FAULTS for state in fault.firing} <= {"Firing", "Unknown"}
    assert all("Firing" not in fault.pending or fault.judged for fault in FAULTS)
