"""Applications that export their requests by one convention each, through the real libraries of that convention.

Every application is called with a list of requests and counts them; `exposition` serves what it exports.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.util.genai.handler import TelemetryHandler
from prometheus_client import CollectorRegistry, Counter, Histogram, exposition

from devcluster.ports import LOOPBACK
from prompt_client.metrics import Identity as Served
from prompt_client.metrics import metrics_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.profiles.recording import Recording

Scrape: TypeAlias = "Callable[[str], tuple[bytes, str]]"
"""From the Accept header to a body and its content type."""


@dataclass(frozen=True)
class Request:
    """One request of the bot of namespace shop."""

    seconds: float
    failed: bool = False
    input: int = 11
    output: int = 7
    cost: float = 0.004


TRAFFIC = [Request(0.7, failed=True, output=0)] * 15 + [Request(4.0)] * 9 + [Request(0.7)] * 36
FIRST = [Request(0.7, failed=True), Request(0.7)]
"""A series begins with its first event, which no increase sees."""


@dataclass(frozen=True)
class Application:
    """Something that is scraped: `work` makes requests, `scrape` is its /metrics."""

    work: Callable[[Iterable[Request]], None]
    scrape: Scrape


def _exposed(registry: CollectorRegistry) -> Scrape:
    def scrape(accept: str) -> tuple[bytes, str]:
        encode, content_type = exposition.choose_encoder(accept)
        return encode(registry), content_type

    return scrape


def native() -> Application:
    """prompt_client."""
    registry = CollectorRegistry()
    recorder = metrics_on(registry).recorder(Served("shop", "bot", "1.0.0"))

    def work(requests: Iterable[Request]) -> None:
        for request in requests:
            recorder.request("timeout" if request.failed else None, request.seconds)
            recorder.tokens(input=request.input, output=request.output)
            recorder.cost(request.cost)
            recorder.feedback(1 if request.failed else 5)
            recorder.quality(predicted=8, actual=5)
            recorder.automated(7)

    return Application(work, _exposed(registry))


NAMED = {"k8s.namespace.name": "shop", "gen_ai.prompt.name": "bot", "gen_ai.prompt.version": "1.0.0"}


def otel_genai_v1() -> Application:
    """The utilities that OpenTelemetry's own instrumentations of model clients are built on."""
    registry = CollectorRegistry()
    handler = TelemetryHandler(meter_provider=MeterProvider([PrometheusMetricReader(registry=registry)]))

    def work(requests: Iterable[Request]) -> None:
        for request in requests:
            invocation = handler.inference("openai", request_model="gpt-4o-mini")
            invocation._monotonic_start_s -= request.seconds
            invocation.metric_attributes.update(NAMED)
            invocation.input_tokens, invocation.output_tokens = request.input, request.output
            invocation.fail(TimeoutError()) if request.failed else invocation.stop()

    return Application(work, _exposed(registry))


DURATIONS = [0.01 * 2**n for n in range(14)]


def otel_genai_v2() -> Application:
    """The later conventions, for which there is no instrumentation to install: their instruments, made by hand."""
    registry = CollectorRegistry()
    meter = MeterProvider([PrometheusMetricReader(registry=registry)]).get_meter("by-hand")
    duration = _durations(meter, "gen_ai.client.inference.duration")
    usage = "gen_ai.client.inference.usage"
    tokens = {kind: meter.create_counter(f"{usage}.{kind}_tokens", unit="{token}") for kind in ("input", "output")}
    cached = meter.create_counter(f"{usage}.cache_read.input_tokens", unit="{token}")

    def work(requests: Iterable[Request]) -> None:
        for request in requests:
            error = {"error.type": "timeout"} if request.failed else {}
            duration.record(request.seconds, {**NAMED, **error})
            tokens["input"].add(request.input - 1, {**NAMED, "gen_ai.token.modality": "text"})
            tokens["input"].add(1, {**NAMED, "gen_ai.token.modality": "image"})
            cached.add(5, {**NAMED, "gen_ai.token.modality": "text"})
            tokens["output"].add(request.output, {**NAMED, "gen_ai.token.modality": "text"})

    return Application(work, _exposed(registry))


def _durations(meter: Any, name: str) -> Any:
    return meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=DURATIONS)


def dotted() -> Application:
    """Names as OpenTelemetry has them, which Prometheus keeps with the translation strategy NoTranslation."""
    registry = CollectorRegistry()
    labels = [*NAMED, "error.type", 'a "quoted" \\ label']
    duration = Histogram("gen_ai.client.inference.duration", "s", labels, registry=registry, buckets=DURATIONS)

    def work(requests: Iterable[Request]) -> None:
        for request in requests:
            error = ODD if request.failed else ""
            duration.labels(*NAMED.values(), error, ODD).observe(request.seconds)

    return Application(work, _exposed(registry))


ODD = 'a "b" \\n\\ \n\té{}|.*'
"""A label value with all that needs escaping."""


def same_labels() -> Application:
    """Two counters whose series differ in nothing but the name."""
    registry = CollectorRegistry()
    labels = ["k8s_namespace_name", "gen_ai_prompt_name", "gen_ai_prompt_version"]
    good, bad = (Counter(name, "Requests.", labels, registry=registry) for name in ("answered", "failed"))

    def work(requests: Iterable[Request]) -> None:
        for request in requests:
            (bad if request.failed else good).labels(*NAMED.values()).inc()

    return Application(work, _exposed(registry))


def replay(recording: Recording) -> Application:
    """A program that was recorded: its first work is what it had done before, its second what it did then."""
    texts = [recording.before, recording.before, recording.after]

    def work(_: Iterable[Request]) -> None:
        texts.pop(0)

    return Application(work, lambda _: (texts[0].encode(), "text/plain; version=0.0.4; charset=utf-8"))


def server(application: Application) -> ThreadingHTTPServer:
    """Return a server on a free port of loopback whose every path is the application's /metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = application.scrape(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer((LOOPBACK, 0), Handler)
