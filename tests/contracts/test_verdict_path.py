"""What judges a rule runs no text: no eval, no regular expression, no PromQL."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import prompt_operator.core.rules as package

FOLDER = Path(package.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))
PREFIX = f"{package.__name__}."
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
READS_TEXT = {"re", "regex", "ast", "importlib", "fnmatch", "string", "subprocess"}
NOT_ON_THE_PATH = {"grammar", "promql", "profile", "model"}


def offences(code: str) -> set[str]:
    """Return the forbidden builtins that are named and the forbidden modules that are imported."""
    found = set[str]()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            found |= {node.id} & RUNS_TEXT
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & READS_TEXT
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & READS_TEXT
            found |= {alias.name for alias in node.names} & RUNS_TEXT
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_of_the_rules_runs_text_or_matches_expressions(path: Path) -> None:
    """Conditions are parsed by a grammar; nothing in a rule can become code or a pattern."""
    assert not offences(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = eval('1')", {"eval"}),
        ("import re", {"re"}),
        ("import os, re", {"re"}),
        ("from re import match", {"re"}),
        ("from builtins import exec as run", {"exec"}),
        ("__import__('os')", {"__import__"}),
        ("import core.rules.retry", set()),
    ],
)
def test_an_offence_is_noticed(code: str, expected: set[str]) -> None:
    """Each forbidden name is found, however it is written."""
    assert offences(code) == expected


def imported(module: str) -> set[str]:
    """Return the modules of the rules that a module imports when it runs, itself and theirs included."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    names = {
        (node.module or "").removeprefix(PREFIX)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX)
    }
    return {module}.union(*map(imported, names))


@pytest.mark.parametrize("module", ["verdict", "estimate", "statistics", "judgement"])
def test_the_verdict_path_knows_no_text_of_queries(module: str) -> None:
    """What measures and judges knows neither the grammar nor PromQL; only the built syntax tree reaches it."""
    assert not imported(module) & NOT_ON_THE_PATH
