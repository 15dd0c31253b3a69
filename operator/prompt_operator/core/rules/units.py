"""Durations, windows and units of the condition language: read, and printed so that they read back the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from prompt_operator.core import duration
from prompt_operator.core.rules.errors import RuleError, did_you_mean


class Dimension(StrEnum):
    """What a value measures; only equal ones can be added or compared."""

    NUMBER = "a number"
    RATIO = "a share"
    TIME = "a time"
    COUNT = "a count"
    TOKENS = "tokens"
    COST = "a cost"
    SCORE = "a score"


WINDOWS = {text: timedelta(seconds=seconds) for text, seconds in (
    ("1m", 60), ("5m", 300), ("10m", 600), ("15m", 900), ("30m", 1800), ("1h", 3600), ("24h", 86400), ("7d", 604800),
)}  # fmt: skip
"""The windows a metric may be read over: few, so that thousands of rules share queries."""

NO_TIME = timedelta(0)
MAX_HOLD = timedelta(days=7)


def seconds_of(number: str, unit: str, column: int = 0) -> Decimal:
    """Seconds in `number` `unit`; RuleError for a unit that is not one of time."""
    if unit not in duration.UNITS:
        raise RuleError(f"unknown unit '{unit}': {did_you_mean(unit, ('ms', 's', 'm', 'h', 'd', 'minutes'))}", column)
    return Decimal(number) * duration.UNITS[unit]


def parse_duration(text: str, column: int = 0) -> timedelta:
    """Read a duration (`90s`, `1h30m`, `250ms`, `5minutes`), to the millisecond; RuleError for anything else."""
    try:
        parts = list(duration.parts(text.strip()))
    except ValueError:
        raise RuleError(f"'{text}' is not a duration: write 5m, 90s or 1h30m", column) from None
    total = sum(seconds_of(number, unit, column) for number, unit in parts)
    if total > Decimal(MAX_HOLD.total_seconds()):
        raise RuleError(f"a duration may be at most {duration.exact(MAX_HOLD)}", column)
    return timedelta(milliseconds=int(total * 1000))


def parse_window(text: str, column: int = 0) -> timedelta:
    """Read one of WINDOWS in any spelling (`60m` is `1h`); RuleError names what there is."""
    window = parse_duration(text, column)
    if window not in WINDOWS.values():
        closest = min(WINDOWS, key=lambda known: abs(WINDOWS[known] - window))
        raise RuleError(
            f"window {text} is not offered: did you mean {closest}? (there are {', '.join(WINDOWS)})", column
        )
    return window


def format_window(window: timedelta) -> str:
    """Print a window as the contract spells it (24h, not 1d)."""
    return next((text for text, known in WINDOWS.items() if known == window), duration.exact(window))


def plain(value: Decimal) -> str:
    """Print a decimal without exponent and without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
