"""YAML as the API server reads it, and with one error for everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_DEPTH = 100
"""Mappings and lists within each other; beyond some hundreds Python's stack would end."""


class Loader(yaml.SafeLoader):
    """A SafeLoader that raises nothing but `YAMLError`.

    A time is text, as it is in JSON. Refused: a member that is there twice, a member whose name is no scalar, an
    anchor within itself, a value that is not of the type that its tag names, and deep nesting.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._open: set[str] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and all below it."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth >= MAX_DEPTH:
            raise _refused(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
            raise _refused(f"*{event.anchor} stands within &{event.anchor}", event.start_mark)
        opened = {event.anchor} if isinstance(event, yaml.CollectionStartEvent) and event.anchor else set[str]()
        self._open |= opened
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._open -= opened
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  PyYAML's signature
        """Build a value; `0x_` looks like a number to YAML and is none to Python."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _refused(f"this is no value of type {kind}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        """Build a mapping; a second member of the same name would silently win."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("the name of a member must be text", key.start_mark)
            if key.value in seen:
                raise _refused(f"{key.value} is there twice", key.start_mark)
            if key.value != "<<":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str) -> Any:
    """Read the one document of a text; None when it holds none."""
    return Loader(text).get_single_data()


def _refused(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, where)
