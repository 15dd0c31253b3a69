"""What `operator/dev check` looks at: lint, format, types, layers, generated files."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.paths import REPO
from devcluster.progress import Progress, Stopwatch


@dataclass(frozen=True)
class Check:
    """One check: a name for people and the modules and arguments that do it."""

    name: str
    arguments: Sequence[str]


CHECKS = (
    Check("lint", ("-m", "ruff", "check", ".", "operator/dev")),
    Check("format", ("-m", "ruff", "format", "--check", ".", "operator/dev")),
    Check("types", ("-m", "mypy")),
    Check("layers", ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")),
    Check("generated files", ("-m", "devcluster.generated", "--check")),
)


def run(python: Path, environment: dict[str, str], progress: Progress) -> int:
    """Run all checks, show the output of those that fail, and return the exit status."""
    failed = [check.name for check in CHECKS if not _passes(check, python, environment, progress)]
    progress.say(f"failed: {', '.join(failed)}" if failed else f"all {len(CHECKS)} checks passed")
    return 1 if failed else 0


def _passes(check: Check, python: Path, environment: dict[str, str], progress: Progress) -> bool:
    clock = Stopwatch()
    done = subprocess.run(
        [str(python), *check.arguments],
        cwd=REPO,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    progress.say(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {check.name} ({clock})")
    if done.returncode != 0:
        progress.say(done.stdout.rstrip())
    return done.returncode == 0
