"""The operator's own metrics, in one explicit registry, and its logging.

Every label has a bounded set of values: kinds, verbs, codes, states, reasons and guards; never a name, never text.
Single rules, which have names, are shown by `engine.rulegauges`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from prompt_operator.issues import Issues

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bucket bounds in seconds for requests and runs; 10, 20, 40 and 100 ms carry the promised percentiles."""
QUEUE_WAITS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Decades in seconds, as controller-runtime's work queue metrics have them, so that its dashboards fit."""

LogFormat = Literal["json", "text"]


class QueueMetrics:
    """The metrics of one work queue, under the names and with the label that controller-runtime uses."""

    def __init__(self, parent: Telemetry, name: str) -> None:
        self.adds = parent.workqueue_adds.labels(name)
        self.retries = parent.workqueue_retries.labels(name)
        self.queue_seconds = parent.workqueue_queue_duration.labels(name)
        self.work_seconds = parent.workqueue_work_duration.labels(name)
        self._parent, self._name = parent, name

    def observe(
        self, *, depth: Callable[[], float], unfinished: Callable[[], float], longest: Callable[[], float]
    ) -> None:
        """Read these three from the queue whenever somebody scrapes, instead of at every change."""
        self._parent.workqueue_depth.labels(self._name).set_function(depth)
        self._parent.workqueue_unfinished_work.labels(self._name).set_function(unfinished)
        self._parent.workqueue_longest_running.labels(self._name).set_function(longest)

    def finished(self, result: str, seconds: float) -> None:
        """Count one run: result is success, requeue, conflict, retry, gave_up, error or cancelled."""
        self.work_seconds.observe(seconds)
        self._parent.reconciles.labels(self._name, result).inc()
        self._parent.reconcile_duration.labels(self._name).observe(seconds)
        if result in {"error", "retry", "gave_up"}:
            self._parent.reconcile_errors.labels(self._name).inc()


