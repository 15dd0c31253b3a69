"""How often windows are asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prompt_operator.core.rules.cadence import SLOWEST, cadence, cadence_of
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.units import WINDOWS, parse_window

EXPECTED = {"1m": 0, "5m": 0, "10m": 60, "15m": 60, "30m": 60, "1h": 120, "24h": 300, "7d": 900}


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_has_its_cadence(window: str) -> None:
    """The cadence of each window the language offers, in seconds; 0 is every tick."""
    assert cadence(parse_window(window)).total_seconds() == EXPECTED[window]


def test_no_window_is_looked_at_too_seldom() -> None:
    """Between two looks less than an eighth of the window passes, and longer windows are never looked at more often."""
    windows = sorted(WINDOWS.values())
    assert all(cadence(window) <= window / 8 for window in windows)
    assert sorted(map(cadence, windows)) == list(map(cadence, windows))
    assert max(map(cadence, windows)) == SLOWEST


def test_a_rule_is_as_slow_as_its_longest_window() -> None:
    """A rule over several windows may rest on measurements as old as the slowest of them allows."""
    mixed = compile_rule("mixed", "error_rate[24h] > 3% and error_rate > 5%", window="5m")
    assert cadence_of(mixed) == timedelta(minutes=5)
    assert cadence_of(compile_rule("quick", "error_rate > 5%", window="5m")) == timedelta(0)
