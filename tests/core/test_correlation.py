"""When many prompts fail at once: what they share, and which of them count."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NAMESPACE, T0, a_version, after

from prompt_operator.core.correlation import Factor, Tally, Witness, common_cause, factors_of, tallies_of

if TYPE_CHECKING:
    from datetime import datetime

NOW = after(hours=5)
SHOP, OPENAI = Factor("namespace", NAMESPACE), Factor("provider", "openai")


def witnesses(
    breaching: int, fine: int, *factors: Factor, activated_at: datetime = T0, known: bool = True
) -> list[Witness]:
    """Return prompts that share these factors, long since active and judged."""
    return [Witness(factors, activated_at, known, each < breaching) for each in range(breaching + fine)]


def found(*given: Witness, share: float = 0.2, at_least: int = 3) -> Factor | None:
    """Return the factor that is named for a prompt of the shop on openai."""
    cause = common_cause(tallies_of(given, NOW), (SHOP, OPENAI), share=share, at_least=at_least)
    return cause.factor if cause else None


@pytest.mark.parametrize(
    ("breaching", "fine", "named"),
    [
        pytest.param(3, 12, True, id="3 of 15: 20 %"),
        pytest.param(3, 13, False, id="3 of 16: less than 20 %"),
        pytest.param(2, 3, False, id="2 of 5: fewer than three"),
        pytest.param(3, 2, True, id="3 of 5"),
        pytest.param(4, 0, False, id="4 of 4: fewer than five prompts say nothing"),
        pytest.param(5, 0, True, id="all of five"),
    ],
)
def test_share_and_number_must_both_be_reached(breaching: int, fine: int, named: bool) -> None:  # noqa: FBT001
    """The built-in limits are 20 % and three, of at least five comparable prompts."""
    assert found(*witnesses(breaching, fine, SHOP)) == (SHOP if named else None)


def test_versions_just_released_together_do_not_count() -> None:
    """Ten that were switched within the last hour fail: each may be bad by itself."""
    just = witnesses(10, 0, SHOP, activated_at=NOW - timedelta(minutes=59))
    assert found(*just) is None
    assert found(*just, *witnesses(0, 20, SHOP)) is None
    assert found(*witnesses(10, 0, SHOP, activated_at=NOW - timedelta(minutes=60))) is SHOP


def test_prompts_without_enough_samples_do_not_count() -> None:
    """Unknown is neither fine nor bad: a hundred silent prompts do not hide three that fail of five that speak."""
    assert found(*witnesses(3, 2, SHOP), *witnesses(0, 100, SHOP, known=False)) is SHOP


def test_the_most_telling_factor_is_named() -> None:
    """All of one provider fail, which is a fifth of the namespace: the provider is named; of equal parts the last."""
    others = witnesses(0, 20, SHOP)
    assert found(*witnesses(5, 0, SHOP, OPENAI), *others) is OPENAI
    assert found(*witnesses(5, 0, SHOP, OPENAI)) is OPENAI


def test_what_other_prompts_share_does_not_matter() -> None:
    """A provider that this prompt does not use explains nothing here."""
    assert common_cause({Factor("provider", "acme"): Tally(9, 9)}, (SHOP, OPENAI), share=0.2, at_least=3) is None


def test_factors_are_namespace_provider_and_model() -> None:
    """A model is named with its provider; a version without them shares the namespace only."""
    version = a_version(model={"provider": "openai", "name": "gpt-4o"})
    assert list(map(str, factors_of(NAMESPACE, version))) == [
        "namespace shop",
        "provider openai",
        "model openai/gpt-4o",
    ]
    assert factors_of(NAMESPACE, a_version()) == factors_of(NAMESPACE, None) == (SHOP,)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.integers(0, 40))
def test_one_more_that_breaches_never_hides_the_cause(states: list[tuple[bool, bool]], at_least: int) -> None:
    """Turning a fine prompt into a failing one can only make the guard object."""
    before = [Witness((SHOP,), T0, known, breaches and known) for known, breaches in states]
    cause = found(*before, at_least=at_least)
    for position, witness in enumerate(before):
        if witness.known and not witness.breaches:
            worse = [*before[:position], Witness((SHOP,), T0, known=True, breaches=True), *before[position + 1 :]]
            assert cause is None or found(*worse, at_least=at_least) is not None
