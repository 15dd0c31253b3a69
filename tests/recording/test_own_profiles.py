"""Whoever brings a profile of his own gets its recording rules from the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from devcluster.paths import REPO
from prompt_operator.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

OWN = """
name: ours
description: Ours.
verified: by hand
extends: native
quantities:
  cost: {counter: our_cost_total}
"""


def printed(*arguments: str) -> tuple[int, str]:
    """Exit status and output of `prompt-operator recording-rules`."""
    result = CliRunner().invoke(main, ["recording-rules", *arguments])
    return result.exit_code, result.output


def test_an_own_profile_is_recorded_under_its_own_names(tmp_path: Path) -> None:
    """The rules name the profile, and read what it reads."""
    (tmp_path / "ours.yaml").write_text(OWN, "utf-8")
    status, text = printed("ours", f"--profiles-dir={tmp_path}")
    assert status == 0
    counts = yaml.safe_load(text)["groups"][0]["rules"][0]
    assert counts["labels"] == {"profile": "ours"}
    assert "our_cost_total" in counts["expr"]


@pytest.mark.parametrize(("flags", "file"), [((), "native.rules.yaml"), (("--object",), "native.prometheusrule.yaml")])
def test_a_shipped_profile_gives_the_shipped_file(flags: tuple[str, ...], file: str) -> None:
    """What is printed is what lies in manifests/."""
    assert printed("native", *flags) == (0, (REPO / "manifests" / "recording-rules" / file).read_text("utf-8"))


def test_an_unknown_profile_is_named_with_those_there_are() -> None:
    """A mistyped name is told the right ones."""
    status, text = printed("nativ")
    assert status == 1
    assert "there is no profile nativ" in text
    assert "native" in text.partition("there are")[2]
