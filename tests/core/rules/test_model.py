"""Rules are compiled with their defaults, and contradictions are refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from prompt_operator.api.policyblocks import RuleSpec
from prompt_operator.core.duration import exact
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.measure import needs
from prompt_operator.core.rules.metrics import METRICS, CustomSeries, Mean, Metric, Quantity
from prompt_operator.core.rules.model import Action, Confidence, Rule, Severity, compile_rule, compile_spec
from prompt_operator.core.rules.units import Dimension, parse_duration


def test_defaults() -> None:
    """A name and a condition are enough."""
    assert compile_rule("a", "error_rate > 5%") == Rule(
        name="a",
        condition=parse("error_rate > 5%"),
        metrics={"error_rate": METRICS["error_rate"]},
        window=timedelta(minutes=5),
        hold=timedelta(0),
        severity=Severity.WARNING,
        actions=frozenset({Action.ALERT}),
        confidence=Confidence.MEDIUM,
        keep_firing_for=timedelta(0),
    )


def test_an_api_rule_compiles() -> None:
    """The rule of the API is taken as it is, with every field."""
    spec = RuleSpec.model_validate(
        {
            "name": "runaway-errors",
            "condition": "error_rate > 10%",
            "window": "1m",
            "for": "5m",
            "keepFiringFor": "90s",
            "severity": "Critical",
            "actions": ["Rollback", "Alert"],
            "confidence": "High",
        }
    )
    assert compile_spec(spec) == Rule(
        name="runaway-errors",
        condition=parse("error_rate > 10%"),
        metrics={"error_rate": METRICS["error_rate"]},
        window=timedelta(minutes=1),
        hold=timedelta(minutes=5),
        severity=Severity.CRITICAL,
        actions=frozenset({Action.ALERT, Action.ROLLBACK}),
        confidence=Confidence.HIGH,
        keep_firing_for=timedelta(seconds=90),
    )


def test_anything_with_a_name_and_a_condition_compiles() -> None:
    """Attributes that are missing mean their defaults."""

    @dataclass
    class Bare:
        name: str = "a"
        condition: str = "error_rate > 5% for 2m"

    assert compile_spec(Bare()) == compile_rule("a", "error_rate > 5% for 2m", window="5m")


@pytest.mark.parametrize("for_", [None, "5m", "300s"])
def test_hold_may_be_said_once_or_twice_alike(for_: str | None) -> None:
    """The condition's `for` and the rule's agree, or only one is given."""
    assert compile_rule("a", "error_rate > 5% for 5 minutes", for_=for_).hold == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"condition": "error_rate > 5% for 5m", "for_": "10m"}, "the condition says for 5m, the rule for 10m"),
        ({"condition": "error_rate > 5% for 5m", "for_": "0s"}, "the condition says for 5m, the rule for 0s"),
        ({"window": "2m"}, "did you mean 1m"),
        ({"window": "soon"}, "is not a duration"),
        ({"for_": "8d"}, "at most 7d"),
        ({"keep_firing_for": "5"}, "is not a duration"),
        ({"severity": "critical"}, "unknown severity 'critical': did you mean Critical?"),
        ({"actions": ["Alert", "Roll"]}, "unknown action 'Roll'"),
        ({"confidence": "Sure"}, "unknown confidence 'Sure'"),
        ({"condition": ""}, "is empty"),
    ],
)
def test_refusals(fields: dict[str, Any], message: str) -> None:
    """A field that cannot be used is refused with what is wrong."""
    with pytest.raises(RuleError, match=message.replace("(", r"\(").replace("?", r"\?")):
        compile_rule("a", **{"condition": "error_rate > 5%", **fields})


def test_the_error_tells_the_column() -> None:
    """As text, an error in a condition begins with its column, one in another field with the cause."""
    with pytest.raises(RuleError, match=r"^column 14: a share is"):
        compile_rule("a", "error_rate > 5")
    with pytest.raises(RuleError, match=r"^window 2m is not offered"):
        compile_rule("a", "error_rate > 5%", window="2m")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("1d", 86400), ("0s", 0), ("7d", 604800)],
)
def test_durations(text: str, seconds: float) -> None:
    """Durations are read to the millisecond and printed so that they read back the same."""
    duration = parse_duration(text)
    assert duration.total_seconds() == seconds
    assert parse_duration(exact(duration)) == duration


@pytest.mark.parametrize(
    "text", ["", " ", "5", "m", "5 m", "5.m", ".5m", "1.2.3s", "5M", "5x", "-5m", "5m3", "\u0665m"]
)
def test_what_is_no_duration(text: str) -> None:
    """Anything else is a RuleError."""
    with pytest.raises(RuleError):
        parse_duration(text)


def test_a_rule_carries_the_metrics_it_names_and_no_others() -> None:
    """Names are looked up once, when the rule is compiled; a name that the catalogue lacks is refused."""
    drift = Metric("drift", Dimension.SCORE, Mean((CustomSeries("team-a", "n"),), CustomSeries("team-a", "d")))
    catalogue = METRICS | {"drift": drift}
    rule = compile_rule("a", "drift > 2 and error_rate > 5%", catalogue=catalogue)
    assert rule.metrics == {"drift": drift, "error_rate": METRICS["error_rate"]}
    series = {need.quantity for need in needs(rule)}
    assert series == {CustomSeries("team-a", "n"), CustomSeries("team-a", "d"), Quantity.ERRORS, Quantity.REQUESTS}
    with pytest.raises(RuleError, match="unknown metric 'drift_': did you mean drift"):
        compile_rule("a", "drift_ > 2", catalogue=catalogue)
    with pytest.raises(RuleError, match="unknown metric 'drift'"):
        compile_rule("a", "drift > 2")
