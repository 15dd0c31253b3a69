"""Profile `native`, read back through prometheus_client's registry."""

import asyncio
import json
import sys
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from tests.client.conftest import ClientFactory
from tests.client.publications import Kubelet, document, eventually

from prompt_client import Observation, Prompt, metrics
from prompt_client.metrics import ERROR_TYPES

K = {"prompt_namespace": "prod", "prompt": "greeting", "version": "1.0.0"}


@pytest.fixture
def prompt(kubelet: Kubelet, make_client: ClientFactory) -> Prompt:
    """Version 1.0.0 of prod/greeting, served."""
    kubelet.publish(document())
    return make_client().get("greeting")


def outcomes(registry: CollectorRegistry) -> dict[str, float]:
    """Requests of version 1.0.0: error type, or `success`, to a count other than 0."""
    samples = {
        kind or "success": registry.get_sample_value(
            "llm_prompt_requests_total", {**K, "outcome": "error" if kind else "success", "error_type": kind}
        )
        for kind in ("", *ERROR_TYPES)
    }
    return {kind: value for kind, value in samples.items() if value}


def test_every_outcome_begins_at_zero(registry: CollectorRegistry, prompt: Prompt) -> None:
    """A counter born at 1 loses its first error to increase(): all children are there before the first request."""
    assert prompt.version == "1.0.0"
    for kind in ERROR_TYPES:
        sample = registry.get_sample_value("llm_prompt_requests_total", {**K, "outcome": "error", "error_type": kind})
        assert sample == 0
    assert registry.get_sample_value("llm_prompt_requests_total", {**K, "outcome": "success", "error_type": ""}) == 0
    for kind in ("input", "output"):
        assert registry.get_sample_value("llm_prompt_tokens_total", {**K, "type": kind}) == 0
    for kind in ("input", "output", "all"):
        assert registry.get_sample_value("llm_prompt_tokens_sumsq_total", {**K, "type": kind}) == 0
    assert registry.get_sample_value("llm_prompt_cost_usd_total", K) == 0
    assert registry.get_sample_value("llm_prompt_cost_usd_sumsq_total", K) == 0
    assert registry.get_sample_value("llm_prompt_request_duration_seconds_sumsq_total", K) == 0
    assert registry.get_sample_value("llm_prompt_request_duration_seconds_count", K) == 0


def test_a_request_records_everything_the_application_reports(registry: CollectorRegistry, prompt: Prompt) -> None:
    """Outcome, duration, tokens, cost and ratings are in the registry under the names of the contract."""
    with prompt.observe() as request:
        request.tokens(input=100, output=20)
        request.tokens(output=5)
        request.cost(usd=0.25)
        request.automated_score(7.5)
        request.quality(predicted=8, actual=6.5)
    request.feedback(4)
    assert outcomes(registry) == {"success": 1}
    value = registry.get_sample_value
    assert value("llm_prompt_request_duration_seconds_count", K) == 1
    assert value("llm_prompt_tokens_total", {**K, "type": "input"}) == 100
    assert value("llm_prompt_tokens_total", {**K, "type": "output"}) == 25
    assert value("llm_prompt_cost_usd_total", K) == 0.25
    for kind, squared in (("input", 100**2), ("output", 25**2), ("all", 125**2)):
        assert value("llm_prompt_tokens_sumsq_total", {**K, "type": kind}) == squared
    assert value("llm_prompt_cost_usd_sumsq_total", K) == 0.25**2
    seconds = value("llm_prompt_request_duration_seconds_sum", K) or 0
    assert value("llm_prompt_request_duration_seconds_sumsq_total", K) == pytest.approx(seconds**2)
    assert value("llm_prompt_feedback_score_sum", K) == 4
    assert value("llm_prompt_feedback_score_bucket", {**K, "le": "3.0"}) == 0
    assert value("llm_prompt_automated_score_sum", K) == 7.5
    assert value("llm_prompt_quality_predicted_sum", K) == 8
    assert value("llm_prompt_quality_actual_sum", K) == 6.5
    assert value("llm_prompt_calibration_abs_delta_sum", K) == 1.5


def test_marked_outcomes(registry: CollectorRegistry, prompt: Prompt) -> None:
    """success() and error() mark a request, the last one counts, an unknown type is `other`."""
    with prompt.observe() as request:
        request.error("parse")
    with prompt.observe() as request:
        request.error("never heard of")
    with prompt.observe() as request:
        request.error("parse")
        request.success()
    assert outcomes(registry) == {"parse": 1, "other": 1, "success": 1}


def leave_with(error: Exception, prompt: Prompt, mark: Callable[[Observation], None]) -> None:
    """Make a request that is marked and then leaves its block with an exception."""
    with prompt.observe() as request:
        mark(request)
        raise error


class RateLimitError(Exception):
    """Named as providers name it."""


