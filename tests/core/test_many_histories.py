"""Ten thousand short histories from a fixed seed each: the invariants hold; and guards that were broken are found out.

The events and what must hold are those of `test_histories.py`. Here they are drawn by a plain generator, which is ten
times as fast as a search for the worst case, and a history that breaks something is cut down to what it takes.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.core.builders import V1, V2, V3
from tests.core.test_histories import Histories

from prompt_operator.core import ledger, safeguards, standing, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CASES = 10_000
ANY = (V1, V2, V3)
MINUTES = (3, 10, 16, 200)


class Event(NamedTuple):
    """A method of Histories and what it is called with."""

    name: str
    arguments: tuple[Any, ...] = ()


EVENTS: Mapping[str, tuple[float, Callable[[random.Random], tuple[Any, ...]]]] = {
    "release_that_fails": (8, lambda r: (r.choice(ANY), r.randint(0, 6), r.choice((3, 16, 600)))),
    "measure": (3, lambda r: (r.random() < 0.7, r.randint(0, 3))),
    "look": (3, lambda _: ()),
    "crash": (3, lambda r: (r.randint(0, 5),)),
    "settle": (1, lambda _: ()),
    "git": (2, lambda r: (r.choice(ANY),)),
    "request": (2, lambda r: (r.choice(ANY), r.choice(("", *ANY)))),
    "release": (2, lambda r: (r.randint(0, 9),)),
    "acknowledge": (1, lambda r: (r.randint(0, 9),)),
    "tidy_up": (1, lambda r: (r.randint(0, 9),)),
    "retry": (1, lambda _: ()),
    "forget_retry": (1, lambda _: ()),
    "suspend": (1, lambda r: (r.random() < 0.3,)),
    "fallback": (1, lambda r: (r.choice(("Active", "Active", "Fallback")),)),
    "tamper": (1, lambda r: (r.choice(("edit", "key", "delete", "label")),)),
    "lose_status": (1, lambda _: ()),
    "rewrite": (2, lambda r: (r.choice(ANY), r.random() < 0.5)),
    "delete": (1, lambda r: (r.choice(ANY),)),
    "restore": (1, lambda r: (r.choice(ANY),)),
    "time": (3, lambda r: (r.choice((0.01, 0.1, 0.3, 5, 23, 25)),)),
    "set_back": (1, lambda r: (r.choice((1, 20, 1500)),)),
    "nobody_looks": (0.1, lambda r: (r.choice((1, 25, 49)),)),
    "bad_day": (0.3, lambda r: ([r.choice(MINUTES) for _ in range(r.randint(2, 5))],)),
}
NAMES, WEIGHTS = tuple(EVENTS), tuple(weight for weight, _ in EVENTS.values())
NEEDS_RECORD = frozenset({"release", "acknowledge", "tidy_up"})


def drawn(seed: int) -> list[Event]:
    """Return the history of a seed."""
    chance = random.Random(seed)  # noqa: S311  no secret
    names = chance.choices(NAMES, WEIGHTS, k=chance.randint(2, 6))
    return [Event(name, EVENTS[name][1](chance)) for name in names]


def played(history: Sequence[Event]) -> tuple[Histories, str]:
    """Play a history; return what it came to, and what did not hold, empty when all did."""
    histories = Histories()
    histories.start()
    try:
        for name, arguments in history:
            if name not in NEEDS_RECORD or histories.world.executed():
                getattr(histories, name)(*arguments)
    except AssertionError as error:
        return histories, str(error) or "an assertion without words"
    return histories, ""


def shrunk(history: Sequence[Event]) -> list[Event]:
    """Return a history from which no event can be left out without all being well."""
    for left_out in range(len(history)):
        rest = [*history[:left_out], *history[left_out + 1 :]]
        if played(rest)[1]:
            return shrunk(rest)
    return list(history)


def first_broken(cases: int) -> tuple[list[Event], str]:
    """Return the shortest form of the first history in which something does not hold, and what."""
    for seed in range(cases):
        history = drawn(seed)
        if played(history)[1]:
            short = shrunk(history)
            return short, played(short)[1]
    return [], ""


def test_the_invariants_hold_in_ten_thousand_histories() -> None:
    """No two within the cooldown, no more a day than allowed, nothing unverified, held or missing ever active."""
    seen: Counter[str] = Counter()
    for seed in range(CASES):
        histories, problem = played(history := drawn(seed))
        assert not problem, f"seed {seed}: {problem}: {shrunk(history)}"
        by_rule = [automatic for _, automatic in histories.world.ledger.switched.values()]
        refused = [r["spec"].get("guard") for r in histories.world.records.values() if "guard" in r["spec"]]
        seen.update({"automatic": sum(by_rule), "by hand": len(by_rule) - sum(by_rule)}, **Counter(refused))
    assert seen["automatic"] > CASES / 3
    for happened in ("by hand", "CoolingDown", "DailyLimitReached", "RollbackOfRollback", "TargetUnhealthy"):
        assert seen[happened] > CASES / 250, f"{happened} hardly ever came up: {seen}"


# --- broken on purpose


def without(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Leave a guard out."""
    guards = tuple(guard for guard in safeguards.GUARDS if guard.__name__ != name)
    assert len(guards) == len(safeguards.GUARDS) - 1

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(safeguards, "GUARDS", guards)

    plant.__name__ = f"without_{name}"
    return plant


