"""What is fuzzed: each target takes any bytes and may refuse them only with the error that its function promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.measure import needs
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.profile import parse_profile
from prompt_operator.core.rules.syntax import to_text
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def condition(data: bytes) -> None:
    """Any text is a condition whose normal form is its own, or a RuleError whose column lies in it."""
    text = _text(data)
    try:
        parsed = parse(text)
    except RuleError as error:
        _refused(error)
        if not 1 <= error.column <= len(text) + 1:
            raise AssertionError(f"column {error.column} is not in {text!r}") from error
        return
    normal = to_text(parsed)
    assert parse(normal) == parsed, (text, normal)
    assert to_text(parse(normal)) == normal, (text, normal)


def rule(data: bytes) -> None:
    """Any four fields, a line each, are a rule that can be judged on nothing, or a RuleError."""
    condition_, window, hold, keep, *_ = [*_text(data).split("\n"), *[""] * 4]
    try:
        compiled = compile_rule(
            "fuzzed", condition_, window=window or None, for_=hold or None, keep_firing_for=keep or None
        )
    except RuleError as error:
        _refused(error)
        return
    assert needs(compiled)
    assert judge(compiled, {}, Baselines(), min_samples=1, confidence=0.9999).message


def profile(data: bytes) -> None:
    """Any text is a profile, or a ValueError says what is wrong with it."""
    try:
        parse_profile(_text(data))
    except ValueError as error:
        _refused(error)


def _refused(error: ValueError) -> None:
    if not str(error):
        raise AssertionError("refused without a word") from error


TARGETS: Mapping[str, Callable[[bytes], None]] = {"condition": condition, "rule": rule, "profile": profile}
"""Name -> what is done with the bytes."""
