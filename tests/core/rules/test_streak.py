"""The states of a rule against a plain reference model, and the traps one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.streak import State, Streak, restore, start, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = {"T": Verdict.TRUE, "F": Verdict.FALSE, "?": Verdict.UNKNOWN}
HOLD, KEEP = timedelta(minutes=2), timedelta(minutes=1)


def minutes(count: float) -> datetime:
    """An instant so many minutes after the start."""
    return NOW + timedelta(minutes=count)


def played(
    letters: str, *, hold: timedelta = HOLD, keep: timedelta = KEEP, streak: Streak | None = None
) -> list[Streak]:
    """One verdict a minute, from the start on."""
    streaks, streak = [], streak or start(NOW)
    for index, letter in enumerate(letters):
        streak = step(streak, LETTERS[letter], minutes(index), hold=hold, keep_firing_for=keep)
        streaks.append(streak)
    return streaks


def states(letters: str, hold: timedelta = HOLD, keep: timedelta = KEEP) -> str:
    """The initials of the states after each verdict."""
    return "".join(streak.state[0] for streak in played(letters, hold=hold, keep=keep))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("FFF", "NNN"),
        ("TTT", "PPF"),
        ("TTF", "PPN"),
        ("TFTTT", "PNPPF"),
        ("TTTFF", "PPFRN"),
        ("TTTFTF", "PPFRFR"),
        ("TTTFTFF", "PPFRFRN"),
        ("???", "UUU"),
        ("TT????", "PPUUUU"),
        ("TT?T", "PPUP"),
        ("TT?TT", "PPUPF"),
        ("T?T?T?T", "PUPUPUP"),
        ("TTT???F", "PPFUUUR"),
        ("TTT?T", "PPFUF"),
        ("TTTF?FF", "PPFRURN"),
        ("TTTF?TF", "PPFRUFR"),
        ("TT?FTT", "PPUNPP"),
    ],
)
def test_one_verdict_a_minute(verdicts: str, expected: str) -> None:
    """Fires after two minutes of true, resolves after one of false; unknown neither fires nor resolves."""
    assert states(verdicts) == expected


def test_without_hold_it_fires_at_once_and_resolves_at_once() -> None:
    """No hold and no keep: the state follows the verdict."""
    zero = timedelta(0)
    assert states("TFT?F", hold=zero, keep=zero) == "FNFUN"


def test_instants() -> None:
    """The streak keeps when it became true, fired, became false and was last judged."""
    streak = played("FTTTTF?")[-1]
    assert streak.state is State.UNKNOWN
    assert streak.beneath is State.RECOVERING
    assert streak.firing
    assert (streak.active_at, streak.fired_at, streak.calm_at) == (minutes(1), minutes(3), minutes(5))
    assert (streak.last_true, streak.last_false, streak.last_unknown) == (minutes(4), minutes(5), minutes(6))
    assert (streak.since, streak.frozen_at) == (minutes(6), minutes(5))


def test_since_stays_while_the_state_stays() -> None:
    """`since` changes with the state only, so that an unchanged rule costs no write."""
    assert [streak.since for streak in played("FFTTTTT")] == [NOW, NOW, *[minutes(2)] * 2, *[minutes(4)] * 3]


@pytest.mark.parametrize("since", [minutes(-5), minutes(0), minutes(60)])
@pytest.mark.parametrize("state", list(State))
def test_restore(state: State, since: datetime) -> None:
    """A restored state is the one that was kept; a time in the future counts as now."""
    streak = restore(state, since, NOW)
    assert streak.state is state
    assert streak.since == min(since, NOW)
    assert streak.firing == (state in {State.FIRING, State.RECOVERING})


def test_a_restart_does_not_restart_the_hold() -> None:
    """Pending since a minute before the restart fires a minute after it."""
    restored = restore(State.PENDING, minutes(-1), NOW)
    assert "".join(s.state[0] for s in played("TT", streak=restored)) == "PF"


def test_a_firing_rule_restored_as_unknown_neither_resolves_nor_fires_again() -> None:
    """With an open incident the restored streak fires on as soon as data is back, with the old time."""
    restored = restore(State.UNKNOWN, minutes(-9), NOW, beneath=State.FIRING)
    after = played("?T", streak=restored)
    assert [streak.state for streak in after] == [State.UNKNOWN, State.FIRING]
    assert after[-1].fired_at == minutes(-9)
    assert restore(State.UNKNOWN, minutes(-9), NOW).beneath is State.NORMAL


def test_a_clock_set_back_neither_fires_nor_hangs() -> None:
    """After the clock went back an hour, the hold counts from then on."""
    streak = step(start(minutes(60)), Verdict.TRUE, minutes(60), hold=HOLD, keep_firing_for=KEEP)
    assert "".join(s.state[0] for s in played("TTT", streak=streak)) == "PPF"


@dataclass
class Reference:
    """The rules in plain words: two stop-watches that run only between neighbouring known verdicts."""

    hold: float
    keep: float
    state: State = State.NORMAL
    shown: State = State.NORMAL
    held: float = 0
    calm: float = 0
    previous: float | None = None

    def take(self, verdict: Verdict, now: float) -> State:
        """Take one verdict at a second."""
        if verdict is Verdict.UNKNOWN:
            self.previous = None
            return State.UNKNOWN
        passed = 0 if self.previous is None else now - self.previous
        self.previous = now
        (self.true if verdict is Verdict.TRUE else self.false)(passed)
        return self.state

    def true(self, passed: float) -> None:
        """The condition holds."""
        if self.state in {State.FIRING, State.RECOVERING}:
            self.state = State.FIRING
            return
        self.held = self.held + passed if self.state is State.PENDING else 0
        self.state = State.FIRING if self.held >= self.hold else State.PENDING

    def false(self, passed: float) -> None:
        """The condition does not hold."""
        if self.state not in {State.FIRING, State.RECOVERING}:
            self.state = State.NORMAL
            return
        self.calm = self.calm + passed if self.state is State.RECOVERING else 0
        self.state = State.NORMAL if self.calm >= self.keep else State.RECOVERING


ticks = st.lists(st.tuples(st.sampled_from(Verdict), st.integers(0, 90)), max_size=40)


@given(ticks, st.integers(0, 120), st.integers(0, 120))
def test_streak_is_the_reference_model(history: list[tuple[Verdict, int]], hold: int, keep: int) -> None:
    """On any history, with any gaps between evaluations, streak and reference show the same states."""
    reference, streak, second = Reference(hold, keep), start(NOW), 0
    for verdict, gap in history:
        second += gap
        streak = step(
            streak,
            verdict,
            NOW + timedelta(seconds=second),
            hold=timedelta(seconds=hold),
            keep_firing_for=timedelta(seconds=keep),
        )
        assert streak.state is reference.take(verdict, second)
        assert streak.beneath is reference.state


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.integers(-3600, 3600)), max_size=30))
def test_a_jumping_clock_never_breaks_the_order_of_things(history: list[tuple[Verdict, int]]) -> None:
    """However the clock jumps, no instant lies in the future, and unknown never changes what is beneath."""
    streak, now = start(NOW), NOW
    for verdict, jump in history:
        now += timedelta(seconds=jump)
        before, streak = streak, step(streak, verdict, now, hold=HOLD, keep_firing_for=KEEP)
        instants = (streak.since, streak.active_at, streak.fired_at, streak.calm_at, streak.frozen_at)
        assert all(instant <= now for instant in instants if instant)
        if verdict is Verdict.UNKNOWN:
            assert (streak.state, streak.beneath) == (State.UNKNOWN, before.beneath)
