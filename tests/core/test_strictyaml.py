"""YAML: read as the API server reads it, or refused with one kind of error."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.strictyaml import MAX_DEPTH, load


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", None),
        ("a: 2026-11-21", {"a": "2026-11-21"}),
        ("a: &x {b: 1}\nc: {<<: *x}\nd: *x", {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}}),
    ],
)
def test_what_is_read(text: str, read: Any) -> None:
    """Times are text; anchors may be used outside of themselves."""
    assert load(text) == read


def test_what_is_nested_as_deep_as_may_be() -> None:
    """The limit itself is read."""
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "a is there twice"),
        ("? [a]\n: b", "the name of a member must be text"),
        ("? {a: b}\n: c", "the name of a member must be text"),
        ("a: 0x_", "this is no value of type int"),
        ("a: " + "9" * 5000, "this is no value of type int"),
        ("a: !!float x", "this is no value of type float"),
        ("a: !!timestamp x", "this is no value of type timestamp"),
        ("a: &x [*x]", r"\*x stands within &x"),
        ("[" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
        ("- " * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    """Each with what is wrong and where; PyYAML alone raises some five other errors, or goes round for ever."""
    with pytest.raises(yaml.MarkedYAMLError, match=problem) as caught:
        load(text)
    assert caught.value.problem_mark is not None


_PIECES = [
    "&a ",
    "*a",
    "[",
    "]",
    "{",
    "}",
    "? ",
    ": ",
    "- ",
    "\n",
    "!!int ",
    "0x_",
    "0b",
    "1:9",
    "<<",
    "=",
    "~",
    "'",
    "|",
]


@given(st.lists(st.sampled_from(_PIECES) | st.text(max_size=2), max_size=12).map("".join))
def test_no_text_raises_another_error(text: str) -> None:
    """Whatever stands there, it is read or refused."""
    try:
        load(text)
    except yaml.YAMLError as error:
        assert str(error)  # noqa: PT017  the error itself is judged
