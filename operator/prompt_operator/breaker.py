"""The circuit breaker in front of an outside system that does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_operator.ports import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class Breaker:
    """Closed, open for `open_seconds` after `failures` in a row, then half open: one probe decides.

    For use from one thread (the event loop's). Every `enter` must be followed by one of `succeeded`, `failed`, `left`.
    """

    def __init__(self, name: str, monotonic: Callable[[], float], *, failures: int, open_seconds: float) -> None:
        self.name = name
        self._monotonic = monotonic
        self._failures = failures
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for a probe."""
        return self._opened_at is not None

    def enter(self) -> None:
        """Ask to make a call; Unavailable, with the seconds to wait, while the breaker is open."""
        if self._opened_at is None:
            return
        remaining = self._remaining()
        if remaining > 0 or self._probing:
            raise Unavailable(
                f"{self.name} failed {self._times()} and is left alone: next attempt in {remaining:.0f} s",
                after=remaining,
            )
        self._probing = True

    def succeeded(self) -> None:
        """The other side is there: close."""
        self._in_a_row, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        """The other side is not there: open when this was the last straw, or a probe."""
        self._in_a_row += 1
        if self._in_a_row >= self._failures:
            self._opened_at = self._monotonic()
        self._probing = False

    def left(self) -> None:
        """The call ended without saying anything about the other side (it was cancelled)."""
        self._probing = False

    def state(self) -> dict[str, Any]:
        """Return it as /diagnostics shows it: name, open, failures in a row, seconds until the next attempt."""
        return {
            "name": self.name,
            "open": self.is_open,
            "failures": self._in_a_row,
            "nextAttemptInSeconds": round(self._remaining(), 1),
        }

    def _times(self) -> str:
        return "once" if self._in_a_row == 1 else f"{self._in_a_row} times in a row"

    def _remaining(self) -> float:
        """Return the seconds until the next attempt."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._open_seconds - self._monotonic())
