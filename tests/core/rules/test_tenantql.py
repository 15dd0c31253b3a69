"""A tenant's query is written anew, confined to the tenant's namespace, or refused with what to write instead."""

from __future__ import annotations

from datetime import timedelta

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.rules.hostile import CONFINED, REFUSED

from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.profile import IdentityLabels
from prompt_operator.core.rules.tenantql import MAX_LENGTH, Use, read

NATIVE = IdentityLabels(namespace="prompt_namespace", prompt="prompt", version="version")
DOTTED = IdentityLabels(namespace="k8s.ns", prompt="gen_ai.prompt.name", version="v")
OWN = 'prompt_namespace="shop",prompt!="",version!=""'
BY = "prompt_namespace, prompt, version"
FIVE = timedelta(minutes=5)


def promql(text: str, identity: IdentityLabels = NATIVE, use: Use = Use.VALUE) -> str:
    """The query as it is asked for the namespace shop, over five minutes."""
    return read(text, use).promql(identity, "shop", FIVE)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (
            "sum by ($by) (increase(hallucinated_total[$window]))",
            f"sum by ({BY}) (increase(hallucinated_total{{{OWN}}}[5m]))",
        ),
        ('avg  by($by)(drift{job=~"a.*"}) # why', f'avg by ({BY}) (drift{{{OWN},job=~"a.*"}})'),
        ("-(avg by ($by) (x)) ^ -2", f"-((avg by ({BY}) (x{{{OWN}}})) ^ ((-2)))"),
        ("avg by ($by) (x) > bool 0.5", f"(avg by ({BY}) (x{{{OWN}}})) > bool (0.5)"),
        (
            "histogram_quantile(0.9, sum by (le, $by) (rate(x_bucket[$window])))",
            f"histogram_quantile(0.9, sum by ({BY}, le) (rate(x_bucket{{{OWN}}}[5m])))",
        ),
        ("quantile by ($by) (0.5, x)", f"quantile by ({BY}) (0.5, x{{{OWN}}})"),
        ("clamp(avg by ($by) (x), 0, 1)", f"clamp(avg by ({BY}) (x{{{OWN}}}), 0, 1)"),
    ],
)
def test_a_query_is_printed_from_its_tree(text: str, asked: str) -> None:
    """Every selector gets the identity matchers, every operand brackets; nothing else of the text is kept."""
    assert promql(text) == asked


def test_labels_of_the_profile_are_quoted_where_they_must_be() -> None:
    """`$by` is the identity of whichever profile is in force."""
    assert promql("sum by ($by) (x)", DOTTED) == (
        'sum by ("k8s.ns", "gen_ai.prompt.name", v) (x{"k8s.ns"="shop","gen_ai.prompt.name"!="",v!=""})'
    )


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_queries_are_refused(name: str) -> None:
    """Each with its cause, none with anything but the error of the language."""
    text, cause = REFUSED[name]
    with pytest.raises(RuleError) as caught:
        read(text)
    assert cause in str(caught.value)
    assert len(str(caught.value)) < MAX_LENGTH


@pytest.mark.parametrize("name", CONFINED)
def test_every_selector_of_what_is_asked_is_confined(name: str) -> None:
    """Read again by the parser, the query that is asked holds the matcher of the namespace in each of its selectors."""
    selectors: list[list[tuple[str, str]]] = []

    def look(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(
                [(each.name, each.value) for each in node.matchers.matchers if each.op == promql_parser.MatchOp.Equal]
            )
            assert node.matchers.or_matchers == []

    promql_parser.walk(promql_parser.parse(promql(CONFINED[name])), look)
    assert selectors
    assert all(("prompt_namespace", "shop") in each for each in selectors)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("sum by ($by) (rate(x[$window]))", "function rate does not keep a count a count"),
        ("avg by ($by) (increase(x[$window]))", "aggregation avg does not keep a count a count"),
        ("count by ($by) (increase(x[$window]))", "aggregation count does not keep"),
        ("100 * sum by ($by) (increase(x[$window]))", "multiplied by 0 only"),
        ("sum by ($by) (increase(x[$window])) / 2", "operator / does not keep"),
        ("sum by ($by) (x)", "a counter never begins anew"),
        ("sum by ($by) (sum_over_time(x[$window]))", "function sum_over_time does not keep"),
    ],
)
def test_a_count_stays_a_count(text: str, cause: str) -> None:
    """A bound on a share is as good as its counts: what would multiply the evidence is refused."""
    with pytest.raises(RuleError, match=cause):
        read(text, Use.COUNT)


@pytest.mark.parametrize(
    "text",
    [
        "sum by ($by) (increase(x[$window]))",
        "sum by ($by) (increase(all[$window])) - sum by ($by) (increase(good[$window]))",
        "sum by ($by) (increase(x[$window])) or 0 * sum by ($by) (increase(all[$window]))",
        "sum by ($by) (max by ($by, outcome) (increase(x[$window])))",
        "sum by ($by) (histogram_count(increase(x[$window])))",
    ],
)
def test_what_counts(text: str) -> None:
    """Increases, their sums and differences, the greatest of replicas, and none where there could be some."""
    assert promql(text, use=Use.COUNT) == promql(text)


@pytest.mark.parametrize(
    ("text", "column"),
    [("sum by ($by) (absent(x))", 15), ("sum by ($by) (x offset 1d)", 17), ("sum by ($by) (sum(x))", 0)],
)
def test_columns_are_told_where_they_are_certain(text: str, column: int) -> None:
    """The parser tells no positions: a word that stands there twice is not pointed at."""
    with pytest.raises(RuleError) as caught:
        read(text)
    assert caught.value.column == column


PIECES = [
    *("sum by ($by) (", "(", ")", "{", "}", "[", "]", "$window", "$by", ",", "=", "=~", "!=", '"a"', "'\\x'", "`"),
    *("or", "and", "unless", "on()", "group_left", "bool", "-", "+", "^", "offset", "@", "start()", "1e999", "NaN"),
    *("5m", "9999999999y", "rate", "increase", "histogram_quantile", "0.9", "x", "le", "__name__", "#", ":", "\n"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join) | st.text(max_size=60))
def test_no_text_raises_anything_but_a_rule_error(text: str) -> None:
    """Whatever is written, also what makes the parser panic, is a query or a RuleError."""
    try:
        found = promql(text)
    except RuleError as error:
        assert 0 <= error.column <= len(text) + 1  # noqa: PT017  the error itself is judged
    else:
        assert OWN in found
