"""What watches lose and what a control plane does to them: the operator finds back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import kopf
import pytest
from tests.cluster.looking import delete, edit, until_condition, until_watching
from tests.cluster.operating import DEADLINE, Operated, close_connections, operated

from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from prompt_operator.engine import engine as engine_module
from prompt_operator.engine.engine import Engine
from prompt_operator.engine.store import Key, Name
from prompt_operator.handlers.lifecycle import operate
from prompt_operator.handlers.watch import WATCHED, Forgetful, configure
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_VERSION, Unavailable, WentBack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Kind, Manifest

NAME = "prompt-greeting"
OBSERVE = Engine.observe


@pytest.fixture
async def greeting(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with greeting 1.0.0 served."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.version("1.0.0")
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await until_watching(one)
        yield one


def engine_of(operator: Operated) -> Engine:
    """Return the engine that runs."""
    assert operator.running is not None
    return operator.running.engine


@pytest.fixture
def deaf(greeting: Operated, monkeypatch: pytest.MonkeyPatch) -> Operated:
    """The same operator, whose watches lose every event from now on; lists still work."""
    monkeypatch.setattr(Engine, "observe", lambda *_, **__: None)
    return greeting


async def sweep(operator: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare everything with the API server, as happens now and then; the watches are deaf before and after."""
    with monkeypatch.context() as hearing:
        hearing.setattr(Engine, "observe", OBSERVE)
        for kind, labels in WATCHED:
            await operator.within(engine_of(operator).sweep(kind, labels))
    await operator.rest()


# --- gaps


