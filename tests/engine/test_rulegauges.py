"""The gauges of single rules, as a scrape sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.core.builders import NAMESPACE, PROMPT, V1, V2
from tests.engine.test_ruleclock import RULE, Bench

from prompt_operator.engine.rulegauges import RuleGauges

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from prompt_operator.engine.rulegauges import RuleMetrics

LABELS = {"namespace": NAMESPACE, "prompt": PROMPT, "rule": RULE}


def scrape(collector: Collector) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the samples by metric, as Prometheus would read them."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


def judged(version: str, *, down: bool = False) -> Bench:
    """Judge a version; with `down` Prometheus fails after that."""
    bench = Bench()
    bench.watch(version)
    bench.tick(minutes=3)
    if down:
        bench.metrics.down = True
        bench.tick(seconds=15)
    return bench


def test_a_firing_rule_shows_value_threshold_and_state() -> None:
    """The three gauges of a rule that fires: 50 % against 5 %, Firing."""
    seen = scrape(RuleGauges(judged(V2).rules.snapshots, "notNormal"))
    assert (LABELS, 0.5) in seen["prompt_operator_rule_value"]
    assert (LABELS, 0.05) in seen["prompt_operator_rule_threshold"]
    assert ({**LABELS, "state": "Firing"}, 1.0) in seen["prompt_operator_rule_state"]


def test_a_firing_rule_that_became_unknown_is_still_shown() -> None:
    """An outage of Prometheus does not make the gauges of an incident vanish: the state says Unknown."""
    seen = scrape(RuleGauges(judged(V2, down=True).rules.snapshots, "notNormal"))
    assert ({**LABELS, "state": "Unknown"}, 1.0) in seen["prompt_operator_rule_state"]
    assert (LABELS, 0.5) in seen["prompt_operator_rule_value"]


@pytest.mark.parametrize(("which", "version", "shown"), [("notNormal", V1, 0), ("off", V2, 0), ("all", V1, 13)])
def test_single_rules_are_shown_as_asked(which: RuleMetrics, version: str, shown: int) -> None:
    """A cluster full of rules that are well, or without data, costs no series by default; `all` shows each."""
    seen = scrape(RuleGauges(judged(version).rules.snapshots, which))
    assert len(seen["prompt_operator_rule_state"]) == shown


def test_all_rules_are_counted_by_state() -> None:
    """Whatever is shown of single rules, the count by state is of all, with a zero for states that no rule has."""
    seen = scrape(RuleGauges(judged(V1).rules.snapshots, "off"))
    counts = {labels["state"]: value for labels, value in seen["prompt_operator_rules"]}
    assert sum(counts.values()) == 13
    assert counts["Firing"] == 0
    assert counts["Normal"] > 0
