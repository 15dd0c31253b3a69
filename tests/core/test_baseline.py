"""Whose past counts as normal, what is measured of it, and what status keeps: never anything of a rejected version."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import (
    T0,
    V1,
    V2,
    V3,
    a_policy,
    a_prompt,
    a_record_manifest,
    a_version,
    after,
    hash_of,
)
from tests.core.rules.builders import latencies, reading
from tests.core.world import World

from prompt_operator.api.common import Measurement, rfc3339
from prompt_operator.api.promptstatus import PromptStatus
from prompt_operator.core.baseline import Reference, baselines_of, measurement, reference, to_freeze
from prompt_operator.core.rules.baseline import BaselineValue, NoBaseline, Origin
from prompt_operator.core.rules.metrics import METRICS

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.rules.baseline import Found
    from prompt_operator.core.rules.measure import Measured, Need

HOUR, DAY, FIVE = timedelta(hours=1), timedelta(hours=24), timedelta(minutes=5)
P95, ERRORS, COUNT = METRICS["latency_p95"], METRICS["error_rate"], METRICS["execution_count"]
OF = Reference(V1, T0, after(hours=5))


def status_of(*served: tuple[str, float, str], held: tuple[str, ...] = (), **status: Any) -> PromptStatus:
    """Return the status of a prompt that served these: version, hour of activation, why it was left; newest first."""
    history = [
        {"version": version, "hash": hash_of(version), "at": rfc3339(after(hours=hour))}
        | ({"leftBecause": left} if left else {})
        for version, hour, left in served
    ]
    holds = [{"version": version, "since": rfc3339(T0)} for version in held]
    active = {"activeVersion": served[0][0], "activatedAt": history[0]["at"], "history": history, "held": holds}
    return a_prompt(status=active | status).status


def measured(version: str, at: datetime, metric: str = "latency_p95", value: str = "2") -> Measurement:
    """Return what was measured of a version until an instant."""
    return Measurement(metric=metric, value=value, samples=900, window="1h", version=version, at=at)


# --- whose past


@pytest.mark.parametrize(
    ("served", "held", "expected"),
    [
        ([(V1, 0, "")], (), None),
        ([(V2, 5, ""), (V1, 0, "Activation")], (), Reference(V1, T0, after(hours=5))),
        (
            [(V1, 6, ""), (V2, 5, "Rollback"), (V1, 0, "Activation")],
            (V2,),
            Reference(V1, T0, after(hours=5)),
        ),
        (
            [(V1, 6, ""), (V2, 5, "ManualRollback"), (V3, 4, "Activation"), (V1, 0, "Activation")],
            (V2,),
            Reference(V1, T0, after(hours=4)),
        ),
        ([(V1, 6, ""), (V2, 5, "Rollback"), (V3, 0, "Activation")], (V2,), None),
        ([(V1, 6, ""), (V2, 5, "Activation"), (V1, 0, "Activation")], (V2,), Reference(V1, T0, after(hours=5))),
        (
            [(V3, 7, ""), (V1, 6, "Activation"), (V2, 5, "Rollback"), (V1, 0, "Activation")],
            (V2,),
            Reference(V1, after(hours=6), after(hours=7)),
        ),
        (
            [(V2, 7, ""), (V1, 6, "Activation"), (V2, 5, "Rollback"), (V1, 0, "Activation")],
            (),
            Reference(V1, after(hours=6), after(hours=7)),
        ),
        ([(V3, 5, ""), (V2, 4, "Activation")], (V2,), None),
        (
            [(V1, 8, ""), (V3, 7, "Rollback"), (V1, 6, "Rollback"), (V2, 5, "Activation"), (V1, 0, "Activation")],
            (V3,),
            Reference(V1, T0, after(hours=5)),
        ),
    ],
    ids=[
        "a first activation has none",
        "the version before",
        "after a rollback the target's own time, up to when the rejected one came",
        "its own, although another version came between",
        "a target that was never served before has none",
        "a version that came back because the other is held, like a rollback",
        "the next release is compared with the restored version",
        "a retried version with the one before it, not with its own rejected time",
        "a version before that is held counts for nothing",
        "its own time that a rollback ended counts for nothing, the one before does",
    ],
)
def test_whose_past_counts(served: list[Any], held: tuple[str, ...], expected: Reference | None) -> None:
    """The version before, or after a rollback the target's own earlier time; never a rejected version."""
    assert reference(status_of(*served, held=held)) == expected


