"""Prometheus, through prometheus-api-client: a whole, trustworthy answer or Unavailable, within a known time.

The library is synchronous, has no time limit of its own, retries 503 (which Prometheus sends for a query that took too
long), puts a POST's query into the URL, and drops warnings, so that a partial answer looks whole. All of that is put
right in the session it is given: `_FormAdapter` moves the query into the body, `_Envelope` judges the raw answer.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from prompt_operator.ports import Sample, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

CONCURRENCY = 4
"""Queries under way at once; the rest wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is waited for and accepted."""

    connect_seconds: float = 3.0
    total_seconds: float = 30.0
    """For one query, from sending it to the last byte of the answer; Prometheus is told the same."""
    response_bytes: int = 64 * 1024 * 1024
    """Of the answer, decompressed."""
    failures: int = 5
    """In a row, after which the server is left alone."""
    open_seconds: float = 90.0


class Breaker:
    """Closed, open for `open_seconds` after `failures` in a row, then half open: one probe decides.

    For use from one thread (the event loop's). Every `enter` must be followed by one of `succeeded`, `failed`, `left`.
    """

    def __init__(self, name: str, monotonic: Callable[[], float], *, failures: int, open_seconds: float) -> None:
        self._name = name
        self._monotonic = monotonic
        self._failures = failures
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for a probe."""
        return self._opened_at is not None

    def enter(self) -> None:
        """Ask to make a call; Unavailable, with the seconds to wait, while the breaker is open."""
        if self._opened_at is None:
            return
        remaining = self._opened_at + self._open_seconds - self._monotonic()
        if remaining > 0 or self._probing:
            raise Unavailable(
                f"{self._name} failed {self._in_a_row} times in a row and is left alone: "
                f"next attempt in {max(0.0, remaining):.0f} s",
                after=max(0.0, remaining),
            )
        self._probing = True

    def succeeded(self) -> None:
        """The other side is there: close."""
        self._in_a_row, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        """The other side is not there: open when this was the last straw, or a probe."""
        self._in_a_row += 1
        if self._in_a_row >= self._failures:
            self._opened_at = self._monotonic()
        self._probing = False

    def left(self) -> None:
        """The call ended without saying anything about the other side (it was cancelled)."""
        self._probing = False


class _Refused(Unavailable):
    """The server works, but not for this query (400, 422) or not completely: says nothing about other queries."""


class PrometheusMetrics:
    """`ports.Metrics` over HTTP. At most four queries run at once, each in a thread with a session of its own.

    Args:
        url: Base address, such as `http://prometheus.monitoring:9090`; a path prefix is kept.
        lag: How far behind the present its newest data may be.
        monotonic: A clock for intervals, in seconds.
        session: Makes the sessions, with the credentials and certificates they need.
        limits: Times and sizes.
    """

    def __init__(
        self,
        url: str,
        *,
        lag: timedelta = timedelta(),
        monotonic: Callable[[], float] = time.monotonic,
        session: Callable[[], requests.Session] = requests.Session,
        limits: Limits | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._lag = lag
        self._limits = limits or Limits()
        self._session = session
        self._breaker = Breaker(
            "Prometheus", monotonic, failures=self._limits.failures, open_seconds=self._limits.open_seconds
        )
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._executor = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="prometheus")
        self._own = threading.local()
        self._connections: list[PrometheusConnect] = []
        self._closed = False

    @property
    def lag(self) -> timedelta:
        """How far behind the present its newest data may be."""
        return self._lag

    @property
    def connected(self) -> bool:
        """Whether the last queries were answered (the circuit breaker is closed)."""
        return not self._breaker.is_open

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Evaluate an instant query.

        Raises:
            Unavailable: for any failure, timeout, warning, truncation or partial answer, and without asking while the
                circuit breaker is open (`after` is then the number of seconds until the next attempt).
        """
        async with self._slots:
            if self._closed:
                raise Unavailable("the connection to Prometheus was closed")
            self._breaker.enter()
            try:
                samples = await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, promql, at)
            except _Refused:
                self._breaker.succeeded()
                raise
            except Unavailable:
                self._breaker.failed()
                raise
            except BaseException:
                self._breaker.left()
                raise
            self._breaker.succeeded()
            return samples

    async def close(self) -> None:
        """Drop queries that have not begun, wait for those under way (at most their time limit), close connections."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _ask(self, promql: str, at: datetime) -> tuple[Sample, ...]:
        """Ask, in a thread. A connection that was dropped before any answer (mostly an idle one) is tried once more."""
        try:
            return self._ask_once(promql, at)
        except requests.exceptions.ConnectionError as error:
            if isinstance(error, requests.exceptions.Timeout):
                raise _unavailable(error) from error
        except requests.exceptions.RequestException as error:
            raise _unavailable(error) from error
        try:
            return self._ask_once(promql, at)
        except requests.exceptions.RequestException as error:
            raise _unavailable(error) from error

    def _ask_once(self, promql: str, at: datetime) -> tuple[Sample, ...]:
        limits = self._limits
        parameters = {
            "time": f"{at.timestamp():.3f}",
            "timeout": f"{limits.total_seconds:g}s",
            "partial_response": "false",  # Thanos; Prometheus does not look at it
        }
        try:
            result = self._connection().custom_query(
                promql, parameters, timeout=(limits.connect_seconds, limits.total_seconds)
            )
        except PrometheusApiClientException as error:  # _Envelope raises first; kept for what it may let pass
            raise Unavailable(f"Prometheus: {error}") from error
        return tuple(map(_sample, result))

    def _connection(self) -> PrometheusConnect:
        connection: PrometheusConnect | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
            self._connections.append(connection)
        return connection

    def _connect(self) -> PrometheusConnect:
        session = self._session()
        session.hooks["response"].append(_Envelope(self._limits))
        connection = PrometheusConnect(self._url, session=session, method="POST")
        session.mount(self._url, _FormAdapter(max_retries=Retry(total=0, read=False)))
        return connection


class _FormAdapter(HTTPAdapter):
    """Sends a POST's parameters as a form: a grouped query outgrows the length that proxies allow a URL."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        if request.method == "POST" and parts.query:
            request.url = urlunsplit(parts._replace(query=""))
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
            request.prepare_body(parts.query, None)
        return super().send(request, *args, **kwargs)


class _Envelope:
    """Response hook: reads the answer within its limits, and lets it pass only if it is whole."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __call__(self, response: requests.Response, **_: Any) -> None:
        if response.is_redirect:
            raise Unavailable(f"Prometheus redirects to {response.headers['Location']}: configure the address it names")
        body = self._read(response)
        if response.status_code != requests.codes.ok:
            raise _failure(response.status_code, body)
        envelope = _parsed(body)
        _check_whole(envelope)
        response.json = lambda **_: envelope  # type: ignore[method-assign]  # parsed once is enough

    def _read(self, response: requests.Response) -> bytes:
        """Read the body piece by piece: a server that drips or floods is cut off."""
        try:
            body = b"".join(self._pieces(response))
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"Prometheus broke off its answer: {error}") from error
        response._content = body  # noqa: SLF001  # requests has no other way to hand over a body that was read
        return body

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """Yield what is there as soon as it is; `iter_content` would wait for full pieces, however slowly they come."""
        limits, size = self._limits, 0
        deadline = time.monotonic() + limits.total_seconds - response.elapsed.total_seconds()
        while piece := response.raw.read1(65536, decode_content=True):
            yield piece
            size += len(piece)
            if size > limits.response_bytes:
                response.close()
                raise _Refused(f"Prometheus answered more than {limits.response_bytes} bytes: ask for fewer prompts")
            if time.monotonic() > deadline:
                response.close()
                raise Unavailable(f"Prometheus did not finish its answer within {limits.total_seconds:g} s")


