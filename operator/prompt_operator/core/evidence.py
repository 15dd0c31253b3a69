"""What was measured when something was decided, in the form the API keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.api.common import Evidence, Measurement
from prompt_operator.core.rules.baseline import BaselineValue
from prompt_operator.core.rules.measure import Identity
from prompt_operator.core.rules.resolved import resolved
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from prompt_operator.core.facts import Facts, RuleReading
    from prompt_operator.core.rules.judgement import Finding

LIMIT = 16
_LONGEST_QUERY = 4096


NOTE_BYTES = 1024
"""What the API server takes of an Event's note."""


def evidence_of(facts: Facts, reading: RuleReading) -> tuple[Evidence, ...]:
    """Return the findings of a rule at the confidence of rollbacks, one per metric it reads."""
    return tuple(
        _evidence(reading.rule.name, finding, _query(facts, finding), reading.at)
        for finding in reading.rollback.findings[:LIMIT]
    )


def snapshot_of(facts: Facts, reading: RuleReading | None = None) -> tuple[Evidence, ...]:
    """Return what is known of the active version at this instant: the rule that decides first, then all others.

    Each metric over each window once; the query, to look it up again, only of the rule that decides. A switch destroys
    the situation it was decided in, so all of it is kept.
    """
    readings = facts.readings.rules if facts.readings is not None else ()
    others = (each for each in readings if reading is None or each.rule.name != reading.rule.name)
    told = [
        *(evidence_of(facts, reading) if reading is not None else ()),
        *(_evidence(r.rule.name, f, None, r.at) for r in others for f in r.alert.findings),
    ]
    known = {(each.metric, each.window): each for each in reversed(told) if each.value is not None}
    return tuple(each for each in told if known.get((each.metric, each.window)) is each)[:LIMIT]


def measurements_of(evidence: Iterable[Evidence], version: str) -> tuple[Measurement, ...]:
    """Return one value per metric, the first that is known: of the rule that decided, over its window."""
    first: dict[str, Measurement] = {}
    for each in evidence:
        if each.value is not None and each.metric not in first:
            first[each.metric] = Measurement(
                metric=each.metric,
                value=each.value,
                samples=each.samples,
                window=each.window,
                version=version or None,
                at=each.at,
            )
    return tuple(first.values())


def queries_of(facts: Facts, reading: RuleReading) -> tuple[str, ...]:
    """Return the queries behind the values of a rule, each once, for the active version alone."""
    found = (_query(facts, finding) for finding in reading.alert.findings)
    return tuple(dict.fromkeys(query for query in found if query))


def _query(facts: Facts, finding: Finding) -> str | None:
    prompt = facts.prompt.metadata
    if facts.profile is None or facts.readings is None:
        return None
    version = Identity(prompt.namespace, prompt.name, facts.readings.version)
    query = resolved(facts.profile, finding.metric, finding.window, version)
    return query if 0 < len(query) <= _LONGEST_QUERY else None  # half a query would be none


def with_queries(note: str, queries: Iterable[str]) -> str:
    """Return an Event's note with the queries behind it, as far as there is room for them."""
    for query in queries:
        longer = f"{note}; query: {query}"
        if len(longer.encode()) > NOTE_BYTES:
            break
        note = longer
    return note


def _evidence(rule: str, finding: Finding, query: str | None, at: datetime) -> Evidence:
    baseline = finding.baseline if isinstance(finding.baseline, BaselineValue) else None
    return Evidence(
        metric=finding.metric.name,
        value=decimal(finding.value),
        threshold=decimal(finding.threshold),
        baseline=decimal(baseline.value) if baseline else None,
        baseline_from=baseline.source if baseline else None,
        bound=decimal(finding.bound),
        confidence=f"{finding.confidence * 100:.6g}%",
        samples=None if finding.samples is None else round(finding.samples),
        window=format_window(finding.window),
        rule=rule,
        query=query,
        at=at,
    )


def decimal(value: float | None) -> str | None:
    """Write a number as the API does, with six significant digits; None stays None."""
    return None if value is None else f"{value:.6g}"
