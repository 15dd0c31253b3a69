"""Canonical JSON: RFC 8785's own examples, and an independent implementation as oracle."""

import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_client.wire import CanonicalizationError, canonical_json

# RFC 8785, appendix B: IEEE 754 bits and the number as ECMAScript writes it.
APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
_SAFE = 2**53 - 1


@pytest.mark.parametrize(("bits", "expected"), APPENDIX_B.items())
def test_numbers_of_appendix_b(bits: str, expected: str) -> None:
    """Every finite number in the RFC's appendix B is written as the table says."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number).decode() == expected


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_numbers_of_appendix_b_that_json_does_not_have(bits: str) -> None:
    """NaN and the infinities are refused, as appendix B demands."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(CanonicalizationError):
        canonical_json(number)


def test_example_of_section_3_2_2() -> None:
    """The RFC's example of primitive types comes out as printed there."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(value).decode() == expected


def test_sorting_example_of_section_3_2_3() -> None:
    """Keys are sorted by UTF-16 code units: the emoji beyond U+FFFF comes before U+FB33."""
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(value))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_keys_beyond_the_basic_plane_sort_by_code_units_not_by_code_points() -> None:
    """U+10000 is greater than U+FFFF, but its first code unit, D800, is less."""
    assert canonical_json({"\uffff": 1, "\U00010000": 2}).decode() == '{"\U00010000":2,"\uffff":1}'


@pytest.mark.parametrize("value", ["\ud800", "\udc00 text", {"\ud83d": 1}, ["\ude00\ud83d"]])
def test_lone_surrogates_are_refused(value: object) -> None:
    """A lone surrogate has no UTF-8 form, in a value or in a key."""
    with pytest.raises(CanonicalizationError):
        canonical_json(value)


def test_integers_end_where_i_json_ends() -> None:
    """Integers are exact up to 2**53 - 1 and refused beyond, where a double would change them."""
    assert canonical_json([_SAFE, -_SAFE]).decode() == f"[{_SAFE},{-_SAFE}]"
    for beyond in (_SAFE + 1, -_SAFE - 1):
        with pytest.raises(CanonicalizationError):
            canonical_json(beyond)


@pytest.mark.parametrize("value", [{1: "a"}, {None: 1}, {1, 2}, b"bytes", object()])
def test_what_json_does_not_have_is_refused(value: object) -> None:
    """Keys that are not strings and foreign types are errors, never silently converted."""
    with pytest.raises(CanonicalizationError):
        canonical_json(value)


def test_an_error_never_holds_the_value() -> None:
    """Messages end in logs: they give the reason only, and nothing is chained to them."""
    with pytest.raises(CanonicalizationError) as caught:
        canonical_json({"text": "secret \ud800"})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS = (
    st.none() | st.booleans() | st.integers(-_SAFE, _SAFE) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner), max_leaves=12)


@settings(deadline=None, max_examples=100)
@given(_VALUES)
def test_agrees_with_an_independent_implementation(value: Any) -> None:
    """Any JSON value has the bytes that the package rfc8785 gives it."""
    assert canonical_json(value) == rfc8785.dumps(value)


@settings(deadline=None, max_examples=100)
@given(_VALUES)
def test_parsing_and_serialising_again_changes_nothing(value: Any) -> None:
    """The canonical form is a fixed point, which is what makes a hash of it stable over a wire."""
    once = canonical_json(value)
    assert canonical_json(json.loads(once, parse_int=float)) == once
