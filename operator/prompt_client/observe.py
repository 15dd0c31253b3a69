"""One observed request: outcome and duration when it ends, tokens, cost and feedback when they are known."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

    from prompt_client.metrics import Recorder

# By name along the class hierarchy, so that no provider's package has to be imported.
_ERROR_TYPE_OF: Final = {
    "JSONDecodeError": "parse",
    "ValidationError": "validation",
    "TimeoutError": "timeout",
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "ConnectionError": "connection",
    "APIConnectionError": "connection",
    "RateLimitError": "rate_limited",
    "APIError": "provider",
}


class Observation:
    """A context manager around one request to a model.

    Leaving the block counts the request once: as an error when an exception leaves it or `error()` was called, else
    as a success. A block that is left by cancellation or interpreter exit, and was not marked, is not counted: it says
    nothing about the prompt. `tokens`, `cost`, `feedback`, `automated_score` and `quality` count at once, also after
    the block.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._error_type: str | None = None
        self._marked = False
        self._began = 0.0
        self._tokens = 0.0, 0.0
        self._cost = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._began
        if kind is not None and issubclass(kind, Exception) and self._error_type is None:
            self.error(error_type_of(kind))
        if kind is None or self._marked:
            self._recorder.request(self._error_type, seconds)

    def success(self) -> None:
        """The answer was good; takes back an earlier `error()`."""
        self._marked, self._error_type = True, None

    def error(self, error_type: str = "other") -> None:
        """The answer was of no use; `error_type` outside `ERROR_TYPES` counts as `other`."""
        self._marked, self._error_type = True, error_type

    def tokens(self, *, input: int = 0, output: int = 0) -> None:  # noqa: A002 - as the label's values
        """Add tokens that the provider reported."""
        _check("tokens", min(input, output), 0, math.inf)
        self._recorder.tokens(input=input, output=output, before=self._tokens)
        self._tokens = self._tokens[0] + input, self._tokens[1] + output

    def cost(self, usd: float) -> None:
        """Add a cost in US dollars."""
        _check("cost", usd, 0, math.inf)
        self._recorder.cost(usd, before=self._cost)
        self._cost += usd

    def feedback(self, score: float) -> None:
        """Record a user's rating, 1 (bad) to 5 (good)."""
        _check("feedback", score, 1, 5)
        self._recorder.feedback(score)

    def automated_score(self, score: float) -> None:
        """Record the score of an automated evaluation, 0 to 10."""
        _check("automated_score", score, 0, 10)
        self._recorder.automated(score)

    def quality(self, *, predicted: float, actual: float) -> None:
        """Record a predicted and an actual quality, 0 to 10; the distance is what `avg_calibration_delta` averages."""
        _check("predicted quality", predicted, 0, 10)
        _check("actual quality", actual, 0, 10)
        self._recorder.quality(predicted, actual)


def error_type_of(kind: type[BaseException]) -> str:
    """Return the error type of an exception class: that of the nearest known class in its hierarchy, else `other`."""
    return next((_ERROR_TYPE_OF[base.__name__] for base in kind.__mro__ if base.__name__ in _ERROR_TYPE_OF), "other")


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or math.isinf(value):
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}")