class Telemetry:
    """All metrics of one operator process, which `registry` holds for `/metrics`, and its issues for /diagnostics."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._reconcile_metrics()
        self._queue_metrics()
        self._outside_metrics()
        self._decision_metrics()
        self.issues = Issues()

    def queue(self, name: str) -> QueueMetrics:
        """Return the metrics of the work queue of this name."""
        return QueueMetrics(self, name)

    def collect_process(self) -> None:
        """Add the metrics of the process itself (CPU, memory, file descriptors, Python)."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def observe_store(self, sizes: Mapping[str, Callable[[], int]]) -> None:
        """Read how many records of each kind the store holds whenever somebody scrapes."""
        for kind, size in sizes.items():
            self.store_objects.labels(kind).set_function(size)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = LATENCIES) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _reconcile_metrics(self) -> None:
        self.reconciles = self._counter("prompt_operator_reconcile_total", "Runs by result.", "queue", "result")
        self.reconcile_errors = self._counter("prompt_operator_reconcile_errors_total", "Runs that failed.", "queue")
        self.reconcile_duration = self._histogram(
            "prompt_operator_reconcile_duration_seconds", "Time of a run.", "queue"
        )
        self.projection_latency = self._histogram(
            "prompt_operator_projection_latency_seconds", "Time from a seen change to the ConfigMap written."
        )
        self.tampering_healed = self._counter(
            "prompt_operator_tampering_healed_total", "ConfigMaps put back after a write by someone else.", "how"
        )
        self.status_leftovers = self._counter(
            "prompt_operator_status_leftovers_total", "Status fields of other managers that were removed.", "kind"
        )
        self.hash_mismatches = self._counter(
            "prompt_operator_hash_mismatches_total", "Versions whose content no longer has the hash seen first."
        )
        self.store_objects = self._gauge("prompt_operator_store_objects", "Records held in memory.", "kind")
        self.leader = self._gauge("prompt_operator_leader", "1 while this process decides and writes, 0 in stand-by.")
        self.info = self._gauge(
            "prompt_operator_info", "Always 1; carries the version and the mode.", "version", "mode"
        )

    def _queue_metrics(self) -> None:
        self.workqueue_depth = self._gauge("workqueue_depth", "Keys that wait.", "name")
        self.workqueue_adds = self._counter("workqueue_adds_total", "Keys added.", "name")
        self.workqueue_retries = self._counter("workqueue_retries_total", "Retries planned.", "name")
        self.workqueue_queue_duration = self._histogram(
            "workqueue_queue_duration_seconds", "Time a key waits before its run.", "name", buckets=QUEUE_WAITS
        )
        self.workqueue_work_duration = self._histogram(
            "workqueue_work_duration_seconds", "Time of a run.", "name", buckets=QUEUE_WAITS
        )
        self.workqueue_unfinished_work = self._gauge(
            "workqueue_unfinished_work_seconds", "Sum of the ages of all runs under way.", "name"
        )
        self.workqueue_longest_running = self._gauge(
            "workqueue_longest_running_processor_seconds", "Age of the oldest run under way.", "name"
        )

    def _outside_metrics(self) -> None:
        self.api_requests = self._counter(
            "prompt_operator_api_requests_total", "Requests to the API server by outcome.", "verb", "code"
        )
        self.api_request_duration = self._histogram(
            "prompt_operator_api_request_duration_seconds", "Time of a request to the API server.", "verb"
        )
        self.query_duration = self._histogram(
            "prompt_operator_query_duration_seconds", "Time of a query, by length of its window.", "source", "window"
        )
        self.query_failures = self._counter(
            "prompt_operator_query_failures_total", "Queries without a whole answer.", "source"
        )
        self.source_up = self._gauge(
            "prompt_operator_source_up", "1 while a metric source gives whole answers, else 0.", "source"
        )
        self.events = self._counter("prompt_operator_events_total", "Kubernetes Events written.", "outcome")
        self.events_dropped = self._counter(
            "prompt_operator_events_dropped_total", "Kubernetes Events not written.", "reason"
        )

    def _decision_metrics(self) -> None:
        self.tick_lag = self._gauge("prompt_operator_tick_lag_seconds", "How late the last tick of the rules began.")
        self.ticks_skipped = self._counter(
            "prompt_operator_ticks_skipped_total", "Ticks left out because the one before took too long."
        )
        self.tick_duration = self._histogram("prompt_operator_tick_duration_seconds", "Time of a tick of the rules.")
        self.rollbacks = self._counter(
            "prompt_operator_rollbacks_total", "Rollbacks decided, by what asked for them and why.", "trigger", "reason"
        )
        self.outcomes = self._counter(
            "prompt_operator_rollback_outcomes_total", "Rollbacks judged after their recovery window.", "outcome"
        )
        self.refusals = self._counter("prompt_operator_refusals_total", "Rollbacks refused, by guard.", "guard")
        self.common_causes = self._gauge(
            "prompt_operator_common_causes", "What many failing prompts share now: open incidents, by kind.", "kind"
        )
        self._audit_metrics()

    def _audit_metrics(self) -> None:
        self.audit_entries = self._counter(
            "prompt_operator_audit_entries_total", "Entries written to the audit trail, by what was done.", "verb"
        )
        self.audit_lost = self._counter(
            "prompt_operator_audit_lost_total", "Entries given up because the sink took none for too long."
        )
        self.audit_failures = self._counter(
            "prompt_operator_audit_failures_total", "Attempts to read or write the audit trail that failed.", "sink"
        )
        self.audit_waiting = self._gauge("prompt_operator_audit_waiting", "Entries that wait for the sink.")
        self.audit_head = self._gauge(
            "prompt_operator_audit_head_seq",
            "Number of the last entry of this process's chain: the one writer that it is.",
            "writer",
        )
        self.audit_head_hash = self._gauge(
            "prompt_operator_audit_head_hash",
            "The first 13 hexadecimal digits of that entry's hash, as a number.",
            "writer",
        )


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, then what `extra` gave, then the traceback."""

    _OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": f"{utc(record.created)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in self._OWN and name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class PlainText(logging.Formatter):
    """A line for people: time in UTC, level, logger, message."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")


def utc(seconds: float) -> str:
    """Return `2026-11-21T07:38:16` for seconds since the epoch, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def configure_logging(log_format: LogFormat, level: str) -> None:
    """Send all logging to standard error, in one form, and quieten the loggers that print whole objects.

    kopf prints bodies and patches at debug level, and those hold prompt text: it never goes below WARNING.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else PlainText())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("kopf", "leaderelection", "kubernetes", "aiohttp", "asyncio", "urllib3", "prometheus_api_client"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
