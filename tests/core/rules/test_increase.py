"""The model of `increase()` against Prometheus' own, as promtool evaluates it."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from devcluster import tools
from prompt_operator.core.rules.increase import increase

if TYPE_CHECKING:
    from pathlib import Path

SCRAPE = 15
"""Seconds."""
SCRAPES = 48
WINDOWS = {"1m": 60, "5m": 300, "10m": 600}


def counters() -> dict[str, list[float | None]]:
    """Counters that start at zero, late, high, rarely grow, not at all, begin anew, miss scrapes, and all of that."""
    dice = random.Random(3)  # noqa: S311  repeatable, nothing secret
    steady = list(accumulate(dice.randrange(4) for _ in range(SCRAPES)))
    rare = list(accumulate(dice.random() < 0.1 for _ in range(SCRAPES)))
    missing = {index for index in range(SCRAPES) if dice.random() < 0.4}
    anew = [float(value % 17) for value in steady]
    return {
        "steady": [float(value) for value in steady],
        "high": [1e5 + value for value in steady],
        "rare": [float(value) for value in rare],
        "flat": [7.0] * SCRAPES,
        "late": [None] * 13 + [30.0 + value for value in steady[13:]],
        "anew": [*anew],
        "gaps": [None if index in missing else float(value) for index, value in enumerate(steady)],
        "all": [None if index in missing else value for index, value in enumerate(anew)],
    }


def test_increase_is_that_of_prometheus(tmp_path: Path) -> None:
    """At every phase of the tick and age of the series the model gives the number that Prometheus gives."""
    asked = [
        (name, window, minute * 60 + phase)
        for name in counters()
        for window in WINDOWS
        for minute in (0, 1, 4, 6, 11)
        for phase in (0, 1, 7, 14)
    ]
    expected = [(name, window, at, _modelled(name, window, at)) for name, window, at in asked]
    file = tmp_path / "increase.json"
    file.write_text(json.dumps(_rule_test(expected)), "utf-8")
    promtool = tools.ensure("prometheus") / "promtool"
    outcome = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def _modelled(name: str, window: str, at: int) -> float | None:
    samples = [(float(i * SCRAPE), value) for i, value in enumerate(counters()[name]) if value is not None]
    return increase(samples, at, WINDOWS[window])


def _rule_test(expected: list[tuple[str, str, int, float | None]]) -> dict[str, object]:
    """JSON is YAML: a file of promtool rule tests, with values compared to a relative error of 1e-6."""
    series = [
        {"series": name, "values": " ".join("_" if value is None else repr(value) for value in values)}
        for name, values in counters().items()
    ]
    checks = [
        {
            "expr": f"increase({name}[{window}])",
            "eval_time": f"{at}s",
            "exp_samples": [] if value is None else [{"value": value, "labels": "{}"}],
        }
        for name, window, at, value in expected
    ]
    return {
        "fuzzy_compare": True,
        "evaluation_interval": "1m",
        "tests": [{"interval": f"{SCRAPE}s", "input_series": series, "promql_expr_test": checks}],
    }


@pytest.mark.parametrize(("window", "factor"), [(60, 4 / 3), (300, 20 / 19), (600, 40 / 39)])
def test_a_window_is_stretched_by_one_scrape(window: int, factor: float) -> None:
    """Samples 15 s apart cover 15 s less than the window, whose growth is reported as the whole window's."""
    samples = [(float(index * SCRAPE), 1000.0 + index) for index in range(60)]
    for phase in range(SCRAPE):
        assert increase(samples, 660 + phase, window) == pytest.approx((window / SCRAPE - 1) * factor)
