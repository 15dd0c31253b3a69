"""Queries are grouped, escaped and restricted; answers are sorted by version, and nothing dubious becomes a number."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Measured, Need, Unusable, needs
from prompt_operator.core.rules.metrics import METRICS, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.profile import Profile, parse_profile
from prompt_operator.core.rules.promql import Answer, Query, absorb, queries, reading, unmeasured
from prompt_operator.core.rules.reasons import Reason

MINUTE = timedelta(minutes=1)
NATIVE = load_profiles()["native"]
REQUESTS, ERRORS = Need(Quantity.REQUESTS, MINUTE), Need(Quantity.ERRORS, MINUTE)
BUCKETS = Need(Quantity.LATENCY_BUCKETS, MINUTE)
BOT = Identity("shop", "bot", "1.0.0")


@dataclass(frozen=True)
class Row:
    """An element of an answer."""

    value: float
    labels: dict[str, str] = field(
        default_factory=lambda: {"prompt_namespace": "shop", "prompt": "bot", "version": "1.0.0"}
    )

    def but(self, **labels: str) -> Row:
        """The same row with other labels."""
        return Row(self.value, self.labels | labels)


def only_query(need: Need, namespaces: list[str] | None = None, profile: Profile = NATIVE) -> Query:
    """The one query for a need."""
    (query,) = queries(profile, [need], namespaces)
    return query


@pytest.mark.parametrize(
    ("need", "namespaces", "promql"),
    [
        (
            REQUESTS,
            None,
            (
                "sum by (prompt_namespace, prompt, version) (increase("
                'llm_prompt_requests_total{prompt_namespace!="",prompt!="",version!=""}[1m]))'
            ),
        ),
        (
            Need(Quantity.ERRORS, timedelta(hours=1)),
            ["shop"],
            (
                "sum by (prompt_namespace, prompt, version) (increase("
                'llm_prompt_requests_total{prompt_namespace="shop",prompt!="",version!="",outcome="error"}[1h]))'
            ),
        ),
        (
            BUCKETS,
            ["b.c", "a"],
            (
                "sum by (prompt_namespace, prompt, version, le) (increase("
                'llm_prompt_request_duration_seconds_bucket{prompt_namespace=~"a|b\\\\.c",prompt!="",version!=""}[1m]))'
            ),
        ),
        (
            Need(Quantity.FEEDBACK_NEGATIVE, MINUTE),
            ["shop"],
            (
                "sum by (prompt_namespace, prompt, version) (increase(llm_prompt_feedback_score_bucket"
                '{prompt_namespace="shop",prompt!="",version!="",le=~"2|2.0"}[1m]))'
            ),
        ),
    ],
    ids=["all", "one", "several", "pattern"],
)
def test_query_text(need: Need, namespaces: list[str] | None, promql: str) -> None:
    """One grouped increase per need, restricted to the namespaces that were asked for."""
    assert only_query(need, namespaces).promql == promql


def test_one_query_per_need_whatever_the_number_of_rules() -> None:
    """Rules that ask for the same share a query, and the order of queries is fixed."""
    rules = [compile_rule("a", f"error_rate > {share}%", window="1m") for share in range(1, 90)]
    wanted = [need for rule in rules for need in needs(rule)]
    assert [query.need for query in queries(NATIVE, wanted, None)] == [ERRORS, REQUESTS]
    assert queries(NATIVE, reversed(wanted), None) == queries(NATIVE, wanted, None)


def test_hostile_namespace_stays_a_string() -> None:
    """Quotes, backslashes and line ends cannot leave the matcher."""
    promql = only_query(REQUESTS, ['x"} or vector(1) #\\\n']).promql
    assert 'prompt_namespace="x\\"} or vector(1) #\\\\\\n"' in promql


def test_native_measures_every_metric() -> None:
    """No metric of the language is without a source in the native profile."""
    for name, metric in METRICS.items():
        rule = compile_rule("a", f"{name} > baseline")
        assert not unmeasured(NATIVE, needs(rule)), metric


def test_errors_are_asked_together_with_requests() -> None:
    """A rule on errors alone pulls requests too, the witness that no errors are zero errors."""
    assert needs(compile_rule("a", "failure_count > 3", window="1m")) == {REQUESTS, ERRORS}


def test_absorb_sorts_by_version() -> None:
    """Each version has its own amount; a zero is a zero."""
    answer = absorb(only_query(REQUESTS), [Row(3.5), Row(0.0).but(version="1.1.0")])
    assert answer == {BOT: Amount(3.5), BOT._replace(version="1.1.0"): Amount(0.0)}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([Row(nan)], Reason.NOT_A_NUMBER),
        ([Row(inf)], Reason.NOT_A_NUMBER),
        ([Row(-1.0)], Reason.NOT_A_NUMBER),
        ([Row(1.0), Row(1.0)], Reason.DUPLICATE_SERIES),
    ],
)
def test_a_dubious_value_spoils_only_its_version(rows: list[Row], reason: Reason) -> None:
    """NaN, infinity, a negative value or a second series make one version unusable and leave the others alone."""
    other = Row(2.0).but(version="9.9.9")
    answer = absorb(only_query(REQUESTS), [*rows, other])
    assert isinstance(answer, dict)
    unusable = answer[BOT]
    assert isinstance(unusable, Unusable)
    assert unusable.reason is reason
    assert answer[BOT._replace(version="9.9.9")] == Amount(2.0)


@pytest.mark.parametrize("label", ["prompt_namespace", "prompt", "version"])
def test_a_series_without_the_asked_labels_spoils_the_answer(label: str) -> None:
    """An answer that was not grouped as asked is not believed at all."""
    answer = absorb(only_query(REQUESTS), [Row(1.0), Row(1.0).but(**{label: ""})])
    assert isinstance(answer, Unusable)
    assert answer.reason is Reason.INCONSISTENT


def test_absorb_histogram() -> None:
    """Buckets are sorted by bound, two spellings of a bound are added, rounding noise is taken out."""
    rows = {"+Inf": 10.0, "2.0": 5.0, "2": 5.0 - 1e-9, "1.0": 3.0, "1": 3.0, "4.0": 10.0 - 2e-9}
    answer = absorb(only_query(BUCKETS), [Row(value).but(le=bound) for bound, value in rows.items()])
    assert isinstance(answer, dict)
    histogram = answer[BOT]
    assert isinstance(histogram, Histogram)
    assert [bound for bound, _ in histogram.buckets] == [1.0, 2.0, 4.0, inf]
    assert [count for _, count in histogram.buckets] == pytest.approx([6.0, 10.0, 10.0, 10.0])
    assert histogram.count >= histogram.buckets[1][1]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("1", 1.0), ("1", 1.0), ("+Inf", 2.0)], Reason.DUPLICATE_SERIES),
        ([("1", nan), ("+Inf", 2.0)], Reason.NOT_A_NUMBER),
        ([("one", 1.0), ("+Inf", 2.0)], Reason.INCONSISTENT),
    ],
)
def test_a_broken_histogram_is_unusable(rows: list[tuple[str, float]], reason: Reason) -> None:
    """A repeated bucket, NaN or an unreadable bound spoils the histogram of its version."""
    answer = absorb(only_query(BUCKETS), [Row(value).but(le=bound) for bound, value in rows])
    assert isinstance(answer, dict)
    unusable = answer[BOT]
    assert isinstance(unusable, Unusable)
    assert unusable.reason is reason


def test_scale_turns_units_into_ours() -> None:
    """Milliseconds become seconds, in bounds as in sums."""
    text = """
