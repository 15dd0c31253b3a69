"""The audit trail end to end: a rollback, each sink, and what a crash at any moment leaves of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.operating import USER, Operated, operated
from tests.faults.scene import AT_ONCE, ONE_RULE, answer_to, instant, release_a_bad_one, request, roll_back, serve, sign
from tests.faults.wire import Fault, Wire, Write

from prompt_operator.adapters.audit.segments import KEY, LABEL
from prompt_operator.core.audit.chain import lines_of
from prompt_operator.core.audit.held import anchors_of
from prompt_operator.core.audit.replay import replay
from prompt_operator.core.audit.verify import verify
from prompt_operator.handlers import lifecycle
from prompt_operator.ports import CONFIG_MAP, PROMPT_POLICY

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.cluster import Cluster
    from prompt_operator.core.audit.verify import Checked
    from prompt_operator.ports import Manifest

ANCHOR = "trail-heads"
WRITES = (Write("apply Prompt/status", 1), Write("create PromptRollback", 1), Write("apply Prompt/status", 2))
"""The decision, its record, and what was projected."""


async def prepared(operator: Operated) -> None:
    """Serve a good version, then have a bad one active."""
    await operator.policy(rules=ONE_RULE, rollback=AT_ONCE)
    await operator.version("1.0.0")
    await operator.version("1.1.0")
    await serve(operator, "1.0.0")
    await release_a_bad_one(operator)


async def a_rollback(operator: Operated) -> Manifest:
    """Serve a good version, release a bad one, roll it back."""
    await prepared(operator)
    return await roll_back(operator)


def told(text: bytes) -> list[dict[str, Any]]:
    """Return the entries of a log."""
    return [json.loads(line) for line in lines_of(text)]


def ids(text: bytes, verb: str) -> list[str]:
    """Return the ids of the entries of one verb."""
    return [each["id"] for each in told(text) if each["verb"] == verb]


async def checked(operator: Operated, text: bytes) -> Checked:
    """Verify a log against the anchor in the cluster."""
    manifest = await operator.get(CONFIG_MAP, ANCHOR)
    return verify(lines_of(text), {each.head.writer: each.head for each in anchors_of(manifest["data"])})


async def segments(operator: Operated) -> bytes:
    """Return what the segments hold."""
    found = [each async for each in operator.api.list(CONFIG_MAP, namespace=operator.namespace, labels=LABEL)]
    found.sort(key=lambda each: str(each["metadata"]["name"]))
    return "".join(each["data"][KEY] for each in found).encode()


async def test_a_rollback_is_told_with_all_it_was_decided_on(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """File and anchor: one entry per decision and signature, in a chain that is whole, and the decision replays."""
    log = tmp_path / "audit.jsonl"
    settings: dict[str, Any] = {"audit": "file", "audit_file": str(log), "audit_anchor": f"{namespace}/{ANCHOR}"}
    async with operated(cluster.kubeconfig, namespace, **settings) as operator:
        await operator.start()
        record = await a_rollback(operator)
        name = record["metadata"]["name"]
        await sign(operator, record, "release")

        async def released() -> bool:
            return f"{name}/release" in ids(log.read_bytes(), "Release")

        await operator.until(released)
        await operator.stop()
        entries = told(log.read_bytes())
        assert ids(log.read_bytes(), "Rollback") == [name]
        assert (await checked(operator, log.read_bytes())).broken is None
        assert (await checked(operator, log.read_bytes())).loose == ()
        (decision,) = (each for each in entries if each["verb"] == "Rollback")
        found = replay(decision)
        assert found is not None
        assert (found.recorded, found.replayed) == ("1.1.0 -> 1.0.0", "1.1.0 -> 1.0.0")
        assert decision["object"]["uid"] == record["metadata"]["uid"]
        assert "greet" not in json.dumps([each["inputs"] for each in entries]).lower().replace("greeting", "")
        (release,) = (each for each in entries if each["verb"] == "Release")
        assert (release["actor"], release["reason"]) == ("ana", "looked at it")


async def test_segments_hold_the_same_and_belong_to_no_prompt(cluster: Cluster, namespace: str) -> None:
    """A rollback, a refused request, a healed ConfigMap, a policy: told once each; a restart adds its takeover."""
    settings: dict[str, Any] = {
        "audit": "configMap",
        "audit_name": f"{namespace}/trail",
        "audit_anchor": f"{namespace}/{ANCHOR}",
    }
    async with operated(cluster.kubeconfig, namespace, **settings) as operator:
        await operator.start()
        record = await a_rollback(operator)
        await request(operator, "too-late", "1.1.0")
        refusal = await answer_to(operator, "too-late")
        await tamper(operator)

        async def complete() -> bool:
            text = await segments(operator)
            refused = ids(text, "Refuse") == [refusal["metadata"]["name"]]
            return bool(refused and ids(text, "Heal") and ids(text, "Policy"))

        await operator.until(complete)
        await operator.stop()
        await operator.start()
        await operator.look_again()
        await operator.stop()
        text = await segments(operator)
        assert ids(text, "Rollback") == [record["metadata"]["name"]]
        assert ids(text, "Refuse") == [refusal["metadata"]["name"]]
        assert len(ids(text, "Heal")) == 1
        assert [each["reason"] for each in told(text) if each["verb"] == "Policy"] == ["generation 1"]
        assert len(ids(text, "Takeover")) == 2
        found = await checked(operator, text)
        assert (found.broken, found.loose) == (None, ())
        assert [replayed.differs for each in told(text) if (replayed := replay(each)) is not None] == [False, False]
        manifest = await operator.get(CONFIG_MAP, "trail-000001")
        assert "ownerReferences" not in manifest["metadata"]
        anchors = await operator.get(CONFIG_MAP, ANCHOR)
        assert {each["manager"] for each in anchors["metadata"]["managedFields"]} == {"prompt-operator-audit-anchor"}


async def test_what_people_do_is_told_with_the_field_manager_that_did_it(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec, activation, retry, review, a policy's end and the mode: once each, also after a restart."""
    log, config = tmp_path / "audit.jsonl", tmp_path / "settings.yaml"
    config.write_text("mode: Active\n")
    monkeypatch.setattr(lifecycle, "_MODE_EVERY", 0.02)
    settings: dict[str, Any] = {"audit": "file", "audit_file": str(log), "config": str(config)}
    async with operated(cluster.kubeconfig, namespace, **settings) as operator:
        await operator.start()
        await a_rollback(operator)
        await operator.prompt("1.1.0", suspend=True)
        await operator.annotate("greeting", retryAt=instant(operator), reviewedAt=instant(operator))

        async def policy_is_told() -> bool:
            return bool(ids(log.read_bytes(), "Policy"))

        await operator.until(policy_is_told)
        policy = await operator.get(PROMPT_POLICY, "default")
        await operator.api.delete(PROMPT_POLICY, namespace, "default", uid=policy["metadata"]["uid"])
        config.write_text("mode: Fallback\n")

        async def complete() -> bool:
            verbs = {each["verb"] for each in told(log.read_bytes())}
            ended = any(each.endswith("/deleted") for each in ids(log.read_bytes(), "Policy"))
            return ended and {"Retry", "Review", "Mode"} <= verbs

        await operator.until(complete)
        config.write_text("mode: Frozen\n")

        async def frozen() -> bool:
            return len(ids(log.read_bytes(), "Mode")) > 1

        await operator.until(frozen)
        await operator.stop()
        config.write_text("mode: Active\n")
        await operator.start()
        await operator.look_again()
        await operator.stop()
    entries = told(log.read_bytes())
    assert said(entries, "Prompt") == [
        (USER, "generation 1: version 1.0.0"),
        (USER, "generation 2: version 1.1.0"),
        (USER, "generation 3: version 1.1.0, suspended"),
    ]
    assert said(entries, "Activate") == [(USER, "nothing -> 1.0.0"), (USER, "1.0.0 -> 1.1.0")]
    assert said(entries, "Retry") == [("annotator", "all held versions may be activated again")]
    assert said(entries, "Review") == [("annotator", "a person looked")]
    assert said(entries, "Mode") == [("settings", "Active -> Fallback"), ("settings", "Fallback -> Frozen")]
    assert said(entries, "Policy")[1:] == [("unknown", "somebody deleted it: the built-in policy applies")]
    assert [each["inputs"]["mode"] for each in entries if each["verb"] == "Takeover"] == ["Active", "Active"]
    assert verify(lines_of(log.read_bytes()), {}).broken is None


