"""Every metric over every window, from a real Prometheus with eight days of history and the shipped recording rules."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import a_policy
from tests.recording.history import COARSE, SECONDS, answers, open_metrics, truth

from devcluster.paths import REPO
from devcluster.prometheus import Prometheus
from prompt_client.metrics import DURATION_BUCKETS
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.estimate import Estimate, estimate
from prompt_operator.core.rules.measure import Identity, Measured, Need, needs
from prompt_operator.core.rules.metrics import METRICS, Quantile
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.recording import COUNTS, RECORDED_FROM
from prompt_operator.core.rules.streak import State
from prompt_operator.core.rules.units import WINDOWS
from prompt_operator.engine.ruleclock import RuleClock
from prompt_operator.engine.store import Name
from prompt_operator.ports import DEFAULT_SOURCE
from prompt_operator.sources import Source
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.recording.history import Answer as Answered

    from prompt_operator.core.facts import RuleReading
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.promql import Answer

END = datetime.fromtimestamp(int(time.time()) // 300 * 300 - 3600, UTC)
"""The end of the history and the instant at which rules are judged; an hour ago, so that live samples do not matter."""
BEGAN = int(END.timestamp()) - SECONDS
BOT = Identity("shop", "bot", "1.0.0")
LABELS = 'prompt_namespace="shop",prompt="bot",version="1.0.0"'
RULES = REPO / "manifests" / "recording-rules" / "native.rules.yaml"
NATIVE = load_profiles()["native"]
SHORT_ERROR, LONG_ERROR = 0.001, 0.01
"""Relative; a quantile has to lie in the bucket of the true one."""
LATE = timedelta(minutes=1)
"""What the recording rules leave for late scrapes."""
LONG = [
    {"name": "dear-week", "condition": "cost_total > 100", "window": "7d"},
    {"name": "bad-week", "condition": "error_rate > 5%", "window": "7d", "severity": "Critical"},
    {"name": "fine-week", "condition": "error_rate > 20%", "window": "7d"},
    {"name": "busy-day", "condition": "execution_count > 1", "window": "24h"},
]


def promtool(server: Prometheus, *arguments: str) -> None:
    """Run promtool; what it complains of fails the test."""
    done = subprocess.run([server.promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def happened() -> list[Answered]:
    """Eight days of requests."""
    return answers(seed=7)


@pytest.fixture(scope="module")
def unrecorded(tmp_path_factory: pytest.TempPathFactory, happened: list[Answered]) -> Iterator[Prometheus]:
    """A Prometheus that scraped for eight days and has the rules only since now."""
    folder = tmp_path_factory.mktemp("history")
    (folder / "rules").mkdir()
    shutil.copy(RULES, folder / "rules")
    server = Prometheus.start(folder)
    try:
        with (folder / "history.om").open("w") as file:
            file.writelines(open_metrics(happened, BEGAN, LABELS))
        promtool(
            *(server, "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=64h"),
            *(str(folder / "history.om"), str(folder / "data")),
        )
        server.restart()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def missing(unrecorded: Prometheus) -> dict[str, RuleReading]:
    """The readings of long rules before anything was recorded."""
    return judged(unrecorded)


@pytest.fixture(scope="module")
def server(unrecorded: Prometheus, missing: dict[str, RuleReading]) -> Prometheus:
    """The same one, the history of its recording rules filled in as the documentation says."""
    assert missing
    span = (f"--start={BEGAN + COARSE}", f"--end={int(END.timestamp())}")
    output = f"--output-dir={unrecorded.state_dir / 'data'}"
    promtool(
        *(unrecorded, "tsdb", "create-blocks-from", "rules", f"--url={unrecorded.url}", *span, output),
        str(unrecorded.state_dir / "rules" / RULES.name),
    )
    unrecorded.restart()
    return unrecorded


class Clock:
    """The instant at which the history ends."""

    def now(self) -> datetime:
        """Return it."""
        return END

    def monotonic(self) -> float:
        """Return the same in seconds."""
        return END.timestamp()


def judged(server: Prometheus, policy: Effective | None = None) -> dict[str, RuleReading]:
    """Judge the built-in rules and the long ones by the rule clock, once; return what it knows by rule."""

    async def tick() -> dict[str, RuleReading]:
        metrics = PrometheusMetrics(Source(name="default", url=server.url))
        sources, profiles = {DEFAULT_SOURCE: metrics}, {"native": NATIVE}
        rules = RuleClock(sources, profiles, Clock(), wake=lambda _: None, telemetry=Telemetry())
        name = Name(BOT.namespace, BOT.prompt)
        rules.watch(name, BOT.version, END - timedelta(days=7), policy or a_policy(rules=LONG), Baselines(), ())
        await rules.tick()
        await metrics.close()
        readings = rules.readings(name)
        assert readings is not None
        return {reading.rule.name: reading for reading in readings.rules}

    return asyncio.run(tick())


def test_before_anything_was_recorded_long_rules_say_so(missing: dict[str, RuleReading]) -> None:
    """The raw samples of eight days are there; the rules of long windows name the recording rules, the others judge."""
    assert missing["elevated-error-rate"].streak.state is State.FIRING
    for rule in ("user-satisfaction-drop", "negative-feedback", "dear-week", "bad-week", "busy-day"):
        assert missing[rule].streak.state is State.UNKNOWN
        assert "recording rules missing" in missing[rule].alert.message


def test_rules_over_24h_and_7d_fire(server: Prometheus) -> None:
    """A day of bad feedback and a dear and faulty week fire; a bound that the week stays within does not."""
    readings = judged(server)
    firing = {name for name, reading in readings.items() if reading.streak.state is State.FIRING}
    assert {"user-satisfaction-drop", "negative-feedback", "dear-week", "bad-week", "busy-day"} <= firing
    assert readings["fine-week"].streak.state is State.NORMAL


@pytest.mark.parametrize("window", WINDOWS)
def test_every_metric_is_true(server: Prometheus, happened: list[Answered], window: str) -> None:
    """Each metric of the language over this window equals what really happened, within the stated error.

    A recorded window ends a minute before the last evaluation, which was up to five minutes ago: when in these five is
    up to Prometheus, which takes it from the name of the rule file.
    """
    span = WINDOWS[window]
    recorded = span >= RECORDED_FROM
    error, ago = (LONG_ERROR, END - last_evaluation(server) + LATE) if recorded else (SHORT_ERROR, timedelta(0))
    assert ago <= timedelta(minutes=6)
    wanted = truth(happened, span.total_seconds(), ago.total_seconds())
    measured = asyncio.run(_measured(server, window))
    assert wanted.keys() == METRICS.keys()
    wrong = {}
    for name, metric in METRICS.items():
        found = estimate(metric, span, measured, min_samples=1, confidence=0.95)
        assert isinstance(found, Estimate), (name, found)
        near = _in_bucket if isinstance(metric.formula, Quantile) else _close
        if not near(found.value, wanted[name], error):
            wrong[name] = (found.value, wanted[name])
    assert not wrong


def last_evaluation(server: Prometheus) -> datetime:
    """Return when the recording rules were last evaluated before the end of the history."""
    (element,) = server.query(f'max(timestamp({COUNTS}{{quantity="evaluations"}}))', END.timestamp())
    return datetime.fromtimestamp(float(element["value"][1]), UTC)


async def _measured(server: Prometheus, window: str) -> dict[Need, Measured]:
    rules = [compile_rule("any", f"{name} > baseline", window=window) for name in METRICS]
    asked = promql.queries(NATIVE, [need for rule in rules for need in needs(rule)], ["shop"])
    metrics = PrometheusMetrics(Source(name="default", url=server.url))
    told: dict[Need, Answer] = {}
    for query in asked:
        told[query.need] = promql.absorb(query, await metrics.query(query.promql, END))
    await metrics.close()
    return promql.reading(NATIVE, BOT, told)


def _close(found: float, true: float, error: float) -> bool:
    return found == pytest.approx(true, rel=error)


def _in_bucket(found: float, true: float, error: float) -> bool:
    above = bisect_left(DURATION_BUCKETS, true)
    low = DURATION_BUCKETS[above - 1] if above else 0.0
    return low * (1 - error) <= found <= DURATION_BUCKETS[above] * (1 + error)


def test_no_evaluation_is_counted_twice_or_missed(server: Prometheus) -> None:
    """A day holds 288 evaluations and a week 2,016, each with the increases of its own five minutes."""
    runs = f'{COUNTS}{{quantity="evaluations"}}'
    for window, count in (("24h", 288.0), ("7d", 2016.0)):
        (element,) = server.query(f"sum_over_time({runs}[{window}])", END.timestamp())
        assert float(element["value"][1]) == count
