"""Types of arguments and options: what the API server would refuse is wrong usage before anything is asked."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from pydantic import TypeAdapter, ValidationError

from prompt_operator.api import KINDS
from prompt_operator.api.common import GROUP, ContentHash, ObjectName, PromptName, SemVer
from prompt_operator.core import duration

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_REASON = 1024
"""Characters; as the API has it for `reason`."""
_RESOURCES = frozenset(
    f"{word}{group}"
    for kind in KINDS
    for word in (kind.definition.plural, kind.definition.kind.lower(), kind.definition.short)
    for group in ("", f".{GROUP}")
)


def _text(field: Any, wanted: str, *, optional: bool = False, resource: bool = False) -> Callable[[str], str]:
    """Make the type of a text that a field of the API takes.

    Args:
        field: type of the field.
        wanted: what to write instead.
        optional: an empty text passes, and means that nothing was said.
        resource: `prompt/greeting`, as `kubectl get --output=name` prints it, means greeting.
    """
    adapter: TypeAdapter[str] = TypeAdapter(field)

    def text(value: str) -> str:
        before, slash, after = value.partition("/")
        name = after if resource and slash and before.lower() in _RESOURCES else value
        try:
            return name if optional and not name else adapter.validate_python(name)
        except ValidationError:
            raise click.BadParameter(f"{value!r}: {wanted}.") from None

    return text


PROMPT = _text(PromptName, "a Prompt's name has lower case letters, digits and '-', at most 63", resource=True)
OBJECT = _text(ObjectName, "a name has lower case letters, digits, '-' and '.'", resource=True)
NAMESPACE = _text(PromptName, "a namespace has lower case letters, digits and '-', at most 63", optional=True)
VERSION = _text(SemVer, "a version has three numbers, such as 1.4.0 or 1.4.0-rc.1")
HASH = _text(ContentHash, "a hash is sha256: and 64 hexadecimal digits", optional=True)


def why(value: str) -> str:
    """Return a reason in one line, as it is shown in tables and messages."""
    words = " ".join(value.split())
    if not words:
        raise click.BadParameter("it is empty: say why, for those who read it later.")
    if len(words) > LONGEST_REASON:
        raise click.BadParameter(f"it has {len(words)} characters, {LONGEST_REASON} are kept at most.")
    if not words.isprintable():
        raise click.BadParameter("it has characters that cannot be shown: write plain text in UTF-8.")
    return words


def seconds(value: str) -> float:
    """Return the seconds of `10`, `10s` or `2m`."""
    try:
        return duration.parse(f"{value}s" if re.fullmatch(r"[0-9.]+", value) else value) / timedelta(seconds=1)
    except ValueError:
        raise click.BadParameter(f"{value!r}: write seconds or a duration, such as 30s or 2m.") from None


def address(value: str) -> str:
    """Return the address of an HTTP server; empty for none."""
    try:
        parts = urlsplit(value)
        right = not value or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        right = False
    if not right:
        raise click.BadParameter(f"{value!r}: write it as http://127.0.0.1:8080.")
    return value


def placed(value: str) -> str:
    """Return NAMESPACE/NAME, or NAME alone."""
    namespace, _, name = value.rpartition("/")
    try:
        NAMESPACE(namespace)
        OBJECT(name)
    except click.BadParameter:
        raise click.BadParameter(f"{value!r}: write NAMESPACE/NAME.") from None
    return value
