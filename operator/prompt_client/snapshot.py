"""From the bytes of `prompt.json` to a verified, immutable snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from prompt_client import wire

ENGINES: Final = ("Plain", "Simple", "Jinja2")
ROLES: Final = ("System", "User", "Assistant", "History")

T = TypeVar("T")


class WireError(ValueError):
    """A publication breaks the wire contract; the message names the member, never its content."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable of a template."""

    name: str
    required: bool  # where the version does not say: unless there is a default
    default: str | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat prompt, not rendered."""

    role: str  # one of ROLES
    content: str


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a prompt: exactly one of `text` and `messages` is set."""

    version: str
    hash: str
    engine: str
    text: str | None
    messages: tuple[Message, ...] | None
    variables: tuple[Variable, ...]
    model: Mapping[str, Any]
    output_schema: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One verified publication of a prompt."""

    namespace: str
    name: str
    revision: int
    mode: str
    active: Version | None  # None only in mode Fallback
    versions: Mapping[str, Version]


def parse_snapshot(raw: bytes) -> Snapshot:
    """Parse and verify `prompt.json`: its structure, and the content hash of every version in it.

    Raises:
        WireError: the bytes break the contract `promptops.dev/wire/v1`.
    """
    document = _document(raw)
    api_version = _member(document, "apiVersion", str)
    if api_version != wire.API_VERSION:
        raise WireError(f"apiVersion is not {wire.API_VERSION}: use a prompt_client that matches the operator")
    prompt = _member(document, "prompt", dict)
    mode = _one_of(_member(document, "mode", str), (wire.MODE_ACTIVE, wire.MODE_FALLBACK), "mode")
    versions = {name: _verified(name, entry) for name, entry in _member(document, "versions", dict).items()}
    return Snapshot(
        namespace=_member(prompt, "namespace", str),
        name=_member(prompt, "name", str),
        revision=_member(document, "revision", int),
        mode=mode,
        active=_active(document, mode, versions),
        versions=MappingProxyType(versions),
    )


def parse_version(version: str, spec: Mapping[str, Any], content_hash: str) -> Version:
    """Read the members of a PromptVersion's spec, or of an entry of `versions`, that a client needs.

    Raises:
        WireError: a member has the wrong type, or there is not exactly one of `text` and `messages`.
    """
    text = _optional(spec, "text", str)
    messages = _optional(spec, "messages", list)
    if (text is None) == (messages is None):
        raise WireError("exactly one of text and messages must be given")
    return Version(
        version=version,
        hash=content_hash,
        engine=_one_of(_optional(spec, "engine", str) or "Simple", ENGINES, "engine"),
        text=text,
        messages=None if messages is None else tuple(map(_message, messages)),
        variables=tuple(map(_variable, _optional(spec, "variables", list) or [])),
        model=MappingProxyType(_optional(spec, "model", dict) or {}),
        output_schema=_optional(spec, "outputSchema", str),
    )


def _document(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        # Chaining would show an excerpt: JSONDecodeError carries the whole text.
        raise WireError("prompt.json is not JSON") from None
    if not isinstance(document, dict):
        raise WireError("prompt.json is not a JSON object")
    return document


def _verified(name: str, entry: object) -> Version:
    if not isinstance(entry, dict):
        raise WireError(f"versions[{name}] is not an object")
    claimed = _member(entry, "hash", str)
    try:
        computed = wire.content_hash(entry)
        version = parse_version(name, entry, computed)
    except ValueError as error:
        raise WireError(f"versions[{name}]: {error}") from None
    except RecursionError:
        raise WireError(f"versions[{name}]: nested too deeply") from None
    if computed != claimed:
        raise WireError(f"versions[{name}]: the content does not have the hash it is published with")
    return version


def _active(document: Mapping[str, Any], mode: str, versions: Mapping[str, Version]) -> Version | None:
    active = _optional(document, "active", str)
    if active is not None and active in versions:
        return versions[active]
    if mode == wire.MODE_FALLBACK:
        return None
    raise WireError("active names no entry of versions")


def _message(item: object) -> Message:
    if not isinstance(item, Mapping):
        raise WireError("messages[] holds something that is not an object")
    return Message(_one_of(_member(item, "role", str), ROLES, "messages[].role"), _member(item, "content", str))


def _variable(item: object) -> Variable:
    if not isinstance(item, Mapping):
        raise WireError("variables[] holds something that is not an object")
    default = _optional(item, "default", str)
    required = _optional(item, "required", bool)
    return Variable(
        name=_member(item, "name", str),
        required=default is None if required is None else required,
        default=default,
        max_length=_optional(item, "maxLength", int),
    )


def _member(members: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = _optional(members, name, kind)
    if value is None:
        raise WireError(f"{name} is missing")
    return value


def _optional(members: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = members.get(name)
    # bool is a subclass of int, but `true` is no number.
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise WireError(f"{name} is not of type {kind.__name__}")
    return value


def _one_of(value: str, allowed: Sequence[str], name: str) -> str:
    if value not in allowed:
        raise WireError(f"{name} is none of {', '.join(allowed)}")
    return value
