"""The rule clock: how many queries, what it keeps, when it wakes. Time is set by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.core.builders import NAMESPACE, PROMPT, T0, V1, V2, a_policy, after
from tests.engine.world import NATIVE, Metrics

from prompt_operator.api.promptstatus import RuleStatus
from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.streak import State
from prompt_operator.engine.ruleclock import RuleClock
from prompt_operator.engine.store import Name
from prompt_operator.engine.watched import Round, Watched
from prompt_operator.ports import DEFAULT_SOURCE
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from prompt_operator.core.facts import RuleReading
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.metrics import Quantity
    from prompt_operator.core.rules.profile import Profile, Source
    from prompt_operator.ports import Sample

PROFILES = {"native": NATIVE}
NAME = Name(NAMESPACE, PROMPT)
OTHER = Name(NAMESPACE, "farewell")
RULE, LATENCY = "critical-error-rate", "stuck-latency"
HEALTHY, FAILING, FEW = (1000.0, 0.0), (1000.0, 500.0), (5.0, 5.0)


class Bench:
    """A rule clock with a clock that is set by hand, and the prompts it woke."""

    def __init__(self, *, metrics: bool = True, profiles: Mapping[str, Profile] = PROFILES) -> None:
        self.metrics, self.woken = Metrics({V1: HEALTHY, V2: FAILING}), list[Name]()
        self.at = T0
        self.rebuild(metrics=metrics, profiles=profiles)

    def rebuild(self, *, metrics: bool = True, profiles: Mapping[str, Profile] = PROFILES) -> None:
        """Begin anew with the metrics that are set now."""
        sources = {DEFAULT_SOURCE: self.metrics} if metrics else {}
        self.rules = RuleClock(sources, profiles, self, wake=self.woken.append, telemetry=Telemetry())

    def now(self) -> datetime:
        """Return the instant that was set."""
        return self.at

    def monotonic(self) -> float:
        """Return the same in seconds."""
        return (self.at - T0).total_seconds()

    def watch(self, version: str = V2, *, name: Name = NAME, policy: Effective | None = None, **rules: State) -> None:
        """Watch a version activated at T0; `rules` are the states that status remembers since then."""
        remembered = tuple(RuleStatus(name=n.replace("_", "-"), state=s.value, since=T0) for n, s in rules.items())
        self.rules.watch(name, version, T0, policy or a_policy(), Baselines(), remembered)

    def tick(self, **span: float) -> list[Name]:
        """Let time pass, tick, and return who was woken."""
        self.at += timedelta(**span)
        self.woken.clear()
        asyncio.run(self.rules.tick())
        return list(self.woken)

    def reading(self, rule: str = RULE) -> RuleReading:
        """Return what is known of a rule."""
        readings = self.rules.readings(NAME)
        assert readings is not None
        return next(each for each in readings.rules if each.rule.name == rule)


def test_prompts_under_one_policy_share_their_queries() -> None:
    """A second prompt with the same rules costs no further query."""
    one, two = Bench(), Bench()
    one.watch()
    two.watch()
    two.watch(name=OTHER)
    one.tick(minutes=3)
    two.tick(minutes=3)
    assert len(one.metrics.queries) == len(two.metrics.queries) > 0


def test_one_query_per_quantity_and_window() -> None:
    """The built-in rules need each quantity over each window once, never twice."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    assert len(set(bench.metrics.queries)) == len(bench.metrics.queries)
    windows = Counter(query.rpartition("[")[2] for query in bench.metrics.queries)
    assert max(windows.values()) <= 15


def test_a_rule_of_ones_own_adds_only_its_window() -> None:
    """One rule with another window is two queries more: the errors, and the requests that prove their absence."""
    plain, more = Bench(), Bench()
    plain.watch()
    own = a_policy(rules=[{"name": "own", "condition": "error_rate > 50%", "window": "30m"}])
    more.watch(policy=own)
    plain.tick(minutes=3)
    more.tick(minutes=3)
    assert len(more.metrics.queries) == len(plain.metrics.queries) + 2


def test_what_the_profile_lacks_is_not_measured_rather_than_absent() -> None:
    """A rule on a quantity without a source stays unknown and names the profile; the other rules are judged."""
    bench = Bench(profiles={"native": NATIVE.model_copy(update={"quantities": _without_latency(NATIVE.quantities)})})
    bench.watch()
    bench.tick(minutes=3)
    assert bench.reading().streak.firing
    assert bench.reading(LATENCY).alert.because is Reason.NOT_MEASURED
    assert bench.reading(LATENCY).alert.message == (
        "latency_p99 unknown: not measured, profile native has no latency_buckets (in 1m)"
    )
    assert not any("duration" in query for query in bench.metrics.queries)