def forgets_after_the_clock_was_set_back(patch: pytest.MonkeyPatch) -> None:
    """A rollback that lies in the future counts as one long ago."""
    guard = safeguards.cooling_down

    def fooled(case: safeguards.Case) -> safeguards.Refusal | None:
        return None if case.ledger.last_at and case.ledger.last_at > case.now else guard(case)

    patch.setattr(safeguards, "GUARDS", tuple(fooled if each is guard else each for each in safeguards.GUARDS))


def trusts_any_content(patch: pytest.MonkeyPatch) -> None:
    """Nobody compares hashes."""
    patch.setattr(versions.VersionRecord, "problem", lambda *_: None)


def no_holds(patch: pytest.MonkeyPatch) -> None:
    """What was rolled back may come back at once."""
    patch.setattr(standing, "holds_of", lambda *_: {})


def holds_from_status_alone(patch: pytest.MonkeyPatch) -> None:
    """Records are not asked, so that whoever loses status loses holds."""
    patch.setattr(standing, "holds_of", lambda _, *rest: ledger.holds_of((), *rest))


def one_retry_lifts_all_that_follow(patch: pytest.MonkeyPatch) -> None:
    """A retry is taken for a standing permission."""
    patch.setattr(standing, "holds_of", lambda *rest: {} if rest[-1] else ledger.holds_of(*rest))


def forgets_the_unrecorded(patch: pytest.MonkeyPatch) -> None:
    """A decision counts only once its record is written, and its version is held only from then on."""
    patch.setattr(standing, "holds_of", lambda records, _, __, at: ledger.holds_of(records, None, (), at))


def forgets_that_a_person_was_asked(patch: pytest.MonkeyPatch) -> None:
    """The limit is a matter of time."""
    patch.setattr(ledger.Ledger, "handed_over", lambda *_: None)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (without("cooling_down"), "within the cooldown"),
        (without("daily_limit"), "than a day allows"),
        (forgets_after_the_clock_was_set_back, "within the cooldown"),
        (trusts_any_content, "content that is not the one first seen"),
        (no_holds, "a rejected version"),
        (holds_from_status_alone, "a rejected version"),
        (one_retry_lifts_all_that_follow, "a rejected version"),
        (forgets_the_unrecorded, "a rejected version"),
        (forgets_that_a_person_was_asked, "a person is asked for"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_broken_guard_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], words: str
) -> None:
    """Each plant breaks an invariant within the histories of above, and what it takes is few events."""
    plant(monkeypatch)
    short, problem = first_broken(CASES)
    assert words in problem
    assert 1 <= len(short) <= 6, short
