"""Names, strings and label matchers, written so that PromQL reads exactly what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prompt_operator.core.rules.profile import Matcher


def selector(metric: str, matchers: Iterable[str]) -> str:
    """Return `metric{matchers}`; a UTF-8 name stands quoted inside the braces."""
    if _is_plain(metric, also=":"):
        return f"{metric}{{{','.join(matchers)}}}"
    return f"{{{','.join([quoted(metric), *matchers])}}}"


def one_of(label: str, values: Sequence[str] | None) -> str:
    """Return the matcher for one of these values of a label; None: any but none."""
    if values is None:
        return f'{name(label)}!=""'
    if len(values) == 1:
        return f"{name(label)}={quoted(values[0])}"
    return f"{name(label)}=~{quoted('|'.join(map(_literal, sorted(values))))}"


def matcher(wanted: Matcher) -> str:
    """Return the text of a profile's matcher."""
    if wanted.is_ is not None:
        return f"{name(wanted.label)}={quoted(wanted.is_)}"
    if wanted.is_not is not None:
        return f"{name(wanted.label)}!={quoted(wanted.is_not)}"
    return f"{name(wanted.label)}=~{quoted(wanted.matches or '')}"


def quoted(text: str) -> str:
    """Return a PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def name(label: str) -> str:
    """Return the name of a label, quoted where it has to be."""
    return label if _is_plain(label) else quoted(label)


_RE2_SPECIAL = frozenset("\\.+*?()|[]{}^$")


def _literal(text: str) -> str:
    """Write text so that RE2 matches exactly it."""
    return "".join(f"\\{character}" if character in _RE2_SPECIAL else character for character in text)


def _is_plain(text: str, also: str = "") -> bool:
    """Say whether a name needs no quotes: ASCII letters, digits, _ (in metrics also :), not starting with a digit."""
    allowed = all(character.isascii() and (character.isalnum() or character in f"_{also}") for character in text)
    return allowed and not text[:1].isdigit()
