"""A short run of every fuzz target; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.seeds import seeds, words
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path


@given(st.data(), st.sampled_from(sorted(TARGETS)))
def test_no_input_breaks_a_target(data: st.DataObject, target: str) -> None:
    """Sensible inputs with a piece replaced by any other bytes are read, or refused as promised."""
    seed = data.draw(st.sampled_from(seeds(target)))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(seed))] * 2)))
    piece = data.draw(st.binary(max_size=20) | st.sampled_from(words()).map(str.encode))
    TARGETS[target](seed[:begin] + piece + seed[end:])


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_fuzzer_runs_each_target(target: str, tmp_path: Path) -> None:
    """A few hundred executions under the fuzzer end well, and without a finding."""
    command = [sys.executable, "-m", "tests.fuzz", target, "--runs", "300", "--corpus", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "300 runs" in ended.stderr
    assert not list((tmp_path / "found").iterdir())
