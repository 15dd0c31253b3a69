"""Each profile against metrics that the real libraries of its convention made, asked of the real Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import TypeAlias

import pytest
from tests.devcluster.support import eventually
from tests.profiles import applications, recording
from tests.profiles.applications import FIRST, ODD, TRAFFIC, Application

from devcluster.prometheus import Prometheus
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.estimate import Estimate, estimate
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import METRICS, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.profile import Profile, parse_profile
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.verdict import judge
from prompt_operator.ports import Sample

MINUTE = timedelta(minutes=1)
SHIPPED = load_profiles()
BOT = Identity("shop", "bot", "1.0.0")
Reading: TypeAlias = Mapping[Need, Measured]

DOTTED = parse_profile(
    f"""
name: dotted
identity: {{namespace: k8s.namespace.name, prompt: gen_ai.prompt.name, version: gen_ai.prompt.version}}
quantities:
  requests: {{counter: gen_ai.client.inference.duration_count}}
  errors:
    counter: gen_ai.client.inference.duration_count
    where: [{{label: error.type, is: {json.dumps(ODD)}}}, {{label: 'a "quoted" \\ label', is: {json.dumps(ODD)}}}]
    absent: zero
  latency_buckets: {{histogram: gen_ai.client.inference.duration, where: [{{label: error.type, is_not: x}}]}}
"""
)
SUMMED = parse_profile(
    """
name: summed
extends: otel-genai-v1
quantities:
  requests: {counters: [answered_total, failed_total]}
  errors: {counter: failed_total, absent: zero}
""",
    SHIPPED,
)
PROFILES = {**SHIPPED, "dotted": DOTTED, "summed": SUMMED}
FAILED = sum(request.failed for request in TRAFFIC)
DONE: dict[str, float] = {
    "requests": len(TRAFFIC),
    "errors": FAILED,
    "latency_sum": sum(request.seconds for request in TRAFFIC),
    "latency_count": len(TRAFFIC),
    "latency_sumsq": sum(request.seconds**2 for request in TRAFFIC),
    "input_tokens": sum(request.input for request in TRAFFIC),
    "output_tokens": sum(request.output for request in TRAFFIC),
    "input_tokens_sumsq": sum(request.input**2 for request in TRAFFIC),
    "output_tokens_sumsq": sum(request.output**2 for request in TRAFFIC),
    "tokens_sumsq": sum((request.input + request.output) ** 2 for request in TRAFFIC),
    "cost": sum(request.cost for request in TRAFFIC),
    "cost_sumsq": sum(request.cost**2 for request in TRAFFIC),
    "feedback_count": len(TRAFFIC),
    "feedback_sum": FAILED + 5 * (len(TRAFFIC) - FAILED),
    "feedback_negative": FAILED,
    "automated_score_sum": 7 * len(TRAFFIC),
    "automated_score_count": len(TRAFFIC),
    "calibration_sum": 3 * len(TRAFFIC),
    "calibration_count": len(TRAFFIC),
}
"""Quantity -> what the applications that run here do between two scrapes."""


def running() -> dict[str, Application]:
    """Profile -> what exports by it."""
    return {
        "native": applications.native(),
        "otel-genai-v1": applications.otel_genai_v1(),
        "otel-genai-v2": applications.otel_genai_v2(),
        "envoy-ai-gateway": applications.replay(recording.load("envoy-ai-gateway")),
        "spanmetrics": applications.replay(recording.load("spanmetrics")),
        "litellm": applications.replay(recording.load("litellm")),
        "dotted": applications.dotted(),
        "summed": applications.same_labels(),
    }


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reading]]:
    """Profile -> what was measured of the bot: some requests before the first scrape, the rest after several."""
    started = running()
    with ExitStack() as stack:
        targets = []
        for application in started.values():
            application.work(FIRST)
            server = applications.server(application)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            targets.append(f"127.0.0.1:{server.server_port}")
        prometheus = Prometheus.start(
            tmp_path_factory.mktemp("prometheus"), targets=targets, scrape_interval="100ms", progress=None
        )
        stack.callback(prometheus.stop)
        _scraped(prometheus, len(targets), 10)
        for application in started.values():
            application.work(TRAFFIC)
        _scraped(prometheus, len(targets), 50)
        yield {name: _reading(prometheus, PROFILES[name]) for name in started}


def _scraped(prometheus: Prometheus, targets: int, times: int) -> None:
    """Wait for so many scrapes of every target: the more, the less `increase` has to stretch."""
    often = f"count(count_over_time((up == 1)[1m:100ms]) >= {times})"
    assert eventually(lambda: [row["value"][1] for row in prometheus.query(often)] == [str(targets)], 30)


def _reading(prometheus: Prometheus, profile: Profile) -> Reading:
    """Ask for every quantity of the profile over one minute, in one namespace, as the operator does."""
    needs = [Need(quantity, MINUTE) for quantity in Quantity]
    answers = {}
    for query in promql.queries(profile, needs, ["shop", 'no "such" \\ namespace']):
        rows = prometheus.query(query.promql)
        answers[query.need] = promql.absorb(query, [Sample(row["metric"], float(row["value"][1])) for row in rows])
    return promql.reading(profile, BOT, answers)


def done(profile: str) -> dict[str, float]:
    """What happened between the scrapes: as the recording says, or as the application here did."""
    recorded = profile in {"envoy-ai-gateway", "litellm", "spanmetrics"}
    return recording.load(profile).done if recorded else DONE


@pytest.mark.parametrize("profile", PROFILES)
def test_every_quantity_is_what_happened(readings: dict[str, Reading], profile: str) -> None:
    """Each counter of a profile grew by what the application did, to within what `increase` stretches."""
    happened = done(profile)
    for need, measured in readings[profile].items():
        if isinstance(measured, Histogram):
            continue
        assert isinstance(measured, Amount), (need.quantity, measured)
        if need.quantity in happened:
            assert measured.value == pytest.approx(happened[need.quantity], rel=0.05), need.quantity
        else:
            assert measured.value > 0, need.quantity
    assert {need.quantity for need in readings[profile]} == {*PROFILES[profile].quantities}


@pytest.mark.parametrize(
    ("profile", "low", "high"),
    [
        ("native", 3.0, 4.0),
        ("otel-genai-v1", 2.56, 5.12),
        ("otel-genai-v2", 2.56, 5.12),
        ("envoy-ai-gateway", 2.56, 5.12),
        ("dotted", 2.56, 5.12),
        ("spanmetrics", 2.0, 5.0),
        ("litellm", 0.5, 1.0),
    ],
)
def test_a_quantile_lies_in_the_bucket_of_the_slow_requests(
    readings: dict[str, Reading], profile: str, low: float, high: float
) -> None:
    """The p95, in seconds whatever the exporter's unit, lies between the bounds that the slow requests lie between."""
    found = estimate(METRICS["latency_p95"], MINUTE, readings[profile], min_samples=20, confidence=0.95)
    assert isinstance(found, Estimate)
    assert low < found.value <= high


