"""The condition language: what is understood, what is refused and how, and the normal form."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.grammar import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, parse
from prompt_operator.core.rules.metrics import ALIASES, METRICS, CustomSeries, Given, Metric
from prompt_operator.core.rules.syntax import All, Comparison, Condition, MetricRef, Number, Some, to_text
from prompt_operator.core.rules.syntax import comparisons as comparisons_of
from prompt_operator.core.rules.units import WINDOWS, Dimension

COMPARATORS = (">", ">=", "<", "<=", "==", "!=")
LITERALS = {
    Dimension.RATIO: "5%",
    Dimension.TIME: "3s",
    Dimension.COUNT: "100",
    Dimension.TOKENS: "500",
    Dimension.COST: "0.25",
    Dimension.SCORE: "3.5",
}


def only(text: str) -> Comparison:
    """The single comparison of a condition."""
    (comparison,) = comparisons_of(parse(text).predicate)
    return comparison


@pytest.mark.parametrize("comparator", COMPARATORS)
@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_compares_with_its_unit(metric: Metric, comparator: str) -> None:
    """Every metric takes every comparator with a literal of its own unit, on either side of it."""
    literal = LITERALS[metric.dimension]
    assert only(f"{metric.name} {comparator} {literal}").comparator == comparator
    assert only(f"{literal} {comparator} {metric.name}").right == MetricRef(metric.name)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_has_a_baseline(metric: Metric) -> None:
    """Every metric compares with a multiple of its baseline."""
    text = f"{metric.name} > baseline * 1.5"
    assert to_text(parse(text)) == text


@pytest.mark.parametrize(("window", "expected"), WINDOWS.items())
def test_every_window(window: str, expected: timedelta) -> None:
    """Each offered window is read and printed as the contract spells it."""
    assert only(f"error_rate[{window}] > 5%").left == MetricRef("error_rate", expected)
    assert to_text(parse(f"error_rate[{window}] > 5%")) == f"error_rate[{window}] > 5%"


@pytest.mark.parametrize("spelling", ["5m", "5 m", "5min", "5 minutes", "300s", "300 seconds", "300000ms", "4m60s"])
def test_spellings_of_hold(spelling: str) -> None:
    """Both spellings of the field for a hold, and others, mean the same and print the same."""
    condition = parse(f"error_rate > 5% for {spelling}")
    assert condition.hold == timedelta(minutes=5)
    assert to_text(condition) == "error_rate > 5% for 5m"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("latency_p95 > 10000ms", "latency_p95 > 10s"),
        ("latency_p95 > 10 seconds", "latency_p95 > 10s"),
        ("(((error_rate))) > (5%)", "error_rate > 5%"),
        ("(error_rate > 5%)", "error_rate > 5%"),
        ("calibration_drift > 2.0", "avg_calibration_delta > 2"),
        ("slower_than_10000ms > 2%", "slower_than_10s > 2%"),
        ("slower_than_2m[5m] > 2%", "slower_than_120s[5m] > 2%"),
        ("slower_than_1500ms > 2%", "slower_than_1500ms > 2%"),
        ("error_rate[60m] > 5.0%", "error_rate[1h] > 5%"),
        ("error_rate>5%and execution_count>3", "error_rate > 5% and execution_count > 3"),
        (
            "error_rate > 5% and (execution_count > 3 and tokens_total > 1)",
            "error_rate > 5% and execution_count > 3 and tokens_total > 1",
        ),
        ("\n error_rate\t>\n5%\n", "error_rate > 5%"),
    ],
)
def test_spellings_that_mean_the_same(left: str, right: str) -> None:
    """Unit, bracket, alias and white space variants give one normal form."""
    assert parse(left) == parse(right)
    assert to_text(parse(left)) == right


def test_and_binds_tighter_than_or() -> None:
    """`a or b and c` is `a or (b and c)`; brackets turn it round and stay in the normal form."""
    loose = parse("error_rate > 5% or cost_total > 1 and tokens_total > 2").predicate
    assert isinstance(loose, Some)
    assert isinstance(loose.terms[1], All)
    tight = parse("(error_rate > 5% or cost_total > 1) and tokens_total > 2")
    assert isinstance(tight.predicate, All)
    assert to_text(tight) == "(error_rate > 5% or cost_total > 1) and tokens_total > 2"


@pytest.mark.parametrize("text", ["8 - (4 - 2)", "8 - 4 - 2", "(1 + 2) * 3", "1 + 2 * 3", "8 / (4 / 2)", "8 / 4 / 2"])
def test_arithmetic_keeps_its_brackets(text: str) -> None:
    """Brackets that change a value survive in the normal form; those that do not, do not."""
    assert to_text(parse(f"execution_count > {text}")) == f"execution_count > {text}"


REFUSED = {
    "error_rate > 5": (14, "did you mean 5%?"),
    "error_rate > 1": (14, "did you mean 1%?"),
    "error_rate > 500": (14, "between 0% and 100%"),
    "error_rate > 100%": (14, "never be true"),
    "success_rate < 0%": (16, "never be true"),
    "error_rate >= 0%": (1, "error_rate >= 0% is always true"),
    "100% >= error_rate": (1, "100% >= error_rate is always true"),
    "success_rate <= 100%": (1, "is always true"),
    "execution_count >= 0": (1, "is always true"),
    "error_rate >= 1": (15, "did you mean 1%?"),
    "success_rate < 1": (16, "Else write 100%"),
    "error_rate * 2 > 300%": (1, "error_rate * 2 > 300% can never be true"),
    "error_rate * 2 != 300%": (1, "is always true"),
    "error_rate * 2 == 300%": (1, "can never be true"),
    "avg_user_feedback < baseline * 0.1": (1, "can never be true"),
    "avg_user_feedback * 2 >= baseline / 5": (1, "is always true"),
    "error_rate > 101%": (14, "between 0% and 100%"),
    "5 < error_rate": (1, "did you mean 5%?"),
    "latency_p95 > 3000": (15, "did you mean 3000ms?"),
    "latency_p95 > 1000 * 3": (20, "did you mean 3000ms?"),
    "latency_p95 > 5%": (1, "a time cannot be compared with a share"),
    "execution_count > 5%": (1, "write a number without a unit"),
    "execution_count > 5s": (1, "write a number without a unit"),
    "latency_p95 > baseline + 20%": (24, "did you mean baseline * 1.2?"),
    "latency_p95 > baseline - 20%": (24, "did you mean baseline * 0.8?"),
    "cost_avg * latency_p95 > 5": (10, "cannot be multiplied"),
    "latency_p95 / cost_avg > 5": (13, "cannot be divided"),
    "execution_count > 5 / 0": (21, "division by zero"),
    "execution_count / (1 - 1) > 5": (17, "division by zero"),
    "avg_user_feedback < 30": (21, "between 1.00 and 5.00"),
    "avg_user_feedback > 5": (21, "never be true"),
    "avg_calibration_delta > 11": (25, "between 0.00 and 10.00"),
    "eror_rate > 5%": (1, "did you mean error_rate?"),
    "latency_p9 > 5s": (1, "did you mean latency_p9"),
    "zzz > 5": (1, "known are avg_automated_score"),
    "1 > 2": (1, "reads no metric"),
    "baseline > 2": (1, "reads no metric"),
    "latency_p99 - latency_p50 > baseline": (29, "baseline of which metric"),
    "error_rate[2m] > 5%": (12, "did you mean 1m?"),
    "error_rate[5x] > 5%": (12, "unknown unit 'x'"),
    "latency_p95 > 5 minuts": (17, "did you mean minutes?"),
    "error_rate > 5% for 5": (22, "the condition ends too early: expected a unit of time (ms s m h d)"),
    "error_rate[5 > 5%": (14, "expected a unit of time"),
    "3% < error_rate < 5%": (17, "'<' is not expected here: expected 'and', 'or', 'for' or the end"),
    "error_rate > 5% AND cost_avg > 1": (17, "did you mean and?"),
    "error_rate > 5% FOR 5m": (17, "did you mean for?"),
    "error_rate > .5%": (14, "digits on both sides"),
    "latency_p95 > 3,000ms": (16, "write numbers without it"),
    "error_rate\u00a0> 5%": (11, "U+00A0 has no meaning here"),
    "error_rate > 5\u066a": (15, "(U+066A) has no meaning here"),
    "\0": (1, "U+0000 has no meaning here"),
    "error_rate > 5% for": (20, "ends too early"),
    "error_rate > 5% for 8d": (21, "at most 7d"),
    "error_rate > 5% for 5m and cost_avg > 1": (24, "expected the end"),
    "error_rate = 5%": (12, "compare with =="),
    "error_rate": (11, "expected a comparison"),
    "(error_rate > 5%": (17, "expected ')'"),
    "error_rate > 5%)": (16, "not expected"),
    "error_rate > > 5%": (14, "expected a number or a metric"),
    "error_rate > -5%": (14, "expected a number or a metric"),
    "error_rate > 5% && cost_avg > 1": (17, "has no meaning here: write and"),
    "__import__('os') > 1": (11, "not expected"),
    "error_rate > 0.00000000000000001": (14, "at most 16 digits"),
    "latency_avg > 42222222222222 days": (15, "at most 16 digits, also in seconds"),
    "slower_than_3s > baseline * 2": (18, "compare it with a percentage"),
    "slower_than_3s > 5": (18, "did you mean 5%?"),
    "slower_than_3x > 5%": (1, "unknown metric 'slower_than_3x': did you mean slower_than_3s?"),
    "slower_than_0s > 5%": (1, "did you mean slower_than_3s?"),
    "slower_than_2778h > 5%": (1, "unknown metric 'slower_than_2778h'"),
    "": (1, "is empty"),
    "  \n": (1, "is empty"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=list(REFUSED))
def test_refusals_name_column_and_cause(text: str, expected: tuple[int, str]) -> None:
    """A condition that makes no sense is refused at its column, with the cause and what to write."""
    with pytest.raises(RuleError) as caught:
        parse(text)
    column, message = expected
    assert message in caught.value.message
    assert caught.value.column == column


def test_size_limits() -> None:
    """Length, depth and number of comparisons are bounded; the bound itself is still allowed."""
    with pytest.raises(RuleError, match="characters"):
        parse("error_rate > 5%" + " " * MAX_LENGTH)
    most = " and ".join(["cost_avg > 1"] * MAX_COMPARISONS)
    assert parse(most)
    with pytest.raises(RuleError, match="comparisons") as caught:
        parse(f"{most} and cost_avg > 1")
    assert caught.value.column == len(most) + 6
    deepest = "cost_avg > 1" + " + 1" * (MAX_DEPTH - 2)
    assert parse(deepest)
    with pytest.raises(RuleError, match="nested"):
        parse(f"{deepest} + 1")


def test_many_brackets_do_not_exhaust_the_stack() -> None:
    """Hundreds of brackets are either read or refused, never a RecursionError."""
    assert parse("(" * 240 + "cost_avg" + ")" * 240 + " > 1") == parse("cost_avg > 1")
    with pytest.raises(RuleError):
        parse("(" * 500)


CATALOGUE = METRICS | {
    name: Metric(name, dimension, Given(CustomSeries("shop", name)))
    for name, dimension in (("drift_2", Dimension.SCORE), ("forgery", Dimension.COUNT), ("ms", Dimension.TIME))
}
"""With metrics of a policy, some of them called by what means something elsewhere."""


def numbers(dimension: Dimension) -> st.SearchStrategy[str]:
    """Literals that any metric of this dimension may be compared with."""
    if dimension is Dimension.RATIO:
        return st.decimals("0.001", "99.9", places=3).map(lambda value: f"{value}%")
    if dimension is Dimension.TIME:
        return st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 99999), st.sampled_from(["ms", "s", " minutes"]))
    if dimension is Dimension.SCORE:
        return st.decimals("1.01", "4.99", places=2).map(str)
    return st.decimals("0.01", "99999", places=2).map(str)


slow = st.builds(
    lambda number, unit, share: [f"slower_than_{number}{unit}", share],
    st.integers(1, 2777),
    st.sampled_from(["ms", "s", "m", "h"]),
    numbers(Dimension.RATIO),
)
"""Both sides of a comparison of a metric with a bound in its name."""


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """The text of a valid comparison."""
    metric = draw(st.sampled_from(sorted([*CATALOGUE, *ALIASES])))
    window = draw(st.sampled_from(["", *(f"[{window}]" for window in WINDOWS)]))
    literal = numbers(CATALOGUE[ALIASES.get(metric, metric)].dimension)
    factor = st.integers(1, 9)
    threshold = draw(
        literal
        | factor.map(lambda n: f"baseline * {n}")
        | st.builds(lambda a, b, n: f"(baseline + {a}) * {n} - {b} / {n}", literal, literal, factor)
    )
    sides = draw(
        slow | st.just([f"{metric}{window}", threshold]) | st.just([f"{metric}{window} - {metric} / 2", threshold])
    )
    return draw(st.sampled_from(COMPARATORS)).join(sides if draw(st.booleans()) else sides[::-1])


def depends_on_measurements(text: str) -> bool:
    """Whether a comparison is not refused for being the same whatever is measured; any other refusal is raised."""
    try:
        parse(text, CATALOGUE)
    except RuleError as error:
        if not error.message.endswith(("is always true", "can never be true")):
            raise
        return False
    return True


conditions = st.builds(
    lambda predicate, hold: predicate + hold,
    st.recursive(
        comparisons().filter(depends_on_measurements),
        lambda inner: st.builds(lambda a, word, b: f"({a}) {word} ({b})", inner, st.sampled_from(["and", "or"]), inner),
        max_leaves=4,
    ),
    st.sampled_from(["", " for 5m", " for 90 minutes", " for 1h", " for 250ms"]),
)


@given(conditions)
def test_normal_form_parses_back_to_itself(text: str) -> None:
    """Whatever was written: the normal form means the same, and is its own normal form."""
    condition = parse(text, CATALOGUE)
    normal = to_text(condition)
    assert parse(normal, CATALOGUE) == condition
    assert to_text(parse(normal, CATALOGUE)) == normal


@given(st.text(max_size=60) | st.text("error_rate[]()<>=!5%baselineformsh.+-*/ \n1", max_size=120))
def test_no_text_raises_anything_but_a_rule_error(text: str) -> None:
    """Any text is a condition or a RuleError whose column lies in it, nothing else."""
    try:
        condition = parse(text)
    except RuleError as error:
        assert 1 <= error.column <= len(text) + 1  # noqa: PT017  the error itself is judged
    else:
        assert parse(to_text(condition)) == condition


def test_tree() -> None:
    """Values are kept in base units, and columns point at the text without counting for equality."""
    condition = parse("latency_p99[1m] > 10000ms")
    assert condition == Condition(
        Comparison(">", MetricRef("latency_p99", timedelta(minutes=1)), Number(10.0, Dimension.TIME))
    )
    assert next(comparisons_of(condition.predicate)).right.column == 19
