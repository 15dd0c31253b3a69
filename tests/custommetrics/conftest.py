"""Real Prometheus servers with the series of two tenants."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from devcluster.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Filled = Callable[[Mapping[str, float]], Prometheus]

STEP, STEPS = 15, 80
"""Seconds between two samples, and how many there are: twenty minutes."""
END = int(time.time()) // 300 * 300 - 3600
"""The end of the history, an hour ago, so that live samples do not matter."""


def open_metrics(series: Mapping[str, float]) -> Iterator[str]:
    """Yield the text of counters that grow by so much at each step, gauges where the name ends in `_now`."""
    for name, rate in series.items():
        for step in range(STEPS + 1):
            value = rate if name.partition("{")[0].endswith("_now") else rate * step
            yield f"{name} {value} {END - (STEPS - step) * STEP}\n"
    yield "# EOF\n"


def _fill(server: Prometheus, folder: Path, series: Mapping[str, float]) -> None:
    with (folder / "history.om").open("w") as file:
        file.writelines(open_metrics(series))
    blocks = ("tsdb", "create-blocks-from", "openmetrics", "--quiet", str(folder / "history.om"), str(folder / "data"))
    done = subprocess.run([server.promtool, *blocks], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    server.restart()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Start servers that hold these series: name with labels -> growth per step."""
    started: list[Prometheus] = []

    def start(series: Mapping[str, float]) -> Prometheus:
        folder = tmp_path_factory.mktemp("tenants")
        started.append(Prometheus.start(folder))
        _fill(started[-1], folder, series)
        return started[-1]

    yield start
    for server in started:
        server.stop()
