"""The program as a process of its own: its settings by flag and environment, its pages, its log, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from devcluster.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RUN = "run"
PROGRAM = Path(sys.executable).with_name("prompt-operator")
DEADLINE = 60.0
"""Seconds; a machine under load is slow."""


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what would be settings, and these variables."""
    unwanted = ("PROMPT_OPERATOR_", "PROMETHEUS_URL", "PROMPTS_ENABLED", "KUBECONFIG", "KUBERNETES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return kept | variables


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@dataclass
class Program:
    """A running operator with its HTTP server on a free port, and its log in a file."""

    folder: Path
    kubeconfig: Path
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = (str(PROGRAM),)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.port = free_port()
        address = f"{LOOPBACK}:{self.port}"
        command = [*self.program, RUN, "--health-address", address, "--metrics-address", address, *self.arguments]
        variables = environment(KUBECONFIG=str(self.kubeconfig), **self.variables)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=variables, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.end()

    @property
    def log(self) -> Path:
        """What it writes to standard error."""
        return self.folder / "operator.log"

    def end(self) -> int:
        """Send SIGTERM and return the exit status; kill it when it does not end in time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def get(self, path: str, token: str = "") -> tuple[int, str]:
        """Return status and body of one page; status 0 while nobody listens."""
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    def until(self, path: str, status: int) -> str:
        """Wait until a page has this status and return its body."""
        return str(until(lambda: self.get(path), lambda answer: answer[0] == status)[1])


def until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """Poll until what is seen is good; fail with the last of it."""
    deadline = time.monotonic() + DEADLINE
    while not good(seen := look()):
        assert time.monotonic() < deadline, f"not within {DEADLINE} s, last: {seen!r}"
        time.sleep(0.02)  # between two looks, never instead of one
    return seen
