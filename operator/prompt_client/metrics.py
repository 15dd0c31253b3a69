"""Profile `native`: the metrics an application exports about its prompts.

`prometheus_client` is loaded when the first client is made, not at import. Without it everything works, nothing is
counted, and one warning says so.

How children are kept: a counter whose first scraped value is not 0 loses that value to PromQL's `increase()`. So
every child of a version (each outcome, each error type, each token type) is created at 0 when the version is first
served, and it stays for the life of the process: requests that began before a switch still end in it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from prompt_client.source import ORIGINS, Origin

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("prompt_client")

ERROR_TYPES: Final = ("timeout", "connection", "rate_limited", "provider", "parse", "validation", "refused", "other")
"""Values of the label `error_type`; anything else is counted as `other`."""

DURATION_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60, 120)
"""Seconds; the round numbers that people write into rules are bounds, so that a rule's share is exact."""

FEEDBACK_BUCKETS: Final = (1, 2, 3, 4, 5)
RATING_BUCKETS: Final = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10)

_IDENTITY: Final = ("prompt_namespace", "prompt", "version")


@dataclass(frozen=True, slots=True)
class Identity:
    """The labels that every metric of a version carries."""

    prompt_namespace: str
    prompt: str
    version: str


class Recorder(Protocol):
    """What one version's requests are recorded with."""

    def request(self, error_type: str | None, seconds: float) -> None:
        """Count a finished request; `error_type` None is a success."""

    def tokens(self, *, input: int, output: int, before: tuple[float, float] = (0, 0)) -> None:  # noqa: A002 - the label's values
        """Add to the tokens; `before` are those that the same request has reported already."""

    def cost(self, usd: float, *, before: float = 0) -> None:
        """Add to the cost; `before` is what the same request has cost already."""

    def feedback(self, score: float) -> None:
        """Observe a user's rating, 1 to 5."""

    def automated(self, score: float) -> None:
        """Observe an automated score, 0 to 10."""

    def quality(self, predicted: float, actual: float) -> None:
        """Observe a pair of ratings, 0 to 10, and the distance between them."""


class Metrics(Protocol):
    """What a client reports to."""

    def loaded(self, namespace: str, prompt: str, origin: Origin) -> None:
        """A load ended."""

    def served(self, identity: Identity, content_hash: str) -> None:
        """This version is served from now on."""

    def withdrawn(self, identity: Identity, content_hash: str) -> None:
        """This version is not served any more."""

    def recorder(self, identity: Identity) -> Recorder:
        """Return the recorder of a version; equal identities share one."""


class NoRecorder:
    """Records nothing."""

    def request(self, error_type: str | None, seconds: float) -> None:
        """See `Recorder`."""

    def tokens(self, *, input: int, output: int, before: tuple[float, float] = (0, 0)) -> None:  # noqa: A002
        """See `Recorder`."""

    def cost(self, usd: float, *, before: float = 0) -> None:
        """See `Recorder`."""

    def feedback(self, score: float) -> None:
        """See `Recorder`."""

    def automated(self, score: float) -> None:
        """See `Recorder`."""

    def quality(self, predicted: float, actual: float) -> None:
        """See `Recorder`."""


class NoMetrics:
    """Counts nothing: prometheus_client is not installed, or a test fixed the prompts."""

    def loaded(self, namespace: str, prompt: str, origin: Origin) -> None:
        """See `Metrics`."""

    def served(self, identity: Identity, content_hash: str) -> None:
        """See `Metrics`."""

    def withdrawn(self, identity: Identity, content_hash: str) -> None:
        """See `Metrics`."""

    def recorder(self, identity: Identity) -> Recorder:  # noqa: ARG002
        """See `Metrics`."""
        return NoRecorder()


class NativeRecorder:
    """The children of one version, created at 0."""

    def __init__(self, families: _Families, identity: Identity) -> None:
        labels = _labels(identity)
        self._success = families.requests.labels(*labels, "success", "")
        self._errors = {kind: families.requests.labels(*labels, "error", kind) for kind in ERROR_TYPES}
        self._duration = families.duration.labels(*labels)
        self._duration_squares = families.duration_squares.labels(*labels)
        self._input = families.tokens.labels(*labels, "input")
        self._output = families.tokens.labels(*labels, "output")
        self._token_squares = [families.token_squares.labels(*labels, kind) for kind in ("input", "output", "all")]
        self._cost = families.cost.labels(*labels)
        self._cost_squares = families.cost_squares.labels(*labels)
        self._feedback = families.feedback.labels(*labels)
        self._automated = families.automated.labels(*labels)
        self._predicted = families.predicted.labels(*labels)
        self._actual = families.actual.labels(*labels)
        self._delta = families.delta.labels(*labels)

    def request(self, error_type: str | None, seconds: float) -> None:
        """See `Recorder`."""
        child = self._success if error_type is None else self._errors.get(error_type, self._errors["other"])
        child.inc()
        self._duration.observe(seconds)
        self._duration_squares.inc(seconds * seconds)

    def tokens(self, *, input: int, output: int, before: tuple[float, float] = (0, 0)) -> None:  # noqa: A002
        """See `Recorder`."""
        self._input.inc(input)
        self._output.inc(output)
        grown = (before[0], input), (before[1], output), (sum(before), input + output)
        for squares, (already, more) in zip(self._token_squares, grown, strict=True):
            squares.inc(_square_growth(already, more))

    def cost(self, usd: float, *, before: float = 0) -> None:
        """See `Recorder`."""
        self._cost.inc(usd)
        self._cost_squares.inc(_square_growth(before, usd))

    def feedback(self, score: float) -> None:
        """See `Recorder`."""
        self._feedback.observe(score)

    def automated(self, score: float) -> None:
        """See `Recorder`."""
        self._automated.observe(score)

    def quality(self, predicted: float, actual: float) -> None:
        """See `Recorder`."""
        self._predicted.observe(predicted)
        self._actual.observe(actual)
        self._delta.observe(abs(predicted - actual))


