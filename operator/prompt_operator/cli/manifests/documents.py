"""Files to documents, read as the API server reads them: no dates, no member twice."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prompt_operator.api.common import GROUP
from prompt_operator.cli.errors import BadFile
from prompt_operator.core.strictyaml import Loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Document:
    """One object, and where it stands."""

    file: str
    number: int
    """Of the YAML document in its file, from 1."""
    manifest: dict[str, Any]

    @property
    def kind(self) -> str:
        """`kind`, as far as it is text."""
        return str(self.manifest.get("kind") or "")

    @property
    def name(self) -> str:
        """`metadata.name`, empty without one."""
        return str(self._metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, empty without one."""
        return str(self._metadata.get("namespace") or "")

    @property
    def spec(self) -> dict[str, Any]:
        """`spec`, empty when it is missing or no mapping."""
        return _mapping(self.manifest.get("spec"))

    @property
    def _metadata(self) -> dict[str, Any]:
        return _mapping(self.manifest.get("metadata"))


def ours(document: Document) -> bool:
    """Tell whether the object is of this API group, whatever its version; others are not looked at."""
    return str(document.manifest.get("apiVersion") or "").split("/")[0] == GROUP


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def documents(paths: Iterable[str]) -> tuple[Document, ...]:
    """Read all objects of files, of folders (YAML and JSON in them) and of `-`; lists are taken apart.

    Raises:
        BadFile: a file is missing, is no YAML, or holds something else than objects.
    """
    return tuple(document for path in paths for file in _files(path) for document in _of(file))


def _files(path: str) -> list[str]:
    if path == STDIN or not Path(path).is_dir():
        return [path]
    return sorted(str(file) for file in Path(path).rglob("*") if file.suffix in _SUFFIXES and file.is_file())


def _of(file: str) -> Iterator[Document]:
    for number, content in enumerate(_loaded(file), start=1):
        for item in _items(content):
            if not isinstance(item, dict):
                raise BadFile(f"{file}:{number}: not an object: a manifest has apiVersion, kind, metadata and spec")
            yield Document(file, number, item)


def _loaded(file: str) -> list[Any]:
    with readable(file):
        return list(yaml.load_all(text_of(file), Loader))


def text_of(file: str) -> str:
    """Read a file, or stdin for `-`."""
    return sys.stdin.read() if file == STDIN else Path(file).read_text("utf-8")


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Turn what is wrong with a file, or with its YAML, into one sentence that names file, line and column."""
    try:
        yield
    except OSError as error:
        raise BadFile(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{file}: cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadFile(f"{file}: not valid YAML{where}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadFile(f"{file}: not valid YAML: {error}") from error


def _items(content: Any) -> list[Any]:
    if isinstance(content, dict) and content.get("kind") == "List":
        return list(content.get("items") or ())
    return [] if content is None else [content]
