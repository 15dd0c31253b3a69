"""What several tests of the tools need: polling, and a checkout of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.paths import cache_dir


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Poll until the condition holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True)
class Checkout:
    """A copy of the parts of this repository that its task runner needs."""

    root: Path

    def dev(self, *arguments: str, check: bool = True, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Run `./operator/dev`; an environment value of None takes the variable away."""
        changed: Mapping[str, str | None] = {**os.environ, "PROMPT_OPERATOR_CACHE": str(cache_dir()), **environment}
        return subprocess.run(
            [sys.executable, str(self.root / "operator" / "dev"), *arguments],
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=600,
        )
