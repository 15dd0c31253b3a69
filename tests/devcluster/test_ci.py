"""CI proves nothing with tests it leaves out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.paths import REPO

_SKIPPED = "import pytest\ndef test_runs(): ...\n@pytest.mark.skip\ndef test_left_out(): ...\n"


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skipped_test_fails_ci_and_nothing_else(tmp_path: Path, ci: str, status: int) -> None:
    """The same run passes on a desk and fails in CI, which says why."""
    shutil.copy(REPO / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(_SKIPPED)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == status
    assert ("1 tests were skipped; in CI none may be" in done.stdout) == bool(status)