def _without_latency(quantities: dict[Quantity, Source]) -> dict[Quantity, Source]:
    return {name: source for name, source in quantities.items() if not name.startswith("latency")}


def test_an_unknown_profile_measures_nothing_until_the_policy_names_a_known_one() -> None:
    """Every rule says which profile is missing; once a known one is named the next tick judges."""
    bench, known = Bench(), a_policy()
    bench.watch(policy=replace(known, profile="own"))
    bench.tick(minutes=3)
    assert bench.reading().streak.state is State.UNKNOWN
    assert bench.reading().alert.message == "error_rate unknown: not measured, there is no metric profile own (in 5m)"
    assert not bench.metrics.queries
    bench.watch(policy=known)
    bench.tick(seconds=15)
    assert bench.reading().streak.firing


def test_nothing_watched_nothing_asked() -> None:
    """Without prompts there are no queries."""
    bench = Bench()
    bench.tick(minutes=3)
    assert bench.metrics.queries == []


@pytest.mark.parametrize(("seconds", "judged"), [(119, False), (120, True)])
def test_nothing_is_judged_within_the_initial_delay(seconds: int, judged: bool) -> None:  # noqa: FBT001  a factor
    """Pods may still serve the version before: judging begins exactly `initialDelay` after the activation."""
    bench = Bench()
    bench.watch()
    bench.tick(seconds=seconds)
    assert (bench.rules.readings(NAME) is not None) is judged


def test_a_rule_fires_and_wakes_its_prompt() -> None:
    """A breach without a hold fires at the first look at it, and the prompt is woken."""
    bench = Bench()
    bench.watch()
    assert NAME in bench.tick(minutes=3)
    assert bench.reading().streak.state is State.FIRING
    assert bench.reading().rollback.verdict == "True"


def test_nothing_new_wakes_nobody() -> None:
    """A healthy version is news once, and then no more."""
    bench = Bench()
    bench.watch(V1)
    bench.tick(minutes=3)
    assert bench.tick(seconds=15) == []
    assert bench.tick(seconds=15) == []


def test_a_firing_rule_that_asks_for_a_rollback_wakes_at_every_tick() -> None:
    """A guard may object now and not at the next tick, so the prompt is asked again."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    assert NAME in bench.tick(seconds=15)


@pytest.mark.parametrize("state", [State.FIRING, State.PENDING], ids=str)
def test_a_restart_keeps_the_state_of_a_rule(state: State) -> None:
    """What status remembers goes on from when it began: neither a second firing nor a second hold."""
    bench = Bench()
    bench.at = after(minutes=3)
    bench.watch(critical_error_rate=state)
    bench.tick()
    streak = bench.reading().streak
    assert streak.state is State.FIRING
    assert streak.active_at == T0
    assert streak.fired_at == (T0 if state is State.FIRING else after(minutes=3))


def test_a_hold_goes_on_after_a_restart() -> None:
    """A rule with a hold that was Pending for four minutes fires a minute after the restart, not five."""
    bench = Bench()
    bench.at = after(minutes=4)
    bench.watch(runaway_errors=State.PENDING)
    bench.tick()
    assert bench.reading("runaway-errors").streak.state is State.PENDING
    bench.tick(minutes=1)
    assert bench.reading("runaway-errors").streak.state is State.FIRING


def test_ticks_that_were_missed_hold_nothing() -> None:
    """True before and after six minutes without a look is not six minutes of true."""
    bench = Bench()
    bench.watch()
    for span in (3, 6):
        bench.tick(minutes=span)
        assert bench.reading("runaway-errors").streak.state is State.PENDING
    for _ in range(5 * 4):
        bench.tick(seconds=15)
    assert bench.reading("runaway-errors").streak.state is State.FIRING


def test_what_fired_before_the_restart_fires_on_when_its_data_is_back() -> None:
    """Unknown in status, with the time it fired: it fires on with that time instead of a second time."""
    bench = Bench()
    bench.at = after(minutes=3)
    status = RuleStatus(name=RULE, state="Unknown", since=after(minutes=2), fired_at=T0)
    bench.rules.watch(NAME, V2, T0, a_policy(), Baselines(), (status,))
    bench.tick()
    streak = bench.reading().streak
    assert (streak.state, streak.fired_at, streak.firings) == (State.FIRING, T0, ())


def test_a_changed_rule_begins_anew() -> None:
    """What was remembered of a rule before its condition changed says nothing of the new condition."""
    bench = Bench()
    bench.watch(critical_error_rate=State.FIRING)
    bench.tick(minutes=3)
    laxer = a_policy(rules=[{"name": RULE, "condition": "error_rate > 20% for 10m", "severity": "Critical"}])
    bench.watch(policy=laxer)
    bench.tick(seconds=15)
    assert bench.reading().streak.state is State.PENDING


def test_an_unchanged_rule_keeps_its_streak_when_the_policy_changes() -> None:
    """Another rule beside it does not restart a hold."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    fired_at = bench.reading().streak.fired_at
    bench.watch(policy=a_policy(rules=[{"name": "own", "condition": "error_rate > 50%"}]))
    bench.tick(seconds=15)
    assert bench.reading().streak.fired_at == fired_at


