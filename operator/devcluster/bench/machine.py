"""What the figures were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

_GIB = 2**30


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, system and the load before the run."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": load_average(),
    }


def load_average() -> float:
    """Return the load of the last minute; beyond the number of cores, others have slowed the figures down."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
