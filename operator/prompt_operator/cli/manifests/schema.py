"""One manifest against its model: unknown members, types and bounds, and the CEL rules the model carries.

The rules are the ones of the CRDs, run by a CEL interpreter: none is written a second time. What needs the object as it
was before (`oldSelf`) cannot be checked from a file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import cel
from pydantic import ValidationError

from prompt_operator.api import KINDS
from prompt_operator.api.crdgen import open_api
from prompt_operator.core.rules.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prompt_operator.api.common import ApiModel, Resource
    from prompt_operator.api.crdgen import Schema

MODELS: dict[str, type[Resource]] = {model.definition.kind: model for model in KINDS}
_METADATA = (
    *("name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers"),
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink"),
    "deletionGracePeriodSeconds",
)
"""ObjectMeta of Kubernetes."""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isSorted": lambda items: list(items) == sorted(items),
    "sum": sum,
    "replace": lambda text, old, new: text.replace(old, new),
    "substring": lambda text, start, end=None: text[start:end],
}
"""Kubernetes' additions to CEL, as far as our rules use them."""

Problem = tuple[str, str]
"""Path, empty for the whole object, and message."""


@cache
def schema_of(kind: str) -> Schema:
    """Return the CRD's schema of a kind."""
    return open_api(MODELS[kind])


def problems(manifest: Mapping[str, Any]) -> list[Problem]:
    """Return everything the API server would refuse in a new object of one of our kinds."""
    kind = manifest["kind"]
    whole = without_nulls({key: value for key, value in manifest.items() if key != "status"})
    return [*_unknown_metadata(whole), *faults(MODELS[kind], schema_of(kind), whole)]


