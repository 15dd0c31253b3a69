"""Which metric sources fail, and since when: one incident from the first failed query to the last one that recovers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from prompt_operator.engine.inquiry import Tally
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)


class Outages:
    """Follows how the queries of each source go.

    Args:
        telemetry: where it shows: `prompt_operator_source_up` and the issues of /diagnostics.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.failing: dict[str, datetime] = {}
        """Source -> when its queries began to fail; absent while its last answers were whole."""
        self.asked: set[str] = set()
        """Sources that were asked anything since the start; of others nothing is known."""

    def note(self, source: str, tally: Tally, now: datetime) -> None:
        """Take in one tick; what failed is asked again at the next one, so a tick without failures ends an outage."""
        if not tally.asked:
            return
        self.asked.add(source)
        self._telemetry.source_up.labels(source).set(0.0 if tally.failed == tally.asked else 1.0)
        if tally.failed:
            message = f"{tally.failed} of {tally.asked} queries failed: {tally.detail}"
            if self._telemetry.issues.seen(_subject(source), message, now):
                self.failing[source] = now
                _log.warning("%s: %s. Its rules keep their state until it answers", _subject(source), message)
        elif since := self._end(source, now):
            _log.warning("%s answers again, after %s; its rules are judged", _subject(source), now - since)

    def keep(self, asked: Collection[str], now: datetime) -> None:
        """Forget outages of sources that nobody asks any more."""
        for source in self.failing.keys() - set(asked):
            self._end(source, now)
        self.asked &= set(asked)

    def _end(self, source: str, now: datetime) -> datetime | None:
        self._telemetry.issues.over(_subject(source), now)
        return self.failing.pop(source, None)


def _subject(source: str) -> str:
    return f"metric source {source}"
