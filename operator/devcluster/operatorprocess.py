"""The real operator as a process of its own, against any cluster."""

import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster import http
from devcluster.errors import DevError
from devcluster.paths import REPO
from devcluster.ports import LOOPBACK, free_port
from devcluster.processes import ProcessSet, Running

_START_DEADLINE = 120.0  # seconds until /readyz, with thousands of objects in the store
_ATTEMPTS = 4


def bare(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command run with exactly this environment: nothing of the caller's shell reaches it."""
    env = shutil.which("env") or "/usr/bin/env"
    return [env, "-i", *(f"{name}={value}" for name, value in environment.items()), *command]


class OperatorProcess:
    """`prompt-operator run` with log and record in `folder`, health and metrics on a free port; `more` are flags."""

    def __init__(
        self, folder: Path, kubeconfig: Path, prometheus_url: str, *, tick: int, more: Sequence[str] = ()
    ) -> None:
        self._environment = {
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "PROMETHEUS_URL": prometheus_url,
            "PYTHONPATH": str(REPO / "operator"),
        }
        self._tick, self._more = tick, tuple(more)
        self.processes = ProcessSet(folder)
        self.url = ""

    def start(self, stopping: threading.Event | None = None) -> Running:
        """Start it and return once it is ready, or once `stopping` is set; DevError with its last lines otherwise."""
        for _ in range(_ATTEMPTS):
            address = f"{LOOPBACK}:{free_port()}"
            self.url = f"http://{address}"
            process = self.processes.spawn("operator", bare(self._command(address), self._environment))
            if self._ready(process, stopping or threading.Event()):
                return process
            tail = self.processes.tail("operator")
            self.processes.stop()
            if "taken" not in tail and "in use" not in tail:
                break
        raise DevError(f"The operator did not become ready; the end of its log:\n{tail}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.processes.recorded[-1].pid

    def stop(self) -> None:
        """End it; its log stays."""
        self.processes.stop()

    def metrics(self) -> dict[str, float]:
        """Its own metrics, summed over their labels."""
        sums: dict[str, float] = {}
        for line in http.get_text(f"{self.url}/metrics").splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name = series.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def _command(self, address: str) -> list[str]:
        flags = [f"--health-address={address}", f"--metrics-address={address}", "--metrics-auth=None", *self._more]
        return [sys.executable, "-m", "prompt_operator", "run", *flags, f"--tick={self._tick}s", "--log-format=text"]

    def _ready(self, process: Running, stopping: threading.Event) -> bool:
        deadline = time.monotonic() + _START_DEADLINE
        while not self.processes.exited(process) and time.monotonic() < deadline:
            if stopping.is_set() or http.answers(f"{self.url}/readyz"):
                return True
            stopping.wait(0.05)
        return False