def test_another_activation_begins_anew() -> None:
    """Streaks belong to one activation of one version."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    bench.rules.watch(NAME, V2, bench.at, a_policy(), Baselines(), ())
    assert bench.rules.readings(NAME) is None


def test_a_failed_query_keeps_the_last_judgement() -> None:
    """The last answer stands and grows old, so that its age can be objected to; the streak stands still."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    before = bench.reading()
    bench.metrics.down = True
    bench.tick(seconds=15)
    after_ = bench.reading()
    assert (after_.at, after_.alert, after_.rollback) == (before.at, before.alert, before.rollback)
    assert after_.streak.state is State.UNKNOWN
    assert after_.streak.beneath is State.FIRING
    assert bench.rules.outages.failing == {DEFAULT_SOURCE: bench.at}


def test_a_failed_query_of_a_rule_never_judged_is_unknown() -> None:
    """Without any answer so far there is nothing to keep."""
    bench = Bench()
    bench.metrics.down = True
    bench.watch()
    bench.tick(minutes=3)
    assert bench.reading().alert.verdict == "Unknown"
    assert not bench.reading().streak.firing


def test_prometheus_that_answers_again_is_noted() -> None:
    """The outage is over with a whole answer."""
    bench = Bench()
    bench.watch()
    bench.metrics.down = True
    bench.tick(minutes=3)
    bench.metrics.down = False
    bench.tick(seconds=15)
    assert bench.rules.outages.failing == {}
    assert bench.reading().streak.state is State.FIRING


def test_without_a_prometheus_every_rule_is_unknown() -> None:
    """No metrics at all: readings exist, and say nothing."""
    bench = Bench(metrics=False)
    bench.watch()
    bench.tick(minutes=3)
    readings = bench.rules.readings(NAME)
    assert readings is not None
    assert {each.alert.verdict for each in readings.rules} == {"Unknown"}


@pytest.mark.parametrize(("counts", "seen"), [(HEALTHY, True), (FEW, True), ((0.0, 0.0), False), (None, False)])
def test_traffic_is_seen_by_requests(counts: tuple[float, float] | None, seen: bool) -> None:  # noqa: FBT001
    """One request of the active version is enough to say that some application serves it."""
    bench = Bench()
    bench.metrics.served = {V1: HEALTHY} | ({V2: counts} if counts else {})
    bench.watch()
    bench.tick(minutes=3)
    readings = bench.rules.readings(NAME)
    assert readings is not None
    assert readings.traffic is seen


def test_too_few_samples_are_unknown() -> None:
    """Five failures of five requests decide nothing."""
    bench = Bench()
    bench.metrics.served = {V2: FEW}
    bench.watch()
    bench.tick(minutes=3)
    assert bench.reading().alert.verdict == "Unknown"
    assert not bench.reading().streak.firing


def test_unknown_is_news_only_after_a_while() -> None:
    """A short gap wakes nobody; after `unknownAfter` (10m) the prompt is woken to say Unknown."""
    bench = Bench()
    bench.watch(V1)
    bench.tick(minutes=3)
    bench.metrics.down = True
    assert bench.tick(minutes=1) == []
    assert bench.tick(minutes=8) == []
    assert NAME in bench.tick(minutes=2)


def test_forgotten_prompts_are_judged_no_longer() -> None:
    """After `forget` there are no readings and no queries."""
    bench = Bench()
    bench.watch()
    bench.tick(minutes=3)
    asked = len(bench.metrics.queries)
    bench.rules.forget(NAME)
    bench.tick(seconds=15)
    assert bench.rules.readings(NAME) is None
    assert len(bench.metrics.queries) == asked


