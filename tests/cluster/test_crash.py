"""A rollback is finished whatever breaks at any of its writes: the operator dies, or the API server fails."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, BAD, GOOD, ONE_RULE, answer_to, content, events, failing, request, serve
from tests.faults.wire import ANSWERS, DEATHS, Fault, Wire, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster

WRITES = (
    Write("apply Prompt/status", 1),  # the decision
    Write("apply ConfigMap", 1),
    Write("create PromptRollback", 1),
    Write("apply Prompt/status", 2),  # what was projected
    Write("apply PromptVersion/status greeting-1.0.0", 1),
    Write("apply PromptVersion/status greeting-1.1.0", 1),
    Write("apply PromptRollback/status", 1),  # watched
    Write("apply PromptRollback/status", 2),  # recovered
    Write("apply Prompt/status", 3),  # the restored version is judged
)
"""Every write of a rollback from the first bad answer to the judged recovery; a test holds the list against a run."""


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The wire that every operator of the test uses."""
    return Wire().install(monkeypatch)


@pytest.fixture
async def operator(cluster: Cluster, namespace: str, wire: Wire) -> AsyncIterator[Operated]:
    """An operator that serves 1.1.0 after 1.0.0, just before 1.1.0 begins to fail."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        await one.version("1.0.0")
        await one.version("1.1.0")
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await serve(one, "1.1.0")
        wire.arm()
        yield one


async def live(operator: Operated) -> None:
    """What happens to it: 1.1.0 fails, and six minutes later 1.0.0 is seen to do well."""
    await fail(operator)
    await recover(operator)


async def fail(operator: Operated) -> None:
    """1.1.0 fails."""
    operator.metrics.traffic = failing("1.1.0")
    await operator.tick()


async def recover(operator: Operated) -> None:
    """Six minutes later 1.0.0 is seen to do well."""
    await operator.settle()  # the run that switched has to end before the rules are judged for 1.0.0
    operator.clock.offset += timedelta(minutes=6)
    operator.metrics.traffic = {("greeting", "1.0.0"): GOOD, ("greeting", "1.1.0"): BAD}
    await operator.tick()
    await operator.look_again()


async def end(operator: Operated) -> dict[str, Any]:
    """Return all that must come out the same: status, records and the ConfigMap, without names and times."""
    status = await operator.status()
    records = await operator.records()
    override = status.get("override") or {}
    return {
        "active": status["activeVersion"],
        "override": {key: override.get(key) for key in ("version", "against", "because")},
        "held": [held["version"] for held in status.get("held", ())],
        "history": [(entry["version"], entry.get("leftBecause")) for entry in status["history"]],
        "conditions": sorted((c["type"], c["status"], c["reason"]) for c in status["conditions"]),
        "records": [
            (r["spec"]["decision"], r["spec"]["fromVersion"], r["spec"]["toVersion"], r["status"].get("outcome"))
            for r in records
        ],
        "decided once": [r["metadata"]["name"] for r in records] == [status["decision"]["id"]],
        "ledger": [entry["id"] for entry in status["rollbacks"]["recent"]] == [status["decision"]["id"]],
        "content": {key: value for key, value in (await content(operator)).items() if key != "revision"},
    }


EXPECTED = {
    "active": "1.0.0",
    "override": {"version": "1.0.0", "against": "1.1.0", "because": "Rollback"},
    "held": ["1.1.0"],
    "history": [("1.0.0", None), ("1.1.0", "Rollback"), ("1.0.0", "Activation")],
    "records": [("Executed", "1.1.0", "1.0.0", "Recovered")],
    "decided once": True,
    "ledger": True,
}


async def until_it_ended_well(operator: Operated, revision: int) -> None:
    """Wait for the one right end; the revision grew once, however often the ConfigMap was applied."""

    async def ended() -> bool:
        return all((r.get("status") or {}).get("outcome") for r in await operator.records("Executed"))

    await operator.until(ended)
    await operator.settle()
    found = await end(operator)
    assert {key: found[key] for key in EXPECTED} == EXPECTED
    assert ("Ready", "False", "RolledBack") in found["conditions"]
    assert ("Healthy", "True", "RulesNormal") in found["conditions"]
    assert (await content(operator))["revision"] == revision + 1
    assert found["content"]["version"] == "1.0.0"


async def test_the_list_of_writes_is_what_a_run_writes(operator: Operated, wire: Wire) -> None:
    """An undisturbed run makes exactly the writes that the other tests break, in the order of the protocol."""
    revision = (await content(operator))["revision"]
    await live(operator)
    await until_it_ended_well(operator, revision)
    sys.stdout.write(f"\nN = {len(wire.log)} writes, 2N = {len(DEATHS) * len(wire.log)} kills\n")
    assert sorted(map(str, wire.log)) == sorted(map(str, WRITES))
    protocol = [write for write in wire.log if "PromptVersion" not in write.what]
    assert protocol == [write for write in WRITES if "PromptVersion" not in write.what]


@pytest.mark.parametrize("fault", DEATHS, ids=lambda fault: fault.value.replace(" ", "-"))
@pytest.mark.parametrize("write", WRITES, ids=str)
async def test_a_new_process_finishes_what_a_dead_one_began(
    operator: Operated, wire: Wire, write: Write, fault: Fault
) -> None:
    """Killed before or after any write, a fresh operator comes to the same end, with one decision and one record."""
    revision = (await content(operator))["revision"]
    wire.arm(write, fault)
    await live(operator)
    await operator.kill()
    assert wire.happened
    wire.mend()
    await operator.start()
    await live(operator)
    await until_it_ended_well(operator, revision)


@pytest.mark.parametrize("fault", ANSWERS, ids=lambda fault: fault.value.replace(" ", "-"))
@pytest.mark.parametrize("write", WRITES, ids=str)
async def test_the_same_process_gets_over_a_failed_write(
    operator: Operated, wire: Wire, write: Write, fault: Fault
) -> None:
    """After a refused, delayed or lost write the run is made again: the same end, and people were told of it once."""
    revision = (await content(operator))["revision"]
    wire.arm(write, fault)
    await fail(operator)
    await operator.until_served("1.0.0")
    await operator.until(lambda: watched(operator))
    await recover(operator)
    await until_it_ended_well(operator, revision)
    assert wire.happened
    assert len(await operator.until(lambda: events(operator, "RolledBack"))) == 1


BY_HAND = (
    Write("apply Prompt/status", 1),  # the decision
    Write("apply ConfigMap", 1),
    Write("create PromptRollback", 1),
    Write("apply Prompt/status", 2),  # what was projected
    Write("apply PromptRollback/status", 1),  # the record's, watched
    Write("apply PromptRollback/status", 2),  # the request's
    Write("create PromptRollback", 2),  # the second request is refused
    Write("apply PromptRollback/status", 3),
    Write("apply PromptRollback/status", 4),
)
"""Writes about two requests of people at once, beside those about the versions' status."""


