"""The baselines of a prompt: whose past counts as normal, what has to be measured of it, and what is kept.

What an activation is compared with is the version served before it, over a window that ends at the activation. After a
rollback it is the restored version's own earlier behaviour, up to the instant when the rejected one replaced it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from prompt_operator.api.common import Measurement, rfc3339
from prompt_operator.core import duration
from prompt_operator.core.evidence import decimal
from prompt_operator.core.rules.baseline import Baselines, BaselineValue, Origin
from prompt_operator.core.rules.estimate import Estimate, Unknown, estimate
from prompt_operator.core.rules.judgement import CAUSES
from prompt_operator.core.rules.metrics import Quantile, Share, Slower, Total
from prompt_operator.core.rules.syntax import comparisons, metric_refs, names_baseline
from prompt_operator.core.rules.units import format_window, parse_duration
from prompt_operator.core.rules.values import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from prompt_operator.api.promptstatus import HistoryEntry, PromptStatus
    from prompt_operator.core.rules.measure import Measured, Need
    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.model import Rule

LADDER = (timedelta(hours=1), timedelta(hours=24))
"""Windows that are tried, the shorter one first: an hour is near to the activation, a day reaches quiet prompts."""
COUNTED = 5
"""Least number of what a share or a quantile counts (errors; requests slower than it), see `_rests_on_few`."""
_DECLARED = {"latencyP50": "latency_p50", "latencyP95": "latency_p95", "tokensAverage": "tokens_avg"}
"""Field of `spec.expectations` -> the metric it is a baseline for.

The others measure nothing a rule can name: `quality` is the author's judgement and no evaluator's score, `accuracy`
counts right answers and not answers without error, `tokensMax` is no mean, `consistency` has no metric.
"""
_REJECTING = frozenset({"Rollback", "ManualRollback"})
_MIDDLE = 0.5
"""A confidence: only the measured value is kept, not its interval."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Whose behaviour counts as normal: this version's, while it was served."""

    version: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """What has to be measured of a reference, once."""

    of: Reference
    metrics: tuple[tuple[Metric, tuple[timedelta, ...]], ...]
    """Each with the windows to try, in this order."""


# --- choosing


def baselines_of(
    status: PromptStatus, expectations: Iterable[tuple[str, str]], missing: Mapping[str, str]
) -> Baselines:
    """Return all that the active version may be compared with.

    Args:
        status: of the Prompt.
        expectations: of the active version, by field.
        missing: metric -> why it could not be measured.
    """
    frozen = {each.metric: _frozen(each) for each in kept(status)}
    return Baselines(frozen, _declared(status.active_version or "", expectations), missing, otherwise=_why_none(status))


def _frozen(measurement: Measurement) -> BaselineValue:
    return BaselineValue(
        float(measurement.value),
        Origin.FROZEN,
        measurement.version or "",
        duration.parse(measurement.window) if measurement.window else None,
        measurement.samples,
        rfc3339(measurement.at),
    )


def _declared(version: str, expectations: Iterable[tuple[str, str]]) -> dict[str, BaselineValue]:
    return {
        _DECLARED[field]: BaselineValue(_value(field, text), Origin.DECLARED, version)
        for field, text in expectations
        if field in _DECLARED
    }


def _value(field: str, text: str) -> float:
    return parse_duration(text).total_seconds() if field.startswith("latency") else float(text)


def _why_none(status: PromptStatus) -> str:
    of = reference(status)
    if of is not None:
        return f"{of.version} was not measured before {rfc3339(of.until)}"
    return f"no version is known to have been served before {status.active_version}, and it declares none"


# --- whose past


def reference(status: PromptStatus) -> Reference | None:
    """Return whose past counts as normal for the present activation; None when no version's does.

    The version before, unless it was rejected: then the active version's own earlier time. Never a rejected one.
    """
    history = status.history
    if not history or (history[0].version, history[0].at) != (status.active_version, status.activated_at):
        return None
    held = {each.version for each in status.held}
    earlier = [index for index in range(1, len(history)) if not _rejected(history[index], held)]
    if earlier[:1] != [1]:
        earlier = [index for index in earlier if history[index].version == status.active_version]
    if not earlier:
        return None
    index = earlier[0]
    return Reference(history[index].version, history[index].at, until=history[index - 1].at)