def said(entries: list[dict[str, Any]], verb: str) -> list[tuple[str, str]]:
    """Return actor and reason of the entries of one verb."""
    return [(each["actor"], each["reason"]) for each in entries if each["verb"] == verb]


async def tamper(operator: Operated) -> None:
    """Change the ConfigMap as somebody who should not, and wait until it is put back."""
    patch = [{"op": "replace", "path": "/data/version", "value": "9.9.9"}]
    await operator.api.json_patch(CONFIG_MAP, operator.namespace, "prompt-greeting", patch)
    await operator.until_served("1.0.0")


async def test_standard_output_tells_it_too(
    cluster: Cluster, namespace: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without any setting: every line of standard output is an entry, and they are one chain."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        await operator.start()
        record = await a_rollback(operator)
        shown = b""

        async def printed() -> bool:
            nonlocal shown
            shown += capfd.readouterr().out.encode()
            return ids(shown, "Rollback") == [record["metadata"]["name"]]

        await operator.until(printed)
        await operator.stop()
        shown += capfd.readouterr().out.encode()
        found = verify(lines_of(shown), {})
        assert found.broken is None
        assert found.entries == len(told(shown))


async def test_the_end_does_not_wait_for_the_trail(
    cluster: Cluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of ours is left on the loop when kopf ends: else it waits five seconds, and the next leader with it."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        await operator.start()
        await a_rollback(operator)
        with caplog.at_level("DEBUG", "kopf"):
            await operator.stop()
    assert "Hung tasks stopping is skipped: no tasks given." in caplog.messages


@pytest.mark.parametrize("sink", ["file", "configMap"])
@pytest.mark.parametrize("write", WRITES, ids=str)
@pytest.mark.parametrize("fault", Fault, ids=str)
async def test_a_crash_between_decision_and_line_neither_loses_nor_doubles_it(
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sink: str,
    write: Write,
    fault: Fault,
) -> None:
    """The operator dies around the decision's status, its record and what follows, and another goes on: one entry.

    Prometheus has died as well, so that the entry can only be told from what was kept.
    """
    log = tmp_path / "audit.jsonl"
    chosen = {"audit_file": str(log)} if sink == "file" else {"audit_name": f"{namespace}/trail"}
    wire = Wire().install(monkeypatch)
    async with operated(cluster.kubeconfig, namespace, audit=sink, **chosen) as operator:
        await operator.start()
        await prepared(operator)
        wire.arm(write, fault)
        await operator.tick()
        await operator.kill()
        assert wire.happened
        wire.mend()
        operator.metrics.failing = "gone"
        await operator.start()
        if fault is Fault.DEATH_BEFORE and write.what == "apply Prompt/status" and write.nth == 1:
            operator.metrics.failing = ""
            await operator.tick()
        await operator.until_served("1.0.0")
        (record,) = await operator.records("Executed")

        async def text() -> bytes:
            return log.read_bytes() if sink == "file" else await segments(operator)

        async def is_told() -> bool:
            return bool(ids(await text(), "Rollback"))

        await operator.until(is_told)
        await operator.look_again()
        await operator.stop()
        assert ids(await text(), "Rollback") == [record["metadata"]["name"]]
        (decision,) = (each for each in told(await text()) if each["verb"] == "Rollback")
        replayed = replay(decision)
        assert replayed is not None
        assert (replayed.problem, replayed.replayed) == ("", "1.1.0 -> 1.0.0")
        assert verify(lines_of(await text()), {}).broken is None
