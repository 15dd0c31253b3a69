"""`kubectl prompt audit` on the segments of a real API server: whatever somebody does to them by hand is found."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.cluster.operating import Operated, operated
from tests.cluster.test_audit import a_rollback

from prompt_client.wire import canonical_json
from prompt_operator.adapters.audit import segments
from prompt_operator.adapters.audit.segments import KEY, LABEL
from prompt_operator.cli.main import main
from prompt_operator.core.audit.chain import hash_of
from prompt_operator.ports import CONFIG_MAP, GiveUp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Manifest

FIRST = "trail-000001"


async def audit(operator: Operated, *words: str) -> Result:
    """Run the command on the trail in the cluster, as a person does."""
    where = ["--from-cluster", "--name", f"{operator.namespace}/trail", "--kubeconfig", operator.settings.kubeconfig]
    anchor = ["--anchor", f"{operator.namespace}/heads"] if words[0] == "verify" else []
    return await asyncio.to_thread(CliRunner().invoke, main, ["audit", *words, *where, *anchor])


@pytest.fixture
async def told(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operated]:
    """A rollback that an operator told in several segments before it ended in order."""
    monkeypatch.setattr(segments, "LIMIT", 2048)
    settings = {"audit": "configMap", "audit_name": f"{namespace}/trail", "audit_anchor": f"{namespace}/heads"}
    async with operated(cluster.kubeconfig, namespace, **settings) as operator:
        await operator.start()
        await a_rollback(operator)
        await operator.stop()
        yield operator


async def last_segment(operator: Operated) -> Manifest:
    """Return the segment that is still open."""
    found = [each async for each in operator.api.list(CONFIG_MAP, namespace=operator.namespace, labels=LABEL)]
    return max(found, key=lambda each: str(each["metadata"]["name"]))


async def replace(operator: Operated, name: str, change: Callable[[list[str]], list[str]]) -> None:
    """Put other lines into a segment; a sealed one has to be deleted for that."""
    before = await operator.get(CONFIG_MAP, name)
    await operator.api.delete(CONFIG_MAP, operator.namespace, name, uid=before["metadata"]["uid"])
    kept = {key: before["metadata"][key] for key in ("name", "namespace", "labels")}
    text = "".join(change(before["data"][KEY].splitlines(keepends=True)))
    await operator.api.create(CONFIG_MAP, {**before, "metadata": kept, "data": {KEY: text}})


def forged(line: str) -> str:
    """Return a line that says that somebody else did it, with a hash that fits again."""
    members = {**json.loads(line), "actor": "somebody"}
    return canonical_json({**members, "hash": hash_of(members)}).decode() + "\n"


async def test_an_untouched_trail_is_whole_and_decides_the_same_again(told: Operated) -> None:
    """Exit status 0 of both, and the rollback as it was."""
    whole = await audit(told, "verify")
    assert (whole.exit_code, "The end is anchored: seq " in whole.output) == (0, True), whole.output
    again = await audit(told, "replay")
    assert again.exit_code == 0, again.output
    assert "1.1.0 -> 1.0.0   1.1.0 -> 1.0.0" in again.output


async def test_a_sealed_segment_cannot_be_edited_and_one_put_in_its_place_is_found(told: Operated) -> None:
    """The API server refuses the edit; with delete and create the chain breaks where the line was changed."""
    first = await told.get(CONFIG_MAP, FIRST)
    assert first["immutable"] is True
    patch = [{"op": "replace", "path": f"/data/{KEY}", "value": "x"}]
    with pytest.raises(GiveUp):
        await told.api.json_patch(CONFIG_MAP, told.namespace, FIRST, patch)
    await replace(told, FIRST, lambda lines: [lines[0].replace('"Done"', '"Dont"', 1), *lines[1:]])
    edited = await audit(told, "verify")
    assert edited.exit_code == 1
    assert f"broken at {FIRST} line 1, seq 0 of " in edited.output
    await replace(told, FIRST, lambda lines: [forged(lines[0].replace('"Dont"', '"Done"', 1)), *lines[1:]])
    sealed_again = await audit(told, "verify")
    assert sealed_again.exit_code == 1
    assert "seq 1 of " in sealed_again.output, "its own hash fits, the next line names another one"


async def test_a_cut_off_end_is_found_by_the_anchor(told: Operated) -> None:
    """The last line, the last segment, and the anchor as well: then nothing vouches for the end."""
    last = (await last_segment(told))["metadata"]["name"]
    assert last > FIRST
    await replace(told, last, lambda lines: lines[:-1])
    cut = await audit(told, "verify")
    assert (cut.exit_code, "broken at the anchor: expected seq " in cut.output) == (1, True), cut.output
    segment = await last_segment(told)
    await told.api.delete(CONFIG_MAP, told.namespace, last, uid=segment["metadata"]["uid"])
    assert (await audit(told, "verify")).exit_code == 1
    heads = await told.get(CONFIG_MAP, "heads")
    await told.api.delete(CONFIG_MAP, told.namespace, "heads", uid=heads["metadata"]["uid"])
    unvouched = await audit(told, "verify")
    assert unvouched.exit_code == 2
    assert "Not vouched for: " in unvouched.output


async def test_an_archived_beginning_needs_partial(told: Operated) -> None:
    """Whoever moved old segments away says so; the rest is checked from where it begins."""
    first = await told.get(CONFIG_MAP, FIRST)
    await told.api.delete(CONFIG_MAP, told.namespace, FIRST, uid=first["metadata"]["uid"])
    assert (await audit(told, "verify")).exit_code == 1
    assert (await audit(told, "verify", "--partial")).exit_code == 0


async def test_a_changed_count_gives_another_verdict(told: Operated) -> None:
    """Hardly any failures instead of many: the rule would not have rolled back; verify finds the change as well."""
    rolled_back = (await told.records("Executed"))[0]["metadata"]["name"]
    async for segment in told.api.list(CONFIG_MAP, namespace=told.namespace):
        if rolled_back in (segment.get("data") or {}).get(KEY, ""):
            await replace(told, segment["metadata"]["name"], lambda lines: [fewer(line) for line in lines])
    replayed = await audit(told, "replay")
    assert replayed.exit_code == 1, replayed.output
    assert "1.1.0 -> 1.0.0   NotConfident" in replayed.output
    assert (await audit(told, "verify")).exit_code == 1


def fewer(line: str) -> str:
    """Record a hundredth of the failures."""
    members = json.loads(line)
    for each in (members["inputs"].get("basis") or {}).get("measured", ()):
        if "count" in each and each["quantity"] == "errors":
            each["count"] = repr(float(each["count"]) / 100)
    return canonical_json(members).decode() + "\n"
