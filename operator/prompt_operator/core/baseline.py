"""The baseline a rule compares with: what was frozen at activation, else what the author declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.rules.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prompt_operator.api.common import Measurement
    from prompt_operator.core.versions import VersionRecord

_DECLARED = {"latencyP50": "latency_p50", "latencyP95": "latency_p95", "tokensAverage": "tokens_avg"}
"""Field of `spec.expectations` -> the metric it is a baseline for."""


def baseline_of(frozen: Iterable[Measurement], version: VersionRecord | None) -> Mapping[str, float]:
    """Return metric -> baseline in base units; a metric without one is absent."""
    declared = {
        _DECLARED[field]: _value(field, text)
        for field, text in (version.expectations if version else ())
        if field in _DECLARED
    }
    return declared | {measurement.metric: float(measurement.value) for measurement in frozen}


def _value(field: str, text: str) -> float:
    return parse_duration(text).total_seconds() if field.startswith("latency") else float(text)
