"""The house rules that a machine can check: names at the top, sizes, and nothing that belongs to one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator"
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "operator", "crds", "manifests", "tests", "helm", "docs"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files that git tracks and that exist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def source() -> list[Path]:
    """Return the Python files of the operator's folder, without the pinned tools."""
    return [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(OPERATOR)]


def named(path: Path) -> str:
    """Return how a test calls a file."""
    return str(path.relative_to(ROOT))


def test_operator_is_a_folder_and_no_package() -> None:
    """A package of that name would hide the standard library's module from everyone."""
    assert not (OPERATOR / "__init__.py").exists()


def test_the_standard_library_is_not_hidden() -> None:
    """`import operator` with the repository's root first on the path brings the real one."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import operator; print(operator.itemgetter.__module__)"
    answer = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert answer.stdout.strip() == "operator"


def test_the_top_level_holds_nothing_else() -> None:
    """The names at the top are fixed; others hide behind a dot."""
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL
    assert {"pyproject.toml", "README.md", "LICENSE", "operator", "crds", "manifests", "tests"} <= names


@pytest.mark.parametrize("path", source(), ids=named)
def test_no_file_is_too_long(path: Path) -> None:
    """A file is read in one go: at most 400 lines."""
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    first, *_ = function.body
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", source(), ids=named)
def test_no_function_is_too_long(path: Path) -> None:
    """None over 60 lines."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [node.name for node in functions if _length(node) > LONGEST_FUNCTION] == []


# Written in parts, so that this file does not hold what it looks for.
FOREIGN = {
    "a home directory": r"/(?:home|Users)/[a-z][\w.-]*/",
    "the root's home": r"(?<![\w.])/root/\w",
    "a checkout's path": r"(?<![\w.$}/])/wor" + r"k/(?:main|shared|\.)",
    "an index option": r"--(?:extra-)?index" + r"-url[ =]\S",
    "a package index": r"https?://[\w.-]*(?:pypi|pythonhosted|npmjs|goproxy|artifactory|nexus)[\w.-]*[/:]",
    "a Go proxy setting": r"GOPROXY=https?://",
}
TEXT_MAX = 2_000_000


def texts() -> list[Path]:
    """Return the tracked files that are text."""
    return [path for path in tracked() if path.stat().st_size < TEXT_MAX and b"\0" not in path.read_bytes()[:4096]]


@pytest.mark.parametrize("what", FOREIGN, ids=str)
def test_nothing_belongs_to_one_machine(what: str) -> None:
    """No tracked file names a place on somebody's disk or the registry that somebody uses."""
    pattern = re.compile(FOREIGN[what])
    found = [
        named(path) for path in texts() if path != Path(__file__) and pattern.search(path.read_text("utf-8", "replace"))
    ]
    assert found == []


def locks() -> list[Path]:
    """Return the lock files."""
    return [path for path in tracked() if path.is_relative_to(OPERATOR / "locks") and path.suffix == ".txt"]


def test_there_are_locks() -> None:
    """A fresh machine installs exactly what was tested."""
    assert locks()


@pytest.mark.parametrize("path", locks(), ids=named)
def test_locks_carry_hashes_and_no_addresses(path: Path) -> None:
    """Each requirement is pinned and hashed, and where it comes from is the installer's business."""
    text = path.read_text()
    assert "://" not in text
    joined = re.sub(r"\\\n\s*", " ", text).splitlines()
    requirements = [line for line in joined if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    assert [line[:60] for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []
