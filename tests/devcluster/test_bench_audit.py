"""The writes that the bench counts in an audit log."""

import json
from pathlib import Path

from devcluster.bench.audit import AuditLog

WRITE = json.dumps({"userAgent": "bot/1", "verb": "patch", "objectRef": {"resource": "prompts"}}) + "\n"


def test_a_line_that_is_being_written_is_counted_once_it_is_whole(tmp_path: Path) -> None:
    """Wherever the server is in its writing when the mark is set, lines are read from their beginning."""
    for written in range(len(WRITE)):
        file = tmp_path / f"{written}.log"
        file.write_text(WRITE + WRITE[:written])
        log = AuditLog(file, "bot/")
        log.mark()
        assert log.writes().total() == 0
        file.write_text(WRITE + WRITE)
        assert log.writes() == {"patch prompts": 1}
