"""The rules part: ten thousand prompts with traffic, judged against a real Prometheus that scrapes all their series."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from devcluster.bench.fleet import SERIES, Fleet
from devcluster.bench.places import places
from devcluster.errors import DevError
from devcluster.progress import Progress
from devcluster.prometheus import Prometheus

SCRAPE, TICK = 15, 15  # seconds
_FILLED = 330.0  # seconds until the window of five minutes is full
_TICKS = 10


def measure(root: Path, prompts: int, namespaces: int, progress: Progress) -> dict[str, Any]:
    """Return the figures of so many prompts in so many namespaces; `root` is a folder of its own."""
    progress.say(f"rules: {prompts * SERIES:,} series of {prompts:,} prompts in {namespaces} namespaces are scraped")
    prometheus = Prometheus.start(root, scrape_interval=f"{SCRAPE}s")
    try:
        with Fleet(places(prompts, namespaces)) as fleet:
            prometheus.set_targets(fleet.targets)
            time.sleep(_FILLED)
            series = int(prometheus.query('count({__name__=~"llm_.+"})')[0]["value"][1])
            progress.say(f"rules: {_TICKS} ticks")
            judged = _judged(prometheus, prompts, namespaces)
    finally:
        prometheus.stop()
    first, *others = judged.pop("ticks")
    return {"prompts": prompts, "namespaces": namespaces, "series": series, "first": first, **_of(others), **judged}


def _judged(prometheus: Prometheus, prompts: int, namespaces: int) -> dict[str, Any]:
    options = {
        "prometheus": prometheus.url,
        "prometheus-pid": prometheus.pid,
        "prompts": prompts,
        "namespaces": namespaces,
        "ticks": _TICKS,
        "tick": TICK,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "devcluster.bench.judging", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DevError(f"Judging failed:\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _of(ticks: list[dict[str, float]]) -> dict[str, Any]:
    """Return what ticks cost usually and at most."""
    return {
        "median": {name: round(median(tick[name] for tick in ticks), 2) for name in ticks[0]},
        "most": {name: max(tick[name] for tick in ticks) for name in ticks[0]},
    }
