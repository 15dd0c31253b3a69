"""Where things of this checkout and of this machine are."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PINS = Path(__file__).resolve().parent / "tools"
STATE = REPO / ".devcluster"


def cache_dir() -> Path:
    """Folder for built programs: set by the environment, else the user's cache, else inside the checkout."""
    if own := os.environ.get("PROMPT_OPERATOR_CACHE"):
        return Path(own).absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "prompt-operator"
    if home := os.environ.get("HOME"):
        return Path(home) / ".cache" / "prompt-operator"
    return REPO / ".cache"
