"""The states of a rule against a plain reference model, and the traps one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.streak import FLAPS, SEEN_ANEW, State, Streak, restore, start, step

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
    """What status says of the firing beneath is fired on as soon as data is back, with the old time."""
    restored = restore(State.UNKNOWN, minutes(-9), NOW, fired_at=minutes(-30))
    after = played("?T", streak=restored)
    assert [streak.state for streak in after] == [State.UNKNOWN, State.FIRING]
    assert after[-1].fired_at == minutes(-30)
    assert after[-1].firings == ()
    assert restore(State.UNKNOWN, minutes(-9), NOW).beneath is State.NORMAL


def test_a_restored_recovery_keeps_when_it_fired() -> None:
    """Recovering since two minutes ago, fired half an hour ago: both survive, and it resolves when seen calm anew."""
    restored = restore(State.RECOVERING, minutes(-2), NOW, fired_at=minutes(-30))
    assert (restored.fired_at, restored.calm_at) == (minutes(-30), minutes(-2))
    assert "".join(s.state[0] for s in played("FF", streak=restored)) == "RN"


def test_after_a_restart_the_last_part_of_a_hold_is_seen_anew() -> None:
    """However long ago it began, nothing fires or resolves on the first look after a restart."""
    for state, verdict in ((State.PENDING, Verdict.TRUE), (State.RECOVERING, Verdict.FALSE)):
        first = step(restore(state, minutes(-60), NOW), verdict, NOW, hold=HOLD, keep_firing_for=KEEP)
        assert first.state is state
        later = step(first, verdict, NOW + SEEN_ANEW, hold=HOLD, keep_firing_for=KEEP)
        assert later.state is (State.FIRING if state is State.PENDING else State.NORMAL)


def test_a_timer_that_ran_on_while_nobody_watched_begins_anew() -> None:
    """Pending for longer than it could be: the operator was away. What was recovering fires on."""
    pending = restore(State.PENDING, minutes(-31), NOW, longest=timedelta(minutes=30))
    assert (pending.state, pending.active_at) == (State.NORMAL, None)
    recovering = restore(State.RECOVERING, minutes(-31), NOW, fired_at=minutes(-90), longest=timedelta(minutes=30))
    assert (recovering.state, recovering.fired_at, recovering.calm_at) == (State.FIRING, minutes(-90), None)


def at(streak: Streak, verdict: Verdict, minute: float, hold: timedelta = timedelta(minutes=5)) -> Streak:
    """Take one verdict as the operator does, with bounds on what counts."""
    return step(
        streak,
        verdict,
        minutes(minute),
        hold=hold,
        keep_firing_for=KEEP,
        apart=timedelta(minutes=2),
        forget_after=timedelta(minutes=10),
    )


def test_missed_ticks_do_not_count() -> None:
    """True at 0, then at 4: the four minutes between were seen by nobody. Fires after five minutes that were seen."""
    streak = at(start(NOW), Verdict.TRUE, 0)
    for minute in (4, 5, 6, 7, 8):
        streak = at(streak, Verdict.TRUE, minute)
        assert streak.state is State.PENDING
    assert at(streak, Verdict.TRUE, 9).state is State.FIRING


def test_old_evidence_expires() -> None:
    """Four of five minutes true, then nothing for hours: the hold begins anew, however long it then is unknown."""
    streak = start(NOW)
    for minute in range(5):
        streak = at(streak, Verdict.TRUE, minute)
    unknown = at(streak, Verdict.UNKNOWN, 5)
    assert at(at(unknown, Verdict.TRUE, 13), Verdict.TRUE, 14).state is State.FIRING
    expired = at(unknown, Verdict.UNKNOWN, 200)
    assert (expired.state, expired.beneath, expired.active_at) == (State.UNKNOWN, State.NORMAL, None)
    assert at(at(unknown, Verdict.TRUE, 200), Verdict.TRUE, 201).state is State.PENDING
    assert at(at(streak, Verdict.TRUE, 200), Verdict.TRUE, 201).state is State.PENDING


def test_what_fires_still_fires_after_hours_of_not_knowing() -> None:
    """A firing rule outlives any gap, with the time it fired; a recovery begins anew."""
    firing = at(start(NOW), Verdict.TRUE, 0, hold=timedelta(0))
    recovering = at(firing, Verdict.FALSE, 1)
    assert recovering.state is State.RECOVERING
    expired = at(at(recovering, Verdict.UNKNOWN, 2), Verdict.UNKNOWN, 300)
    assert (expired.state, expired.beneath, expired.fired_at) == (State.UNKNOWN, State.FIRING, NOW)
    calm = at(expired, Verdict.FALSE, 301)
    assert (calm.state, calm.calm_at) == (State.RECOVERING, minutes(301))


def test_a_rule_that_comes_and_goes_is_flapping() -> None:
    """Three firings within an hour are; two, or three over a longer time, are not."""
    zero = timedelta(0)
    assert [s.flapping for s in played("TFTFTF", hold=zero, keep=zero)] == [False] * 4 + [True] * 2
    slow = start(NOW)
    for hour in (0, 1, 2, 3):
        slow = step(slow, Verdict.TRUE, minutes(hour * 60), hold=zero, keep_firing_for=zero)
        slow = step(slow, Verdict.FALSE, minutes(hour * 60 + 1), hold=zero, keep_firing_for=zero)
        assert not slow.flapping
    assert len(slow.firings) == FLAPS


def test_a_clock_set_back_neither_fires_nor_hangs() -> None:
    """After the clock went back an hour, the hold counts from then on."""
    streak = step(start(minutes(60)), Verdict.TRUE, minutes(60), hold=HOLD, keep_firing_for=KEEP)
    assert "".join(s.state[0] for s in played("TTT", streak=streak)) == "PPF"


class Reference:
    """The rules in plain words: two stop-watches that run only between neighbouring known looks.

    Written without the streak's instants: it keeps what was counted, the streak keeps since when.
    """

    def __init__(self, hold: float, keep: float, apart: float, forget: float) -> None:
        self.hold, self.keep, self.apart, self.forget = hold, keep, apart, forget
        self.fires = False
        self.held: float | None = None
        self.calm: float | None = None
        self.looked: float | None = None
        self.known = True
        self.anew: float | None = None
        """Seconds counted since a restart; None without one."""

    @property
    def beneath(self) -> State:
        """The state but for missing knowledge."""
        if self.fires:
            return State.FIRING if self.calm is None else State.RECOVERING
        return State.NORMAL if self.held is None else State.PENDING

    @property
    def shown(self) -> State:
        """The state."""
        return self.beneath if self.known else State.UNKNOWN

    def take(self, verdict: Verdict, now: float) -> None:
        """Take one verdict at a second."""
        gap = 0.0 if self.looked is None else now - self.looked
        if verdict is Verdict.UNKNOWN:
            if self.looked is None:
                self.looked = now
            if not self.known and gap > self.forget:
                self.held = self.calm = None
            self.known = False
            return
        if gap > self.forget and (gap > self.apart or not self.known):
            self.held = self.calm = None
        counted = gap if self.known and gap <= self.apart else 0.0
        self.known, self.looked = True, now
        if self.anew is not None:
            self.anew += counted
        (self.true if verdict is Verdict.TRUE else self.false)(counted)

    def enough(self, counted: float, asked: float) -> bool:
        """Whether so much was seen as is asked, a minute of it since a restart."""
        return counted >= asked and (self.anew is None or self.anew >= min(asked, 60))

    def true(self, counted: float) -> None:
        """The condition holds."""
        self.calm = None
        self.held = 0.0 if self.held is None else self.held + counted
        self.fires = self.fires or self.enough(self.held, self.hold)

    def false(self, counted: float) -> None:
        """The condition does not hold."""
        self.held = None
        if self.fires:
            self.calm = 0.0 if self.calm is None else self.calm + counted
            self.fires = not self.enough(self.calm, self.keep)
        if not self.fires:
            self.calm = None

    def restart(self, now: float) -> None:
        """The operator ended and is back at once; status kept the state, and since when it is so."""
        self.anew = 0.0
        if self.known:
            self.looked = now


SECONDS = st.integers(0, 150)


class Histories(RuleBasedStateMachine):
    """Verdicts at any distance and restarts in the middle: streak and reference show the same states."""

    @initialize(hold=SECONDS, keep=SECONDS, apart=st.integers(30, 90), forget=st.integers(60, 200))
    def begin(self, hold: int, keep: int, apart: int, forget: int) -> None:
        """A rule."""
        self.reference = Reference(hold, keep, apart, forget)
        self.bounds = {
            "hold": timedelta(seconds=hold),
            "keep_firing_for": timedelta(seconds=keep),
            "apart": timedelta(seconds=apart),
            "forget_after": timedelta(seconds=forget),
        }
        self.streak, self.second, self.written = start(NOW), 0, True

    @rule(verdict=st.sampled_from(Verdict), gap=st.integers(0, 120) | st.integers(0, 400))
    def look(self, verdict: Verdict, gap: int) -> None:
        """A verdict, some seconds after the one before."""
        self.second += gap
        self.streak = step(self.streak, verdict, NOW + timedelta(seconds=self.second), **self.bounds)
        self.reference.take(verdict, self.second)

    @precondition(lambda self: self.streak.state in {State.NORMAL, State.FIRING, State.UNKNOWN})
    @rule()
    def restart(self) -> None:
        """What status keeps of a state without a running timer is enough to go on."""
        old, now = self.streak, NOW + timedelta(seconds=self.second)
        if old.state is State.UNKNOWN and old.beneath not in {State.NORMAL, State.FIRING}:
            return
        fired = old.fired_at if old.state is State.UNKNOWN and old.firing else None
        self.streak = restore(old.state, old.frozen_at or old.since, now, fired_at=fired)
        self.reference.restart(self.second)

    @invariant()
    def same(self) -> None:
        """Both show the same, above and beneath."""
        if hasattr(self, "streak"):
            assert (self.streak.state, self.streak.beneath) == (self.reference.shown, self.reference.beneath)
            assert self.streak.firing == self.reference.fires


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestHistories = Histories.TestCase


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
