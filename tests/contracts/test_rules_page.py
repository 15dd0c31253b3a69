"""What docs/rules.md says of the language is what the language does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from prompt_operator.api.prompt import PromptSpec
from prompt_operator.core.policy import effective
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.estimate import Estimate, estimate
from prompt_operator.core.rules.grammar import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, parse
from prompt_operator.core.rules.measure import Amount, Need
from prompt_operator.core.rules.metrics import ALIASES, METRICS, Quantity
from prompt_operator.core.rules.streak import State
from prompt_operator.core.rules.units import WINDOWS

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
TABLE = PAGE.partition("| metrics |")[2].partition("\n\n")[0]
ROWS = [[re.findall(r"`([^`]+)`", cell) for cell in line.split(" | ")] for line in TABLE.splitlines()[2:]]
LITERALS = [(name, literal) for names, _, written in ROWS for name in names for literal in written]
REFUSED = re.findall(r"^\| `(.*)` \| (column .*) \|$", PAGE, re.MULTILINE)


def test_the_example_holds() -> None:
    """Each rule of the example is in force, or switches off one that is built in."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    rules = yaml.safe_load(example)["rules"]
    built_in = {rule.name for rule in effective(PromptSpec(version="1.0.0"), None, "shop").rules}
    merged = effective(PromptSpec.model_validate({"version": "1.0.0", "rules": rules}), None, "shop")
    assert merged.problems == ()
    own = {rule["name"] for rule in rules if "condition" in rule}
    off = {rule["name"] for rule in rules if "condition" not in rule}
    assert off < built_in
    assert {rule.name for rule in merged.rules} == (built_in | own) - off


def test_every_metric_stands_there_once() -> None:
    """The table of metrics is whole, and holds nothing else."""
    named = [name for names, _, _ in ROWS for name in names]
    assert sorted(named) == sorted([*METRICS, *ALIASES, "slower_than_3s"])


@pytest.mark.parametrize(("name", "literal"), LITERALS)
def test_a_threshold_is_written_so(name: str, literal: str) -> None:
    """Each metric can be compared with what its row shows."""
    assert parse(f"{name} > {literal}")


@pytest.mark.parametrize(("condition", "told"), REFUSED)
def test_what_is_told_of_a_mistake(condition: str, told: str) -> None:
    """Column, cause and suggestion are those that the page shows."""
    with pytest.raises(RuleError) as caught:
        parse(condition)
    assert str(caught.value) == told


def test_its_figures() -> None:
    """Windows, caps and states are the real ones."""
    *most, last = WINDOWS
    assert f"{', '.join(most)} or {last}" in PAGE
    assert f"At most {MAX_LENGTH} characters, {MAX_COMPARISONS} comparisons, {MAX_DEPTH} levels" in PAGE
    states = re.findall(r"^\| ([A-Z]\w+) \|", PAGE, re.MULTILINE)
    assert states == list(State)


def test_two_errors_of_twenty_are_not_enough() -> None:
    """The bound of a share lies below the threshold there."""
    window = WINDOWS["5m"]
    found = estimate(
        METRICS["error_rate"],
        window,
        {Need(Quantity.ERRORS, window): Amount(2.0), Need(Quantity.REQUESTS, window): Amount(20.0)},
        min_samples=20,
        confidence=0.95,
    )
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(0.10)
    assert found.low < 0.05
