"""Long windows are read from recorded series, and a recording with gaps is never taken for a quiet prompt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Need, Unusable
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.promql import Query, absorb, queries, reading
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.recording import BUCKETS, COUNTS, expected, rule_group
from prompt_operator.core.rules.units import WINDOWS
from prompt_operator.ports import Sample

DAY, WEEK = timedelta(days=1), timedelta(days=7)
PROFILES = load_profiles()
NATIVE = PROFILES["native"]
BOT = Identity("shop", "bot", "1.0.0")
IDENTITY = {"prompt_namespace": "shop", "prompt": "bot", "version": "1.0.0"}


def asked(
    quantity: Quantity = Quantity.REQUESTS, window: timedelta = DAY, namespaces: list[str] | None = None
) -> Query:
    """The query for one need of the native profile."""
    (query,) = queries(NATIVE, [Need(quantity, window)], namespaces)
    return query


def test_query_text() -> None:
    """The recorded counts of the window, and how often they were recorded, in one answer."""
    runs = 'promptops:counts:increase5m{profile="native",quantity="evaluations"}'
    assert asked(Quantity.ERRORS, namespaces=["shop"]).promql == (
        "sum by (prompt_namespace, prompt, version) (sum_over_time(promptops:counts:increase5m"
        '{profile="native",quantity="errors",prompt_namespace="shop"}[24h]))'
        f" or min(sum_over_time({runs}[24h]) and count_over_time({runs}[15m]))"
    )


def test_buckets_keep_their_bounds() -> None:
    """A histogram is read from the series of buckets, by bound."""
    promql = asked(Quantity.LATENCY_BUCKETS, WEEK).promql
    assert promql.startswith(
        "sum by (prompt_namespace, prompt, version, le) (sum_over_time(promptops:buckets:increase5m"
    )
    assert "[7d]" in promql


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_only_long_windows_are_read_from_recorded_series(window: timedelta) -> None:
    """Windows below a day are read raw: they cost little and need no rule in Prometheus."""
    query = asked(window=window)
    assert query.recorded is (window >= DAY) is (COUNTS in query.promql)


@pytest.mark.parametrize(
    ("evaluations", "answer"),
    [
        (288, {BOT: Amount(10.0)}),
        (231, {BOT: Amount(10.0)}),
        (230, Unusable(Reason.RECORDED_IN_PART, "80% of the window have to be")),
        (1, Unusable(Reason.RECORDED_IN_PART, "80% of the window have to be")),
        (None, Unusable(Reason.NOT_RECORDED)),
    ],
)
def test_coverage(evaluations: float | None, answer: object) -> None:
    """Four fifths of the window have to be recorded; without a single evaluation the rules are missing."""
    rows = [Sample(IDENTITY, 10.0)] + ([] if evaluations is None else [Sample({}, float(evaluations))])
    assert absorb(asked(), rows) == answer


def test_a_week_expects_seven_times_as_many() -> None:
    """A day of records is no week."""
    assert expected(WEEK) == 7 * 288
    answer = absorb(asked(window=WEEK), [Sample(IDENTITY, 10.0), Sample({}, 288.0)])
    assert isinstance(answer, Unusable)
    assert answer.reason is Reason.RECORDED_IN_PART


def test_recorded_without_traffic_is_no_data() -> None:
    """A recording that knows nothing of a version is not a recording that is missing."""
    answer = absorb(asked(), [Sample({}, 288.0)])
    assert answer == {}
    assert reading(NATIVE, BOT, {asked().need: answer}) == {}


def test_errors_that_were_never_recorded_are_zero_beside_requests() -> None:
    """No error in a week beside recorded requests is zero errors, as in short windows."""
    requests, errors = asked(), asked(Quantity.ERRORS)
    answers = {
        requests.need: absorb(requests, [Sample(IDENTITY, 50.0), Sample({}, 288.0)]),
        errors.need: absorb(errors, [Sample({}, 288.0)]),
    }
    assert reading(NATIVE, BOT, answers) == {requests.need: Amount(50.0), errors.need: Amount(0.0)}


def test_recorded_histogram() -> None:
    """Bounds and counts come out as they went in, and the count of evaluations is no bucket."""
    rows = [Sample(IDENTITY | {"le": "1"}, 3.0), Sample(IDENTITY | {"le": "+Inf"}, 5.0), Sample({}, 288.0)]
    assert absorb(asked(Quantity.LATENCY_BUCKETS), rows) == {BOT: Histogram(((1.0, 3.0), (float("inf"), 5.0)))}


@pytest.mark.parametrize("name", PROFILES)
def test_every_quantity_is_recorded_by_a_rule_that_counts_itself(name: str) -> None:
    """What a profile measures in a minute it measures in a week; one rule holds all counters, so they fail together."""
    group = rule_group(PROFILES[name])
    texts = {rule["record"]: rule["expr"] for rule in group["rules"]}
    assert group["interval"] == "5m"
    assert len(texts) == len(group["rules"])
    for quantity, source in PROFILES[name].quantities.items():
        text = texts[BUCKETS if source.histogram else COUNTS]
        assert f'"quantity", "{quantity}"' in text
    assert all('label_replace(vector(1), "quantity", "evaluations", "", "")' in text for text in texts.values())
