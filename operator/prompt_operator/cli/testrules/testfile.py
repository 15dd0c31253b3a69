"""Files of rule tests: read, checked against their form, and told with the line of what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from prompt_operator.api.crdgen import structural
from prompt_operator.cli.errors import BadFile
from prompt_operator.cli.manifests import schema
from prompt_operator.cli.manifests.documents import readable, text_of
from prompt_operator.cli.manifests.places import place_of, position
from prompt_operator.cli.testrules.models import RuleTest
from prompt_operator.core.strictyaml import Loader

if TYPE_CHECKING:
    import yaml

    from prompt_operator.api.crdgen import Schema
    from prompt_operator.cli.manifests.places import Place


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file whose form is right, and where its parts stand."""

    file: str
    content: RuleTest
    root: yaml.Node

    def complaint(self, place: Place, message: str) -> str:
        """Return `file:line: field: message`."""
        return _complaint(self.file, self.root, place, message)

    def line(self, place: Place) -> int:
        """Return the line on which a value stands, from 1."""
        return position(self.root, place).line


def read(file: str) -> RuleFile:
    """Read a file of rule tests; `BadFile` names everything that is wrong with its form."""
    with readable(file):
        text = text_of(file)
    return parse(file, text)


def parse(file: str, text: str) -> RuleFile:
    """Read the text of a file, as `read`."""
    with readable(file):
        root, content = _loaded(text)
    if root is None or not isinstance(content, dict):
        raise BadFile(f"{file}: no rule test: it has interval, rules, series and expect")
    plain = _with_text(schema.without_nulls(content))
    found = schema.faults(RuleTest, _schema(), plain)
    if found:
        raise BadFile("\n".join(_complaint(file, root, place_of(path), message) for path, message in found))
    return RuleFile(file, RuleTest.model_validate(plain), root)


def _loaded(text: str) -> tuple[yaml.Node | None, Any]:
    loader = Loader(text)
    root = loader.get_single_node()
    return root, None if root is None else loader.construct_document(root)


@cache
def _schema() -> Schema:
    raw = RuleTest.model_json_schema(by_alias=True, mode="validation")
    return structural(raw, raw.get("$defs", {}))


def _with_text(content: dict[str, Any]) -> dict[str, Any]:
    """Take numbers for text where a person may write either: `value: 3.2`, `avg_user_feedback: 3`."""
    told = dict(content)
    for member in ("series", "baseline"):
        if isinstance(told.get(member), dict):
            told[member] = {str(name): _text(value) for name, value in told[member].items()}
    if isinstance(told.get("expect"), list):
        told["expect"] = [_expectation(each) for each in told["expect"]]
    return told


def _expectation(each: Any) -> Any:
    return each | {"value": _text(each["value"])} if isinstance(each, dict) and "value" in each else each


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _text(below) for key, below in value.items()}
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _complaint(file: str, root: yaml.Node, place: Place, message: str) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    return ": ".join(part for part in (f"{file}:{position(root, place).line}", path, message) if part)
