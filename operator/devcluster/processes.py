"""Programs that run in the background and are always ended: by `stop`, with their owner, or by the next start.

Each is recorded by pid and time of birth, so a pid that the system gave to someone else is never signalled.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")
_GUARDIAN = Path(__file__).with_name("guardian.py")
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Running:
    """One process, told apart from later ones with the same pid by its birth."""

    name: str
    pid: int
    birth: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return self.birth != "" and birth(self.pid) == self.birth


def birth(pid: int) -> str:
    """When the process was born, in the system's own words; empty when there is none or it is a zombie."""
    if _PROC.joinpath("self", "stat").exists():
        try:
            # the name, in parentheses, may hold spaces; state is field 3, start time field 22
            fields = _PROC.joinpath(str(pid), "stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, born = listed.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else born.strip()


def terminate(processes: Iterable[Running], grace: float = _GRACE) -> None:
    """End the processes: SIGTERM, `grace` seconds, SIGKILL; return when none is left."""
    running = [process for process in processes if process.alive]
    for signum, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signum)
        running = _survivors(running, seconds)


def _survivors(running: list[Running], seconds: float) -> list[Running]:
    deadline = time.monotonic() + seconds
    while running and time.monotonic() < deadline:
        time.sleep(0.02)
        running = [process for process in running if process.alive]
    return running


class ProcessSet:
    """The processes whose state is kept in one folder.

    Attached (the default), they end with this process, however it ends: a guardian holds the other end of a pipe.
    Detached, they stay until somebody calls `stop` on a ProcessSet of the same folder.
    """

    def __init__(self, folder: Path, *, detached: bool = False, grace: float = _GRACE) -> None:
        self._folder = folder
        self._file = folder / "processes.json"
        self._detached = detached
        self._grace = grace
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def recorded(self) -> list[Running]:
        """All processes ever started in this folder and not ended through `stop`."""
        try:
            return [Running(**item) for item in json.loads(self._file.read_text("utf-8"))]
        except (FileNotFoundError, ValueError):
            return []

    def log(self, name: str) -> Path:
        """The file that takes what the program prints."""
        return self._folder / f"{name}.log"

    def spawn(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Running:
        """Start a program in its own session, its output in `log(name)`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            child = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[child.pid] = child
        running = Running(name, child.pid, birth(child.pid))
        self._record([*self.recorded, running])
        if not self._detached:
            self._guard(running)
        return running

    def exited(self, running: Running) -> bool:
        """Whether the process has ended."""
        child = self._children.get(running.pid)
        return child.poll() is not None if child else not running.alive

    def stop(self, names: Iterable[str] | None = None) -> None:
        """End the recorded processes, or those of the given names, the last started first."""
        wanted = None if names is None else set(names)
        ending = [process for process in self.recorded if wanted is None or process.name in wanted]
        for process in reversed(ending):  # the API server ends in a second while etcd still answers, else it hangs
            terminate([process], self._grace)
            if child := self._children.pop(process.pid, None):
                child.wait(self._grace + 10)  # a zombie's other threads may take a moment longer than its first
        kept = [process for process in self.recorded if process not in ending]
        if kept:
            self._record(kept)
            return
        self._file.unlink(missing_ok=True)
        self._dismiss()

    def tail(self, name: str, lines: int = 12) -> str:
        """The last lines of a program's log."""
        try:
            return "\n".join(self.log(name).read_text("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _record(self, processes: Sequence[Running]) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps([asdict(process) for process in processes]), "utf-8")
        part.replace(self._file)

    def _guard(self, running: Running) -> None:
        if self._guardian is None:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN)], stdin=subprocess.PIPE, start_new_session=True
            )
        if self._guardian.stdin is not None:
            self._guardian.stdin.write(f"{running.pid}\n".encode())
            self._guardian.stdin.flush()

    def _dismiss(self) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.write(b"done\n")
            self._guardian.stdin.close()
            self._guardian.wait(10)
        self._guardian = None