async def ask_twice(operator: Operated) -> None:
    """Two people ask to leave 1.1.0."""
    for name in ("of-ana", "of-ben"):
        await request(operator, name, "1.1.0")


async def until_both_are_answered(operator: Operated) -> None:
    """Wait for the one right end: one rollback, one refusal, each told in the status of its request."""
    answers = [await answer_to(operator, name) for name in ("of-ana", "of-ben")]
    await operator.until_served("1.0.0")
    await operator.until(lambda: all_told(operator))
    assert sorted(a["spec"]["decision"] for a in answers) == ["Executed", "Refused"]
    assert len(await operator.records()) == 4
    (executed,) = await operator.records("Executed")
    status = await operator.status()
    assert status["decision"]["id"] == executed["metadata"]["name"]
    assert status["override"]["because"] == "ManualRollback"
    assert [held["version"] for held in status["held"]] == ["1.1.0"]


async def all_told(operator: Operated) -> bool:
    """Tell whether every request and record has its status."""
    return all(record.get("status") for record in await operator.records())


async def test_the_list_of_writes_by_hand_is_what_a_run_writes(operator: Operated, wire: Wire) -> None:
    """An undisturbed run about two requests makes exactly the writes that the kills below hit."""
    await ask_twice(operator)
    await until_both_are_answered(operator)
    await operator.settle()
    log = [write for write in wire.log if "PromptVersion" not in write.what]
    sys.stdout.write(f"\nN = {len(log)} writes, 2N = {len(DEATHS) * len(log)} kills\n")
    assert sorted(map(str, log)) == sorted(map(str, BY_HAND))


@pytest.mark.parametrize("fault", DEATHS, ids=lambda fault: fault.value.replace(" ", "-"))
@pytest.mark.parametrize("write", BY_HAND, ids=str)
async def test_a_new_process_answers_what_a_dead_one_was_asked(
    operator: Operated, wire: Wire, write: Write, fault: Fault
) -> None:
    """Killed before or after any write, each request is answered once, and one of the two is executed."""
    wire.arm(write, fault)
    await ask_twice(operator)

    async def happened() -> bool:
        return wire.happened

    await operator.until(happened)
    await operator.kill()
    wire.mend()
    await operator.start()
    await until_both_are_answered(operator)


async def watched(operator: Operated) -> bool:
    """Tell whether the record and its status are written."""
    return any(r.get("status") for r in await operator.records("Executed"))