class APITimeoutError(ConnectionError):
    """The nearest known name decides, not that of the base class."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (APITimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (RateLimitError(), "rate_limited"),
        (json.JSONDecodeError("bad", "", 0), "parse"),
        (KeyError("a"), "other"),
    ],
)
def test_an_exception_is_an_error_of_a_bounded_type(
    registry: CollectorRegistry, prompt: Prompt, error: Exception, expected: str
) -> None:
    """An exception that leaves the block is counted by its class, and goes on; even after success()."""
    with pytest.raises(type(error)):
        leave_with(error, prompt, Observation.success)
    assert outcomes(registry) == {expected: 1}


def test_an_error_that_was_marked_wins_over_the_exception(registry: CollectorRegistry, prompt: Prompt) -> None:
    """The application knows better than the class of what it raises."""
    with pytest.raises(KeyError):
        leave_with(KeyError(), prompt, lambda request: request.error("parse"))
    assert outcomes(registry) == {"parse": 1}


@pytest.mark.parametrize("leave", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_a_cancelled_request_is_not_counted(
    registry: CollectorRegistry, prompt: Prompt, leave: type[BaseException]
) -> None:
    """A user who closes the browser says nothing about the prompt: no outcome, no duration, no rollback."""
    with pytest.raises(leave), prompt.observe():
        raise leave
    assert outcomes(registry) == {}
    assert registry.get_sample_value("llm_prompt_request_duration_seconds_count", K) == 0


def test_values_out_of_range_are_refused(prompt: Prompt) -> None:
    """A rating of 0 or a negative cost is a bug in the caller, not a sample."""
    request = prompt.observe()
    calls: tuple[Callable[[], None], ...] = (
        lambda: request.feedback(0),
        lambda: request.feedback(float("nan")),
        lambda: request.cost(-1),
        lambda: request.cost(float("inf")),
        lambda: request.tokens(input=-1),
        lambda: request.automated_score(11),
        lambda: request.quality(predicted=11, actual=1),
    )
    for call in calls:
        with pytest.raises(ValueError, match="must be a number from"):
            call()


def info(registry: CollectorRegistry) -> list[tuple[str, str]]:
    """(namespace, version) of each sample of llm_prompt_info."""
    return [
        (sample.labels["prompt_namespace"], sample.labels["version"])
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "llm_prompt_info"
    ]


def test_info_is_there_for_the_served_version_only(
    registry: CollectorRegistry, kubelet: Kubelet, make_client: ClientFactory
) -> None:
    """The operator reads from it which pods have switched: the version before must be gone."""
    client = make_client(reload="poll", poll_seconds=0.02, fallbacks={"greeting": "Built in."}, namespace="")
    client.get("greeting")
    assert info(registry) == [("", "fallback")]
    kubelet.publish_text("1.0.0", "one")
    eventually(lambda: info(registry) == [("prod", "1.0.0")], "1.0.0 alone has an info")
    kubelet.publish_text("2.0.0", "two")
    eventually(lambda: info(registry) == [("prod", "2.0.0")], "2.0.0 alone has an info")


def test_info_goes_when_nothing_is_served(
    registry: CollectorRegistry, kubelet: Kubelet, make_client: ClientFactory
) -> None:
    """Mode Fallback without a built-in text: no version is served, so none is claimed."""
    kubelet.publish(document())
    client = make_client(reload="poll", poll_seconds=0.02)
    client.get("greeting")
    kubelet.publish(document(mode="Fallback"))
    eventually(lambda: info(registry) == [], "no info is left")


def test_a_request_that_began_before_a_switch_counts_for_its_version(
    registry: CollectorRegistry, kubelet: Kubelet, make_client: ClientFactory, prompt: Prompt
) -> None:
    """The version of the prompt object decides, not what is served when the answer comes."""
    kubelet.publish_text("2.0.0", "two")
    other = make_client().get("greeting")
    with prompt.observe() as request:
        request.error("timeout")
    assert other.version == "2.0.0"
    assert outcomes(registry) == {"timeout": 1}


def test_loads_are_counted_by_source(registry: CollectorRegistry, kubelet: Kubelet, make_client: ClientFactory) -> None:
    """Each source has a child from the first load on."""
    kubelet.publish(document())
    make_client().get("greeting")
    loads = {
        origin: registry.get_sample_value(
            "llm_prompt_loads_total", {"prompt_namespace": "prod", "prompt": "greeting", "source": origin}
        )
        for origin in ("configmap", "cache", "fallback", "error")
    }
    assert loads == {"configmap": 1, "cache": 0, "fallback": 0, "error": 0}


def test_a_fallback_counts_an_error_and_a_fallback(registry: CollectorRegistry, make_client: ClientFactory) -> None:
    """Serving the built-in text because the folder is missing is seen in both."""
    make_client(fallbacks={"greeting": "Built in."}, namespace="dev").get("greeting")
    labels = {"prompt_namespace": "dev", "prompt": "greeting"}
    for origin in ("error", "fallback"):
        assert registry.get_sample_value("llm_prompt_loads_total", {**labels, "source": origin}) == 1


def test_without_prometheus_client_prompts_are_served_and_one_warning_says_it(
    kubelet: Kubelet, make_client: ClientFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The metrics are optional: observe() works without the package and counts nothing."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics._prometheus.cache_clear()
    try:
        kubelet.publish(document())
        for _ in range(2):
            with make_client().get("greeting").observe() as request:
                request.tokens(input=1, output=1)
                request.cost(0.1)
                request.feedback(3)
                request.automated_score(3)
                request.quality(predicted=1, actual=2)
    finally:
        metrics._prometheus.cache_clear()
    assert [record.message for record in caplog.records] == [
        "prometheus_client is not installed: prompts are served, their metrics are not counted"
    ]
