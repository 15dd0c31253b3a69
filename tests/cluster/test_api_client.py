"""`ApiCluster` on a real API server: the answers that the engine's guarantees stand on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from prompt_operator.adapters import credentials
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.adapters.events import EVENT, EventRecorder
from prompt_operator.ports import CONFIG_MAP, PROMPT, Conflict, GiveUp, Happening, Manifest, NotFound
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devcluster.cluster import Cluster

MANAGER = "prompt-operator-projection"


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[ApiCluster]:
    """Our client as the administrator."""
    access = credentials.load(str(cluster.kubeconfig))
    async with ApiCluster(access, Telemetry(), SystemClock(), version="test") as client:
        yield client


def config_map(namespace: str, name: str = "prompt-greeting", text: str = "hello", **metadata: Any) -> Manifest:
    """Return a ConfigMap to apply."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "data": {"prompt.txt": text},
    }


def prompt(namespace: str, name: str = "greeting", **body: Any) -> Manifest:
    """Return a Prompt."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": PROMPT.api_version, "kind": PROMPT.kind, "metadata": metadata, **body}


async def test_an_equal_apply_changes_nothing(api: ApiCluster, namespace: str) -> None:
    """The resourceVersion stays; a changed apply moves it; both work with the current one in the body."""
    first = await api.apply(CONFIG_MAP, config_map(namespace), manager=MANAGER)
    version = first["metadata"]["resourceVersion"]
    again = await api.apply(CONFIG_MAP, config_map(namespace, resourceVersion=version), manager=MANAGER)
    changed = await api.apply(CONFIG_MAP, config_map(namespace, text="new", resourceVersion=version), manager=MANAGER)
    assert again["metadata"]["resourceVersion"] == version
    assert changed["metadata"]["resourceVersion"] != version
    assert (await api.get(CONFIG_MAP, namespace, "prompt-greeting"))["data"] == {"prompt.txt": "new"}


@pytest.mark.parametrize("text", ["hello", "new"])
async def test_a_stale_resource_version_is_a_conflict(api: ApiCluster, namespace: str, text: str) -> None:
    """Force does not get past it, whether the content would change or not."""
    old = await api.apply(CONFIG_MAP, config_map(namespace, text="old"), manager=MANAGER)
    await api.apply(CONFIG_MAP, config_map(namespace), manager=MANAGER)
    stale = config_map(namespace, text=text, resourceVersion=old["metadata"]["resourceVersion"])
    with pytest.raises(Conflict, match="409 Conflict"):
        await api.apply(CONFIG_MAP, stale, manager=MANAGER)


async def test_a_resource_version_does_not_stop_a_create_but_a_uid_does(api: ApiCluster, namespace: str) -> None:
    """What was deleted meanwhile is only safe from resurrection with its uid in the body."""
    live = await api.apply(CONFIG_MAP, config_map(namespace), manager=MANAGER)
    uid, version = live["metadata"]["uid"], live["metadata"]["resourceVersion"]
    await api.delete(CONFIG_MAP, namespace, "prompt-greeting", uid=uid)
    with pytest.raises(Conflict, match="409 Conflict"):
        await api.apply(CONFIG_MAP, config_map(namespace, uid=uid), manager=MANAGER)
    with pytest.raises(NotFound):
        await api.get(CONFIG_MAP, namespace, "prompt-greeting")
    created = await api.apply(CONFIG_MAP, config_map(namespace, resourceVersion=version), manager=MANAGER)
    assert created["metadata"]["uid"] != uid


async def test_without_force_a_foreign_field_is_a_conflict(api: ApiCluster, namespace: str) -> None:
    """The refusal names the owner; with force the field is taken over."""
    await api.apply(CONFIG_MAP, config_map(namespace), manager="somebody")
    with pytest.raises(Conflict, match="somebody"):
        await api.apply(CONFIG_MAP, config_map(namespace, text="ours"), manager=MANAGER, force=False)
    taken = await api.apply(CONFIG_MAP, config_map(namespace, text="ours"), manager=MANAGER)
    assert taken["data"] == {"prompt.txt": "ours"}


async def test_create_meets_what_exists(api: ApiCluster, namespace: str) -> None:
    """The first create returns the object, the second None, and the object is the first one's."""
    assert await api.create(CONFIG_MAP, config_map(namespace)) is not None
    assert await api.create(CONFIG_MAP, config_map(namespace, text="second")) is None
    assert (await api.get(CONFIG_MAP, namespace, "prompt-greeting"))["data"] == {"prompt.txt": "hello"}


async def test_delete_means_one_uid(api: ApiCluster, namespace: str) -> None:
    """Another uid is a conflict and keeps the object; the right one deletes it; a second time is fine."""
    live = await api.apply(CONFIG_MAP, config_map(namespace), manager=MANAGER)
    uid = live["metadata"]["uid"]
    with pytest.raises(Conflict):
        await api.delete(CONFIG_MAP, namespace, "prompt-greeting", uid="00000000-0000-0000-0000-000000000000")
    await api.delete(CONFIG_MAP, namespace, "prompt-greeting", uid=uid)
    await api.delete(CONFIG_MAP, namespace, "prompt-greeting", uid=uid)
    with pytest.raises(NotFound):
        await api.get(CONFIG_MAP, namespace, "prompt-greeting")


