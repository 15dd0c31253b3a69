"""A token bucket: the one rate limit used by the work queue and by the recorder of Events."""

from __future__ import annotations

_SHORTEST_WAIT = 1e-6  # seconds; less would be lost in rounding, and the caller would wait again without end


class TokenBucket:
    """Allow `rate` starts per second on average and `burst` at once; the caller brings the time.

    Args:
        rate: tokens that come back per second, greater than zero.
        burst: tokens it holds when full, at least one.
        now: the monotonic instant at which it is full.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a token bucket needs rate > 0 and burst >= 1, not rate={rate} and burst={burst}")
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def take(self, now: float) -> float:
        """Take one token and return 0.0, or take none and return the seconds until one is there."""
        self._refill(now)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return max(_SHORTEST_WAIT, (1 - self._tokens) / self._rate)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