def _square_growth(already: float, more: float) -> float:
    """Return by how much the square of a request's value grows when more is reported of it."""
    return more * (2 * already + more)


class _Families:
    """The metric families of profile `native` on one registry."""

    def __init__(self, prometheus: Any, registry: Any) -> None:
        counter: Callable[..., Any] = functools.partial(prometheus.Counter, registry=registry)
        gauge: Callable[..., Any] = functools.partial(prometheus.Gauge, registry=registry)
        histogram: Callable[..., Any] = functools.partial(
            prometheus.Histogram, labelnames=_IDENTITY, registry=registry, buckets=RATING_BUCKETS
        )
        self.requests = counter(
            "llm_prompt_requests_total", "Requests made with a prompt.", (*_IDENTITY, "outcome", "error_type")
        )
        self.tokens = counter("llm_prompt_tokens_total", "Tokens, by type input and output.", (*_IDENTITY, "type"))
        self.cost = counter("llm_prompt_cost_usd_total", "Cost in US dollars.", _IDENTITY)
        self.duration = histogram(
            "llm_prompt_request_duration_seconds", "Duration of requests.", buckets=DURATION_BUCKETS
        )
        self.token_squares = counter(
            "llm_prompt_tokens_sumsq_total", "Squares of each request's tokens, by type or all.", (*_IDENTITY, "type")
        )
        self.cost_squares = counter("llm_prompt_cost_usd_sumsq_total", "Squares of each request's cost.", _IDENTITY)
        self.duration_squares = counter(
            "llm_prompt_request_duration_seconds_sumsq_total", "Squares of the durations of requests.", _IDENTITY
        )
        self.feedback = histogram("llm_prompt_feedback_score", "Users' ratings, 1 to 5.", buckets=FEEDBACK_BUCKETS)
        self.automated = histogram("llm_prompt_automated_score", "Scores by automated evaluation, 0 to 10.")
        self.predicted = histogram("llm_prompt_quality_predicted", "Quality as predicted, 0 to 10.")
        self.actual = histogram("llm_prompt_quality_actual", "Quality as measured, 0 to 10.")
        self.delta = histogram("llm_prompt_calibration_abs_delta", "Distance of predicted and actual quality.")
        self.loads = counter(
            "llm_prompt_loads_total",
            "Loads of a prompt, by where it came from.",
            ("prompt_namespace", "prompt", "source"),
        )
        self.info = gauge("llm_prompt_info", "1 for the version that is served.", (*_IDENTITY, "hash"))


class NativeMetrics:
    """Profile `native` on one registry of prometheus_client."""

    def __init__(self, prometheus: Any, registry: Any) -> None:
        self._families = _Families(prometheus, registry)
        self._recorders: dict[Identity, NativeRecorder] = {}
        self._lock = threading.Lock()

    def loaded(self, namespace: str, prompt: str, origin: Origin) -> None:
        """See `Metrics`: the first load creates the children of all others at 0."""
        children = {each: self._families.loads.labels(namespace, prompt, each) for each in ORIGINS}
        children[origin].inc()

    def served(self, identity: Identity, content_hash: str) -> None:
        """See `Metrics`."""
        self._families.info.labels(*_labels(identity), content_hash).set(1)

    def withdrawn(self, identity: Identity, content_hash: str) -> None:
        """See `Metrics`: a removed child, unlike one at 0, ends its series."""
        self._families.info.remove(*_labels(identity), content_hash)

    def recorder(self, identity: Identity) -> NativeRecorder:
        """See `Metrics`."""
        with self._lock:
            if identity not in self._recorders:
                self._recorders[identity] = NativeRecorder(self._families, identity)
            return self._recorders[identity]


def _labels(identity: Identity) -> tuple[str, str, str]:
    return identity.prompt_namespace, identity.prompt, identity.version


_by_registry: weakref.WeakKeyDictionary[Any, NativeMetrics] = weakref.WeakKeyDictionary()
_by_registry_lock = threading.Lock()


def metrics_on(registry: Any | None) -> Metrics:
    """Return the metrics on a registry (None: prometheus_client's default one); clients of one registry share them."""
    prometheus = _prometheus()
    if prometheus is None:
        return NoMetrics()
    registry = registry or prometheus.REGISTRY
    with _by_registry_lock:
        if registry not in _by_registry:
            _by_registry[registry] = NativeMetrics(prometheus, registry)
        return _by_registry[registry]


@functools.cache
def _prometheus() -> Any | None:
    try:
        return importlib.import_module("prometheus_client")
    except ImportError:
        logger.warning("prometheus_client is not installed: prompts are served, their metrics are not counted")
        return None