def _rejected(entry: HistoryEntry, held: set[str]) -> bool:
    return entry.left_because in _REJECTING or entry.version in held


def kept(status: PromptStatus) -> tuple[Measurement, ...]:
    """Return the measurements in status that may be compared with: of a known version that is not held."""
    held = {each.version for each in status.held}
    return tuple(each for each in status.baseline if each.version and each.version not in held)


def own(baseline: Iterable[Measurement], version: str) -> tuple[Measurement, ...]:
    """Return what was measured on this version itself: it stays when a rollback restores the version."""
    return tuple(each for each in baseline if each.version == version)


def frozen(status: PromptStatus, measured: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Return the baseline as status keeps it: once there, never measured again; late answers to old questions go."""
    found = {each.metric: each for each in kept(status)}
    of = reference(status)
    for each in measured:
        if of is not None and (each.version, each.at) == (of.version, of.until):
            found.setdefault(each.metric, each)
    return tuple(found[metric] for metric in sorted(found))


# --- measuring


def to_freeze(status: PromptStatus, rules: tuple[Rule, ...]) -> Freeze | None:
    """Return what has to be measured: of the metrics that rules compare with a baseline, those not in status yet."""
    of = reference(status)
    there = {each.metric for each in kept(status)}
    metrics = tuple((metric, windows) for metric, windows in _compared(rules) if metric.name not in there)
    return Freeze(of, metrics) if of is not None and metrics else None


@lru_cache(maxsize=1024)
def _compared(rules: tuple[Rule, ...]) -> tuple[tuple[Metric, tuple[timedelta, ...]], ...]:
    """Return the metrics that are compared with a baseline, and the windows that are not shorter than the rules'."""
    longest: dict[str, timedelta] = {}
    metrics: dict[str, Metric] = {}
    for rule in rules:
        found = filter(names_baseline, comparisons(rule.condition.predicate))
        for ref in (ref for comparison in found for ref in metric_refs(comparison)):
            metrics[ref.name] = rule.metrics[ref.name]
            longest[ref.name] = max(longest.get(ref.name, timedelta()), ref.window or rule.window)
    return tuple((metrics[name], _windows(longest[name])) for name in sorted(metrics))


def _windows(longest: timedelta) -> tuple[timedelta, ...]:
    return tuple(window for window in LADDER if window >= min(longest, LADDER[-1]))


def measurement(
    metric: Metric, of: Reference, window: timedelta, reading: Mapping[Need, Measured], *, min_samples: int
) -> Measurement | str:
    """Return what a metric was over the window that ends when the reference was left, or why that is not known."""
    found = estimate(metric, window, reading, min_samples=min_samples, confidence=_MIDDLE)
    if isinstance(found, Unknown):
        return _unknown(of, window, CAUSES.get(found.reason, found.reason), found.samples)
    if isinstance(metric.formula, Total) and of.until - of.since < window:
        return _unknown(of, window, "it was not served for so long, so its count is not whole", None)
    if _rests_on_few(metric, found):
        return _unknown(of, window, "too few samples", found.samples)
    return Measurement(
        metric=metric.name,
        value=decimal(found.value) or "",
        samples=None if found.samples is None else round(found.samples),
        window=format_window(window),
        version=of.version,
        at=of.until,
    )


def _unknown(of: Reference, window: timedelta, why: str, samples: float | None) -> str:
    counted = f"{count_text(samples)} " if samples is not None else ""
    return f"{of.version} before {rfc3339(of.until)}: {why} ({counted}in {format_window(window)})"


def _rests_on_few(metric: Metric, found: Estimate) -> bool:
    """Tell whether a share or a quantile rests on too few of what it counts to be multiplied.

    The relative error of a share is about one over the root of the number counted, however many samples there are:
    the p95 of 20 requests is the slowest one. So five errors are wanted, or five requests beyond the quantile.
    """
    match metric.formula:
        case Quantile(_, q):
            counted = (found.samples or 0.0) * min(q, 1 - q)
        case Share() | Slower():
            counted = (found.samples or 0.0) * found.value
        case _:
            return False
    return round(counted, 6) < COUNTED
