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
from prompt_operator.cli.manifests.places import Position, node_at, position
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
    root: yaml.Node
    """The object as it is written."""

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
    for number, (root, content) in enumerate(_loaded(file), start=1):
        for node, item in _items(root, content):
            if not isinstance(item, dict):
                where = f"{file}:{position(node, ())}"
                raise BadFile(f"{where}: not an object: a manifest has apiVersion, kind, metadata and spec")
            yield Document(file, number, item, node)


def _loaded(file: str) -> list[tuple[yaml.Node, Any]]:
    """Return each document of a file: as it is written, and what it says."""
    with readable(file):
        loader, found = Loader(text_of(file)), []
        while loader.check_node() and (root := loader.get_node()):
            found.append((root, loader.construct_document(root)))
        return found


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
        where = f":{Position(mark.line + 1, mark.column + 1)}" if mark else ""
        raise BadFile(f"{file}{where}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadFile(f"{file}: not valid YAML: {error}") from error


def _items(root: yaml.Node, content: Any) -> list[tuple[yaml.Node, Any]]:
    if not isinstance(content, dict) or content.get("kind") != "List":
        return [] if content is None else [(root, content)]
    items = content.get("items") or []
    if not isinstance(items, list):
        return [(node_at(root, ("items",)), items)]
    return [(node_at(root, ("items", index)), item) for index, item in enumerate(items)]
