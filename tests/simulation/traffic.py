"""Requests that arrive by chance, as the counters that Prometheus scrapes of them."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from math import exp, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

SCRAPE = 15
"""Seconds between two scrapes of an application."""
PER_MINUTE = 60 // SCRAPE
PER_DAY = 24 * 60 * PER_MINUTE

SLOWER = {5.0: 0.04, 10.0: 0.003, 20.0: 0.0003}
"""Bucket bound in seconds -> share of requests slower than it; errors are as slow as successes."""
BOUNDS = (*SLOWER, inf)
BASELINE_P95 = 5.0
"""Seconds; a little above what the requests above have."""

Counter = list[float]
"""Value at each scrape."""


@dataclass(frozen=True, slots=True)
class Phase:
    """So many minutes with so many requests a minute, of which this share fails."""

    minutes: int
    per_minute: float
    error_rate: float


@dataclass(frozen=True, slots=True)
class Counters:
    """The series of one version of a prompt; each ends with a 0, the value before the first scrape (index -1)."""

    success: Counter
    error: Counter
    buckets: tuple[Counter, ...]
    """Cumulative: the requests not slower than each of BOUNDS."""

    def __len__(self) -> int:
        """Count the scrapes."""
        return len(self.success) - 1


def counters(phases: list[Phase], dice: random.Random) -> Counters:
    """Draw Poisson arrivals; failing and being slow are independent marks of a request, so each kind is Poisson."""
    slower = (1.0, *SLOWER.values(), 0.0)
    shares = [slower[index] - slower[index + 1] for index in range(len(BOUNDS))]
    errors = [_arrivals([(p.minutes, p.per_minute * p.error_rate * share) for p in phases], dice) for share in shares]
    successes = [
        _arrivals([(p.minutes, p.per_minute * (1 - p.error_rate) * share) for p in phases], dice) for share in shares
    ]
    classes = [list(map(sum, zip(*pair, strict=True))) for pair in zip(errors, successes, strict=True)]
    return Counters(_total(*successes), _total(*errors), tuple(_total(*classes[: n + 1]) for n in range(len(BOUNDS))))


def _total(*arrivals: list[int]) -> Counter:
    return [*map(float, accumulate(map(sum, zip(*arrivals, strict=True)))), 0.0]


def _arrivals(phases: list[tuple[int, float]], dice: random.Random) -> list[int]:
    """Draw how many arrive between two scrapes, from the distribution function."""
    drawn: list[int] = []
    for minutes, per_minute in phases:
        table, draw = _cumulated(per_minute / PER_MINUTE), dice.random
        drawn += [bisect(table, draw()) for _ in range(minutes * PER_MINUTE)]
    return drawn


def _cumulated(mean: float) -> list[float]:
    """Return the Poisson distribution function, up to where a float is 1."""
    probability, total, table = exp(-mean), 0.0, []
    while total + probability > total:
        total += probability
        table.append(total)
        probability *= mean / len(table)
    return table
