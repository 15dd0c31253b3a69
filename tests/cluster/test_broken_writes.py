"""The same program goes on when a write fails, when the metric source dies at a decision, and when it is not alone."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tests.adapters.answering import dropped
from tests.faults.proxy import ANSWERS, DEATHS, SILENCES, Fault, Point, Write
from tests.faults.stage import Stage, prepare, staged
from tests.faults.stories import ACKNOWLEDGED, BY_HAND, BY_RULE, Story, play, quiet, undisturbed, until_right

from devcluster import http
from devcluster.prometheus import Prometheus
from prompt_operator.adapters.events import EVENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.adapters.answering import Behaviour, Handler
    from tests.faults.stories import End

    from devcluster.controlplane import ControlPlane
    from prompt_operator.ports import Manifest

DECISION = Write("PATCH Prompt/status", 1)
ALL = len(Fault)
ONE = ALL if os.environ.get("FAULTS") == "all" else 1
ROUNDS = 3
"""An operator that is busy may say two things in one write; scenes whose write never came are played again."""
TAKEOVER = 20.0
"""Seconds after the death of a leader, by the contract."""


@pytest.fixture
async def stage(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """One operator behind a proxy, ready."""
    async with staged(control_plane.kubeconfig, control_plane.admin_token, namespace, tmp_path) as one:
        yield one


# --- failed writes


@pytest.mark.parametrize(
    ("story", "each_write"),
    [(BY_RULE, ALL), (BY_HAND, ONE), (ACKNOWLEDGED, ONE)],
    ids=["by-rule", "by-hand", "acknowledged"],
)
async def test_every_write_may_fail_in_every_way(stage: Stage, story: Story, each_write: int) -> None:
    """409, 429, 500, a cut before and after, done without an answer, done long after it was given up: the same end.

    In a rollback by a rule every failure at every write; in the longer stories at every write both silences, and one of
    the others, which take turns, or all of them with FAULTS=all.
    """
    log, right = await undisturbed(stage, story, "s00")
    assert {key: right[key] for key in story.expected} == story.expected
    left = [Point(write, fault) for at, write in enumerate(log) for fault in faults_of(at, each_write)]
    names, failures = map("s{:02}".format, itertools.count(1)), len(left)
    for _ in range(ROUNDS):
        left = await side_by_side(stage, story, dict(zip(itertools.islice(names, len(left)), left, strict=True)), right)
    assert not left, "never reached"
    sys.stdout.write(f"\nN = {len(log)} writes, {failures} failures\n")
    assert stage.starts == 1, "nothing of this ends the program"
    await told_once(stage)


def faults_of(at: int, count: int) -> tuple[Fault, ...]:
    """Return the silences, and so many of the other failures: the next ones for each write, around the end."""
    turn = (ANSWERS[(at * count + number) % len(ANSWERS)] for number in range(min(count, len(ANSWERS))))
    return *SILENCES, *turn


async def side_by_side(stage: Stage, story: Story, scenes: Mapping[str, Point], right: End) -> list[Point]:
    """Play many scenes at the same time, each with its own failure; return the points that were not reached."""
    await asyncio.gather(*(story.prepare(stage, scene) for scene in scenes))
    for scene in scenes:
        stage.proxy.decisions[scene] = {each["metadata"]["name"] for each in await stage.records(scene, "Executed")}
    hit = await asyncio.gather(*(play(stage, story, scene, point, right) for scene, point in scenes.items()))
    return [point for point, reached in zip(scenes.values(), hit, strict=True) if not reached]


async def told_once(stage: Stage) -> None:
    """Wait until there is an Event for each rollback, and see at the end that there is one only.

    Nobody is accused of having changed a ConfigMap that a late write of our own would have changed.
    """

    async def events(reason: str) -> Counter[str]:
        found = [event async for event in stage.api.list(EVENT, namespace=stage.namespace)]
        return Counter(event["regarding"]["name"] for event in found if event["reason"] == reason)

    async def all_told() -> bool:
        counts = await events("RolledBack")
        return all(counts[scene] >= counts["s00"] > 0 for scene in stage.traffic.scenes)

    await stage.until(all_told)
    await stage.stop()
    stage.died.set()
    counts = await events("RolledBack")
    assert set(counts.values()) == {counts["s00"]}, "people hear of each once"
    assert not await events("Healed")


# --- the metric source dies


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_record_has_its_evidence_though_prometheus_is_killed_at_the_decision(
    stage: Stage, tmp_path: Path, moment: str
) -> None:
    """SIGKILL of a real Prometheus the instant before the decision is written, and after; it is never seen again."""
    await prepare(stage, "s01")
    server = Prometheus.start(tmp_path / "prometheus")
    try:
        fail_in(server, stage.namespace, "s01")

        async def dies(scene: str, write: Write) -> None:
            if (scene, write) == ("s01", DECISION):
                os.kill(server.pid, signal.SIGKILL)

        setattr(stage.proxy, moment, dies)
        stage.proxy.arm("s01")
        stage.source.behaviour = passed_on_to(server.url)
        (record,) = await stage.until(lambda: stage.records("s01", "Executed"))
        assert not http.answers(f"{server.url}/-/ready")
    finally:
        server.stop()
    assert_whole(record)
    assert (await stage.served("s01"))["version"] == "1.0.0"


def fail_in(server: Prometheus, namespace: str, scene: str) -> None:
    """Let a Prometheus hold an hour, and some minutes to come, in which six of ten requests to 1.1.0 fail."""
    labels, now = f'prompt_namespace="{namespace}",prompt="{scene}",version="1.1.0"', int(time.time())
    with (server.state_dir / "history.om").open("w") as file:
        for outcome, each_second in (("success", 2), ("error", 3)):
            name = f'llm_prompt_requests_total{{{labels},outcome="{outcome}"}}'
            file.writelines(f"{name} {(3600 + at) * each_second} {now + at}\n" for at in range(-3600, 600, 15))
        file.write("# EOF\n")
    command = [str(server.promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    subprocess.run([*command, file.name, str(server.state_dir / "data")], check=True, capture_output=True)
    server.restart()


def passed_on_to(url: str) -> Behaviour:
    """Send queries to a server; hang up when it does not answer."""

    def behave(handler: Handler) -> None:
        path, form = handler.server.asked[-1]
        data = urllib.parse.urlencode(form, doseq=True).encode()
        try:
            with urllib.request.urlopen(url + path, data, timeout=5) as response:  # noqa: S310  loopback
                handler.answer(response.status, response.read())
        except OSError:
            dropped(handler)

    return behave


def assert_whole(record: Manifest) -> None:
    """See that a record holds what it was decided on."""
    (evidence,) = (each for each in record["spec"]["evidence"] if each["rule"] == record["spec"]["rule"])
    assert {"metric", "value", "threshold", "bound", "confidence", "samples", "window", "query", "at"} <= set(evidence)
    assert "s01" in evidence["query"]


@pytest.mark.parametrize("fault", DEATHS, ids=["killed-before", "killed-after"])
async def test_a_record_has_its_evidence_though_operator_and_source_die_together(stage: Stage, fault: Fault) -> None:
    """What was decided keeps the evidence of the time; where nothing was, nothing is decided without any."""
    await prepare(stage, "s01")

    async def dies(scene: str, write: Write) -> None:
        if (scene, write) == ("s01", DECISION):
            stage.source.behaviour = dropped

    stage.proxy.before = dies
    stage.proxy.arm("s01", Point(DECISION, fault))
    async with stage.restarting():
        stage.traffic.bad.add(("s01", "1.1.0"))
        if fault is Fault.DEATH_BEFORE:
            await stage.until(lambda: _hit(stage))
            await stage.until(stage.lives)
            assert await stage.records("s01") == []
            stage.source.behaviour = stage.traffic
        (record,) = await stage.until(lambda: stage.records("s01", "Executed"))
    assert_whole(record)
    assert (await stage.served("s01"))["version"] == "1.0.0"


async def _hit(stage: Stage) -> bool:
    return "s01" in stage.proxy.hit


# --- two operators


@pytest.mark.parametrize("fault", DEATHS, ids=["before-the-decision-arrives", "after-it-was-taken"])
async def test_the_leader_is_killed_in_the_middle_of_a_rollback(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, fault: Fault
) -> None:
    """The stand-by takes over within the time promised, finishes or decides, and nothing is decided twice."""
    lease = ("--lease", f"{namespace}/operator")
    async with AsyncExitStack() as stack:
        token, kubeconfig = control_plane.admin_token, control_plane.kubeconfig
        leader = await stack.enter_async_context(staged(kubeconfig, token, namespace, tmp_path / "a", *lease))
        _, right = await undisturbed(leader, BY_RULE, "s00")
        follower = await stack.enter_async_context(leader.another(tmp_path / "b"))
        await prepare(leader, "s01")
        leader.proxy.arm("s01", Point(DECISION, fault))
        leader.traffic.bad.add(("s01", "1.1.0"))
        await asyncio.wait_for(leader.died.wait(), TAKEOVER)
        async with asyncio.timeout(TAKEOVER):
            await follower.until(lambda: _is_served(follower, "s01"))
        follower.proxy.decisions["s01"] |= leader.proxy.decisions["s01"]
        await until_right(follower, "s01", right, f"after the leader was {fault}")


async def _is_served(stage: Stage, scene: str) -> bool:
    return (await stage.served(scene))["version"] == "1.0.0"


async def test_two_operators_without_an_election_decide_once(stage: Stage, tmp_path: Path) -> None:
    """Both decide at the same time, before either was answered: the guarded write lets one win, and they do not fight.

    Nobody is meant to run two without a Lease; whoever does it by mistake still gets one decision and one record.
    """
    scenes = [f"s{number:02}" for number in range(1, 9)]
    _, right = await undisturbed(stage, BY_RULE, "s00")
    del right["audited once"]  # each has a trail of its own
    async with stage.another(tmp_path / "other") as other:
        await asyncio.gather(*(prepare(stage, scene) for scene in scenes))
        arrived: dict[str, asyncio.Barrier] = defaultdict(lambda: asyncio.Barrier(2))
        met: set[str] = set()

        async def together(scene: str, write: Write) -> None:
            if write == DECISION and scene in scenes and len(arrived) <= len(scenes):
                async with asyncio.timeout(TAKEOVER):
                    await arrived[scene].wait()
                met.add(scene)

        for each in (stage, other):
            await quiet(each, scenes[0])
            for scene in scenes:
                each.proxy.arm(scene)
            each.proxy.before = together
        stage.traffic.bad |= {(scene, "1.1.0") for scene in scenes}
        for scene in scenes:
            await stage.until(lambda scene=scene: _decided(stage, scene))  # type: ignore[misc]
            stage.proxy.decisions[scene] |= other.proxy.decisions[scene]
            await until_right(stage, scene, right, scene)
        assert met == set(scenes)
        await asyncio.gather(*(quiet(each, scene) for each in (stage, other) for scene in scenes))
        assert all(len(each.proxy.log[scene]) < 30 for each in (stage, other) for scene in scenes)


async def _decided(stage: Stage, scene: str) -> bool:
    return bool(await stage.records(scene, "Executed"))
