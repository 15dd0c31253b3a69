"""The commands of `operator/dev`; each does its own set-up."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from devcluster import checks, local, tools, venv
from devcluster.errors import DevError
from devcluster.paths import REPO
from devcluster.progress import Progress

USAGE = """usage: ./operator/dev COMMAND

  demo [--json FILE] [...]     release a bad prompt version and watch it being rolled back
  test [pytest arguments]      all tests, on a real API server and a real Prometheus
  check                        lint, format, types, layers, generated files
  bench [...]                  measure the figures the project promises
  up [--scrape HOST:PORT]...   start the local cluster; eval "$(./operator/dev up)" points the shell at it
  down                         end the local cluster and remove its state
  generate                     write the generated files again

Programs are built once, with Go, into PROMPT_OPERATOR_CACHE (default: the user's cache folder).
"""

_INTERRUPTED = 130  # as a shell reports a program ended by Ctrl-C
_USAGE_ERROR = 2


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else _USAGE_ERROR
    command = COMMANDS.get(arguments[0])
    progress = Progress()
    if command is None:
        progress.say(f"No command {arguments[0]}; known are {', '.join(COMMANDS)}.")
        return _USAGE_ERROR
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _leave)
    try:
        return command(arguments[1:], progress)
    except DevError as error:
        progress.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        progress.say("interrupted; what was built or fetched is kept, run it again to go on")
        return _INTERRUPTED


def _up(arguments: Sequence[str], progress: Progress) -> int:
    parser = argparse.ArgumentParser(prog="./operator/dev up")
    parser.add_argument("--scrape", action="append", default=[], metavar="HOST:PORT", help="scraped every second")
    options = parser.parse_args(arguments)
    venv.ensure(progress)
    sys.stdout.write(local.up(options.scrape, progress).exports() + "\n")
    return 0


def _down(arguments: Sequence[str], progress: Progress) -> int:
    argparse.ArgumentParser(prog="./operator/dev down").parse_args(arguments)
    local.down(progress)
    return 0


def _test(arguments: Sequence[str], progress: Progress) -> int:
    python = venv.ensure(progress)
    _ensure_tools(progress)
    return _become([str(python), "-m", "pytest", *arguments])


def _check(arguments: Sequence[str], progress: Progress) -> int:
    argparse.ArgumentParser(prog="./operator/dev check").parse_args(arguments)
    return checks.run(venv.ensure(progress), _environment(), progress)


def _generate(arguments: Sequence[str], progress: Progress) -> int:
    argparse.ArgumentParser(prog="./operator/dev generate").parse_args(arguments)
    command = [str(venv.ensure(progress)), "-m", "devcluster.generated"]
    return subprocess.run(command, cwd=REPO, env=_environment(), check=False).returncode


def _module(name: str) -> Callable[[Sequence[str], Progress], int]:
    def run(arguments: Sequence[str], progress: Progress) -> int:
        python = venv.ensure(progress)
        _ensure_tools(progress)
        # where the user stands, so that files are written there; -P, so that nothing there is imported
        return _become([str(python), "-P", "-m", name, *arguments], Path.cwd())

    return run


COMMANDS: Mapping[str, Callable[[Sequence[str], Progress], int]] = {
    "demo": _module("devcluster.demo"),
    "test": _test,
    "check": _check,
    "bench": _module("devcluster.bench"),
    "up": _up,
    "down": _down,
    "generate": _generate,
}


def _ensure_tools(progress: Progress) -> None:
    """Have every program the tests use before they start: inside them a build of minutes would look like a hang."""
    for group in ("kubernetes", "prometheus", "helm"):
        if group != "helm" or (REPO / "helm").is_dir():
            tools.ensure(group, progress)


def _environment() -> dict[str, str]:
    """The environment of the project's own programs: the source tree first on the path."""
    paths = [str(REPO / "operator"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _become(command: Sequence[str], folder: Path = REPO) -> NoReturn:
    """Go on as another program, so that signals and the exit status are its own."""
    os.chdir(folder)
    os.execve(command[0], list(command), _environment())  # noqa: S606


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    """End through the usual clean-up instead of at once."""
    raise SystemExit(128 + signum)