_ABOUT_THE_QUERY = frozenset({requests.codes.bad_request, requests.codes.unprocessable_entity})


def _failure(status: int, body: bytes) -> Unavailable:
    """Turn a status into what to do, with Prometheus' own words where there are some."""
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        said = body[:200].decode(errors="replace")
    kind = _Refused if status in _ABOUT_THE_QUERY else Unavailable
    return kind(f"Prometheus answered {status}: {said[:500]}")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(body)
    except ValueError as error:
        raise Unavailable(f"Prometheus' answer is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict):
        raise Unavailable("the answer is not one of Prometheus' API: is the address right?")
    return envelope


def _check_whole(envelope: dict[str, Any]) -> None:
    """Raise for an answer that is not a complete instant vector. Of infos only those matter that say it was cut."""
    if envelope.get("status") != "success":
        raise Unavailable(f"Prometheus answered {envelope.get('status')}: {envelope.get('error')}")
    if warnings := envelope.get("warnings"):
        raise _Refused(f"Prometheus answered with warnings, so the answer may be partial: {str(warnings)[:500]}")
    if cut := [info for info in envelope.get("infos") or () if _says_cut(str(info))]:
        raise _Refused(f"Prometheus' answer is not complete: {str(cut)[:500]}")
    data = envelope["data"]
    if data.get("resultType") != "vector" or not isinstance(data.get("result"), list):
        raise _Refused(f"the query gave a {data.get('resultType')}, not an instant vector")


def _says_cut(info: str) -> bool:
    return any(word in info.lower() for word in ("truncat", "partial", "limit"))


def _sample(element: Any) -> Sample:
    """Read one element: `{"metric": {label: value}, "value": [time, "number"]}`; numbers are text, NaN and +Inf too."""
    try:
        (_, value), labels = element["value"], element["metric"]
        if isinstance(value, str) and isinstance(labels, dict):
            return Sample(labels, float(value))
    except (KeyError, TypeError, ValueError):
        pass
    raise Unavailable(f"an element of Prometheus' answer is not a sample with a number: {str(element)[:200]}")


def _unavailable(error: requests.exceptions.RequestException) -> Unavailable:
    if isinstance(error, requests.exceptions.Timeout):
        return Unavailable(f"Prometheus did not answer in time: {error}")
    return Unavailable(f"Prometheus cannot be reached: {error}")
