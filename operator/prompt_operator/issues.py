"""What is or was wrong with the operator's surroundings, one entry an incident, for /diagnostics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

_KEPT = 100


@dataclass(slots=True)
class Issue:
    """One incident, from its first sign to its end."""

    subject: str
    message: str
    since: datetime
    last_seen: datetime
    count: int = 1
    until: datetime | None = None


class Issues:
    """The last hundred incidents. Of a subject at most one is open: what is seen again is counted in it."""

    def __init__(self) -> None:
        self._all: deque[Issue] = deque(maxlen=_KEPT)
        self._open: dict[str, Issue] = {}

    def seen(self, subject: str, message: str, now: datetime) -> bool:
        """Take note of trouble with a subject, such as `metric source default`; return whether it is a new incident."""
        known = self._open.get(subject)
        if known is not None:
            known.message, known.last_seen, known.count = message, now, known.count + 1
            return False
        self._open[subject] = issue = Issue(subject, message, now, now)
        self._all.append(issue)
        return True

    def over(self, subject: str, now: datetime) -> bool:
        """Take note that a subject is well; return whether that ends an incident."""
        issue = self._open.pop(subject, None)
        if issue is not None:
            issue.until = now
        return issue is not None

    def document(self) -> list[dict[str, Any]]:
        """Return them as JSON, the newest first; `until` is null while one goes on."""
        return [
            {
                "subject": issue.subject,
                "message": issue.message,
                "since": issue.since.isoformat(),
                "lastSeen": issue.last_seen.isoformat(),
                "count": issue.count,
                "until": issue.until.isoformat() if issue.until else None,
            }
            for issue in reversed(self._all)
        ]
