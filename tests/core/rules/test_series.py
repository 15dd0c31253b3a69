"""The shorthand in which series are written."""

from __future__ import annotations

from math import isnan

import pytest

from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.series import MOST_SAMPLES, expand


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("1 2 _ 3", (1, 2, None, 3)),
        ("1x2", (1, 1, 1)),
        ("0+10x3", (0, 10, 20, 30)),
        ("5-2x2", (5, 3, 1)),
        ("-5-2x1", (-5, -7)),
        ("_x2 1", (None, None, 1)),
        ("1 stale 2", (1, None, 2)),
        ("1e3+.5x1 Inf", (1000, 1000.5, float("inf"))),
        ("1e-3-1e-3x1", (0.001, 0)),
        ("\n  1\t2  ", (1, 2)),
    ],
)
def test_shorthand(text: str, samples: tuple[float | None, ...]) -> None:
    """Promtool's shorthand is expanded as promtool does."""
    assert expand(text) == samples


def test_not_a_number_is_a_sample() -> None:
    """NaN is a value that somebody exported, not a gap."""
    (value,) = expand("NaN")
    assert value is not None
    assert isnan(value)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 0, "the series is empty"),
        ("1 2 3+4", 5, "'3+4' is no sample: write 5, 1x5, 0+10x5"),
        ("0+ 10x3", 1, "'0+' is no sample"),
        ("1 {{schema:1}}", 3, "'{{schema:1}}' is no sample"),
        ("1_0 2", 1, "'1_0' is no sample"),
        ("infinity", 1, "'infinity' is no sample"),
        ("1+2+3x4", 1, "'1+2+3x4' is no sample"),
        ("1x2x3", 1, "'1x2x3' is no sample"),
        ("7 stalex2", 3, "'stalex2' is no sample"),
        ("1x", 1, "'1x' is no sample"),
        ("1x1000000000", 1, "'1x1000000000' is no sample"),
        (f"1 1x{MOST_SAMPLES}", 0, "more than 100000 samples"),
        ("_x999999999", 0, "more than 100000 samples"),
    ],
)
def test_what_is_no_series(text: str, column: int, message: str) -> None:
    """The first word that cannot be read is named with its column; nothing is expanded without a bound."""
    with pytest.raises(RuleError) as refused:
        expand(text)
    assert refused.value.column == column
    assert refused.value.message.startswith(message)
