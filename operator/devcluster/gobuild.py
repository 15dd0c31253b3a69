"""One `go build`, with progress and with its failures put into one sentence."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from devcluster.errors import DevError
from devcluster.paths import cache_dir
from devcluster.progress import Progress, Stopwatch

_NO_NETWORK = re.compile(
    r"dial tcp|no such host|connection refused|i/o timeout|network is unreachable|TLS handshake timeout"
    r"|module lookup disabled|proxyconnect|server misbehaving|unexpected EOF|502 Bad Gateway|503 Service"
)


def find_go(purpose: str, oldest: tuple[int, ...]) -> str:
    """Return the path of a Go that is new enough to build `purpose`."""
    wanted = ".".join(map(str, oldest))
    go = shutil.which("go")
    if go is None:
        raise DevError(
            f"The {purpose} programs are not in the cache ({cache_dir()}) and no Go was found to build them: "
            f"install Go {wanted} or newer and put it on PATH."
        )
    shown = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=environment()
    ).stdout.strip()
    found = tuple(int(part) for part in re.findall(r"\d+", shown)[:3])
    if found < oldest:
        raise DevError(f"{shown or go} is too old to build the {purpose} programs: install Go {wanted} or newer.")
    return go


def environment() -> dict[str, str]:
    """Environment of the Go command: the user's proxies and caches, but nothing that changes what is built.

    Without HOME, Go has no place for its caches; they then go beside ours.
    """
    env = dict(os.environ)
    flags = "-mod=readonly"
    if not env.get("HOME"):
        own = cache_dir() / "go"
        env = {"GOPATH": str(own), "GOMODCACHE": str(own / "mod"), "GOCACHE": str(own / "build"), **env}
        flags += " -modcacherw"  # a cache inside the checkout must be removable with rm -r
    return {**env, "GOTOOLCHAIN": "local", "GOFLAGS": flags, "GOWORK": "off", "CGO_ENABLED": "0", "GO111MODULE": "on"}


def build(go: str, pins: Path, package: str, output: Path, flags: Sequence[str], progress: Progress) -> None:
    """Compile `package` of the module in `pins` to `output`.

    Raises DevError when modules cannot be had, the disk is full, or the compiler fails.
    """
    clock = Stopwatch()
    name = output.name.strip(".").removesuffix(".part")
    modules = 0
    stale: list[str] = []
    compiled = 0

    def listed(line: str) -> None:
        nonlocal modules
        if line.startswith("go: downloading"):
            modules += 1
            progress.tick(f"  {name}: fetching modules, {modules} so far, {clock}")

    def built(line: str) -> None:
        nonlocal compiled
        if line and not line.startswith(("#", "\t", "go:")):
            compiled += 1
        progress.tick(f"  {name}: compiled {min(compiled, len(stale))} of {len(stale)} packages, {clock}")

    progress.tick(f"  {name}: fetching modules")
    template = "{{if .Stale}}{{.ImportPath}}{{end}}"
    stale = _go([go, "list", "-deps", "-f", template, *flags, package], pins, listed).split()
    _go([go, "build", "-v", *flags, "-o", str(output), package], pins, built)
    progress.say(f"  {name}: {len(stale)} packages compiled, {clock}")


def _go(command: Sequence[str], cwd: Path, on_line: Callable[[str], None]) -> str:
    """Run a Go command, hand each line of its stderr to `on_line`, and return its stdout."""
    errors: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, _started(command, cwd, out) as run:
        try:
            for line in run.stderr or ():
                errors.append(line)
                on_line(line.rstrip())
        except BaseException:
            run.terminate()
            raise
        if run.wait() != 0:
            raise DevError(_explain("".join(errors), command[-1]))
        out.seek(0)
        return out.read()


def _started(command: Sequence[str], cwd: Path, out: IO[str]) -> subprocess.Popen[str]:
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdin=none, stdout=out, stderr=pipe, text=True)


def _explain(output: str, package: str) -> str:
    if "no space left on device" in output:
        return f"The disk is full: building {package} needs about 4 GB in Go's caches; make room and run it again."
    if _NO_NETWORK.search(output):
        return (
            f"No network: Go cannot fetch the modules of {package}; run it again when GOPROXY can be reached "
            "(what was fetched and compiled so far is kept)."
        )
    last = "; ".join([line for line in output.splitlines() if not line.startswith("go: downloading")][-5:])
    return f"Go could not build {package}: {last}"
