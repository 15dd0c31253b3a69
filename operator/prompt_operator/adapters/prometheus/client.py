"""Prometheus, through prometheus-api-client: a whole, trustworthy answer or Unavailable, within a known time.

The library is synchronous, has no time limit of its own, retries 503 (which Prometheus sends for a query that took too
long), puts a POST's query into the URL, and drops warnings, so that a partial answer looks whole. All of that is put
right in the session it is given: `_FormTransport` moves the query into the body, `Envelope` judges the raw answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from prompt_operator.adapters.prometheus.access import Credentials, Tls, Transport, Unready
from prompt_operator.adapters.prometheus.answer import Envelope, Limits, Refused
from prompt_operator.breaker import Breaker
from prompt_operator.ports import Unavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from prompt_operator.ports import Sample
    from prompt_operator.sources import Source

CONCURRENCY = 4
"""Queries under way at once; the rest wait."""


class PrometheusMetrics:
    """`ports.Metrics` over HTTP. At most four queries run at once, each in a thread with a session of its own.

    Args:
        source: Address, certificates, credentials, lag and timeout.
        monotonic: A clock for intervals, in seconds.
        limits: Times and sizes; None: the usual ones, with the source's timeout.
    """

    def __init__(
        self, source: Source, *, monotonic: Callable[[], float] = time.monotonic, limits: Limits | None = None
    ) -> None:
        self._source = source
        self._limits = limits or replace(Limits(), total_seconds=source.timeout.total_seconds())
        self._credentials, self._tls = Credentials(source), Tls(source)
        name = f"metric source {source.name}"
        self.breaker = Breaker(name, monotonic, failures=self._limits.failures, open_seconds=self._limits.open_seconds)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._executor = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix=name)
        self._connections: dict[int, tuple[ssl.SSLContext | None, PrometheusConnect]] = {}
        """Thread -> its connection, and the TLS context that was made with."""
        self._closed = False

    @property
    def name(self) -> str:
        """What prompts call it in `metrics.source`."""
        return self._source.name

    @property
    def lag(self) -> timedelta:
        """How far behind the present its newest samples may be."""
        return self._source.query_lag

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Evaluate an instant query.

        Raises:
            Unavailable: for any failure, timeout, warning, truncation or partial answer, and without asking while the
                circuit breaker is open (`after` is then the number of seconds until the next attempt).
        """
        async with self._slots:
            if self._closed:
                raise Unavailable("the connection to Prometheus was closed")
            self.breaker.enter()
            try:
                samples = await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, promql, at)
            except Refused:
                self.breaker.succeeded()
                raise
            except Unready:
                self.breaker.left()
                raise
            except Unavailable:
                self.breaker.failed()
                raise
            except BaseException:
                self.breaker.left()
                raise
            self.breaker.succeeded()
            return samples

    async def close(self) -> None:
        """Drop queries that have not begun, wait for those under way (at most their time limit), close connections."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        for _, connection in self._connections.values():
            connection.close()

    def _ask(self, promql: str, at: datetime) -> Sequence[Sample]:
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

    def _ask_once(self, promql: str, at: datetime) -> Sequence[Sample]:
        limits = self._limits
        parameters = {
            "time": f"{at.timestamp():.3f}",
            "timeout": f"{limits.total_seconds * 1000:.0f}ms",  # a fraction of a second has no other spelling
            "partial_response": "false",  # Thanos; others do not look at it
            "deny_partial_response": "1",  # VictoriaMetrics
        }
        try:
            samples: list[Sample] = self._connection().custom_query(
                promql, parameters, timeout=(limits.connect_seconds, limits.total_seconds)
            )
        except PrometheusApiClientException as error:  # Envelope raises first; kept for what it may let pass
            raise Unavailable(f"Prometheus: {error}") from error
        return samples

    def _connection(self) -> PrometheusConnect:
        """Return this thread's connection, made anew when a certificate is another one."""
        thread, tls = threading.get_ident(), self._tls.context()
        context, connection = self._connections.get(thread, (None, None))
        if connection is not None and context is tls:
            return connection
        if connection is not None:
            connection.close()
        connection = self._connect(tls)
        self._connections[thread] = tls, connection
        return connection

    def _connect(self, tls: ssl.SSLContext | None) -> PrometheusConnect:
        session = requests.Session()
        session.auth = self._credentials
        session.hooks["response"].append(Envelope(self._limits, self._credentials.conceal))
        connection = PrometheusConnect(self._source.url, session=session, method="POST")
        session.mount(self._source.url, _FormTransport(tls, self._source.server_name))
        return connection


class _FormTransport(Transport):
    """Sends a POST's parameters as a form: a grouped query outgrows the length that proxies allow a URL."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        if request.method == "POST" and parts.query:
            request.url = urlunsplit(parts._replace(query=""))
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
            request.prepare_body(parts.query, None)
        return super().send(request, *args, **kwargs)


def _unavailable(error: requests.exceptions.RequestException) -> Unavailable:
    if isinstance(error, requests.exceptions.Timeout):
        return Unavailable(f"Prometheus did not answer in time: {error}")
    return Unavailable(f"Prometheus cannot be reached: {error}")
