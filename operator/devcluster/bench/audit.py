"""Writes, counted from the API server's audit log: every verb but get, list and watch."""

import json
from collections import Counter
from pathlib import Path

_LONGEST = 1 << 20  # bytes of a line; one holds no bodies


class AuditLog:
    """Reads what was written since a mark."""

    def __init__(self, path: Path, agent: str) -> None:
        self._path, self._agent = path, agent
        self._offset = 0

    def mark(self) -> None:
        """Count from the last whole line on: the server may be in the middle of writing one."""
        size = self._path.stat().st_size
        start = max(0, size - _LONGEST)
        with self._path.open("rb") as log:
            log.seek(start)
            self._offset = start + log.read(size - start).rfind(b"\n") + 1

    def writes(self) -> Counter[str]:
        """Return the writes of the operator since the mark, by verb and resource."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            lines = log.read().rpartition(b"\n")[0].splitlines()
        events = [event for event in map(json.loads, lines) if event.get("userAgent", "").startswith(self._agent)]
        return Counter(f"{event['verb']} {event['objectRef'].get('resource', '?')}" for event in events)
