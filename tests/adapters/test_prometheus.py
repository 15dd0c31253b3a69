"""The Prometheus adapter against a real HTTP server that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import math
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.adapters.answering import (
    Behaviour,
    Handler,
    Server,
    dripping_body,
    dropped,
    element,
    envelope,
    half_a_body,
    raw,
    refusal,
    serving,
    silence,
    stuck_body,
    vector,
)

from prompt_operator.adapters.prometheus import CONCURRENCY, Limits, PrometheusMetrics
from prompt_operator.ports import Sample, Unavailable
from prompt_operator.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

AT = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
LIMITS = Limits(connect_seconds=3.0, total_seconds=3.0, response_bytes=20_000, failures=3, open_seconds=90.0)


@dataclass
class Ticks:
    """A monotonic clock that the test moves."""

    seconds: float = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.seconds


def source(url: str, **fields: Any) -> Source:
    """Settings of a source."""
    return Source(name="default", url=url, **fields)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    with serving() as running:
        yield running


@dataclass
class Client:
    """The adapter under test and its clock."""

    metrics: PrometheusMetrics
    ticks: Ticks

    async def ask(self, promql: str = "up") -> list[Sample]:
        """Ask one query."""
        return list(await self.metrics.query(promql, AT))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """An adapter for the server."""
    ticks = Ticks()
    metrics = PrometheusMetrics(source(f"{server.url}/prefix/"), monotonic=ticks, limits=LIMITS)
    yield Client(metrics, ticks)
    server.finish.set()
    await metrics.close()


async def test_query_goes_as_a_form_with_its_time(server: Server, client: Client) -> None:
    """The query, its instant and its time limit are in the body, however long; the path keeps its prefix."""
    server.behaviour = vector(element("2.5", prompt="bot"))
    promql = "up or " * 10_000 + 'x{y="ä&="}'
    assert await client.ask(promql) == [Sample({"prompt": "bot"}, 2.5)]
    ((path, form),) = server.asked
    assert path == "/prefix/api/v1/query"
    assert form == {
        "query": [promql],
        "time": ["1767268800.250"],
        "timeout": ["3000ms"],
        "partial_response": ["false"],
        "deny_partial_response": ["1"],
    }


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("NaN", math.isnan),
        ("+Inf", lambda value: value == math.inf),
        ("-Inf", lambda value: value == -math.inf),
        ("1e-3", lambda value: value == 0.001),
        ("0", lambda value: value == 0),
    ],
)
async def test_every_number_prometheus_writes(
    server: Server, client: Client, text: str, check: Callable[[float], bool]
) -> None:
    """NaN and both infinities arrive as they are: what they mean is decided elsewhere."""
    server.behaviour = vector(element(text))
    (sample,) = await client.ask()
    assert check(sample.value)


async def test_an_empty_vector_is_an_answer(server: Server, client: Client) -> None:
    """No series is a whole answer, not a failure."""
    server.behaviour = vector()
    assert await client.ask() == []
    assert not client.metrics.breaker.is_open


async def test_a_harmless_info_lets_the_answer_pass(server: Server, client: Client) -> None:
    """An annotation about rounding does not make an answer partial."""
    server.behaviour = vector(element(), infos=["PromQL info: input to histogram_quantile needed to be fixed"])
    assert len(await client.ask()) == 1


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "timeout": (silence, "in time"),
    "400": (refusal(400, "parse error"), "400: parse error"),
    "401": (raw(b"who are you?", 401), "401: who are you?"),
    "404": (raw(b"<html>", 404), "404"),
    "422": (refusal(422, "too many samples"), "422: too many samples"),
    "429": (refusal(429), "429"),
    "500": (refusal(500, "storage"), "500: storage"),
    "503": (refusal(503, "query timed out"), "503: query timed out"),
    "504": (refusal(504), "504"),
    "half a body": (half_a_body, "broke off"),
    "stuck body": (stuck_body, "broke off|finish its answer"),
    "dripping body": (dripping_body, "finish its answer"),
    "dropped connection": (dropped, "cannot be reached"),
    "not JSON": (raw(b"<html>hello</html>"), "not JSON"),
    "empty": (raw(b""), "not JSON"),
    "not text": (raw(b"\xff\xfe\x00"), "not JSON"),
    "broken gzip": (raw(b"not gzip", Content_Encoding="gzip"), "broke off"),
    "another API": (raw(b'{"hello": "world"}'), "address right"),
    "a list": (raw(b"[]"), "address right"),
    "error with 200": (raw(envelope().replace(b"success", b"error")), "error"),
    "warnings": (vector(element(), warnings=["store 3 unavailable"]), "store 3 unavailable"),
    "truncated": (vector(element(), infos=["results truncated due to limit"]), "truncated"),
    "partial (VictoriaMetrics)": (vector(element(), isPartial=True), "isPartial"),
    "nested too deep": (raw(b"[" * 20_000), "not JSON"),
    "matrix": (raw(envelope([], "matrix")), "matrix"),
    "scalar": (raw(envelope([1, "2"], "scalar")), "scalar"),
    "native histogram": (vector({"metric": {}, "histogram": [1, {}]}), "not a sample"),
    "number as number": (vector(element(1.5)), "not a sample"),
    "no number": (vector(element("lots")), "not a sample"),
    "too large": (vector(*[element(label="x" * 100)] * 500), "more than 20000 bytes"),
    "gzip bomb": (raw(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"), "more than 20000 bytes"),
    "redirect": (raw(b"", 302, Location="/elsewhere"), "redirects to /elsewhere"),
}


@pytest.mark.parametrize(("behaviour", "message"), FAULTS.values(), ids=list(FAULTS))
async def test_every_fault_is_unavailable(server: Server, client: Client, behaviour: Behaviour, message: str) -> None:
    """Whatever goes wrong, the answer is Unavailable with the cause, soon, and the next good answer comes through."""
    server.behaviour = behaviour
    async with asyncio.timeout(60):
        with pytest.raises(Unavailable, match=message):
            await client.ask()
    assert len(server.asked) == (2 if behaviour is dropped else 1)
    server.behaviour = vector(element())
    assert len(await client.ask()) == 1


async def test_refused_connection() -> None:
    """Nobody listens: Unavailable at once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    metrics = PrometheusMetrics(source(f"http://127.0.0.1:{port}"), limits=LIMITS)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await metrics.query("up", AT)
    await metrics.close()


