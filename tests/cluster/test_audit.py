"""The audit trail end to end: a rollback, each sink, and what a crash at any moment leaves of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cluster.operating import Operated, operated
from tests.faults.scene import AT_ONCE, ONE_RULE, release_a_bad_one, roll_back, serve, sign

from prompt_operator.adapters.audit.segments import KEY, LABEL
from prompt_operator.core.audit.chain import lines_of
from prompt_operator.core.audit.held import anchors_of
from prompt_operator.core.audit.replay import replay
from prompt_operator.core.audit.verify import verify
from prompt_operator.ports import CONFIG_MAP

if TYPE_CHECKING:
    from pathlib import Path

    from prompt_operator.core.audit.verify import Checked
    from prompt_operator.ports import Manifest

ANCHOR = "trail-heads"


async def a_rollback(operator: Operated) -> Manifest:
    """Serve a good version, release a bad one, roll it back."""
    await operator.policy(rules=ONE_RULE, rollback=AT_ONCE)
    await operator.version("1.0.0")
    await operator.version("1.1.0")
    await serve(operator, "1.0.0")
    await release_a_bad_one(operator)
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


async def test_a_rollback_is_told_with_all_it_was_decided_on(cluster: Any, namespace: str, tmp_path: Path) -> None:
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
