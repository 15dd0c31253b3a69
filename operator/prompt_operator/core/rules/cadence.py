"""How often each window is asked for: what changes slowly is not worth asking every few seconds."""

from __future__ import annotations

from bisect import bisect_left
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from prompt_operator.core.rules.measure import needs
from prompt_operator.core.rules.recording import RECORDED_FROM
from prompt_operator.core.rules.units import NO_TIME

if TYPE_CHECKING:
    from prompt_operator.core.rules.model import Rule

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS = (
    (5 * _MINUTE, timedelta(0)),
    (30 * _MINUTE, _MINUTE),
    (_HOUR, 2 * _MINUTE),
    (_DAY, 5 * _MINUTE),
    (7 * _DAY, 15 * _MINUTE),
)
"""Windows up to this one -> time between two looks; 0 is every tick."""
SLOWEST = _STEPS[-1][1]
_RECORDED_LATE = 6 * _MINUTE
"""Recorded windows end up to so long ago: the offset of a recording, and the time between two."""


def cadence(window: timedelta) -> timedelta:
    """Return the time between two looks at a window; 0 means at every tick, and no look is ever between two ticks."""
    return _STEPS[min(bisect_left(_STEPS, window, key=lambda step: step[0]), len(_STEPS) - 1)][1]


@lru_cache(maxsize=4096)
def cadence_of(rule: Rule) -> timedelta:
    """Return how old the oldest measurement behind a rule may be although all is well: the cadence of its longest."""
    return max(cadence(need.window) for need in needs(rule))


@lru_cache(maxsize=4096)
def reach_of(rule: Rule) -> timedelta:
    """Return how long before its measurement the oldest request that a rule counts may lie."""
    longest = max(need.window for need in needs(rule))
    return longest + (_RECORDED_LATE if longest >= RECORDED_FROM else NO_TIME)
