"""Background programs end: with their owner, through `stop`, and never somebody else's."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.devcluster.support import eventually

from devcluster.paths import REPO
from devcluster.processes import ProcessSet, Running

_OWNER = """
import sys, time
from pathlib import Path
from devcluster.processes import ProcessSet
print(ProcessSet(Path(sys.argv[1]), detached=sys.argv[2] == "detached").spawn("sleep", ["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""


def killed_owner(folder: Path, mode: str) -> Running:
    """Start a program from another Python, kill that without notice, and return the program."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "operator")}
    command = [sys.executable, "-c", _OWNER, str(folder), mode]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        owner.send_signal(signal.SIGKILL)
    (program,) = ProcessSet(folder).recorded
    return program


def gone(program: Running) -> Callable[[], bool]:
    """Whether the program has ended, as a condition to poll."""
    return lambda: not program.alive


def test_an_attached_program_ends_with_its_owner(tmp_path: Path) -> None:
    """A test run or a demo that is killed without notice leaves nothing running."""
    assert eventually(gone(killed_owner(tmp_path, "attached")))


def test_a_detached_program_is_ended_by_the_next_stop(tmp_path: Path) -> None:
    """What `up` started outlives it, and any later process ends it by the record in the folder."""
    program = killed_owner(tmp_path, "detached")
    assert program.alive
    ProcessSet(tmp_path).stop()
    assert not program.alive
    assert not ProcessSet(tmp_path).recorded


def test_a_pid_given_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A record whose time of birth does not fit is of a process that ended long ago."""
    processes = ProcessSet(tmp_path)
    stranger = processes.spawn("stranger", ["sleep", "60"])
    record = tmp_path / "processes.json"
    record.write_text(json.dumps([dataclasses.asdict(dataclasses.replace(stranger, birth="1"))]))
    ProcessSet(tmp_path).stop()
    assert stranger.alive
    record.write_text(json.dumps([dataclasses.asdict(stranger)]))
    processes.stop()
    assert not stranger.alive


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """`stop` returns with the program gone even when it does not listen."""
    processes = ProcessSet(tmp_path, grace=0.2)
    stubborn = processes.spawn("stubborn", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    assert eventually(lambda: processes.tail("stubborn") == "ready")
    processes.stop()
    assert not stubborn.alive


def test_output_is_kept(tmp_path: Path) -> None:
    """What a program prints can be read after it ended."""
    processes = ProcessSet(tmp_path)
    program = processes.spawn("echo", ["echo", "so be it"])
    assert eventually(lambda: processes.exited(program))
    assert processes.tail("echo") == "so be it"
    processes.stop()
