"""Everything that runs: control plane, Prometheus, the mounted folder, the operator, the application."""

import contextlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from devcluster import http
from devcluster.controlplane import ControlPlane
from devcluster.demo.bot import PROMPT
from devcluster.errors import DevError
from devcluster.mount import MountEmulator
from devcluster.operatorprocess import OperatorProcess, bare
from devcluster.paths import REPO
from devcluster.ports import LOOPBACK
from devcluster.processes import ProcessSet
from devcluster.prometheus import Prometheus

NAMESPACE = "support"
CONFIG_MAP = f"prompt-{PROMPT}"
_START_DEADLINE = 60.0  # seconds
_POLL = 0.1
T = TypeVar("T")


class InterruptedByUser(Exception):  # noqa: N818 - nothing went wrong
    """Somebody asked for the end."""


@dataclass
class Stage:
    """The processes of one run, with all their state in one temporary folder; `open` starts them, `close` ends them.

    `stopping` is set by whoever wants the end; everything here that waits looks at it.
    """

    stopping: threading.Event
    tell: Callable[[str], None]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="prompt-operator-demo-")))
    plane: ControlPlane | None = None
    prometheus: Prometheus | None = None
    operator: OperatorProcess | None = None
    mount: MountEmulator | None = None
    bot_url: str = ""

    def __post_init__(self) -> None:
        """Record the application's process like those of the servers."""
        self._apps = ProcessSet(self.folder / "application")

    @property
    def cluster(self) -> ControlPlane:
        """The control plane, once `open` has started it."""
        return _started(self.plane)

    @property
    def metrics(self) -> Prometheus:
        """The Prometheus, once `open` has started it."""
        return _started(self.prometheus)

    def open(self, tick: int) -> None:
        """Start everything, in the order in which it is needed."""
        self._step("etcd, kube-apiserver and kube-controller-manager start")
        plane = self.plane = ControlPlane.start(self.folder / "control-plane", crds=REPO / "crds")
        self._step("the application starts; its folder is still empty")
        self.mount = MountEmulator(plane, NAMESPACE, CONFIG_MAP, self.folder / "mount" / PROMPT).start()
        self.bot_url = self._start_bot()
        self._step("Prometheus starts and scrapes the application each second")
        target = self.bot_url.removeprefix("http://")
        self.prometheus = Prometheus.start(self.folder / "prometheus", targets=[target])
        self._step("the operator starts")
        self.operator = OperatorProcess(self.folder / "operator", plane.kubeconfig, self.prometheus.url, tick=tick)
        self.operator.start(self.stopping)
        self._step("everything runs")

    def close(self) -> None:
        """End everything, what was started last first, and remove the folder; one failure does not keep the rest."""
        with contextlib.ExitStack() as ending:
            ending.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for part in (self.plane, self.prometheus, self.operator, self._apps, self.mount):
                if part:
                    ending.callback(part.stop)

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until the condition holds.

        Raises:
            InterruptedByUser: somebody asked for the end.
            DevError: it did not hold in time, or a process ended; with the last lines of the log that tells most.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.look()
            if time.monotonic() > deadline:
                raise DevError(f"Within {seconds:.0f} seconds {what} did not come.\n{self._last_words('operator')}")
            self.stopping.wait(_POLL)

    def look(self) -> None:
        """Raise when somebody asked for the end or a process ended by itself."""
        if self.stopping.is_set():
            raise InterruptedByUser
        for processes in self._sets():
            for process in processes.recorded:
                if processes.exited(process):
                    raise DevError(f"{process.name} ended by itself.\n{self._last_words(process.name)}")

    def _step(self, text: str) -> None:
        if self.stopping.is_set():
            raise InterruptedByUser
        self.tell(text)

    def _sets(self) -> list[ProcessSet]:
        owners = (self.plane, self.prometheus, self.operator)
        return [*(owner.processes for owner in owners if owner), self._apps]

    def _start_bot(self) -> str:
        """Start the application with an environment of its own: no KUBECONFIG, no home with one in it."""
        home = self.folder / "application"
        home.mkdir(parents=True)
        environment = {
            "HOME": str(home),
            "PYTHONPATH": str(REPO / "operator"),
            "PROMPT_CLIENT_ROOT": str(self.folder / "mount"),
            "PYTHONUTF8": "1",
        }
        port_file = home / "port"
        command = [sys.executable, "-m", "devcluster.demo.bot", f"--port-file={port_file}"]
        self._apps.spawn("support-bot", bare(command, environment))
        self.wait(port_file.exists, _START_DEADLINE, "the port of the application")
        return f"http://{LOOPBACK}:{port_file.read_text('utf-8')}"

    def bot_state(self) -> dict[str, Any] | None:
        """What the application tells of itself; None while it does not answer."""
        state: dict[str, Any] | None = http.probe_json(f"{self.bot_url}/state") if self.bot_url else None
        return state

    def _last_words(self, name: str) -> str:
        tails = {process.name: owner.tail(process.name) for owner in self._sets() for process in owner.recorded}
        lines = tails.get(name, "").strip() or "(nothing)"
        return f"The last lines of {name}:\n{lines}\nRun the demo again; if it happens twice, report these lines."


def _started(part: T | None) -> T:
    if part is None:
        raise DevError("This is not running yet.")
    return part
