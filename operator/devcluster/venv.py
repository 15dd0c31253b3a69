"""The virtual environment of the checkout, made from the locked requirements and only when those change."""

import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster.errors import DevError
from devcluster.locking import locked
from devcluster.paths import REPO
from devcluster.progress import Progress, Stopwatch

VENV = REPO / ".venv"
PYTHON = VENV / "bin" / "python"
_LOCK = REPO / "operator" / "locks" / "dev.txt"
_MARKER = VENV / ".prompt-operator"
_NO_NETWORK = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|No matching distribution")


def ensure(progress: Progress) -> Path:
    """Return the Python of an environment that has exactly what the lock says, and this project, editable.

    Without a change of the lock or of pyproject.toml nothing is run, so it works offline.
    """
    with locked(_LOCK.parent, "waiting for another process that makes .venv", progress):
        if not _current():
            _make(progress)
    return PYTHON


def digest() -> str:
    """What the environment depends on: requirements, project metadata, Python, and where the checkout is."""
    parts = [
        _LOCK.read_bytes(),
        (REPO / "pyproject.toml").read_bytes(),
        repr(sys.version_info[:2]).encode(),
        bytes(REPO),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _current() -> bool:
    return PYTHON.exists() and _MARKER.exists() and _MARKER.read_text("utf-8") == digest()


def _make(progress: Progress) -> None:
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise DevError(
                f"This Python has no module {module}: install it (Debian and Ubuntu: apt install python3-venv)."
            )
    clock = Stopwatch()
    packages = sum(1 for line in _LOCK.read_text("utf-8").splitlines() if "==" in line)
    progress.say(f"making .venv with {packages} locked packages (about a minute)")
    # Without the marker the last attempt was cut short and may have left half a package: start afresh.
    fresh = [] if _MARKER.exists() and PYTHON.exists() else ["--clear"]
    _MARKER.unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", *fresh, str(VENV)], "  .venv", clock, progress)
    _pip(["--require-hashes", "--requirement", str(_LOCK)], "  packages", clock, progress)
    _MARKER.write_text("packages", "utf-8")  # all of them are whole: what fails from here on needs no fresh start
    _pip(["--no-deps", "--no-build-isolation", "--editable", str(REPO)], "  prompt-operator", clock, progress)
    _MARKER.write_text(digest(), "utf-8")
    progress.say(f"made .venv in {clock}")


def _pip(arguments: Sequence[str], what: str, clock: Stopwatch, progress: Progress) -> None:
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    _run([str(PYTHON), "-m", "pip", "install", *options, *arguments], what, clock, progress)


def _run(command: Sequence[str], what: str, clock: Stopwatch, progress: Progress) -> None:
    """Run a step of the set-up, showing its last line of output; DevError when it fails."""
    lines: list[str] = []
    none, pipe, out = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, cwd=REPO, stdin=none, stdout=pipe, stderr=out, text=True) as run:
        try:
            for line in run.stdout or ():
                lines.append(line.rstrip())
                progress.tick(f"{what}: {line.split(' (from')[0].strip()[:60]}, {clock}")
        except BaseException:
            run.terminate()
            raise
    if run.returncode != 0:
        raise DevError(_explain(lines, what.strip()))


def _explain(lines: Sequence[str], what: str) -> str:
    output = "\n".join(lines)
    if "No space left on device" in output:
        return "The disk is full: .venv needs about 400 MB; make room and run it again."
    if _NO_NETWORK.search(output):
        return f"No network: pip cannot fetch {what}; run it again when the package index can be reached."
    errors = [line.strip() for line in lines if "Error" in line or line.startswith(("ERROR", "error"))]
    return f"Setting up .venv failed at {what}: {'; '.join(errors[-3:] or lines[-3:])}"
