"""The query that is told to people gives the value that was judged; asked of Prometheus itself, by promtool."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from devcluster import tools
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.api.promptpolicy import CustomMetric
from prompt_operator.core.rules.custom import catalogue
from prompt_operator.core.rules.measure import Identity
from prompt_operator.core.rules.metrics import METRICS, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.resolved import resolved
from prompt_operator.core.rules.scenario import Evidence, Given, play
from prompt_operator.core.rules.series import expand
from prompt_operator.core.rules.slower import slower_than

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = load_profiles()
NATIVE = PROFILES["native"]
VERSION = Identity("shop", "greeting", "2.0.0")
OTHER = Identity("shop", "greeting", "1.0.0")
INTERVAL = timedelta(seconds=30)
AT = timedelta(minutes=12)
SERIES = {
    Quantity.REQUESTS: "0+50x30",
    Quantity.ERRORS: "0x10 3+3x20",
    Quantity.LATENCY_SUM: "0+75x12 20+75x18",
    Quantity.LATENCY_COUNT: "0+50x30",
    Quantity.INPUT_TOKENS: "0+5000x30",
    Quantity.OUTPUT_TOKENS: "0+700x30",
    Quantity.COST: "0+0.3x30",
    Quantity.FEEDBACK_SUM: "0+9x30",
    Quantity.FEEDBACK_COUNT: "0+3x30",
    Quantity.FEEDBACK_NEGATIVE: "0+1x30",
    Quantity.AUTOMATED_SCORE_SUM: "0+70x30",
    Quantity.AUTOMATED_SCORE_COUNT: "0+10x30",
    Quantity.CALIBRATION_SUM: "0+12x30",
    Quantity.CALIBRATION_COUNT: "0+10x30",
}
BUCKETS = {"0.5": "0+30x30", "1.0": "0+45x30", "2.0": "0+49x30", "+Inf": "0+50x30"}
SHARE = CustomMetric.model_validate(
    {
        "name": "refusal_rate",
        "unit": "Ratio",
        "numerator": "sum by ($by) (increase(refusals_total[$window]))",
        "denominator": "sum by ($by) (increase(llm_prompt_requests_total[$window]))",
    }
)


def series_of(version: Identity) -> list[dict[str, str]]:
    """Return the series of one version as the profile native exports them, by counters alone."""
    labels = f'prompt_namespace="{version.namespace}",prompt="{version.prompt}",version="{version.version}"'
    found = [{"series": f"refusals_total{{{labels}}}", "values": "0+4x30"}]
    for quantity, text in SERIES.items():
        source = NATIVE.quantities[quantity]
        own = "".join(f',{each.label}="{each.is_ or "2.0"}"' for each in source.where)
        if quantity is Quantity.REQUESTS:  # errors are counted by the same counter, beside the successes
            own, text = ',outcome="success"', "0+50x10 547+47x20"  # noqa: PLW2901
        found += [{"series": f"{name}{{{labels}{own}}}", "values": text} for name in source.metrics]
    bucket = NATIVE.quantities[Quantity.LATENCY_BUCKETS].metrics[0]
    return found + [{"series": f'{bucket}{{{labels},le="{le}"}}', "values": text} for le, text in BUCKETS.items()]


def asked(folder: Path, query: str, value: float) -> str:
    """Have promtool compare what a query gives with a value; return what differs."""
    check: dict[str, Any] = {
        "expr": f"sum({query})",  # a custom metric's query keeps its labels
        "eval_time": f"{AT.seconds}s",
        "exp_samples": [{"labels": "{}", "value": value}],
    }
    test = {
        "interval": f"{INTERVAL.seconds}s",
        "input_series": series_of(VERSION) + series_of(OTHER),
        "promql_expr_test": [check],
    }
    file = folder / "test.json"
    file.write_text(json.dumps({"fuzzy_compare": True, "evaluation_interval": "1m", "tests": [test]}), "utf-8")
    command = [str(tools.ensure("prometheus") / "promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("name", METRICS)
def test_the_query_gives_the_value_that_was_judged(name: str, tmp_path: Path) -> None:
    """Every metric of the catalogue, over 5m, of one version beside another."""
    threshold = {"a share": "50%", "a time": "900ms"}.get(METRICS[name].dimension.value, "2")
    rule = compile_rule("rule", f"{name} > {threshold}")
    counts = {quantity: expand(text) for quantity, text in SERIES.items()}
    buckets = tuple((float(bound), expand(text)) for bound, text in BUCKETS.items())
    *_, moment = play((rule,), Given(INTERVAL, {}, counts, buckets), Evidence(1, 0.95, 0.95, NATIVE), until=AT)
    assert moment.value is not None, moment.judgement.message
    query = resolved(NATIVE, METRICS[name], timedelta(minutes=5), VERSION)
    assert asked(tmp_path, query, moment.value) == ""


def test_a_metric_of_a_policy(tmp_path: Path) -> None:
    """The policy's own queries, confined to the one version."""
    metric = catalogue((SHARE,), "shop").metrics["refusal_rate"]
    query = resolved(NATIVE, metric, timedelta(minutes=5), VERSION)
    assert asked(tmp_path, query, 0.08) == ""
    assert query == (
        '(sum by (prompt_namespace, prompt, version) (increase(refusals_total{prompt_namespace="shop",'
        'prompt="greeting",version="2.0.0"}[5m]))) / (sum by (prompt_namespace, prompt, version) '
        '(increase(llm_prompt_requests_total{prompt_namespace="shop",prompt="greeting",version="2.0.0"}[5m])))'
    )


def test_errors_that_never_happened(tmp_path: Path) -> None:
    """Without a series of errors the query gives zero, as the profile says, and not nothing."""
    query = resolved(NATIVE, METRICS["error_rate"], timedelta(minutes=5), VERSION)
    assert asked(tmp_path, query.replace('"error"', '"never"'), 0) == ""


def test_a_wrong_value_is_noticed(tmp_path: Path) -> None:
    """The comparison can fail."""
    query = resolved(NATIVE, METRICS["error_rate"], timedelta(minutes=5), VERSION)
    assert "FAILED" in asked(tmp_path, query, 0.5)


def test_a_long_window_reads_what_was_recorded() -> None:
    """The same series that the rule is judged on, for the one version."""
    assert resolved(NATIVE, METRICS["feedback_count"], timedelta(days=1), VERSION) == (
        "sum(sum_over_time(promptops:counts:increase5m"
        '{profile="native",quantity="feedback_count",prompt_namespace="shop",prompt="greeting",version="2.0.0"}[24h]))'
    )


def test_another_unit_is_scaled() -> None:
    """A profile in milliseconds is told in seconds, as it is judged."""
    query = resolved(PROFILES["spanmetrics"], METRICS["latency_p95"], timedelta(minutes=5), VERSION)
    assert query.startswith("histogram_quantile(0.95, ")
    assert query.endswith(") * 0.001")


def test_what_a_profile_lacks_has_no_query() -> None:
    """Better none than one that gives nothing."""
    assert resolved(PROFILES["spanmetrics"], METRICS["avg_user_feedback"], timedelta(minutes=5), VERSION) == ""


def test_a_share_of_slow_requests_is_a_fraction_of_the_histogram() -> None:
    """The bound stands in the unit that the profile exports."""
    metric = slower_than("slower_than_10s")
    assert metric is not None
    window = timedelta(minutes=5)
    assert resolved(NATIVE, metric, window, VERSION).startswith("1 - histogram_fraction(0, 10, sum by (")
    assert resolved(PROFILES["spanmetrics"], metric, window, VERSION).startswith("1 - histogram_fraction(0, 10000, ")