def faults(model: type[ApiModel], schema: Schema, whole: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with data of any model: unknown members, types and bounds, and what the rules refuse."""
    refusals = _refusals(model, whole)
    ruled = list(_broken(schema, _defaulted(schema, whole), "", refusals))
    explained = {path for path, _ in ruled}
    refused = [(each.path, each.message) for each in refusals if each.path not in explained]
    return [*_unknown(schema, whole, ""), *_repeated(schema, whole, ""), *refused, *ruled]


def without_nulls(node: Any) -> Any:
    """Drop members that are null, as the API server does before it looks at anything."""
    if isinstance(node, list):
        return [without_nulls(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {name: without_nulls(value) for name, value in node.items() if value is not None}


# --- members


def _unknown(schema: Schema, node: Any, path: str) -> Iterator[Problem]:
    """Yield members that the schema does not have; the server refuses them, or drops them without a word."""
    known = schema.get("properties", {})
    for name, child, below in _children(schema, node, path):
        yield from _unknown(child, below, name)
    if isinstance(node, dict) and known:
        for member in node.keys() - known.keys():
            yield _at(path, str(member)), f"unknown field, {did_you_mean(str(member), known)}"


def _unknown_metadata(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = manifest.get("metadata")
    for member in metadata.keys() - set(_METADATA) if isinstance(metadata, dict) else ():
        yield f"metadata.{member}", f"unknown field, {did_you_mean(str(member), _METADATA)}"


def _children(schema: Schema, node: Any, path: str) -> Iterator[tuple[str, Schema, Any]]:
    """Yield path, schema and value of all members and elements that the schema describes."""
    if isinstance(node, dict):
        for member, child in schema.get("properties", {}).items():
            if member in node:
                yield _at(path, member), child, node[member]
    elif isinstance(node, list) and "items" in schema:
        for index, value in enumerate(node):
            yield f"{path}[{index}]", schema["items"], value


def _repeated(schema: Schema, node: Any, path: str) -> Iterator[Problem]:
    """Yield elements that are twice in a list whose elements have a name, or in a set."""
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: set[str] = set()
    for name, child, below in _children(schema, node, path):
        yield from _repeated(child, below, name)
        if schema.get("x-kubernetes-list-type") in {"map", "set"}:
            word = ", ".join(str(below.get(key)) for key in keys) if isinstance(below, dict) else str(below)
            if word in seen:
                yield name, f"{word} is there twice"
            seen.add(word)


# --- types and bounds


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What the model refuses."""

    path: str
    message: str
    mistyped: bool
    """It is not even of the right type."""

    def within(self, path: str) -> bool:
        """Tell whether it is about this node or one below it."""
        return "" in {path, self.path} or self.path == path or self.path.startswith((f"{path}.", f"{path}["))


def _refusals(model: type[ApiModel], manifest: Mapping[str, Any]) -> list[_Refusal]:
    """Return what the model refuses: types, patterns, lengths, required members."""
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict) and metadata.get("generateName"):
        manifest = {**manifest, "metadata": {"name": metadata["generateName"], **metadata}}
    try:
        model.model_validate_json(json.dumps(manifest), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        return [_refusal(each) for each in found if not _consequence(each, found)]
    return []


def _refusal(error: Mapping[str, Any]) -> _Refusal:
    mistyped = error["type"].endswith(("_type", "_parsing")) or error["type"] == "json_invalid"
    return _Refusal(_place(error["loc"]), _complaint(error), mistyped)


def _consequence(error: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a list is only too short because its elements were refused."""
    depth = len(error["loc"])
    return error["type"] == "too_short" and any(each["loc"][:depth] == error["loc"] != each["loc"] for each in found)


def _complaint(error: Mapping[str, Any]) -> str:
    """Return pydantic's message in this program's words where those say more."""
    match error["type"]:
        case "missing":
            return "is required"
        case "literal_error":
            known = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
            return f"'{error['input']}' is none of {', '.join(known)}{_close(str(error['input']), known)}"
        case "string_type":
            return f"must be a string{': put it in quotes' if isinstance(error['input'], bool | int | float) else ''}"
    message = re.sub("^(Input|String|Tuple) should", "should", str(error["msg"]))
    return message.partition(" after validation")[0]


def _close(word: str, known: list[str]) -> str:
    hint = did_you_mean(word.capitalize(), known)
    return f": {hint}" if hint.startswith("did") else ""


def _place(location: tuple[str | int, ...]) -> str:
    path = ""
    for step in location:
        path = f"{path}[{step}]" if isinstance(step, int) else _at(path, step)
    return path


def _at(path: str, member: str) -> str:
    return f"{path}.{member}" if path else member


# --- CEL


def _defaulted(schema: Schema, node: Any) -> Any:
    """Fill in defaults as the API server does before it looks at rules."""
    if isinstance(node, list) and "items" in schema:
        return [_defaulted(schema["items"], value) for value in node]
    if not isinstance(node, dict):
        return node
    known: dict[str, Schema] = schema.get("properties", {})
    defaults = {name: child["default"] for name, child in known.items() if "default" in child}
    return {
        name: _defaulted(known[name], value) if name in known else value for name, value in (defaults | node).items()
    }


def _broken(schema: Schema, node: Any, path: str, refusals: Iterable[_Refusal]) -> Iterator[Problem]:
    """Yield the messages of rules that do not hold, from the outside in.

    Args:
        schema: of this node.
        node: the value, with defaults.
        path: where it is.
        refusals: what the model refuses: a rule over a value of the wrong type is not run, and one that cannot be run
            where something else is wrong says nothing.
    """
    inside = [refusal for refusal in refusals if refusal.within(path)]
    if not any(refusal.mistyped for refusal in inside):
        for rule in schema.get("x-kubernetes-validations", ()):
            if "oldSelf" not in rule["rule"]:
                yield from ((path, message) for message in _failed(rule, node, lenient=bool(inside)))
    for name, child, below in _children(schema, node, path):
        yield from _broken(child, below, name, inside)


def _failed(rule: Mapping[str, str], node: Any, *, lenient: bool) -> Iterator[str]:
    try:
        context = cel.Context(variables={"self": node}, functions=_FUNCTIONS)
        if cel.evaluate(rule["rule"], context) is not True:
            yield rule.get("message") or str(cel.evaluate(rule["messageExpression"], context))
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        if not lenient:
            yield f"{rule.get('message', rule['rule'])} ({error})"
