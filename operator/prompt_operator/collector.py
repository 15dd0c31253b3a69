"""How often Python looks for garbage that reference counts do not free.

A full pass walks every object of the process while nothing else runs: a quarter of a second with ten thousand prompts.
By default an answer of Prometheus brings several, because its samples are young and many. Nearly all that the operator
lets go of has no cycles and is freed at once, so passes over everything may be rare.
"""

from __future__ import annotations

import gc

THRESHOLDS = (2_000, 50, 500)
"""Objects before a pass over the young, such passes before one over the middle-aged, those before a full one."""


def spare_full_passes() -> None:
    """Set the thresholds of this process (by default 700, 10, 10)."""
    gc.set_threshold(*THRESHOLDS)
