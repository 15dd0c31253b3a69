"""Writes, counted from the API server's audit log: every verb but get, list and watch."""

import json
from collections import Counter
from pathlib import Path

from devcluster.watch import Json

_LONGEST = 1 << 20  # bytes of a line; one holds no bodies


def whole_lines(path: Path) -> int:
    """Return where the last whole line of a log ends; its writer may be in the middle of the next one."""
    size = path.stat().st_size
    start = max(0, size - _LONGEST)
    with path.open("rb") as log:
        log.seek(start)
        return start + log.read(size - start).rfind(b"\n") + 1


class AuditLog:
    """Reads what was written since a mark."""

    def __init__(self, path: Path, agent: str) -> None:
        self._path, self._agent = path, agent
        self._offset = 0

    def mark(self) -> None:
        """Count from the last whole line on."""
        self._offset = whole_lines(self._path)

    def writes(self) -> Counter[str]:
        """Return the writes of the operator since the mark, by verb and resource."""
        return Counter(f"{event['verb']} {event['objectRef'].get('resource', '?')}" for event in self.events())

    def events(self) -> list[Json]:
        """Return the lines of the operator's writes since the mark."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            lines = log.read().rpartition(b"\n")[0].splitlines()
        return [event for event in map(json.loads, lines) if event.get("userAgent", "").startswith(self._agent)]
