"""The guards of automatic rollbacks: each alone, and for every two of them which one is shown."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import V1, V2, a_case, a_policy, a_reading, after

from prompt_operator.core.correlation import CommonCause, Factor, Tally
from prompt_operator.core.ledger import Execution, HandOver, Ledger
from prompt_operator.core.reasons import Objection
from prompt_operator.core.safeguards import GUARDS, Case, first_refusal
from prompt_operator.core.target import Choice

if TYPE_CHECKING:
    from datetime import datetime

NOW = after(hours=30)


def executed(*instants: datetime, counted: bool = True) -> Ledger:
    """Return a ledger with rollbacks at these instants."""
    return Ledger(tuple(Execution(f"record-{at}", at, counted) for at in instants))


FEW, NOT_SURE = a_reading(errors=2, requests=3), a_reading(errors=18, requests=200)
OBJECTIONABLE: dict[Objection, dict[str, Any]] = {
    Objection.SUSPENDED: {"suspended": True},
    Objection.AUTO_ROLLBACK_DISABLED: {"auto": "Disabled"},
    Objection.EVIDENCE_STALE: {"judged_at": NOW - timedelta(seconds=61)},
    Objection.CLOCK_SKEW: {"skew": timedelta(seconds=31)},
    Objection.SETTLING: {"activated_at": NOW - timedelta(seconds=119)},
    Objection.TOO_FEW_SAMPLES: {"judgement": FEW.rollback},
    Objection.NOT_CONFIDENT: {"judgement": NOT_SURE.rollback},
    Objection.CORRELATED_BREACH: {"common_cause": CommonCause(Factor("provider", "openai"), Tally(3, 9))},
    Objection.NO_TARGET: {"choice": Choice()},
    Objection.TARGET_UNHEALTHY: {"choice": Choice(rejected=(f"{V1} is held",))},
    Objection.ROLLBACK_OF_ROLLBACK: {"overridden": True},
    Objection.COOLING_DOWN: {"ledger": executed(NOW - timedelta(minutes=14))},
    Objection.DAILY_LIMIT_REACHED: {"ledger": executed(*(NOW - timedelta(hours=h) for h in (1, 2, 23)))},
    Objection.GLOBAL_RATE_LIMITED: {"elsewhere": (NOW - timedelta(seconds=59),) * 10},
    Objection.DRY_RUN: {"auto": "DryRun"},
}
EXCLUSIVE = {
    frozenset({Objection.AUTO_ROLLBACK_DISABLED, Objection.DRY_RUN}),
    frozenset({Objection.TOO_FEW_SAMPLES, Objection.NOT_CONFIDENT}),
    frozenset({Objection.NO_TARGET, Objection.TARGET_UNHEALTHY}),
}
"""Pairs that cannot meet: both are values of one member."""
PAIRS = [pair for pair in combinations(Objection, 2) if frozenset(pair) not in EXCLUSIVE]


def objection(case: Case) -> Objection | None:
    """Return the objection that is shown."""
    refusal = first_refusal(case)
    return refusal.objection if refusal else None


def test_without_objection_a_rollback_may_happen() -> None:
    """The case the other tests change passes every guard."""
    assert first_refusal(a_case()) is None


@pytest.mark.parametrize("expected", list(Objection), ids=str)
def test_each_guard_alone(expected: Objection) -> None:
    """What one guard looks at makes exactly that guard object, with a sentence."""
    case = a_case(**OBJECTIONABLE[expected])
    refusals = [refusal for guard in GUARDS if (refusal := guard(case))]
    assert refusals[0].objection is expected
    assert refusals[0].message


def _both(first: Objection, second: Objection) -> dict[str, Any]:
    if {first, second} == {Objection.COOLING_DOWN, Objection.DAILY_LIMIT_REACHED}:
        return {"ledger": executed(*(NOW - timedelta(minutes=m) for m in (1, 120, 180)))}
    return OBJECTIONABLE[first] | OBJECTIONABLE[second]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_of_two_objections_the_earlier_is_shown(first: Objection, second: Objection) -> None:
    """The order of the closed set is the order in which guards are asked."""
    assert objection(a_case(**_both(first, second))) is first


def test_every_objection_has_its_guard_in_its_place() -> None:
    """One guard per objection, in the order of the vocabulary."""
    assert len(GUARDS) == len(Objection)
    assert [objection(a_case(**OBJECTIONABLE[each])) for each in Objection] == list(Objection)


@pytest.mark.parametrize("mode", ["Fallback", "Frozen"])
def test_outside_mode_active_nothing_is_rolled_back(mode: str) -> None:
    """No version is served there that could be rolled back."""
    assert objection(a_case(mode=mode)) is Objection.SUSPENDED


def test_a_version_without_a_known_activation_does_not_settle() -> None:
    """After status was lost the activation is not known: evidence decides."""
    assert objection(a_case(activated_at=None)) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"judged_at": NOW - timedelta(seconds=60)}, None, id="evidence just fresh"),
        pytest.param({"judged_at": NOW + timedelta(minutes=10)}, Objection.EVIDENCE_STALE, id="evidence of the future"),
        pytest.param({"skew": timedelta(seconds=30)}, None, id="ahead by just as much as may be"),
        pytest.param({"skew": timedelta(seconds=-31)}, Objection.CLOCK_SKEW, id="our clock is ahead"),
        pytest.param({"activated_at": NOW - timedelta(seconds=120)}, None, id="just settled"),
        pytest.param({"elsewhere": (NOW - timedelta(seconds=59),) * 9}, None, id="nine of ten in a minute"),
        pytest.param({"elsewhere": (NOW - timedelta(seconds=60),) * 10}, None, id="ten, a minute ago"),
        pytest.param({"elsewhere": (NOW + timedelta(hours=1),) * 10}, Objection.GLOBAL_RATE_LIMITED, id="in future"),
        pytest.param({"ledger": executed(NOW - timedelta(minutes=15))}, None, id="just cooled down"),
        pytest.param({"ledger": executed(*[NOW - timedelta(hours=24)] * 3)}, None, id="a day ago"),
        pytest.param(
            {"ledger": executed(*[NOW - timedelta(hours=24) + timedelta(seconds=1)] * 1, NOW - timedelta(hours=2),
                                NOW - timedelta(hours=1))}, Objection.DAILY_LIMIT_REACHED, id="within a day"),
        pytest.param({"activated_at": NOW + timedelta(hours=1)}, Objection.SETTLING, id="activated in the future"),
        pytest.param({"ledger": executed(NOW + timedelta(hours=1))}, Objection.COOLING_DOWN, id="future rollback"),
    ],
)  # fmt: skip
def test_at_the_bounds(changed: dict[str, Any], expected: Objection | None) -> None:
    """Each span is over exactly at its end, and a stored time in the future counts as now."""
    assert objection(a_case(**changed)) is expected


def test_manual_and_acknowledged_rollbacks_start_the_cooldown_but_do_not_count() -> None:
    """Ten of them yesterday evening leave the day's count at zero; a recent one still keeps its distance."""
    many = [NOW - timedelta(hours=h) for h in range(1, 11)]
    assert objection(a_case(ledger=executed(*many, counted=False))) is None
    assert objection(a_case(ledger=executed(NOW, counted=False))) is Objection.COOLING_DOWN