async def test_an_idle_connection_that_was_closed_is_tried_once_more(server: Server, client: Client) -> None:
    """The first attempt meets a connection that the server has just dropped; the second one answers."""
    behaviours = [dropped, vector(element())]
    server.behaviour = lambda handler: behaviours.pop(0)(handler)  # noqa: PLW0108  popped when asked
    assert len(await client.ask()) == 1
    assert len(server.asked) == 2


async def failing(client: Client, times: int) -> None:
    """Ask in vain, so many times."""
    for _ in range(times):
        with contextlib.suppress(Unavailable):
            await client.ask()


async def test_breaker_opens_and_tries_again_after_its_time(server: Server, client: Client) -> None:
    """Three failures in a row, then no query for 90 s; one probe; a failed probe waits again, a good one closes."""
    server.behaviour = refusal(503)
    await failing(client, 3)
    assert client.metrics.breaker.is_open
    with pytest.raises(Unavailable, match="left alone") as caught:
        await client.ask()
    assert caught.value.after == 90.0
    client.ticks.seconds = 89.0
    await failing(client, 5)
    assert len(server.asked) == 3
    client.ticks.seconds = 90.0
    await failing(client, 5)
    assert len(server.asked) == 4
    server.behaviour = vector(element())
    client.ticks.seconds = 180.0
    assert await client.ask()
    assert await client.ask()
    assert not client.metrics.breaker.is_open
    assert len(server.asked) == 6


@pytest.mark.parametrize("about_the_query", ["400", "422", "warnings", "too large", "matrix"])
async def test_a_bad_query_does_not_open_the_breaker(server: Server, client: Client, about_the_query: str) -> None:
    """What is wrong with one query says nothing about the others."""
    server.behaviour = FAULTS[about_the_query][0]
    await failing(client, 6)
    assert not client.metrics.breaker.is_open
    assert len(server.asked) == 6


async def test_a_success_resets_the_count(server: Server, client: Client) -> None:
    """Only failures in a row open the breaker."""
    for _ in range(3):
        server.behaviour = refusal(500)
        await failing(client, 2)
        server.behaviour = vector()
        await client.ask()
    assert not client.metrics.breaker.is_open


async def test_half_open_lets_one_probe_through(server: Server, client: Client) -> None:
    """While the probe is under way every other query is refused at once."""
    server.behaviour = refusal(503)
    await failing(client, 3)
    client.ticks.seconds = 90.0
    server.behaviour = silence
    before = len(server.asked)
    results = await asyncio.gather(*(client.ask() for _ in range(4)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert len(server.asked) == before + 1


async def test_a_cancelled_probe_frees_its_place(server: Server, client: Client) -> None:
    """A query that is given up says nothing about the server: the next one may probe."""
    server.behaviour = refusal(503)
    await failing(client, 3)
    client.ticks.seconds = 90.0
    server.behaviour = silence
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.ask()
    server.finish.set()
    server.behaviour = vector(element())
    assert await client.ask()
    assert not client.metrics.breaker.is_open


async def test_at_most_four_queries_at_once(server: Server, client: Client) -> None:
    """Of many queries four are under way, each with a session of its own; the others wait and are answered."""
    barrier = threading.Barrier(CONCURRENCY, timeout=60)
    under_way, most = 0, 0

    def count(handler: Handler) -> None:
        nonlocal under_way, most
        with server.lock:
            under_way += 1
            most = max(most, under_way)
        barrier.wait()
        with server.lock:
            under_way -= 1
        handler.answer(200, envelope())

    server.behaviour = count
    await asyncio.gather(*(client.ask() for _ in range(3 * CONCURRENCY)))
    assert most == CONCURRENCY
    assert len(server.clients) == CONCURRENCY


async def test_closed_is_unavailable(server: Server, client: Client) -> None:
    """After closing there are no answers, and no errors of another kind."""
    await client.ask()
    await client.metrics.close()
    with pytest.raises(Unavailable, match="closed"):
        await client.ask()
    assert len(server.asked) == 1
