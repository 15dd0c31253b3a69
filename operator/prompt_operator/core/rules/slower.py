"""Metrics with a bound in their name: `slower_than_3s` is the share of requests that took longer than 3 s."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from prompt_operator.core.duration import UNITS
from prompt_operator.core.rules.metrics import ALIASES, Metric, Quantity, Slower
from prompt_operator.core.rules.units import Dimension

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "slower_than_"
EXAMPLE = "slower_than_3s"
"""Stands among the names that are known, where somebody meant another one."""
_MAX_DIGITS = 7


def canonical(name: str) -> str:
    """Return the name of a metric in the normal form: aliases resolved, `slower_than_10000ms` as `slower_than_10s`."""
    bound = _bound(name)
    if bound is None:
        return ALIASES.get(name, name)
    whole = bound == int(bound)
    return f"{PREFIX}{int(bound)}s" if whole else f"{PREFIX}{int(bound * 1000)}ms"


@lru_cache(maxsize=1024)
def slower_than(name: str) -> Metric | None:
    """Return the metric that a name such as `slower_than_3s` means; None for any other name."""
    bound = _bound(name)
    if bound is None:
        return None
    return Metric(canonical(name), Dimension.RATIO, Slower(Quantity.LATENCY_BUCKETS, float(bound)), high=1.0)


def metric_of(name: str, catalogue: Mapping[str, Metric]) -> Metric | None:
    """Return the metric of this name: one of the catalogue, or one with a bound in its name."""
    return catalogue.get(name) or slower_than(name)


def _bound(name: str) -> Decimal | None:
    """Return the seconds in a name, above zero and in whole milliseconds; None where it has none that can be used.

    The cap is on the seconds, too, because the normal form is a name itself.
    """
    text = name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > _MAX_DIGITS:
        return None
    bound = Decimal(number) * UNITS[unit]
    return bound if 0 < bound < 10**_MAX_DIGITS else None
