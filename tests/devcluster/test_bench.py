"""The part of the bench that judges rules, on a real Prometheus, with fewer and faster ticks than people get."""

from pathlib import Path

import pytest

from devcluster.bench import rules
from devcluster.bench.fleet import SERIES
from devcluster.progress import Progress

PROMPTS, TICKS = 4, 3


def test_rules_are_judged_against_what_is_scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every series is there, each tick asks and gets answers, and what they cost is told."""
    monkeypatch.setattr(rules, "SCRAPE", 1)
    monkeypatch.setattr(rules, "TICK", 1)
    monkeypatch.setattr(rules, "_FILLED", 5.0)
    monkeypatch.setattr(rules, "_TICKS", TICKS)
    figures = rules.measure(tmp_path, PROMPTS, 2, Progress())

    assert (figures["prompts"], figures["namespaces"], figures["failing"]) == (PROMPTS, 2, [])
    assert figures["series"] == PROMPTS * SERIES
    assert figures["rules"] > 10
    assert figures["first"]["queries"] >= figures["median"]["queries"] > 0
    assert figures["first"]["samples"] >= figures["median"]["samples"] > 0
    assert figures["most"]["rss_mib"] > figures["empty_mib"] > 0