def test_a_status_that_was_lost_knows_no_past() -> None:
    """History of another activation, or none at all, proves nothing."""
    assert reference(PromptStatus()) is None
    assert reference(status_of((V2, 5, ""), (V1, 0, "Activation"), activatedAt=rfc3339(after(hours=6)))) is None


# --- what is measured


def test_what_rules_compare_is_measured() -> None:
    """The built-in rules name the p95 alone; over an hour, and a day where that is too little."""
    freeze = to_freeze(status_of((V2, 5, ""), (V1, 0, "Activation")), a_policy().rules)
    assert freeze is not None
    assert (freeze.of, freeze.metrics) == (OF, ((P95, (HOUR, DAY)),))


@pytest.mark.parametrize(
    ("window", "windows"), [("5m", (HOUR, DAY)), ("1h", (HOUR, DAY)), ("24h", (DAY,)), ("7d", (DAY,))]
)
def test_the_window_is_not_shorter_than_the_rules(window: str, windows: tuple[timedelta, ...]) -> None:
    """A day is the longest: with it every hour of the day has its part."""
    own = a_policy(rules=[{"name": "own", "condition": f"error_rate[{window}] > baseline * 2"}])
    freeze = to_freeze(status_of((V2, 5, ""), (V1, 0, "Activation")), own.rules)
    assert freeze is not None
    assert [found for metric, found in freeze.metrics if metric is ERRORS] == [windows]


def test_nothing_is_measured_twice() -> None:
    """What stands in status stays; what was measured on a version that is held by now is measured anew."""
    status = status_of((V2, 5, ""), (V1, 0, "Activation"), baseline=[dumped(measured(V1, OF.until))])
    assert to_freeze(status, a_policy().rules) is None
    stale = status_of((V2, 5, ""), (V1, 0, "Activation"), held=(V3,), baseline=[dumped(measured(V3, OF.until))])
    assert to_freeze(stale, a_policy().rules) is not None


def dumped(measurement: Measurement) -> dict[str, Any]:
    """Return it as it stands in a manifest."""
    return measurement.model_dump(by_alias=True, exclude_none=True, mode="json")


def test_without_a_rule_that_asks_nothing_is_measured() -> None:
    """Rules without the word baseline cost no query."""
    off = [{"name": rule.name, "state": "Disabled"} for rule in a_policy().rules if "baseline" in rule.text]
    assert to_freeze(status_of((V2, 5, ""), (V1, 0, "Activation")), a_policy(rules=off).rules) is None


def frozen_from(
    metric: Any, found: dict[Need, Measured], of: Reference = OF, window: timedelta = HOUR
) -> Measurement | str:
    """Measure a metric with the built-in minimum of samples."""
    return measurement(metric, of, window, found, min_samples=20)


def test_a_measurement_says_on_what_it_rests() -> None:
    """Version, value, samples, window, and the instant at which it ends."""
    found = frozen_from(P95, latencies({1.0: 0, 2.0: 200}, "1h"))
    assert found == Measurement(metric="latency_p95", value="1.95", samples=200, window="1h", version=V1, at=OF.until)


@pytest.mark.parametrize(
    ("metric", "found", "known"),
    [
        ("latency_p95", latencies({2.0: 100}, "1h"), True),
        ("latency_p95", latencies({2.0: 99}, "1h"), False),
        ("latency_p99", latencies({2.0: 500}, "1h"), True),
        ("latency_p99", latencies({2.0: 499}, "1h"), False),
        ("latency_p50", latencies({2.0: 20}, "1h"), True),
        ("latency_p50", latencies({2.0: 19}, "1h"), False),
        ("error_rate", reading("1h", requests=1000, errors=5), True),
        ("error_rate", reading("1h", requests=1000, errors=4), False),
        ("error_rate", reading("1h", requests=1000, errors=0), False),
        ("success_rate", reading("1h", requests=20, errors=0), True),
        ("cost_avg", reading("1h", requests=20, cost=1), True),
        ("cost_avg", reading("1h", requests=19, cost=1), False),
        ("latency_p95", {}, False),
    ],
)
def test_a_measurement_rests_on_enough(metric: str, found: dict[Need, Measured], known: bool) -> None:  # noqa: FBT001
    """The minimum of samples, and five of what a share or a quantile counts: the p95 of 20 is the slowest one."""
    assert isinstance(frozen_from(METRICS[metric], found), Measurement) is known


