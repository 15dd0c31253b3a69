"""Starting a command of the task runner as a process, reading along, and knowing all it started."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.devcluster.support import eventually

from devcluster.paths import REPO
from devcluster.processes import Running, birth

PATIENCE = 480.0  # seconds for a whole run on a busy machine; 100 for a demo and 180 for a bench when they are alone
CLEANING = 60.0  # seconds for a run that was told to end: it stops what it started


@dataclass
class Run:
    """One run of a module; its temporary files are in `folder`, its lines are read as they come."""

    folder: Path
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def until(self, text: str, seconds: float = 60.0) -> None:
        """Wait until a line with this text has come."""
        assert eventually(lambda: any(text in line for line in self.lines), seconds), "".join(self.lines + self.errors)

    def started(self) -> list[Running]:
        """Every process that the run has started and that still runs."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        rows = [row.split(None, 2) for row in listed]
        return [Running(row[2], int(row[0]), birth(int(row[0]))) for row in rows if int(row[1]) == self.process.pid]

    def wait(self) -> int:
        """Wait for the end and return the exit status; one that takes too long is ended first."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait(CLEANING)
            raise
        finally:
            for reader in self.readers:
                reader.join(10)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()

    def __post_init__(self) -> None:
        """Read both streams, so that neither fills up."""
        streams = ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        self.readers = [
            threading.Thread(target=lambda stream=stream, kept=kept: kept.extend(stream or ()), daemon=True)
            for stream, kept in streams
        ]
        for reader in self.readers:
            reader.start()


def start(folder: Path, module: str, arguments: Sequence[str]) -> Run:
    """Run a module as `./operator/dev` does, with its temporary files in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "operator"), "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=REPO,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Run(folder, process)
