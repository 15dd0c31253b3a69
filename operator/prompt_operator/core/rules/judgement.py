"""What judging a rule yields, and how it is told to people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from prompt_operator.core.rules.baseline import NO_BASELINE, BaselineValue
from prompt_operator.core.rules.metrics import Quantile
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.syntax import predicate_text
from prompt_operator.core.rules.units import format_window
from prompt_operator.core.rules.values import count_text, format_threshold, format_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prompt_operator.core.rules.baseline import Found
    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.syntax import Comparator, Comparison

_ONE_SCRAPE = timedelta(minutes=1)
"""Between two scrapes of a Prometheus whose configuration does not say otherwise."""


class Verdict(StrEnum):
    """A condition's truth in Kleene's strong three-valued logic."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric of one comparison: what was measured, and what it was compared with. Values are in base units."""

    metric: Metric
    window: timedelta
    verdict: Verdict
    """Of the comparison."""
    reason: Reason
    confidence: float
    comparison: Comparison
    value: float | None = None
    comparator: Comparator | None = None
    """As in `metric comparator threshold`; None, like threshold and bound, where the metric is part of a sum."""
    threshold: float | None = None
    baseline: Found = NO_BASELINE
    """What `baseline` stands for in the comparison, where it names one."""
    samples: float | None = None
    events: float | None = None
    bound: float | None = None
    """The end of the confidence interval nearest to the threshold: what the value surely is at least (or at most)."""
    detail: str = ""
    """What else is known of why there is no value."""

    @property
    def sentence(self) -> str:
        """Tell it in one line: `error_rate 31.0% (62 of 200 in 1m; at least 22.4% at 99.9% confidence) > 5%`."""
        if self.value is None:
            cause = CAUSES.get(self.reason, self.reason) + (f", {self.detail}" if self.detail else "")
            scrapes = ", or fewer than two scrapes" if self._may_be_too_short() else ""
            return f"{self.metric.name} unknown: {cause}{scrapes} ({self._basis()})"
        return (
            f"{self.metric.name} {format_value(self.metric, self.value)}"
            f" ({self._basis()}{self._surely()}){self._against()}"
        )

    def _may_be_too_short(self) -> bool:
        """Tell whether no series at all may mean that the window holds less than the two samples an increase needs."""
        return self.reason is Reason.NO_DATA and self.samples is None and self.window <= _ONE_SCRAPE

    def _basis(self) -> str:
        window = f"in {format_window(self.window)}"
        if self.samples is None:
            return window
        counted = f"{count_text(self.events)} of " if self.events is not None else ""
        return f"{counted}{count_text(self.samples)} {window}"

    def _surely(self) -> str:
        if self.bound is None or self.bound == self.value or self.comparator is None:
            return ""
        # The bounds of a quantile are bucket bounds, which it passes strictly.
        sides = ("over", "under") if isinstance(self.metric.formula, Quantile) else ("at least", "at most")
        side = sides[0] if self.comparator.startswith(">") else sides[1]
        return f"; {side} {format_value(self.metric, self.bound)} at {self.confidence * 100:.6g}% confidence"

    def _against(self) -> str:
        if self.verdict is Verdict.UNKNOWN and self.threshold is None:
            return f", {CAUSES.get(self.reason, self.reason)} for {predicate_text(self.comparison)}{self._normally()}"
        word = _WORDS.get(self.reason, "")
        if self.threshold is None or self.comparator is None:
            return f", so{word} {predicate_text(self.comparison)}{self._normally()}"
        return f"{word} {self.comparator} {format_threshold(self.metric, self.threshold)}{self._normally()}"

    def _normally(self) -> str:
        if isinstance(self.baseline, BaselineValue):
            return f" (baseline {format_value(self.metric, self.baseline.value)}: {self.baseline.source})"
        return f" ({self.baseline.why})" if self.baseline.why else ""


_WORDS = {
    Reason.NOT_CONFIDENT: " not surely",
    Reason.WITHIN_BOUNDS: " not",
    Reason.BEYOND_BUCKETS: " or more, beyond the last bucket: unknown whether",
}

CAUSES = {
    Reason.NO_DATA: "no data",
    Reason.TOO_FEW_SAMPLES: "too few samples",
    Reason.NO_BASELINE: "no baseline",
    Reason.NOT_A_NUMBER: "not a number",
    Reason.DUPLICATE_SERIES: "two series for the same version",
    Reason.INCONSISTENT: "the series contradict each other",
    Reason.NOT_MEASURED: "not measured",
    Reason.BEYOND_BUCKETS: "beyond the last bucket",
    Reason.QUERY_FAILED: "the query failed",
    Reason.NOT_RECORDED: "recording rules missing",
    Reason.RECORDED_IN_PART: "not recorded for long enough",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a condition, the reason that decided it, and a finding for each metric it reads."""

    verdict: Verdict
    because: Reason
    findings: tuple[Finding, ...] = ()

    @property
    def message(self) -> str:
        """Tell every finding in one line."""
        return "; ".join(dict.fromkeys(finding.sentence for finding in self.findings))


def all_of(parts: Sequence[Judgement]) -> Judgement:
    """Kleene `and`: false if any part is, else unknown if any is, else true."""
    return _joined(parts, (Verdict.FALSE, Verdict.UNKNOWN, Verdict.TRUE))


def some_of(parts: Sequence[Judgement]) -> Judgement:
    """Kleene `or`: true if any part is, else unknown if any is, else false."""
    return _joined(parts, (Verdict.TRUE, Verdict.UNKNOWN, Verdict.FALSE))


def _joined(parts: Sequence[Judgement], strongest_first: tuple[Verdict, ...]) -> Judgement:
    verdict = next(verdict for verdict in strongest_first if any(part.verdict is verdict for part in parts))
    reasons = [part.because for part in parts if part.verdict is verdict]
    return Judgement(verdict, _decisive(verdict, reasons, strongest_first), tuple(f for p in parts for f in p.findings))


def _decisive(verdict: Verdict, reasons: list[Reason], strongest_first: tuple[Verdict, ...]) -> Reason:
    """Pick the reason that decided: lack of confidence only where more confidence would have changed the verdict."""
    if verdict is Verdict.FALSE and Reason.NOT_CONFIDENT in reasons:
        needs_all = strongest_first[0] is Verdict.FALSE
        return Reason.WITHIN_BOUNDS if needs_all and Reason.WITHIN_BOUNDS in reasons else Reason.NOT_CONFIDENT
    return reasons[0]
