"""The built-in policy's rules compile as they are written in the contract."""

from __future__ import annotations

import pytest

from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.measure import needs
from prompt_operator.core.rules.model import compile_rule

BUILTIN = (
    ("critical-error-rate", "error_rate > 5%", "5m"),
    ("elevated-error-rate", "error_rate > 3%", "15m"),
    ("high-latency-p95", "latency_p95 > baseline * 2.0", "5m"),
    ("elevated-latency", "latency_p95 > baseline * 1.5", "15m"),
    ("low-success-rate", "success_rate < 95%", "10m"),
    ("calibration-drift", "avg_calibration_delta > 2.0", "1h"),
    ("user-satisfaction-drop", "avg_user_feedback < 3.0", "24h"),
    ("elevated-failure", "success_rate < 97%", "15m"),
    ("runaway-errors", "error_rate > 10% for 5 minutes", "1m"),
    ("collapsed-success", "success_rate < 85% for 10 minutes", "1m"),
    ("stuck-latency", "latency_p99 > 10000ms for 5 minutes", "1m"),
    ("lasting-latency", "latency_p95 > baseline * 2.0 for 30 minutes", "5m"),
    ("negative-feedback", "user_feedback_negative_rate > 20%", "24h"),
)


@pytest.mark.parametrize(("name", "condition", "window"), BUILTIN, ids=str)
def test_builtin_rules_compile(name: str, condition: str, window: str) -> None:
    """Each built-in rule compiles, asks for data, and its normal form means the same."""
    rule = compile_rule(name, condition, window=window)
    assert needs(rule)
    assert {need.window for need in needs(rule)} == {rule.window}
    assert parse(rule.text) == rule.condition
