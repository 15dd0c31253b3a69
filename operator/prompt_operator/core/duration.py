"""Durations as people and Prometheus write them (`15m`, `1h30m`, `250ms`, `5minutes`): read, and printed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = {
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
"""Spelling of a unit -> seconds."""

_STEPS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_LONGEST = timedelta(days=36500)


@lru_cache(maxsize=256)
def parse(text: str) -> timedelta:
    """Return the span that a duration means, to the millisecond; ValueError for anything else."""
    try:
        seconds = sum((Decimal(number) * UNITS[unit] for number, unit in parts(text)), Decimal(0))
    except (KeyError, ValueError):
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 24h or 14d") from None
    if seconds > Decimal(_LONGEST.total_seconds()):
        raise ValueError(f"{text!r} is longer than a hundred years")
    return timedelta(milliseconds=int(seconds * 1000))


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield the numbers and units of a duration, at least one, whatever the units are; ValueError for another form."""
    rest = text
    while rest or not text:
        number = _leading(rest, "0123456789.")
        unit = _leading(rest[len(number) :], "abcdefghijklmnopqrstuvwxyz")
        if not unit or not number.replace(".", "0", 1).isdigit() or "." in {number[:1], number[-1:]}:
            raise ValueError(f"{text!r} is not a duration")
        yield number, unit
        rest = rest[len(number) + len(unit) :]


def _leading(text: str, alphabet: str) -> str:
    return text[: len(text) - len(text.lstrip(alphabet))]


def exact(span: timedelta) -> str:
    """Print a span as Prometheus does (`1h30m`), exact to the millisecond; it reads back the same."""
    seconds, milliseconds = divmod(round(span.total_seconds() * 1000), 1000)
    return "".join([*_pieces(seconds), *([f"{milliseconds}ms"] if milliseconds else [])]) or "0s"


def spoken(span: timedelta) -> str:
    """Return a span in its two largest units, `1h5m`, `42s`; whole seconds, rounded down."""
    return "".join(_pieces(max(int(span.total_seconds()), 0))[:2]) or "0s"


def _pieces(seconds: int) -> list[str]:
    pieces = []
    for unit, size in _STEPS:
        count, seconds = divmod(seconds, size)
        pieces += [f"{count}{unit}"] if count else []
    return pieces
