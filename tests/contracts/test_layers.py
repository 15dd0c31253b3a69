"""Each contract between the layers holds, and would notice: a violation planted in a copy is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]
PLANTED = {
    "imports go only downwards": ("prompt_operator/core/duration.py", "import prompt_operator.ports"),
    "core and api decide: no I/O, no clock, no dice": ("prompt_operator/core/target.py", "import time"),
    "kopf only in handlers and __main__": ("prompt_operator/engine/gather.py", "import kopf"),
    "adapters are independent of each other": (
        "prompt_operator/adapters/events.py",
        "import prompt_operator.adapters.prometheus",
    ),
    "the client is light": ("prompt_client/wire.py", "import yaml"),
}
"""Contract -> a file, and an import that it must not have."""


def judged(tree: Path) -> dict[str, str]:
    """Run import-linter over a tree; return KEPT or BROKEN by contract."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    answer = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "operator"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", answer.stdout)
    return {name: verdict for line in plain.splitlines() for name, verdict in _verdict(line)}


def _verdict(line: str) -> list[tuple[str, str]]:
    found = re.match(r"(.+?) (KEPT|BROKEN)\b", line.strip())
    return [(found[1], found[2])] if found else []


def copied(to: Path) -> Path:
    """Copy what import-linter looks at."""
    ignored = shutil.ignore_patterns("__pycache__", "devcluster")
    shutil.copytree(ROOT / "operator", to / "operator", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Judge a copy in which every contract is violated; one run, because each costs a second."""
    tree = copied(tmp_path_factory.mktemp("planted"))
    for file, line in PLANTED.values():
        path = tree / "operator" / file
        path.write_text(f"{path.read_text()}\n{line}\n")
    return judged(tree)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Judge the tree as it is."""
    return judged(copied(tmp_path_factory.mktemp("intact")))


def test_every_contract_has_a_planted_violation() -> None:
    """A contract that nothing proves may be empty."""
    assert set(PLANTED) == set(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_tree_keeps_the_contract(contract: str, intact: dict[str, str]) -> None:
    """As it is, no import goes the wrong way."""
    assert intact[contract] == "KEPT"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_violation_is_noticed(contract: str, planted: dict[str, str]) -> None:
    """One forbidden import breaks the contract."""
    assert planted[contract] == "BROKEN"