def test_another_source_is_asked_for_its_own_prompts() -> None:
    """Two prompts under two sources: each server is asked, and each prompt is judged by its own answers."""
    bench, other = Bench(), Metrics({V2: HEALTHY})
    bench.rules = RuleClock(
        {DEFAULT_SOURCE: bench.metrics, "eu": other},
        {"native": NATIVE},
        bench,
        wake=bench.woken.append,
        telemetry=Telemetry(),
    )
    bench.watch(policy=replace(a_policy(), source="eu"))
    bench.tick(minutes=3)
    assert (len(bench.metrics.queries), len(other.queries) > 0) == (0, True)
    assert bench.reading().streak.state is State.NORMAL
    bench.watch(name=OTHER)
    bench.tick(seconds=15)
    assert len(bench.metrics.queries) > 0
    assert bench.reading().streak.state is State.NORMAL


class Turning(Metrics):
    """A source that takes so long that somebody changes a policy meanwhile."""

    meanwhile: Callable[[], None] | None = None

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer after the change."""
        change, self.meanwhile = self.meanwhile, None
        if change is not None:
            change()
        return await super().query(promql, at)


@pytest.mark.parametrize(("source", "profile"), [("eu", "native"), ("", "other")])
def test_what_was_asked_elsewhere_meanwhile_is_not_judged_by_this_answer(source: str, profile: str) -> None:
    """A policy names another source or profile between a question and its answer: the next tick judges, by the new."""
    bench, slow = Bench(), Turning({V2: FAILING})
    profiles = {"native": NATIVE, "other": NATIVE.model_copy(update={"name": "other"})}
    sources = {DEFAULT_SOURCE: slow, "eu": Metrics({V2: HEALTHY})}
    bench.rules = RuleClock(sources, profiles, bench, wake=bench.woken.append, telemetry=Telemetry())
    bench.watch()
    slow.meanwhile = lambda: bench.watch(policy=replace(a_policy(), source=source, profile=profile))
    assert bench.tick(minutes=3) == []
    assert bench.rules.readings(NAME) is None
    bench.tick(seconds=15)
    assert bench.reading().streak.firing is (source != "eu")


@pytest.mark.parametrize(("source", "profile"), [("moon", "native"), ("", "homemade")])
def test_an_unknown_source_or_profile_is_never_another_server(source: str, profile: str) -> None:
    """Rules under a name that the operator does not know stay Unknown; nobody is asked in its stead."""
    bench = Bench()
    bench.watch(policy=replace(a_policy(), source=source, profile=profile))
    bench.tick(minutes=3)
    assert bench.metrics.queries == []
    assert bench.reading().alert.verdict == "Unknown"


def test_one_line_tells_of_an_outage_and_one_of_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """Every tick of an outage fails alike: only the first is told, with the source's name, and the end of it."""
    bench = Bench()
    bench.watch()
    with caplog.at_level("INFO", logger="prompt_operator.engine"):
        for down in (True, True, True, False, False):
            bench.metrics.down = down
            bench.tick(minutes=3)
    began, ended = caplog.messages
    assert began.startswith(f"metric source {DEFAULT_SOURCE}: ")
    assert "queries failed: Prometheus did not answer" in began
    assert ended.startswith(f"metric source {DEFAULT_SOURCE} answers again")


def test_missing_recording_rules_are_no_failure_of_prometheus() -> None:
    """A server that answers is not said to fail, and the rules of long windows say what is missing."""
    bench = Bench()
    bench.metrics.recorded = False
    bench.watch()
    bench.tick(minutes=3)
    assert bench.rules.outages.failing == {}
    assert "recording rules missing" in bench.reading("negative-feedback").alert.message


def test_a_prompt_without_traffic_stays_cheap_without_recording_rules() -> None:
    """What every prompt is told of the recording does not make it one that has to be judged each tick."""
    bench = Bench()
    bench.metrics.recorded = False
    bench.watch("9.9.9")
    bench.tick(minutes=3)
    before = bench.reading().at
    bench.tick(seconds=15)
    assert bench.reading().at == before


def test_one_prompt_that_cannot_be_judged_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of our own in one version's rules is told once; all others are judged, and so is it once it is well."""
    bench, look = Bench(), Watched.look

    def broken(self: Watched, name: Name, tick: Round) -> bool:
        if name == OTHER:
            raise ZeroDivisionError("ours")
        return look(self, name, tick)

    monkeypatch.setattr(Watched, "look", broken)
    bench.watch(name=OTHER)
    bench.watch()
    bench.tick(minutes=3)
    bench.tick(seconds=15)
    assert bench.reading().streak.firing
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "rules of shop/farewell could not be judged" in told[0]
    monkeypatch.undo()
    bench.tick(seconds=15)
    assert bench.rules.readings(OTHER) is not None
