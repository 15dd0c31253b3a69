"""The rules as metrics: made when somebody scrapes, of what the rule clock knows then, and kept nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prompt_operator.core.facts import Readings, RuleReading
    from prompt_operator.core.rules.judgement import Finding
    from prompt_operator.engine.store import Name

RuleMetrics: TypeAlias = Literal["all", "notNormal", "off"]

_OF_A_RULE = ("namespace", "prompt", "rule")


class RuleGauges(Collector):
    """Counts rules by state, and shows single ones.

    Ten thousand prompts have a hundred thousand rules: three series of each would be more than all else in a cluster
    exports. So a rule is shown while it is Pending, Firing or Recovering, or Unknown in the midst of that. The many
    that are Unknown because nothing is measured stand in the count, and in the status of their prompts.
    """

    def __init__(self, snapshots: Callable[[], Iterable[tuple[Name, Readings]]], which: RuleMetrics) -> None:
        self._snapshots, self._which = snapshots, which

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metrics without any sample."""
        return [
            GaugeMetricFamily("prompt_operator_rules", "Rules by state.", labels=("state",)),
            GaugeMetricFamily("prompt_operator_rule_value", "What a rule measured last.", labels=_OF_A_RULE),
            GaugeMetricFamily("prompt_operator_rule_threshold", "What it is compared with.", labels=_OF_A_RULE),
            GaugeMetricFamily("prompt_operator_rule_state", "1 for its present state.", labels=(*_OF_A_RULE, "state")),
        ]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics as of now."""
        counts, value, threshold, states = self.describe()
        by_state = dict.fromkeys(State, 0)
        for name, readings in self._snapshots():
            for reading in readings.rules:
                by_state[reading.streak.state] += 1
                if not self._is_shown(reading):
                    continue
                labels = (*name, reading.rule.name)
                states.add_metric((*labels, reading.streak.state), 1)
                if (finding := _main_finding(reading)) is not None:
                    value.add_metric(labels, finding.value or 0.0)
                    threshold.add_metric(labels, finding.threshold or 0.0)
        for state, count in by_state.items():
            counts.add_metric((state,), count)
        yield from (counts, value, threshold, states)

    def _is_shown(self, reading: RuleReading) -> bool:
        return self._which == "all" or (self._which == "notNormal" and reading.streak.beneath is not State.NORMAL)


def _main_finding(reading: RuleReading) -> Finding | None:
    """Return the first comparison with a measured value and a threshold; None where nothing was measured."""
    measured = (each for each in reading.alert.findings if each.value is not None and each.threshold is not None)
    return next(measured, None)
