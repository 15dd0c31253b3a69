"""Durations, windows and units of the condition language: read, and printed so that they read back the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

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


SECONDS = {
    unit: factor
    for units, factor in (
        (("ms", "millisecond", "milliseconds"), Decimal("0.001")),
        (("s", "sec", "second", "seconds"), Decimal(1)),
        (("m", "min", "minute", "minutes"), Decimal(60)),
        (("h", "hour", "hours"), Decimal(3600)),
        (("d", "day", "days"), Decimal(86400)),
        (("w", "week", "weeks"), Decimal(604800)),
    )
    for unit in units
}
"""Spelling of a time unit -> seconds."""

_DURATION_STEPS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

WINDOWS = {text: timedelta(seconds=seconds) for text, seconds in (
    ("1m", 60), ("5m", 300), ("10m", 600), ("15m", 900), ("30m", 1800), ("1h", 3600), ("24h", 86400), ("7d", 604800),
)}  # fmt: skip
"""The windows a metric may be read over: few, so that thousands of rules share queries."""

NO_TIME = timedelta(0)
MAX_HOLD = timedelta(days=7)


def seconds_of(number: str, unit: str, column: int = 0) -> Decimal:
    """Seconds in `number` `unit`; RuleError for a unit that is not one of time."""
    if unit not in SECONDS:
        raise RuleError(f"unknown unit '{unit}': {did_you_mean(unit, ('ms', 's', 'm', 'h', 'd', 'minutes'))}", column)
    return Decimal(number) * SECONDS[unit]


def parse_duration(text: str, column: int = 0) -> timedelta:
    """Read a duration (`90s`, `1h30m`, `250ms`, `5minutes`), to the millisecond; RuleError for anything else."""
    total, rest = Decimal(0), text.strip()
    if not rest:
        raise RuleError("a duration is empty: write 5m, 90s or 1h30m", column)
    while rest:
        number, unit, rest = _take(text, rest, column)
        total += seconds_of(number, unit, column)
    if total > Decimal(MAX_HOLD.total_seconds()):
        raise RuleError(f"a duration may be at most {format_duration(MAX_HOLD)}", column)
    return timedelta(milliseconds=int(total * 1000))


def _take(text: str, rest: str, column: int) -> tuple[str, str, str]:
    number = _leading(rest, "0123456789.")
    unit = _leading(rest[len(number) :], "abcdefghijklmnopqrstuvwxyz")
    if not unit or not number.replace(".", "0", 1).isdigit() or "." in {number[:1], number[-1:]}:
        raise RuleError(f"'{text}' is not a duration: write 5m, 90s or 1h30m", column)
    return number, unit, rest[len(number) + len(unit) :]


def _leading(text: str, alphabet: str) -> str:
    return text[: len(text) - len(text.lstrip(alphabet))]


def parse_window(text: str, column: int = 0) -> timedelta:
    """Read one of WINDOWS in any spelling (`60m` is `1h`); RuleError names what there is."""
    duration = parse_duration(text, column)
    if duration not in WINDOWS.values():
        closest = min(WINDOWS, key=lambda known: abs(WINDOWS[known] - duration))
        raise RuleError(
            f"window {text} is not offered: did you mean {closest}? (there are {', '.join(WINDOWS)})", column
        )
    return duration


def format_window(window: timedelta) -> str:
    """Print a window as the contract spells it (24h, not 1d)."""
    return next((text for text, known in WINDOWS.items() if known == window), format_duration(window))


def format_duration(duration: timedelta) -> str:
    """Print a duration as Prometheus does (`1h30m`), exact to the millisecond; it reads back the same."""
    milliseconds = round(duration.total_seconds() * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    parts = []
    for unit, size in _DURATION_STEPS:
        amount, seconds = divmod(seconds, size)
        parts += [f"{amount}{unit}"] if amount else []
    parts += [f"{milliseconds}ms"] if milliseconds else []
    return "".join(parts) or "0s"


def plain(value: Decimal) -> str:
    """Print a decimal without exponent and without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
