"""A rule and the series it is judged on, as Prometheus knows them: an alerting rule, and input series of promtool."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from devcluster import tools
from prompt_operator.core.duration import exact
from prompt_operator.core.rules.metrics import CustomSeries, Mean, Quantity, Share, Total
from prompt_operator.core.rules.streak import State
from prompt_operator.core.rules.syntax import All, Arithmetic, Baseline, Comparison, MetricRef, Number, Some
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from prompt_operator.core.rules.metrics import Metric, Series
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.scenario import Given
    from prompt_operator.core.rules.syntax import Expression, Predicate

ALERTSTATE = {State.PENDING: "pending", State.FIRING: "firing", State.RECOVERING: "firing"}
"""Our state -> Prometheus' state; it has no word for Normal, and keeps an alert firing while it recovers."""


class Alert:
    """One rule as an alerting rule, over series whose names begin with its own name.

    Without bounds and without a minimum of samples, which Prometheus does not know.
    """

    def __init__(self, name: str, rule: Rule, given: Given) -> None:
        self.name, self.rule, self.given = name, rule, given
        self.baselines = given.baselines.declared

    def manifest(self) -> dict[str, Any]:
        """Return it as it stands in a rule file."""
        timers = {"for": self.rule.hold, "keep_firing_for": self.rule.keep_firing_for}
        said = {field: exact(span) for field, span in timers.items()}
        return {"alert": self.name, "expr": self.predicate(self.rule.condition.predicate), **said}

    def predicate(self, node: Predicate) -> str:
        """Return the condition as a query that gives an element exactly when it is true."""
        match node:
            case Comparison():
                return f"({self.expression(node.left)} {node.comparator} {self.expression(node.right)})"
            case All(terms):
                return f"({' and '.join(map(self.predicate, terms))})"
            case Some(terms):
                return f"({' or '.join(map(self.predicate, terms))})"

    def expression(self, node: Expression) -> str:
        """Return a side of a comparison."""
        match node:
            case Number(value):
                return repr(value)
            case Baseline():
                (name,) = self.rule.metrics
                return repr(self.baselines[name].value)
            case Arithmetic(operator, left, right):
                return f"({self.expression(left)} {operator} {self.expression(right)})"
            case MetricRef(name, window):
                return self.metric(self.rule.metrics[name], window or self.rule.window)

    def metric(self, metric: Metric, window: timedelta) -> str:
        """Return the value of a metric: as given, or computed from counts."""
        for key in ((metric.name, window), (metric.name, None)):
            if key in self.given.values:
                return self.series_name(*key)
        match metric.formula:
            case Total(plus, minus):
                return (
                    f"({self.added(plus, window)} - ({self.added(minus, window)}))"
                    if minus
                    else self.added(plus, window)
                )
            case Share(events, total, complement):
                share = f"({self.increase(events, window)} / ({self.increase(total, window)} > 0))"
                return f"(1 - {share})" if complement else share
            case Mean(sums, count):
                return f"(({self.added(sums, window)}) / ({self.increase(count, window)} > 0))"
            case _:
                raise NotImplementedError("a quantile of counts is judged as a share, which Prometheus cannot")

    def added(self, series: tuple[Series, ...], window: timedelta) -> str:
        """Return a sum of increases."""
        return " + ".join(self.increase(each, window) for each in series)

    def increase(self, series: Series, window: timedelta) -> str:
        """Return the increase of a counter; absent errors are none where there are requests."""
        assert not isinstance(series, CustomSeries)
        grown = f"increase({self.series_name(series, None)}[{format_window(window)}])"
        if series is not Quantity.ERRORS:
            return grown
        return f"({grown} or {self.increase(Quantity.REQUESTS, window)} * 0)"

    def series_name(self, name: str, window: timedelta | None) -> str:
        """Return the name of one series."""
        return f"{self.name}_{name}" + (f"_{format_window(window)}" if window else "")

    def input_series(self) -> list[dict[str, str]]:
        """Return the series as promtool reads them. A missing value is stale: Prometheus would look back for one."""
        values = {self.series_name(*key): ("stale", series) for key, series in self.given.values.items()}
        counts = {self.series_name(key, None): ("_", series) for key, series in self.given.counts.items()}
        return [
            {"series": name, "values": " ".join(gap if value is None else repr(value) for value in series)}
            for name, (gap, series) in (values | counts).items()
        ]


def promtool(folder: Path, alerts: list[Alert], checks: list[dict[str, Any]], interval: timedelta) -> str:
    """Have promtool evaluate alerting rules and compare; return what differs, empty when nothing does."""
    every = exact(interval)
    rules = {"groups": [{"name": "all", "interval": every, "rules": [alert.manifest() for alert in alerts]}]}
    (folder / "rules.json").write_text(json.dumps(rules), "utf-8")
    test = {
        "interval": every,
        "input_series": [series for alert in alerts for series in alert.input_series()],
        "promql_expr_test": checks,
    }
    # JSON is YAML
    file = {"rule_files": ["rules.json"], "evaluation_interval": every, "tests": [test]}
    (folder / "test.json").write_text(json.dumps(file), "utf-8")
    command = [str(tools.ensure("prometheus") / "promtool"), "test", "rules", str(folder / "test.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expected_alerts(at: timedelta, states: dict[str, State]) -> dict[str, Any]:
    """Return promtool's check of the states of these alerts at an instant."""
    return {
        "expr": f'ALERTS{{alertname=~"{"|".join(states)}"}}',
        "eval_time": exact(at),
        "exp_samples": [
            {"labels": f'ALERTS{{alertname="{name}", alertstate="{ALERTSTATE[state]}"}}', "value": 1}
            for name, state in states.items()
            if state in ALERTSTATE
        ],
    }
