"""What is normal for a metric: the baselines that a version has, and the one that a rule compares with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

from prompt_operator.core.rules.estimate import Unknown, estimate
from prompt_operator.core.rules.metrics import Total
from prompt_operator.core.rules.units import format_window
from prompt_operator.core.rules.values import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from prompt_operator.core.rules.measure import Measured, Need
    from prompt_operator.core.rules.metrics import Metric

_ANY = 0.5
"""A confidence: of the control arm only the measured value is taken, not its interval."""


class Origin(StrEnum):
    """Where a baseline comes from."""

    CONCURRENT = "Concurrent"
    """Measured on the version that is served beside the judged one, over the same window."""
    FROZEN = "Frozen"
    """Measured on a version that was served before, and kept in status."""
    DECLARED = "Declared"
    """Written by the author of the version, in `expectations`."""
    FLOOR = "Floor"
    """Written by the author of the rule: what is normal in any case."""


@dataclass(frozen=True, slots=True)
class BaselineValue:
    """A value in base units, and where it comes from."""

    value: float
    origin: Origin
    version: str = ""
    """The version it was measured on, or the one that declares it; empty for a floor."""
    window: timedelta | None = None
    samples: float | None = None
    until: str = ""
    """End of that window (RFC 3339)."""

    @property
    def source(self) -> str:
        """Tell it in a few words: `measured on 1.0.0 in 1h until 2026-01-02T11:00:00Z, 900 samples`."""
        match self.origin:
            case Origin.FLOOR:
                return "the rule's baselineFloor"
            case Origin.DECLARED:
                return f"declared by {self.version}" if self.version else "declared"
        over = f" in {format_window(self.window)}" if self.window else ""
        until = f" until {self.until}" if self.until else ""
        samples = f", {count_text(self.samples)} samples" if self.samples is not None else ""
        beside = ", beside it" if self.origin is Origin.CONCURRENT else ""
        return f"measured on {self.version}{over}{until}{samples}{beside}"


@dataclass(frozen=True, slots=True)
class NoBaseline:
    """There is none, and why, in a few words."""

    why: str = ""


NO_BASELINE = NoBaseline()
Found: TypeAlias = BaselineValue | NoBaseline


@dataclass(frozen=True, slots=True)
class Control:
    """The version that is served beside the judged one, and what the same queries brought of it."""

    version: str
    reading: Mapping[Need, Measured]


@dataclass(frozen=True, slots=True)
class Baselines:
    """All baselines of one version, by the name of the metric."""

    frozen: Mapping[str, BaselineValue] = field(default_factory=dict)
    declared: Mapping[str, BaselineValue] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a metric was not measured."""
    otherwise: str = ""
    """Why nothing was, for the metrics that `missing` does not name."""
    control: Control | None = None
    """With a control arm the past counts no longer: what differs between then and now would be taken for a fault."""

    def of(self, metric: Metric, window: timedelta, *, floor: float | None, min_samples: int) -> Found:
        """Choose what a rule compares a metric over this window with.

        The control arm if there is one, else what was frozen, else what is declared. It is never less than the floor,
        which also stands in where there is none. Zero is none: no multiple of it says anything.
        """
        found = self._measured(metric, window, min_samples)
        if isinstance(found, BaselineValue) and not (isfinite(found.value) and found.value > 0):
            found = NoBaseline(f"{found.value:g} is none; {found.source}")
        if floor is not None and (isinstance(found, NoBaseline) or found.value < floor):
            return BaselineValue(floor, Origin.FLOOR)
        return found

    def _measured(self, metric: Metric, window: timedelta, min_samples: int) -> Found:
        if self.control is not None:
            return _concurrent(self.control, metric, window, min_samples)
        frozen = self.frozen.get(metric.name)
        if frozen is not None:
            return _scaled(frozen, metric, window)
        return self.declared.get(metric.name) or NoBaseline(self.missing.get(metric.name, self.otherwise))


def of_values(values: Mapping[str, float]) -> Baselines:
    """Return baselines that somebody simply gives, by the name of the metric."""
    return Baselines(declared={name: BaselineValue(value, Origin.DECLARED) for name, value in values.items()})


def _concurrent(control: Control, metric: Metric, window: timedelta, min_samples: int) -> Found:
    if isinstance(metric.formula, Total):
        return NoBaseline("the count of an arm depends on its share of the traffic")
    found = estimate(metric, window, control.reading, min_samples=min_samples, confidence=_ANY)
    if isinstance(found, Unknown):
        return NoBaseline(f"{control.version} beside it: {found.reason}")
    return BaselineValue(found.value, Origin.CONCURRENT, control.version, window, found.samples)


def _scaled(frozen: BaselineValue, metric: Metric, window: timedelta) -> BaselineValue:
    """A count grows with its window: of an hour's count a rule over 5m compares with a twelfth."""
    if not isinstance(metric.formula, Total) or not frozen.window:
        return frozen
    return replace(frozen, value=frozen.value * (window / frozen.window))