def test_why_something_is_not_known_is_said() -> None:
    """The version, the instant, the cause, and what there was."""
    said = frozen_from(P95, latencies({2.0: 60}, "1h"))
    assert said == "1.0.0 before 2026-11-21T13:00:00Z: too few samples (60 in 1h)"
    assert frozen_from(P95, {}) == "1.0.0 before 2026-11-21T13:00:00Z: no data (in 1h)"


@pytest.mark.parametrize(("hours", "known"), [(24, True), (23.9, False)])
def test_a_count_needs_the_whole_window(hours: float, known: bool) -> None:  # noqa: FBT001  a factor
    """A version that was served for half a day has half a day's count: that is no day's."""
    of = Reference(V1, T0, after(hours=hours))
    assert isinstance(frozen_from(COUNT, reading("24h", requests=900), of, DAY), Measurement) is known


# --- which one is used


def used(status: PromptStatus, missing: dict[str, str] | None = None, **expectations: Any) -> Found:
    """Return what a rule over the p95 compares with."""
    version = a_version(status.active_version or "", expectations=expectations)
    return baselines_of(status, version.expectations, missing or {}).of(P95, FIVE, floor=None, min_samples=20)


def test_frozen_then_declared() -> None:
    """The order of the contract, with where each comes from."""
    served = ((V2, 5, ""), (V1, 0, "Activation"))
    frozen = used(status_of(*served, baseline=[dumped(measured(V1, OF.until))]), latencyP95="800ms")
    assert isinstance(frozen, BaselineValue)
    assert frozen.source == "measured on 1.0.0 in 1h until 2026-11-21T13:00:00Z, 900 samples"
    declared = used(status_of(*served), latencyP95="800ms")
    assert declared == BaselineValue(0.8, Origin.DECLARED, V2)


@pytest.mark.parametrize("on", [{"version": V3}, {}], ids=["held", "of unknown version"])
def test_a_baseline_of_a_rejected_or_unknown_version_is_never_used(on: dict[str, str]) -> None:
    """Held since, or written by somebody who did not say on what: it counts for nothing."""
    entry = {"metric": "latency_p95", "value": "9", "at": rfc3339(T0)} | on
    assert isinstance(used(status_of((V2, 5, ""), (V1, 0, "Activation"), held=(V3,), baseline=[entry])), NoBaseline)


def test_why_there_is_none() -> None:
    """A first version; one that was not asked about yet; one whose answer was too little."""
    second = status_of((V2, 5, ""), (V1, 0, "Activation"))
    assert used(status_of((V1, 0, ""))) == NoBaseline(
        "no version is known to have been served before 1.0.0, and it declares none"
    )
    assert used(second) == NoBaseline("1.0.0 was not measured before 2026-11-21T13:00:00Z")
    assert used(second, {"latency_p95": "too few"}) == NoBaseline("too few")


@pytest.mark.parametrize("field", ["quality", "accuracy", "consistency", "tokensMax"])
def test_what_measures_something_else_is_no_baseline(field: str) -> None:
    """Four expectations have no metric that means the same."""
    status = status_of((V1, 0, ""))
    version = a_version(V1, expectations={field: "1", "latencyP50": "80ms", "tokensAverage": 120})
    assert {name: each.value for name, each in baselines_of(status, version.expectations, {}).declared.items()} == {
        "latency_p50": 0.08,
        "tokens_avg": 120.0,
    }


# --- in the course of events


@pytest.fixture
def world() -> World:
    """V1 was served for an hour, then V2 was activated."""
    world = World.with_versions(V1, V2, V3)
    world.settle()
    world.pass_(hours=1)
    world.want(V2)
    world.settle()
    return world


