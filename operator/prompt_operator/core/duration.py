"""Durations as the API writes them (`15m`, `24h`, `14d`) and as people read them."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@lru_cache(maxsize=256)
def parse(text: str) -> timedelta:
    """Return the span that a duration of the API means.

    Raises:
        ValueError: not a whole number followed by s, m, h, d or w.
    """
    number, unit = text[:-1], text[-1:]
    if unit not in _SECONDS or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 24h or 14d")
    return timedelta(seconds=int(number) * _SECONDS[unit])


def spoken(span: timedelta) -> str:
    """Return a span in its two largest units, `1h5m`, `42s`; whole seconds, rounded down."""
    seconds = max(int(span.total_seconds()), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