@pytest.mark.parametrize("profile", SHIPPED)
def test_the_bounds_of_a_profile_are_those_that_are_exported(readings: dict[str, Reading], profile: str) -> None:
    """What lint says of thresholds rests on the bounds that the real thing has unless it is told otherwise."""
    found = readings[profile][Need(Quantity.LATENCY_BUCKETS, MINUTE)]
    assert isinstance(found, Histogram)
    assert [bound for bound, _ in found.buckets[:-1]] == pytest.approx(SHIPPED[profile].latency_bounds)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_failing_version_fires(readings: dict[str, Reading], profile: str) -> None:
    """A quarter of the requests fail: the rule that rolls back is true at its confidence, and a laxer one is not."""
    strict, lax = (compile_rule("errors", f"error_rate > {share}%", window="1m") for share in (5, 60))
    assert judge(strict, readings[profile], Baselines(), min_samples=20, confidence=0.9999).verdict is Verdict.TRUE
    assert judge(lax, readings[profile], Baselines(), min_samples=20, confidence=0.9999).verdict is Verdict.FALSE


@pytest.mark.parametrize("profile", [name for name in SHIPPED if name != "native"])
def test_a_mean_needs_no_squares_for_a_notice(readings: dict[str, Reading], profile: str) -> None:
    """Only our own client counts squares: without them a mean still has its value, at the confidence of a notice."""
    rule = compile_rule("slow", "latency_avg > 1ms", window="1m")
    told = {**readings[profile], **promql.unmeasured(SHIPPED[profile], needs(rule))}
    assert judge(rule, told, Baselines(), min_samples=20, confidence=0.95).verdict is Verdict.TRUE


def test_native_is_whole() -> None:
    """The profile of our own client has every quantity there is; what another lacks is told by its absence."""
    assert {*SHIPPED["native"].quantities} == {*Quantity}


@pytest.mark.parametrize("profile", [name for name in SHIPPED if name != "native"])
def test_a_rule_on_what_is_not_exported_says_so(profile: str) -> None:
    """No convention but our own carries ratings: a rule on them names the profile instead of waiting for data."""
    need = Need(Quantity.FEEDBACK_SUM, MINUTE)
    assert promql.unmeasured(SHIPPED[profile], [need]) == {
        need: Unusable(Reason.NOT_MEASURED, f"profile {profile} has no feedback_sum")
    }
