"""Inputs to begin with: what the project itself ships, and the words of the language."""

from __future__ import annotations

from tests.core.rules.hostile import CONFINED, REFUSED

from prompt_operator.core.duration import UNITS
from prompt_operator.core.policy import BUILT_IN_RULES
from prompt_operator.core.rules.metrics import ALIASES, METRICS
from prompt_operator.core.rules.units import WINDOWS

_CONDITIONS = (
    "error_rate[1h] > 3% and execution_count[1h] > 100",
    "(latency_p95 > baseline * 2.0 or cost_total >= 5) and tokens_avg / 2 != 7 for 90 minutes",
    "slower_than_10s[5m] > 2%",
    "100 - execution_count * (3 + 4) <= 5",
)

_PROFILE = """\
name: n
description: d
verified: v
identity: {namespace: a, prompt: b, version: c}
quantities:
  requests: {counter: r}
  errors: {counter: r, where: [{label: o, is: e}], absent: zero}
  latency_buckets: {histogram: h, scale: 0.001}
"""


_SCENARIO = """\
interval: 1m
rules:
  - {name: r, condition: latency_p95 > baseline * 2, window: 5m, actions: [Alert]}
evidence: {minSamples: 20}
series: {requests: 0+10x30, "error_rate[5m]": 0.1x9 _x3 stale, latency_buckets: {1s: 0+9x30, +Inf: 0+10x30}}
baseline: {latency_p95: 2s}
expect:
  - {at: 15m, rule: r, state: Firing, value: 9%, rollback: false}
"""


def seeds(target: str) -> list[bytes]:
    """Return sensible inputs of a target."""
    if target in _OTHERS:
        return [text.encode() for text in _OTHERS[target]]
    texts = [*(rule.condition or "" for rule in BUILT_IN_RULES), *_CONDITIONS]
    fields = "" if target == "condition" else "\n5m\n10 minutes\n1h30m"
    return [f"{text}{fields}".encode() for text in texts]


_OTHERS = {
    "profile": [_PROFILE],
    "scenario": [_SCENARIO],
    "custom": [*(text for text in CONFINED.values()), *(text for text, _ in REFUSED.values() if text.isprintable())],
}


def words() -> list[str]:
    """Return the words that a fuzzer would hardly guess."""
    others = ("and", "or", "for", "baseline", "%", ">=", "==", "quantities", "where", "slower_than_", "buckets")
    promql = ("sum by ($by) (", "[$window]", "__name__", "=~", "offset", "increase(", "histogram_quantile(0.9, ")
    yaml = ("&a ", "*a", "!!int ", "? ", "<<: ", "stale", "+Inf", "latency_buckets", "x5")
    return [*METRICS, *ALIASES, *WINDOWS, *UNITS, *others, *promql, *yaml]
