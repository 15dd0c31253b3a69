"""The one error of the condition language."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RuleError(ValueError):
    """A rule that cannot be used: what is wrong, where, what to write instead.

    `column` is the 1-based column in the condition, 0 when another field is at fault.
    """

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.column = column

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}" if self.column else self.message


class UnknownMetricError(RuleError):
    """A condition names a metric that there is not; `known` are the names there are."""

    def __init__(self, name: str, known: Iterable[str], column: int) -> None:
        super().__init__(f"unknown metric '{name}': {did_you_mean(name, known)}", column)
        self.name = name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """End of a sentence that names the closest known word, or lists what there is when nothing is close."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