name: x
description: d
verified: v
identity: {namespace: "k8s.namespace", prompt: p, version: v}
quantities:
  latency_buckets: {histogram: "a.duration", scale: 0.001}
  latency_sum: {counter: a_sum, scale: 0.001}
"""
    profile = parse_profile(text)
    query = only_query(BUCKETS, ["shop"], profile)
    assert query.promql == (
        'sum by ("k8s.namespace", p, v, le) (increase({"a.duration_bucket","k8s.namespace"="shop",p!="",v!=""}[1m]))'
    )
    row = Row(4.0, {"k8s.namespace": "shop", "p": "bot", "v": "1.0.0", "le": "250"})
    assert absorb(query, [row]) == {BOT: Histogram(((0.25, 4.0),))}
    total = only_query(Need(Quantity.LATENCY_SUM, MINUTE), None, profile)
    assert absorb(total, [Row(2000.0, row.labels)]) == {BOT: Amount(2.0)}


SHOP: Answer = {BOT: Amount(10.0)}
FAILED = Unusable(Reason.QUERY_FAILED, "timeout")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({REQUESTS: SHOP, ERRORS: {}}, {REQUESTS: Amount(10.0), ERRORS: Amount(0.0)}),
        ({REQUESTS: {BOT: Amount(0.0)}, ERRORS: {}}, {REQUESTS: Amount(0.0), ERRORS: Amount(0.0)}),
        ({REQUESTS: {}, ERRORS: {}}, {}),
        ({REQUESTS: FAILED, ERRORS: {}}, {REQUESTS: FAILED}),
        ({REQUESTS: SHOP, ERRORS: FAILED}, {REQUESTS: Amount(10.0), ERRORS: FAILED}),
        ({ERRORS: {}}, {}),
        ({REQUESTS: {}, ERRORS: SHOP}, {ERRORS: Amount(10.0)}),
    ],
)
def test_absent_errors_are_zero_only_beside_requests(
    answers: dict[Need, Answer], expected: dict[Need, Measured]
) -> None:
    """No error series beside a series of requests is zero errors; beside anything else it is unknown."""
    assert reading(NATIVE, BOT, answers) == expected


@given(st.lists(st.tuples(st.sampled_from(["1", "1.0", "+Inf", "x", ""]), st.floats()), max_size=8))
def test_no_answer_raises(rows: list[tuple[str, float]]) -> None:
    """Whatever a server answers, it is read or called unusable."""
    for need in (REQUESTS, BUCKETS):
        answer = absorb(only_query(need), [Row(value).but(le=bound) for bound, value in rows])
        reading(NATIVE, BOT, {need: answer})


WRONG = {
    "quantities: {}": "name",
    "[": "not YAML",
    "- a": "expected name, identity and quantities, found list",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_text_that_is_no_profile_is_refused(text: str, message: str) -> None:
    """Anything but a whole profile is refused with what is wrong."""
    with pytest.raises(ValueError, match=message):
        parse_profile(text)


@pytest.mark.parametrize("labels", ["a, b, b", "a, a, b", "le, a, b", "a, b, __name__"])
def test_labels_that_tell_no_version_apart_are_refused(labels: str) -> None:
    """Two names for one thing, or a label that PromQL itself uses."""
    identity = dict(zip(("namespace", "prompt", "version"), labels.split(", "), strict=True))
    with pytest.raises(ValueError, match="identity: namespace, prompt and version are three labels"):
        parse_profile(json.dumps({"name": "own", "identity": identity, "quantities": {"requests": {"counter": "a"}}}))


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        ("request: {counter: a}", "request"),
        ("requests: {histogram: a}", "latency_buckets is a histogram"),
        ("requests: {}", "exactly one of counter, counters, histogram"),
        ("requests: {counter: a, histogram: a}", "exactly one of counter, counters, histogram"),
        ("requests: {counter: a, absent: zero}", "absent zero"),
        ("requests: {counter: a}, errors: {counter: b, absent: zero}", "absent zero"),
        ("requests: {counters: [a, b]}, errors: {counters: [b, c], absent: zero}", "absent zero"),
        ("errors: {counter: b, absent: zero}", "absent zero"),
        ("requests: {counters: [a]}", "quantities.requests.counters"),
        ("latency_buckets: {counters: [a, b]}", "latency_buckets is a histogram"),
        ("requests: {counter: a, where: [{label: b}]}", "exactly one of is, is_not, matches"),
        ("requests: {counter: a, where: [{label: b, is: c, matches: d}]}", "exactly one of is, is_not, matches"),
        ("requests: {counter: a, scale: 0}", "scale"),
        ("requests: {counter: a, scale: .inf}", "scale"),
        ("requests: {counter: a, unit: s}", "unit"),
    ],
)
def test_a_wrong_quantity_is_refused(quantities: str, message: str) -> None:
    """Each mistake in a source is named."""
    head = "name: x\ndescription: d\nverified: v\nidentity: {namespace: a, prompt: b, version: c}\n"
    with pytest.raises(ValueError, match=message):
        parse_profile(f"{head}quantities: {{{quantities}}}\n")
