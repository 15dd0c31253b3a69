"""The README says what is so: its blocks are the files they stand for, and its commands exist."""

import re

import pytest

from devcluster.paths import REPO

README = (REPO / "README.md").read_text("utf-8")


def _block(language: str, number: int = 0) -> str:
    """The code block of this language, without its fences."""
    return str(re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[number])


def test_describe_is_what_the_demo_wrote() -> None:
    """The block on kubectl describe is the file that a run of the demo is compared with."""
    described = (REPO / "docs" / "describe-after-rollback.txt").read_text("utf-8")

    assert _block("text") == described


def test_the_smallest_manifests_are_the_sample() -> None:
    """The manifests shown are those of the sample, whose acceptance a real API server tests."""
    sample = (REPO / "manifests" / "samples" / "smallest.yaml").read_text("utf-8")

    assert sample.endswith(_block("yaml"))


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\./operator/dev (\w+)", README))))
def test_commands_exist(command: str) -> None:
    """Every command of the task runner that is named is one."""
    from devcluster.runner import COMMANDS

    assert command in COMMANDS