def test_a_limit_of_zero_leaves_every_rollback_to_people() -> None:
    """`maxPerDay: 0` refuses the first one."""
    assert objection(a_case(policy=a_policy(rollback={"maxPerDay": 0}))) is Objection.DAILY_LIMIT_REACHED


def test_messages_say_when_and_what_to_do() -> None:
    """People read the span, the time and the way on in the sentence itself."""
    cooling = first_refusal(a_case(ledger=executed(NOW - timedelta(minutes=1))))
    assert cooling is not None
    assert "2026-11-22T13:59:00Z" in cooling.message
    assert "15m" in cooling.message
    skewed = first_refusal(a_case(skew=timedelta(minutes=-2)))
    assert skewed is not None
    assert "2m ahead of the API server's" in skewed.message
    common = first_refusal(a_case(**OBJECTIONABLE[Objection.CORRELATED_BREACH]))
    assert common is not None
    assert "3 of 9 prompts of provider openai breach at once" in common.message
    limit = first_refusal(a_case(**OBJECTIONABLE[Objection.DAILY_LIMIT_REACHED]))
    assert limit is not None
    assert "acknowledge" in limit.message
    assert V2 not in limit.message


def test_what_one_rollback_was_decided_on_decides_no_second_one() -> None:
    """The version is back, and the rule's window still begins before the rollback that left it."""
    hour, left = timedelta(hours=1), NOW - timedelta(minutes=59)
    again = first_refusal(a_case(left_at=left, reach=hour))
    assert again is not None
    assert again.objection is Objection.EVIDENCE_STALE
    assert "decides again from 2026-11-22T14:01:00Z on" in again.message
    assert objection(a_case(left_at=NOW - hour, reach=hour)) is None


def test_a_hand_over_stands_until_somebody_takes_it() -> None:
    """A day later the count has room again, but nobody has looked: the record to acknowledge is named."""
    waiting = first_refusal(a_case(handed_over=HandOver("refusal-1", NOW - timedelta(hours=30))))
    assert waiting is not None
    assert waiting.objection is Objection.DAILY_LIMIT_REACHED
    assert "acknowledge PromptRollback refusal-1" in waiting.message
