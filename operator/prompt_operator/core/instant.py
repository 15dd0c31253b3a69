"""Instants that people write into annotations."""

from __future__ import annotations

from datetime import datetime

LONGEST = 63
"""Characters that status keeps of one."""


def parse(text: str) -> datetime | None:
    """Return the instant that an RFC 3339 text means; None for anything else, and for one without a zone."""
    try:
        instant = datetime.fromisoformat(text) if len(text) <= LONGEST else None
    except ValueError:
        return None
    return instant if instant is not None and instant.tzinfo else None
