"""Series written in promtool's shorthand: one sample per interval, few characters for many of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, TypeAlias

from prompt_operator.core.rules.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Series: TypeAlias = tuple[float | None, ...]
"""A sample for each interval from the beginning on; None where there is none."""

MOST_SAMPLES = 100_000
"""Of one series: 69 days of minutes."""
_LONGEST_COUNT = 9  # digits


def expand(text: str) -> Series:
    """Expand a series: `a+bxn` and `a-bxn` are n + 1 samples, `axn` is a n + 1 times, `_` and `_xn` are gaps.

    `stale` is a gap, too: Prometheus counts increases over both in the same way, and a value that is not there is not
    there. Raises RuleError with the column of the first word that is none of these.

    Source: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series
    """
    words = [_read(word, column) for word, column in _words(text)]
    if not words:
        raise RuleError("the series is empty: write samples such as 0+10x30")
    if sum(word.count for word in words) > MOST_SAMPLES:
        raise RuleError(f"more than {MOST_SAMPLES} samples: choose a longer interval")
    return tuple(sample for word in words for sample in word.samples())


@dataclass(frozen=True, slots=True)
class _Word:
    """One word: `count` samples, from `first` on; without one, a gap."""

    first: float | None
    step: float
    count: int

    def samples(self) -> Iterable[float | None]:
        if self.first is None:
            return repeat(None, self.count)
        # Added up step by step, as promtool does, so that both have the same rounding.
        return accumulate(repeat(self.step, self.count - 1), initial=self.first)


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Yield each word and the column where it begins, from 1."""
    end = 0
    for word in text.split():
        begin = text.index(word, end)
        end = begin + len(word)
        yield word, begin + 1


def _read(word: str, column: int) -> _Word:
    """Read one word; RuleError when it is not of the shorthand."""
    body, x, times = word.partition("x")
    if word == "stale" or (body == "_" and _is_count(x, times)):
        return _Word(None, 0.0, int(times or 1))
    first, step = _split(body)
    if not (_is_number(first) and (_is_number(step) if step else True) and _is_count(x, times)) or (step and not x):
        raise RuleError(f"'{word}' is no sample: write 5, 1x5, 0+10x5, 50-5x5, _, _x3 or stale", column)
    return _Word(float(first), float(step or 0), int(times or 0) + 1)


def _split(body: str) -> tuple[str, str]:
    """Take `a+b` apart at a sign that is neither the first character nor that of an exponent."""
    for position in range(1, len(body)):
        if body[position] in "+-" and body[position - 1] not in "eE":
            return body[:position], body[position:]
    return body, ""


def _is_number(text: str) -> bool:
    digits = text.removeprefix("+").removeprefix("-")
    if digits.lower() in {"inf", "nan"}:
        return True
    try:
        float(digits)
    except ValueError:
        return False
    return set(digits) <= set("0123456789.eE+-") and digits[:1] not in set("+-")


def _is_count(x: str, times: str) -> bool:
    return not x or (times.isascii() and times.isdigit() and len(times) <= _LONGEST_COUNT)