def answer(world: World, value: str = "2") -> Measurement:
    """Let what is to be measured now be measured; the fact stays until another answer."""
    of = reference(world.prompt().status)
    assert of is not None
    world.normal = (measured(of.version, of.until, value=value),)
    return world.normal[0]


def baseline(world: World) -> list[tuple[str, str, str]]:
    """Return version, value and instant of what status keeps."""
    return [(each["version"], each["value"], each["at"]) for each in world.status.get("baseline", ())]


def test_one_write_and_no_second(world: World) -> None:
    """The answer is written once; another one to the same question changes nothing."""
    answer(world)
    assert world.settle() == 1
    assert baseline(world) == [(V1, "2", rfc3339(after(hours=1)))]
    answer(world, "7")
    assert world.settle() == 0


def test_the_next_activation_begins_anew(world: World) -> None:
    """V3 is compared with V2; the late answer about V1 is not taken for one about V2."""
    answer(world)
    world.settle()
    world.pass_(hours=2)
    world.want(V3)
    world.settle()
    assert baseline(world) == []
    answer(world, "3")
    world.settle()
    assert baseline(world) == [(V2, "3", rfc3339(after(hours=3)))]


def roll_back(world: World, to: str = V1) -> None:
    """A person rolls back the active version."""
    world.pass_(minutes=5)
    manifest = a_record_manifest("please", from_=world.status["activeVersion"], to=to, at=world.now, trigger="Manual")
    for member in ("decision", "decidedAt", "contentHash"):
        del manifest["spec"][member]
    world.records["please"] = manifest | {"spec": manifest["spec"] | {"requestedBy": "ada"}}
    world.settle(9)
    assert world.status["activeVersion"] == to


def test_a_rollback_keeps_what_was_measured_on_its_target(world: World) -> None:
    """That was frozen when the rejected version came; nothing of the rejected one takes its place."""
    answer(world)
    world.settle()
    roll_back(world)
    assert baseline(world) == [(V1, "2", rfc3339(after(hours=1)))]
    assert to_freeze(world.prompt().status, a_policy().rules) is None


def test_a_rollback_measures_its_target_where_that_was_not_done(world: World) -> None:
    """Up to the instant at which the rejected version replaced it; an answer on its way stays good."""
    late = answer(world)
    roll_back(world)
    assert baseline(world) == [(V1, "2", rfc3339(after(hours=1)))]
    assert reference(world.prompt().status) == Reference(V1, T0, late.at)


def test_a_rollback_further_back_drops_what_was_measured_between(world: World) -> None:
    """V3 was compared with V2; V1 comes back and is compared with its own time."""
    world.pass_(hours=1)
    world.want(V3)
    world.settle()
    answer(world)
    world.settle()
    assert [version for version, _, _ in baseline(world)] == [V2]
    roll_back(world, V1)
    assert baseline(world) == []
    assert reference(world.prompt().status) == Reference(V1, T0, after(hours=1))


def test_a_lost_status_loses_the_baseline_and_says_so(world: World) -> None:
    """What was served before is not known any more: unknown, until the next activation."""
    answer(world)
    world.settle()
    world.status = {}
    world.settle()
    assert baseline(world) == []
    status = world.prompt().status
    found = baselines_of(status, (), {}).of(P95, FIVE, floor=None, min_samples=20)
    assert found == NoBaseline("no version is known to have been served before 2.0.0, and it declares none")


@pytest.mark.parametrize("spec", [{"suspend": True}, {"mode": "Fallback"}], ids=["suspended", "fallback"])
def test_a_suspended_prompt_and_one_in_fallback_keep_the_answer(world: World, spec: dict[str, Any]) -> None:
    """Measuring switches nothing, and later it would be too late to measure."""
    world.spec |= spec
    world.settle()
    answer(world)
    world.settle()
    assert [version for version, _, _ in baseline(world)] == [V1]


def test_a_version_of_another_name_is_no_answer(world: World) -> None:
    """Only the version and the instant that are asked for count."""
    world.normal = (measured(V3, after(hours=1)), measured(V1, after(hours=2)))
    world.settle()
    assert baseline(world) == []
