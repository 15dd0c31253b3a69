"""Where a part of a YAML document stands in its file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
"""Members and indices that lead from the root to a value."""


class Position(NamedTuple):
    """Line and column in a file, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


def place_of(path: str) -> Place:
    """Read a path such as `spec.rules[2].for` back into its steps."""
    return tuple(int(index) if index else member for member, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path))


def position(root: yaml.Node, place: Place) -> Position:
    """Return where a member's name or an element begins; where it is missing, where what should hold it begins."""
    return _start([root, *(begin for begin, _ in _way(root, place))][-1])


def node_at(root: yaml.Node, place: Place) -> yaml.Node:
    """Return a value as it is written, or as much of the way to it as there is."""
    return [root, *(value for _, value in _way(root, place))][-1]


def position_within(root: yaml.Node, place: Place, column: int) -> Position | None:
    """Return where a character of a text stands; None where quoting or folding hides it.

    Args:
        root: of the document.
        place: of the text.
        column: of the character in the text, from 1.
    """
    text = node_at(root, place)
    if not isinstance(text, yaml.ScalarNode) or _written(text) != text.value:
        return None
    start = _start(text)
    return Position(start.line, start.column + len(text.style or "") + column - 1)


def _written(text: yaml.ScalarNode) -> str:
    """Return a scalar as the file has it, without its quotes."""
    start, end, quote = text.start_mark, text.end_mark, len(text.style or "")
    return (start.buffer or "")[start.pointer + quote : end.pointer - quote]


def _start(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _way(node: yaml.Node, place: Place) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the name (or the element) and the value of each step, as far as they are there."""
    for step in place:
        below = _below(node, step)
        if below is None:
            return
        yield below
        node = below[1]


def _below(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
