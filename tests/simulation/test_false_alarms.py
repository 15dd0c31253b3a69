"""The promises about false alarms, in few days and with a margin for chance; false_alarms.py is the full size."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from tests.simulation.false_alarms import DAY, HEALTHY, RATES, built_in, detection, false_alarms
from tests.simulation.traffic import PER_MINUTE, Phase, counters
from tests.simulation.watch import MIDNIGHT, TICK, Judge, Watch, Watched, judged

from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.model import Action, Rule
from prompt_operator.core.rules.streak import start, step

DAYS = 12
AT_MOST = 5
"""Rollbacks in 12 days; were there 0.1 a day, more than five would come in one of 690 runs (Poisson, mean 1.2)."""


@pytest.mark.parametrize("per_minute", RATES)
def test_a_healthy_version_is_left_alone(per_minute: float) -> None:
    """With 2 % errors the built-in rules together roll back no more often than once in ten days."""
    alarms = false_alarms(built_in(), per_minute, DAYS, seed=5)
    assert alarms.rollbacks.total() <= AT_MOST, alarms


def test_a_broken_version_is_caught_within_eight_minutes() -> None:
    """From 2 % to 30 % at four requests a minute, the median rollback comes within 8 minutes."""
    found = detection(built_in(), 4, jumps=80, seed=5)
    assert found.median <= 8
    assert found.share_within(30) > 0.95


def test_rollbacks_keep_their_distance_and_their_number() -> None:
    """Half of all requests fail: three rollbacks a day at least a cooldown apart, none while the version settles."""
    policy = built_in()
    watch = Watch(Judge(policy), counters([Phase(DAY, 20, 0.5)], Random(5)), phase=7.0)  # noqa: S311  repeatable
    watch.play()
    minutes = [rollback.minute for rollback in watch.rollbacks]
    assert len(minutes) == policy.max_per_day
    assert minutes[0] >= policy.initial_delay / timedelta(minutes=1)
    assert all(later - earlier >= policy.cooldown / timedelta(minutes=1) for earlier, later in pairwise(minutes))


def test_every_rule_with_a_rollback_is_simulated() -> None:
    """What is left out for want of ratings are rules that roll nothing back."""
    policy = built_in()
    left_out = set(policy.rules) - set(judged(policy))
    assert not any(Action.ROLLBACK in rule.actions for rule in left_out)
    assert Counter(rule.name for rule in left_out).keys() == {
        "calibration-drift", "user-satisfaction-drop", "negative-feedback",
    }  # fmt: skip


@pytest.mark.parametrize("rule", built_in().rules, ids=lambda rule: rule.name)
def test_leaving_out_equal_verdicts_changes_nothing(rule: Rule) -> None:
    """A streak that takes in only the first and the last of equal verdicts fires exactly when the whole one does."""
    dice = Random(7)  # noqa: S311  repeatable
    watched, whole = Watched(rule, start(MIDNIGHT)), start(MIDNIGHT)
    verdict = Verdict.FALSE
    for tick in range(600):
        now = MIDNIGHT + tick * TICK
        verdict = dice.choice(list(Verdict)) if dice.random() < 0.1 else verdict
        before = whole.firing
        whole = step(whole, verdict, now, hold=rule.hold, keep_firing_for=rule.keep_firing_for)
        assert watched.take(verdict, now) == (whole.firing and not before)
        assert watched.streak.beneath is whole.beneath


def test_arrivals_have_the_rate_and_the_share_that_was_asked_for() -> None:
    """A hundred hours of drawn requests have the mean, and the variance, of a Poisson process."""
    series = counters([Phase(6000, 4, HEALTHY)], Random(5))  # noqa: S311  repeatable
    requests = [late - early for early, late in pairwise(series.buckets[-1][:-1])]
    mean = sum(requests) / len(requests)
    assert mean == pytest.approx(4 / PER_MINUTE, rel=0.03)
    assert sum((one - mean) ** 2 for one in requests) / len(requests) == pytest.approx(mean, rel=0.05)
    assert series.error[-2] / series.buckets[-1][-2] == pytest.approx(HEALTHY, rel=0.1)
    assert series.success[-2] + series.error[-2] == series.buckets[-1][-2]