async def test_json_patch_tests_before_it_changes(api: ApiCluster, namespace: str) -> None:
    """A failed test is a conflict, a missing path too; what breaks the schema is not; a good patch is done."""
    live = await api.apply(CONFIG_MAP, config_map(namespace), manager=MANAGER)
    version = live["metadata"]["resourceVersion"]
    fenced = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    add = {"op": "add", "path": "/data/foreign", "value": "x"}
    patched = await api.json_patch(CONFIG_MAP, namespace, "prompt-greeting", [fenced, add])
    assert patched["data"]["foreign"] == "x"
    for operations in ([fenced, add], [{"op": "remove", "path": "/data/missing"}]):
        with pytest.raises(Conflict, match="422"):
            await api.json_patch(CONFIG_MAP, namespace, "prompt-greeting", operations)
    bad = {"op": "add", "path": "/data/not a key", "value": "x"}
    with pytest.raises(GiveUp, match="422 Invalid"):
        await api.json_patch(CONFIG_MAP, namespace, "prompt-greeting", [bad])


async def test_status_is_a_subresource(api: ApiCluster, namespace: str) -> None:
    """A missing object is NotFound; the status is written, a spec beside it is ignored; conditions merge by type."""
    ready = {"type": "Ready", "status": "True", "reason": "Projected", "message": ""}
    ready["lastTransitionTime"] = "2026-11-21T12:00:00Z"
    body = prompt(namespace, spec={"version": "2.0.0"}, status={"conditions": [ready]})
    with pytest.raises(NotFound):
        await api.apply(PROMPT, body, manager="a", subresource="status")
    await api.create(PROMPT, prompt(namespace, spec={"version": "1.0.0"}))
    await api.apply(PROMPT, body, manager="a", subresource="status")
    other = prompt(namespace, status={"conditions": [ready | {"type": "Reconciling"}]})
    live = await api.apply(PROMPT, other, manager="b", subresource="status")
    assert live["spec"]["version"] == "1.0.0"
    assert {condition["type"] for condition in live["status"]["conditions"]} == {"Ready", "Reconciling"}


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_an_undeclared_field_is_given_up(api: ApiCluster, namespace: str, subresource: str) -> None:
    """The server answers 500; trying again would never help."""
    await api.create(PROMPT, prompt(namespace, spec={"version": "1.0.0"}))
    surprise: dict[str, Any] = {"spec": {"version": "1.0.0", "surprise": "x"}}
    block = {"status": {"surprise": "x"}} if subresource else surprise
    with pytest.raises(GiveUp, match="field not declared in schema"):
        await api.apply(PROMPT, prompt(namespace, **block), manager="a", subresource=subresource)


async def test_a_refused_value_is_not_repeated_in_the_error(api: ApiCluster, namespace: str) -> None:
    """The server quotes what it refuses; our message names the field only."""
    with pytest.raises(GiveUp) as caught:
        await api.create(PROMPT, prompt(namespace, spec={"version": "You are a helpful assistant"}))
    assert "spec.version" in str(caught.value)
    assert "helpful" not in str(caught.value)


async def test_lists_of_more_than_a_page(api: ApiCluster, namespace: str) -> None:
    """1,020 objects come once each, whole or as metadata, in one namespace or filtered by label over all."""
    names = {f"config-{number:04}" for number in range(1020)}
    labels = {"test": namespace}
    await asyncio.gather(
        *(api.apply(CONFIG_MAP, config_map(namespace, name, labels=labels), manager=MANAGER) for name in names)
    )
    whole = [item async for item in api.list(CONFIG_MAP, labels=f"test={namespace}")]
    slim = [item async for item in api.list(CONFIG_MAP, namespace=namespace, labels="test", metadata_only=True)]
    assert sorted(item["metadata"]["name"] for item in whole) == sorted(names)
    assert {item["kind"] for item in (*whole, *slim)} == {"ConfigMap"}
    assert {item["metadata"]["name"] for item in slim} == names
    assert all("data" in item for item in whole)
    assert all("data" not in item for item in slim)


async def test_the_servers_clock_is_ours(api: ApiCluster, namespace: str) -> None:
    """On one machine the difference is about nothing."""
    await api.create(CONFIG_MAP, config_map(namespace))
    assert api.server_skew == pytest.approx(0.0, abs=2.0)


async def test_a_token_the_server_does_not_know_is_refused(cluster: Cluster, namespace: str) -> None:
    """The server's 401 reaches the caller as trouble that may pass, after one try with a renewed token."""
    access = credentials.load(str(cluster.kubeconfig))

    async def wrong(_: bool) -> str:  # noqa: FBT001
        return "Bearer nobody"

    stranger = credentials.Credentials(access.server, access.tls, wrong, access.server_hostname)
    telemetry = Telemetry()
    async with ApiCluster(stranger, telemetry, SystemClock(), version="test") as client:
        with pytest.raises(Exception, match="401 Unauthorized"):
            await client.get(CONFIG_MAP, namespace, "x")
    labels = {"verb": "get", "code": "401"}
    assert telemetry.registry.get_sample_value("prompt_operator_api_requests_total", labels) == 2


async def test_events_are_accepted_and_counted_on(api: ApiCluster, namespace: str) -> None:
    """The server accepts the Event and its series; a restarted recorder goes on with the same object."""
    live = await api.create(PROMPT, prompt(namespace, spec={"version": "1.0.0"}))
    assert live is not None
    regarding = {"apiVersion": PROMPT.api_version, "kind": "Prompt", "namespace": namespace, "name": "greeting"}
    happening = Happening(regarding | {"uid": live["metadata"]["uid"]}, "Normal", "Projected", "Project", "é" * 2000)
    for _ in range(2):
        recorder = EventRecorder(api, SystemClock(), Telemetry(), instance="test", jitter=lambda: 0.0)
        async with recorder:
            recorder.publish(happening)
            recorder.publish(happening)
    events = [item async for item in api.list(EVENT, namespace=namespace)]
    (event,) = [item for item in events if item["reportingController"] == "promptops.dev/prompt-operator"]
    assert event["series"]["count"] == 4
    assert event["regarding"]["uid"] == live["metadata"]["uid"]
