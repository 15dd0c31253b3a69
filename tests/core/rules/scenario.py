"""Plays a file of tests/rules: series in promtool's shorthand go in, states of rules come out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from typing import TYPE_CHECKING, Any

import yaml

from prompt_operator.core.rules.baseline import Baselines, of_values
from prompt_operator.core.rules.measure import Amount, Histogram, Measured, Need, needs
from prompt_operator.core.rules.metrics import METRICS, Mean, Quantile, Series, Share, Total, quantities
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.streak import start, step
from prompt_operator.core.rules.syntax import comparisons, metric_refs
from prompt_operator.core.rules.units import SECONDS, parse_duration
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.streak import State

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
VERY_MANY = 1e9
"""Samples behind a series of values, so that its bounds are the values themselves."""

Samples = tuple[float | None, ...]


@dataclass(frozen=True)
class Scenario:
    """One file: `expect` holds mappings with `at`, `rule`, `state` and perhaps `value`."""

    rules: tuple[Rule, ...]
    interval: timedelta
    series: dict[str, Samples]
    baselines: Baselines
    expect: tuple[dict[str, str], ...]


def load(path: Path) -> Scenario:
    """Read a file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Scenario(
        rules=tuple(map(_rule, content["rules"])),
        interval=parse_duration(content["interval"]),
        series={name: expand(str(text)) for name, text in content["series"].items()},
        baselines=of_values({metric: _number(str(text)) for metric, text in content.get("baseline", {}).items()}),
        expect=tuple(content["expect"]),
    )


def _rule(fields: dict[str, Any]) -> Rule:
    names = {"for": "for_", "keepFiringFor": "keep_firing_for"}
    return compile_rule(**{names.get(name, name): value for name, value in fields.items()})


def _number(text: str) -> float:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz%")
    unit = text[len(digits) :]
    return float(digits) * (0.01 if unit == "%" else float(SECONDS.get(unit, 1)))


def expand(text: str) -> Samples:
    """Expand promtool's shorthand: `a+bxn` is a, a+b, … (n + 1 samples), `axn` a (n + 1 times), `_xn` n gaps."""
    return tuple(sample for word in text.split() for sample in _expanded(word))


def _expanded(word: str) -> Iterator[float | None]:
    body, _, times = word.partition("x")
    if body == "_":
        yield from [None] * int(times or 1)
        return
    begin, sign, change = body[1:].partition("-" if "-" in body[1:] else "+")
    slope = float(f"{sign}{change}") if change else 0.0
    yield from (float(body[0] + begin) + slope * index for index in range(int(times or 0) + 1))


def play(scenario: Scenario) -> Iterator[tuple[timedelta, str, State, Judgement]]:
    """Judge every rule at every interval, at the built-in minimum of samples and 95 % confidence."""
    streaks = {rule.name: start(MIDNIGHT) for rule in scenario.rules}
    for index in range(max(map(len, scenario.series.values()))):
        at = index * scenario.interval
        for rule in scenario.rules:
            judgement = judge(
                rule, _reading(scenario, rule, index), scenario.baselines, min_samples=20, confidence=0.95
            )
            streaks[rule.name] = step(
                streaks[rule.name],
                judgement.verdict,
                MIDNIGHT + at,
                hold=rule.hold,
                keep_firing_for=rule.keep_firing_for,
            )
            yield at, rule.name, streaks[rule.name].state, judgement


def _reading(scenario: Scenario, rule: Rule, index: int) -> dict[Need, Measured]:
    """Counters give increases; values stand in for the quantities of the metrics that this rule names."""
    reading: dict[Need, Measured] = {}
    names = {ref.name for comparison in comparisons(rule.condition.predicate) for ref in metric_refs(comparison)}
    for need in needs(rule):
        if (increase := _increase(scenario, need, index)) is not None:
            reading[need] = Amount(increase)
        for name in names & scenario.series.keys():
            if need.quantity in quantities(METRICS[name]) and (value := _at(scenario.series[name], index)) is not None:
                reading[need] = _as_if(name, need.quantity, value)
    return reading


def _at(series: Samples, index: int) -> float | None:
    return series[index] if 0 <= index < len(series) else None


def _increase(scenario: Scenario, need: Need, index: int) -> float | None:
    """Difference over the window; before a whole window has passed, and beside a gap, there is none."""
    series = scenario.series.get(str(need.quantity), ())
    now, then = _at(series, index), _at(series, index - need.window // scenario.interval)
    return None if now is None or then is None else now - then


def _as_if(metric: str, quantity: Series, value: float) -> Measured:
    """Return the quantity that gives the metric this value on very many samples."""
    match METRICS[metric].formula:
        case Total():
            return Amount(value)
        case Share(events, _, complement) if quantity is events:
            return Amount(VERY_MANY * (1 - value if complement else value))
        case Mean(sums, _) if quantity in sums:
            return Amount(VERY_MANY * value / len(sums))
        case Quantile():
            return Histogram(((nextafter(value, 0.0), 0.0), (value, VERY_MANY), (inf, VERY_MANY)))
    return Amount(VERY_MANY)