async def test_a_lost_change_is_found_by_the_sweep(deaf: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version and a changed Prompt that no watch told of."""
    await deaf.version("1.1.0")
    await deaf.prompt("1.1.0")
    await deaf.rest()
    assert await deaf.served() == "1.0.0"
    await sweep(deaf, monkeypatch)
    await deaf.until_served("1.1.0")


async def test_a_lost_deletion_is_found_by_the_sweep(deaf: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ConfigMap, which comes back; of a version, which is missed; of a Prompt, which is let go."""
    await delete(deaf, CONFIG_MAP, NAME)
    await deaf.rest()
    assert await deaf.config_map() is None
    await sweep(deaf, monkeypatch)
    await deaf.until_served("1.0.0")
    await delete(deaf, PROMPT_VERSION, "greeting-1.0.0")
    await sweep(deaf, monkeypatch)
    await until_condition(deaf, "Ready", "VersionMissing")
    await delete(deaf, PROMPT, "greeting")
    await sweep(deaf, monkeypatch)
    assert not engine_of(deaf).store.prompts


async def test_lost_tampering_is_found_by_the_sweep(deaf: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand edit that no watch told of."""
    await edit(deaf, NAME, ("replace", "/data/prompt.txt", "Evil."))
    await deaf.rest()
    await sweep(deaf, monkeypatch)

    async def healed() -> bool:
        return bool((await deaf.get(CONFIG_MAP, NAME))["data"]["prompt.txt"].startswith("Text of"))

    await deaf.until(healed)


async def test_a_replaced_object_of_the_same_name_is_taken_for_another(
    deaf: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted and created again within a gap: the uid tells."""
    await delete(deaf, PROMPT, "greeting")
    new = (await deaf.prompt("1.0.0"))["metadata"]["uid"]
    await sweep(deaf, monkeypatch)

    async def owned() -> bool:
        owners = ((await deaf.config_map()) or {}).get("metadata", {}).get("ownerReferences", [])
        return [owner["uid"] for owner in owners] == [new]

    for _ in range(3):  # the garbage collector deletes what the old one owned, and this operator hears of nothing
        await sweep(deaf, monkeypatch)
    await deaf.until(owned)


async def test_what_is_deleted_before_the_watches_begin_is_missed_soon(
    greeting: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first list and the watches there is a gap; a first sweep over the names alone closes it."""
    monkeypatch.setattr(engine_module, "_WATCHES_BEGIN", 0.0)
    engine = engine_of(greeting)
    phantom = await greeting.get(PROMPT_VERSION, "greeting-1.0.0")
    phantom["metadata"] |= {"name": "greeting-0.9.0", "uid": "gone-before-the-watch"}
    name = Name(greeting.namespace, "greeting-0.9.0")

    async def begin() -> None:
        engine.store.observe(PROMPT_VERSION, phantom)
        sweep = asyncio.create_task(engine.sweep_forever([(PROMPT_VERSION, "")]))
        while name in engine.store.versions:  # noqa: ASYNC110  within() has the deadline
            await asyncio.sleep(0.01)
        sweep.cancel()

    await greeting.within(begin())
    assert Name(greeting.namespace, "greeting-1.0.0") in engine.store.versions


# --- order


async def test_an_old_event_never_overrides_newer_knowledge(greeting: Operated) -> None:
    """A late event of a former state, of a deletion's predecessor, and a late `out of the watch` change nothing."""
    engine = engine_of(greeting)
    old_prompt, old_map = await greeting.get(PROMPT, "greeting"), await greeting.get(CONFIG_MAP, NAME)
    await greeting.version("1.1.0")
    await greeting.prompt("1.1.0")
    await greeting.until_served("1.1.0")
    await greeting.settle()
    known = dict(engine.store.prompts), dict(engine.store.config_maps)

    async def late() -> None:
        engine.observe(PROMPT, old_prompt)
        engine.observe(CONFIG_MAP, old_map)
        engine.observe(CONFIG_MAP, old_map, deleted=True)

    await greeting.within(late())
    await greeting.settle()
    assert (engine.store.prompts, engine.store.config_maps) == known
    assert await greeting.served() == "1.1.0"


async def test_nothing_late_revives_what_was_deleted(greeting: Operated) -> None:
    """An answer to a write that crossed the deletion: the object stays gone."""
    engine = engine_of(greeting)
    last = await greeting.get(PROMPT, "greeting")
    await delete(greeting, PROMPT, "greeting")

    async def let_go() -> bool:
        return not engine.store.prompts

    await greeting.until(let_go)

    async def late() -> None:
        engine.observe(PROMPT, last)

    await greeting.within(late())
    await greeting.settle()
    assert not engine.store.prompts
    assert Key("Prompt", greeting.namespace, "greeting") not in engine.queue._planned


# --- a control plane that goes away


@pytest.fixture
def own_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A second control plane that this test may break."""
    plane = ControlPlane.start(tmp_path / "plane", crds=REPO / "crds")
    yield plane
    plane.stop()


async def test_a_restarted_api_server_is_found_again(own_plane: ControlPlane) -> None:
    """Connections are refused for a while, then all goes on: what changed meanwhile is projected, nothing is lost."""
    own_plane.kubectl("create", "namespace", "shop")
    async with operated(own_plane.kubeconfig, "shop") as one:
        await one.version("1.0.0")
        await one.version("1.1.0")
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        before: dict[str, Any] = await one.status()
        restart_api_server(own_plane)

        async def applied() -> bool:
            try:
                await one.prompt("1.1.0")
            except Unavailable:  # the test's own connection was cut too
                return False
            return True

        await one.until(applied)
        await one.until_served("1.1.0")
        after = await one.status()
        assert [entry["version"] for entry in after["history"]] == ["1.1.0", "1.0.0"]
        assert after["history"][1]["at"] == before["history"][0]["at"]


def restart_api_server(plane: ControlPlane) -> None:
    """Kill kube-apiserver and start it again with the very command line it had."""
    (running,) = [process for process in plane.processes.recorded if process.name == "kube-apiserver"]
    with open(f"/proc/{running.pid}/cmdline", encoding="utf-8") as file:  # noqa: PTH123
        command = file.read().rstrip("\0").split("\0")
    plane.processes.stop(["kube-apiserver"])
    plane._wait("kube-apiserver", plane.processes.spawn("kube-apiserver", command), plane._ready)


async def test_kopf_keeps_no_memory_of_objects() -> None:
    """Of ten thousand objects its memories would be ten megabytes, and nothing here uses them."""
    memories = Forgetful()
    body: Any = {"metadata": {"uid": "uid-1"}}
    first = await memories.recall(body, noticed_by_listing=True, memobase=None)
    assert first.noticed_by_listing
    assert await memories.recall(body, memobase=None) is not first
    assert not list(memories.iter_all_memories())


class Uncopied(dict[str, Any]):
    """A part of an object that nobody may copy."""

    def __deepcopy__(self, memo: object) -> Uncopied:
        """Say that somebody does."""
        raise AssertionError("the object was copied")


async def test_kopf_copies_no_object_to_find_out_what_changed() -> None:
    """Only handlers of changes would ask, and there are none: the two copies were half of what an event costs."""
    settings = kopf.OperatorSettings()
    configure(settings)
    body: Any = kopf.Body({"metadata": {"labels": Uncopied()}, "spec": Uncopied(version="1.0.0"), "status": {}})
    persistence = settings.persistence
    assert persistence.diffbase_storage.fetch(body=body) is None
    essence = persistence.diffbase_storage.build(body=body)
    assert persistence.progress_storage.clear(essence=essence) == {}


# --- an API server that was restored to an earlier state


async def test_a_restored_api_server_ends_the_run(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is newer than what there is: watches would stay silent for long, so the next start reads anew."""
    monkeypatch.setattr(engine_module, "_WATCHES_BEGIN", 1.0)

    def ahead(engine: Engine, kind: Kind, manifest: Manifest, *, deleted: bool = False) -> None:
        metadata = manifest["metadata"]
        later = {**metadata, "resourceVersion": str(int(metadata["resourceVersion"]) + 1_000_000)}
        OBSERVE(engine, kind, {**manifest, "metadata": later}, deleted=deleted)

    monkeypatch.setattr(Engine, "observe", ahead)
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.version("1.0.0")
        await one.prompt("1.0.0")

        async def run() -> None:
            try:
                await operate(one.settings, sources={}, stop=asyncio.Event())
            finally:
                await close_connections()

        with pytest.raises(WentBack, match=r"restored to an earlier state .*: this process ends"):
            await asyncio.wait_for(asyncio.to_thread(asyncio.run, run()), DEADLINE)
