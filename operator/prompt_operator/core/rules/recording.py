"""Recorded series: what long windows are read from, because 24h of raw samples of all prompts cost minutes of CPU.

Prometheus evaluates the rules written here every 5 minutes and keeps the increases of the last 5 minutes; a window of
24h is the sum of 288 of them. Counts are recorded, never ratios: an average of ratios gives a quiet night the weight of
a busy day.

All counters of a profile are one rule, told apart by the label `quantity`. So they fail or succeed together: were the
requests recorded for twelve hours and the errors for twenty-four, a healthy version would seem to fail twice as often.
The same rule writes how often it was evaluated, which tells a prompt without traffic from a recording with gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.selectors import matcher, name, one_of, quoted, selector
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prompt_operator.core.rules.profile import Profile, Source

INTERVAL = timedelta(minutes=5)
"""Between two evaluations, and the range of each: they tile the time without a gap and without an overlap."""
RECORDED_FROM = timedelta(hours=24)
"""Windows from here on are read from recorded series."""
ENOUGH = 0.8
"""Of the evaluations that a window expects; with fewer, what the window holds is unknown."""

COUNTS, BUCKETS = "promptops:counts:increase5m", "promptops:buckets:increase5m"
EVALUATIONS = "evaluations"
"""Value of the label `quantity` of the series that counts the evaluations, 1 each."""
_RANGE = "[5m] offset 1m"
"""The offset leaves a slow scrape or a remote write a minute to arrive."""
_FRESH = "15m"
"""A recording that was not evaluated for so long has ended, however much of the window it covers."""


def increases(
    profile: Profile,
    source: Source,
    namespaces: Sequence[str] | None,
    span: str,
    prompts: Sequence[str] | None = None,
    versions: Sequence[str] | None = None,
) -> str:
    """Return the increase of one quantity by version, and bound of buckets, over a range such as `[5m]`.

    Restricted to namespaces, to prompts and to versions of these names; None: any that has a name.
    """
    identity = profile.identity
    wanted = ((identity.namespace, namespaces), (identity.prompt, prompts), (identity.version, versions))
    matchers = [one_of(label, values) for label, values in wanted]
    matchers += map(matcher, source.where)
    parts = [f"increase({selector(metric, matchers)}{span})" for metric in source.metrics]
    return f"sum by ({grouping(profile, source)}) ({parts[0] if len(parts) == 1 else _union(parts)})"


def _union(parts: Sequence[str]) -> str:
    """Return all elements of all parts: `or` alone drops an element whose labels equal those of an earlier part."""
    return " or ".join(f'label_replace({part}, "promptops_part", "{n}", "", "")' for n, part in enumerate(parts))


def recorded(
    profile: Profile,
    source: Source,
    quantity: str,
    namespaces: Sequence[str] | None,
    window: timedelta,
    prompts: Sequence[str] | None = None,
) -> str:
    """Return the sum over a window of what was recorded of one quantity, and how often it was evaluated.

    The second part is one element without any label. Of several recordings, as of the shards of a Prometheus, it tells
    the one that was evaluated least.
    """
    series, span = _series(source), format_window(window)
    runs = selector(series, [f"profile={quoted(profile.name)}", f"quantity={quoted(EVALUATIONS)}"])
    return (
        f"{counts(profile, source, quantity, window, namespaces, prompts)}"
        f" or min(sum_over_time({runs}[{span}]) and count_over_time({runs}[{_FRESH}]))"
    )


def counts(
    profile: Profile,
    source: Source,
    quantity: str,
    window: timedelta,
    namespaces: Sequence[str] | None,
    prompts: Sequence[str] | None = None,
    versions: Sequence[str] | None = None,
) -> str:
    """Return the sum over a window of what was recorded of one quantity, of these names; None: any."""
    identity = profile.identity
    matchers = [f"profile={quoted(profile.name)}", f"quantity={quoted(quantity)}"]
    matchers += [one_of(identity.namespace, namespaces)]
    matchers += [
        one_of(label, names)
        for label, names in ((identity.prompt, prompts), (identity.version, versions))
        if names is not None  # nothing else is recorded
    ]
    counted = selector(_series(source), matchers)
    return f"sum by ({grouping(profile, source)}) (sum_over_time({counted}[{format_window(window)}]))"


def grouping(profile: Profile, source: Source) -> str:
    """Return the labels by which one quantity is told apart, as they stand behind `by`."""
    identity = profile.identity
    labels = [identity.namespace, identity.prompt, identity.version, *(["le"] if source.histogram else [])]
    return ", ".join(map(name, labels))


def _series(source: Source) -> str:
    return BUCKETS if source.histogram else COUNTS


def expected(window: timedelta) -> int:
    """Return the evaluations within a window when none is missed."""
    return window // INTERVAL


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """One rule of a rule group, in the words of Prometheus."""

    record: str
    expr: str
    profile: str

    def manifest(self) -> dict[str, Any]:
        """Return it as it stands in a rule file."""
        return {"record": self.record, "labels": {"profile": self.profile}, "expr": self.expr}


def rule_group(profile: Profile) -> dict[str, Any]:
    """Return the rule group of a profile as it stands in a rule file: one rule for counters, one for buckets."""
    rules = [rule.manifest() for rule in _rules(profile)]
    return {"name": f"promptops-{profile.name}", "interval": "5m", "rules": rules}


def _rules(profile: Profile) -> Iterator[RecordingRule]:
    for series in (COUNTS, BUCKETS):
        recorded_here = {q: source for q, source in profile.quantities.items() if _series(source) == series}
        if recorded_here:
            parts = [
                _labelled(increases(profile, recorded_here[q], None, _RANGE), q) for q in Quantity if q in recorded_here
            ]
            yield RecordingRule(series, "\nor\n".join([*parts, _labelled("vector(1)", EVALUATIONS)]), profile.name)


def _labelled(expression: str, quantity: str) -> str:
    return f'label_replace({expression}, "quantity", {quoted(quantity)}, "", "")'
