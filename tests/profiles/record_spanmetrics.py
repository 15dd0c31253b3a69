"""Record the spanmetrics connector: `python -m tests.profiles.record_spanmetrics PATH/OF/collector RELEASE`.

Needs an OpenTelemetry Collector with the OTLP receiver, the spanmetrics connector and the Prometheus exporter, as the
contrib distribution has them. It runs on loopback and is sent spans by OTLP over HTTP.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
import yaml
from tests.profiles.recording import Recording, save

from devcluster.ports import LOOPBACK, free_port

FAST, SLOW = 700, 4000
"""Milliseconds."""
ERROR, UNSET = 2, 0
CLIENT, INTERNAL = 3, 1
CALLS = [(FAST, ERROR)] * 15 + [(SLOW, UNSET)] * 9 + [(FAST, UNSET)] * 36
"""Duration and status of each span between the scrapes."""


def main(program: str, release: str) -> None:
    """Run the collector, send spans between two scrapes, and save what it exposed."""
    receiver, exporter = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(_config(receiver, exporter)), "utf-8")
        quiet = subprocess.DEVNULL
        collector = subprocess.Popen([program, "--config", f"file:{config}"], stdout=quiet, stderr=quiet)
        try:
            save("spanmetrics", _recorded(f"http://{LOOPBACK}:{receiver}", f"http://{LOOPBACK}:{exporter}", release))
        finally:
            collector.terminate()
            collector.wait(30)


def _config(receiver: int, exporter: int) -> dict[str, Any]:
    dimensions = ["k8s.namespace.name", "gen_ai.prompt.name", "gen_ai.prompt.version"]
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{LOOPBACK}:{receiver}"}}}},
        "connectors": {
            "span_metrics": {"dimensions": [{"name": name} for name in dimensions], "metrics_flush_interval": "1s"}
        },
        "exporters": {"prometheus": {"endpoint": f"{LOOPBACK}:{exporter}"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["span_metrics"]},
                "metrics": {"receivers": ["span_metrics"], "exporters": ["prometheus"]},
            },
        },
    }


def _recorded(receiver: str, exporter: str, release: str) -> Recording:
    # A series begins with its first event: these are not part of the growth.
    _send(receiver, [_span(FAST, ERROR), _span(FAST, UNSET), _span(FAST, UNSET, INTERNAL)])
    before = _scrape(exporter, 2)
    # The span of an agent around each call carries the same attributes.
    _send(receiver, [_span(*call, kind) for call in CALLS for kind in (CLIENT, INTERNAL)])
    after = _scrape(exporter, 2 + len(CALLS))
    about = {
        "library": f"spanmetricsconnector {release}, prometheusexporter {release}",
        "date": datetime.now(tz=UTC).date().isoformat(),
        "by": Path(__file__).name,
        "done": {
            "requests": len(CALLS),
            "errors": sum(status == ERROR for _, status in CALLS),
            "latency_sum": sum(duration for duration, _ in CALLS) / 1000,
        },
    }
    return Recording(before, after, about)


def _span(duration: int, status: int, kind: int = CLIENT) -> dict[str, Any]:
    began = 1_700_000_000_000_000_000
    return {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": "chat gpt-4o-mini",
        "kind": kind,
        "startTimeUnixNano": str(began),
        "endTimeUnixNano": str(began + duration * 1_000_000),
        "attributes": _attributes({"gen_ai.prompt.name": "bot", "gen_ai.prompt.version": "1.0.0"}),
        "status": {"code": status},
    }


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _send(receiver: str, spans: list[dict[str, Any]]) -> None:
    resource = {"attributes": _attributes({"service.name": "bot", "k8s.namespace.name": "shop"})}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            requests.post(f"{receiver}/v1/traces", json=body, timeout=10).raise_for_status()
        except requests.ConnectionError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the collector did not start")


def _scrape(exporter: str, spans: int) -> str:
    """Return the metrics once every span so far is counted: the connector flushes once a second."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = requests.get(f"{exporter}/metrics", timeout=5).text
        calls = [line for line in text.splitlines() if line.startswith("traces_span_metrics_calls_total{")]
        counted = sum(float(line.rsplit(" ", 1)[1]) for line in calls if "SPAN_KIND_CLIENT" in line)
        if counted >= spans:
            return text
        time.sleep(0.2)
    raise SystemExit("the spans were not counted")


if __name__ == "__main__":
    main(*sys.argv[1:])
