"""Rendering of a version's template with the application's variables.

Nothing here ever puts a value into an error or a log: values are user data, and often personal.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prompt_client.errors import RenderError

if TYPE_CHECKING:
    from prompt_client.snapshot import Message, Variable, Version

RenderedMessage = dict[str, Any]
"""`{"role": "system" | "user" | "assistant" | ..., "content": ...}`, as chat APIs take it."""

# The second alternative catches every other opening, so that a typing error is never sent to a model.
_PLACEHOLDER: Final = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}|(\{\{)")
_HISTORY_ROLES: Final = frozenset({"user", "assistant", "tool"})


def render_text(version: Version, values: Mapping[str, Any]) -> str:
    """Render a text version.

    Values a template does not use are ignored: versions differ in what they use, the calling code does not.

    Raises:
        RenderError: a placeholder without a value, a missing required variable, a value that is too long or of a
            wrong type, a malformed placeholder, or a version that holds messages.
    """
    if version.text is None:
        raise RenderError(f"version {version.version} holds messages: call render_messages()")
    return _engine(version)(version.text, _resolve(version, values))


def render_messages(version: Version, values: Mapping[str, Any]) -> list[RenderedMessage]:
    """Render a version to chat messages; a text version becomes one user message.

    Roles are lower case. A History message stands for the variable it names as `{{ name }}`, or for `history` when
    it is empty: a list of earlier messages, put in as they are, none of which may claim the role of the system.

    Raises:
        RenderError: see `render_text`; also a history that is no list of user, assistant or tool messages.
    """
    if version.messages is None:
        return [{"role": "user", "content": render_text(version, values)}]
    template = _engine(version)
    resolved = _resolve(version, values)
    rendered: list[RenderedMessage] = []
    for message in version.messages:
        if message.role == "History":
            rendered += _history(message, resolved)
        else:
            rendered.append({"role": message.role.lower(), "content": template(message.content, resolved)})
    return rendered


def _resolve(version: Version, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given values against the declared variables and fill in defaults."""
    resolved = dict(given)
    for variable in version.variables:
        if variable.name in given:
            _check_length(variable, given[variable.name])
        elif variable.default is not None:
            resolved[variable.name] = variable.default
        elif variable.required:
            raise RenderError(f"variable '{variable.name}' is required by version {version.version}: pass it")
        else:
            resolved[variable.name] = ""
    return resolved


def _check_length(variable: Variable, value: object) -> None:
    length = len(value) if isinstance(value, str) else 0
    if variable.max_length is not None and length > variable.max_length:
        raise RenderError(f"variable '{variable.name}' has {length} characters, maxLength is {variable.max_length}")


def _engine(version: Version) -> Callable[[str, Mapping[str, Any]], str]:
    return {"Plain": _plain, "Simple": _simple, "Jinja2": _jinja2}[version.engine]


def _plain(template: str, _values: Mapping[str, Any]) -> str:
    return template


def _simple(template: str, values: Mapping[str, Any]) -> str:
    """Replace every placeholder in one pass, so that placeholders inside a value stay text."""

    def value_of(match: re.Match[str]) -> str:
        if match[2]:
            line = template.count("\n", 0, match.start()) + 1
            raise RenderError(f"malformed placeholder on line {line}: engine Simple knows {{{{ name }}}} only")
        if match[1] not in values:
            raise RenderError(f"placeholder '{match[1]}' has no value: pass it, or declare it with a default")
        return _as_text(match[1], values[match[1]])

    return _PLACEHOLDER.sub(value_of, template)


def _as_text(name: str, value: object) -> str:
    # None and containers are refused: "None" in a prompt is a bug that nobody sees.
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RenderError(f"variable '{name}' is of type {type(value).__name__}: pass a string or a number")


def _jinja2(template: str, values: Mapping[str, Any]) -> str:
    try:
        sandbox = importlib.import_module("jinja2.sandbox")
        jinja2 = importlib.import_module("jinja2")
    except ImportError:
        raise RenderError("engine Jinja2 needs the package jinja2: install it beside prompt-operator") from None
    environment = sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return str(environment.from_string(template).render(values))
    except jinja2.UndefinedError as error:
        raise RenderError(f"engine Jinja2: {error.message}: pass it, or declare it with a default") from None
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        # The message or the chain of any other error may hold a value.
        raise RenderError(f"engine Jinja2 could not render the template: {type(error).__name__}") from None


def _history(message: Message, values: Mapping[str, Any]) -> list[RenderedMessage]:
    match = _PLACEHOLDER.fullmatch(message.content.strip() or "{{ history }}")
    if match is None or not match[1]:
        raise RenderError("the content of a History message is empty or one placeholder, such as {{ history }}")
    name = match[1]
    if name not in values:
        raise RenderError(f"variable '{name}' is missing: pass the list of earlier messages, or []")
    history = values[name] or []  # an optional one that was not given is ""
    if not isinstance(history, list | tuple) or not all(map(_is_turn, history)):
        raise RenderError(f"variable '{name}' is not a list of user, assistant and tool messages")
    return [dict(turn) for turn in history]


def _is_turn(turn: object) -> bool:
    return isinstance(turn, Mapping) and turn.get("role") in _HISTORY_ROLES and "content" in turn
