"""The ConfigMap that applications read, on a real API server: its bytes, whose it is, and that it stays as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import delete, edit, healed, message, mount, until_condition, until_settled, until_watching
from tests.cluster.operating import Operated, operated

from prompt_client.client import Client
from prompt_operator.core.projection import MANAGER
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from devcluster.cluster import Cluster
    from prompt_operator.ports import Manifest

NAME = "prompt-greeting"
TEXT = "Text of 1.0.0: greet {{ name }}."
MESSAGES = [{"role": "System", "content": "Be brief: “ja”."}, {"role": "User", "content": "{{ name }}\n"}]


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator that runs in an empty namespace."""
    async with operated(cluster.kubeconfig, namespace) as one:
        yield await one.start()


@pytest.fixture
async def greeting(operator: Operated) -> Operated:
    """The same, with greeting 1.0.0 served."""
    await operator.version("1.0.0")
    await operator.prompt("1.0.0")
    await operator.until_served("1.0.0")
    await operator.settle()
    return operator


async def read(operator: Operated, name: str = NAME) -> Manifest:
    """Return the ConfigMap, which must be there."""
    return await operator.get(CONFIG_MAP, name)


def essence(config_map: Manifest) -> dict[str, Any]:
    """Return what the operator promises of a ConfigMap, without the server's own fields."""
    metadata = config_map["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences")}
    return {"data": config_map.get("data"), "binaryData": config_map.get("binaryData"), **kept}


def content_hash(members: str) -> str:
    """Return the content hash of a canonical JSON, computed as the contract says it."""
    return "sha256:" + hashlib.sha256(f"promptops.dev/hash/v1\n{members}".encode()).hexdigest()


# --- what it says


async def test_a_text_is_projected_byte_by_byte_as_the_contract_says(greeting: Operated) -> None:
    """Keys, canonical JSON, hash, labels and annotations are exactly those of the wire contract."""
    config_map = await read(greeting)
    digest, revision = (
        content_hash(f'{{"text":"{TEXT}"}}'),
        config_map["metadata"]["annotations"]["promptops.dev/revision"],
    )
    assert config_map["data"] == {
        "prompt.txt": TEXT,
        "version": "1.0.0",
        "hash": digest,
        "mode": "Active",
        "prompt.json": '{"active":"1.0.0","allocation":null,"apiVersion":"promptops.dev/wire/v1","mode":"Active",'
        f'"prompt":{{"name":"greeting","namespace":"{greeting.namespace}"}},"revision":{revision},"shadow":null,'
        f'"versions":{{"1.0.0":{{"engine":"Simple","hash":"{digest}","text":"{TEXT}"}}}}}}',
    }
    assert config_map["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "prompt-operator",
        "promptops.dev/prompt": "greeting",
    }
    assert config_map["metadata"]["annotations"] == {
        "promptops.dev/content-hash": digest,
        "promptops.dev/version": "1.0.0",
        "promptops.dev/revision": revision,
    }


async def test_messages_are_projected_byte_by_byte(operator: Operated) -> None:
    """A version of messages has messages.json instead of prompt.txt; text beyond ASCII stays as it is."""
    await operator.version("1.0.0", messages=MESSAGES, variables=[{"name": "name", "required": True}])
    await operator.prompt("1.0.0")
    await operator.until_served("1.0.0")
    messages = '[{"content":"Be brief: “ja”.","role":"System"},{"content":"{{ name }}\\n","role":"User"}]'
    variables = '[{"name":"name","required":true}]'
    data = (await read(operator))["data"]
    assert set(data) == {"messages.json", "version", "hash", "mode", "prompt.json"}
    assert data["messages.json"] == messages
    assert data["hash"] == content_hash(f'{{"messages":{messages},"variables":{variables}}}')
    assert (
        f'"versions":{{"1.0.0":{{"engine":"Simple","hash":"{data["hash"]}","messages":{messages},'
        f'"variables":{variables}}}}}' in data["prompt.json"]
    )


async def test_it_is_applied_by_its_manager_and_owned_by_the_prompt(greeting: Operated) -> None:
    """One field manager, by server-side apply; the Prompt is the controlling owner; status names the same."""
    config_map, prompt = await read(greeting), await greeting.get(PROMPT, "greeting")
    assert [(entry["manager"], entry["operation"]) for entry in config_map["metadata"]["managedFields"]] == [
        (MANAGER, "Apply")
    ]
    (owner,) = config_map["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "promptops.dev/v1alpha1",
        "kind": "Prompt",
        "name": "greeting",
        "uid": prompt["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    projection = prompt["status"]["projection"]
    assert (projection["configMap"], str(projection["revision"]), projection["contentHash"]) == (
        NAME,
        config_map["metadata"]["annotations"]["promptops.dev/revision"],
        config_map["data"]["hash"],
    )


async def test_the_client_reads_it(greeting: Operated, tmp_path: Path) -> None:
    """prompt_client loads the very bytes, checks their hash and renders them."""
    mount(await read(greeting), tmp_path / "greeting")
    with Client(tmp_path, reload="off", fallbacks={"greeting": "built in"}) as client:
        prompt = client.get("greeting")
        assert (prompt.version, prompt.is_fallback) == ("1.0.0", False)
        assert prompt.render(name="Ada") == "Text of 1.0.0: greet Ada."


async def test_bytes_are_the_same_after_a_restart_and_a_deletion(greeting: Operated) -> None:
    """The same state renders to the same bytes in another process run, revision included."""
    before = await read(greeting)
    await greeting.stop()
    await delete(greeting, CONFIG_MAP, NAME)
    await greeting.start()
    await greeting.until_served("1.0.0")
    assert essence(await read(greeting)) == essence(before)


async def test_the_revision_grows_with_each_change(greeting: Operated) -> None:
    """Another version, Fallback and back: each change has a greater revision, and no two contents share one."""
    await greeting.version("1.1.0")
    revisions = [int((await read(greeting))["metadata"]["annotations"]["promptops.dev/revision"])]
    for version, mode in (("1.1.0", "Active"), ("1.1.0", "Fallback"), ("1.1.0", "Active"), ("1.0.0", "Active")):
        await greeting.prompt(version, mode=mode)
        await until_settled(greeting)
        config_map = await read(greeting)
        assert (config_map["data"]["version"], config_map["data"]["mode"]) == (version, mode)
        revisions.append(int(config_map["metadata"]["annotations"]["promptops.dev/revision"]))
    assert revisions == sorted(set(revisions))


# --- that it stays so


Edit = tuple[str, str, Any]
EDITS: dict[str, list[Edit]] = {
    "text changed": [("replace", "/data/prompt.txt", "Evil.")],
    "prompt.json changed": [("replace", "/data/prompt.json", "{}")],
    "mode changed": [("replace", "/data/mode", "Fallback")],
    "key removed": [("remove", "/data/hash", None)],
    "all data removed": [("remove", "/data", None)],
    "foreign key added": [("add", "/data/extra.txt", "x")],
    "foreign key with a slash's escape": [("add", "/data/a..b_-c", "x")],
    "binaryData added": [("add", "/binaryData", {"blob": base64.b64encode(b"\x00\xff").decode()})],
    "content-hash annotation changed": [("replace", "/metadata/annotations/promptops.dev~1content-hash", "sha256:0")],
    "revision annotation removed": [("remove", "/metadata/annotations/promptops.dev~1revision", None)],
    "all annotations removed": [("remove", "/metadata/annotations", None)],
    "prompt label changed": [("replace", "/metadata/labels/promptops.dev~1prompt", "other")],
    "prompt label removed": [("remove", "/metadata/labels/promptops.dev~1prompt", None)],
    "managed-by label removed": [("remove", "/metadata/labels/app.kubernetes.io~1managed-by", None)],
    "managed-by label changed": [("replace", "/metadata/labels/app.kubernetes.io~1managed-by", "Helm")],
    "all labels removed": [("remove", "/metadata/labels", None)],
    "ownerReference removed": [("remove", "/metadata/ownerReferences", None)],
    "labels and owner removed": [("remove", "/metadata/labels", None), ("remove", "/metadata/ownerReferences", None)],
    "made immutable": [("add", "/immutable", True)],
    "changed and made immutable": [("replace", "/data/prompt.txt", "Evil."), ("add", "/immutable", True)],
    "everything at once": [
        ("replace", "/data/prompt.txt", "Evil."),
        ("add", "/data/extra.txt", "x"),
        ("remove", "/metadata/ownerReferences", None),
        ("remove", "/metadata/annotations", None),
    ],
}


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS.keys())
async def test_a_hand_edit_is_put_back_at_once_and_counted(greeting: Operated, edits: list[Edit]) -> None:
    """Data, labels, annotations and owner are exactly as before; tampering is counted and told as an Event."""
    before, counted = await read(greeting), healed(greeting)
    edited = await edit(greeting, NAME, *edits)
    assert essence(edited) != essence(before) or edited.get("immutable")

    async def as_before() -> bool:
        now = await greeting.config_map()
        return now is not None and essence(now) == essence(before) and not now.get("immutable")

    await greeting.until(as_before)
    await greeting.settle()
    assert healed(greeting) > counted
    assert await as_before()


async def test_a_deleted_one_comes_back_at_once_and_is_counted(greeting: Operated) -> None:
    """The same bytes under a new uid."""
    await until_watching(greeting)
    before, counted = await read(greeting), healed(greeting)
    uid = await delete(greeting, CONFIG_MAP, NAME)

    async def back() -> Manifest | None:
        return await greeting.config_map()

    after = await greeting.until(back)
    await greeting.settle()
    assert after is not None
    assert after["metadata"]["uid"] != uid
    assert essence(after) == essence(before)
    assert healed(greeting) > counted


async def test_a_consistent_forgery_is_put_back(greeting: Operated) -> None:
    """Another content with its own right hash in every place: it proves itself, but it is not what was activated."""
    before = await read(greeting)
    forged = "Evil, with papers in order."
    digest = content_hash(f'{{"text":"{forged}"}}')
    document = json.loads(before["data"]["prompt.json"])
    document["versions"]["1.0.0"] |= {"text": forged, "hash": digest}
    await edit(
        greeting,
        NAME,
        ("replace", "/data/prompt.txt", forged),
        ("replace", "/data/hash", digest),
        ("replace", "/data/prompt.json", json.dumps(document, separators=(",", ":"), sort_keys=True)),
        ("replace", "/metadata/annotations/promptops.dev~1content-hash", digest),
    )

    async def put_back() -> bool:
        return bool((await read(greeting))["data"]["prompt.txt"] == TEXT)

    await greeting.until(put_back)
    await greeting.settle()
    after = await read(greeting)
    # The forgery was a publication that clients may have loaded: what follows it is newer, and says so.
    assert after["data"]["hash"] == before["data"]["hash"]
    assert healed(greeting) >= 1


async def test_foreign_labels_and_annotations_are_left_alone(greeting: Operated) -> None:
    """Argo CD's labels, a team's annotations: no write of ours follows, and they survive the next projection."""
    edited = await edit(
        greeting,
        NAME,
        ("add", "/metadata/labels/team", "support"),
        ("add", "/metadata/annotations/example.org~1note", "mine"),
    )
    await greeting.look_again()
    assert (await read(greeting))["metadata"]["resourceVersion"] == edited["metadata"]["resourceVersion"]
    await greeting.version("1.1.0")
    await greeting.prompt("1.1.0")
    await greeting.until_served("1.1.0")
    metadata = (await read(greeting))["metadata"]
    assert metadata["labels"]["team"] == "support"
    assert metadata["annotations"]["example.org/note"] == "mine"
    assert healed(greeting) == 0


# --- whose it is


async def foreign(operator: Operated, name: str = NAME, **metadata: Any) -> Manifest:
    """Put a ConfigMap of somebody else under a name."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": operator.namespace, **metadata},
        "data": {"prompt.txt": "mine"},
    }
    created = await operator.api.create(CONFIG_MAP, body)
    assert created is not None
    return created


OUR_LABELS = {"app.kubernetes.io/managed-by": "prompt-operator", "promptops.dev/prompt": "greeting"}
OTHERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with labels of another": {"labels": OUR_LABELS | {"app.kubernetes.io/managed-by": "Helm"}},
    "of another Prompt": {"labels": OUR_LABELS | {"promptops.dev/prompt": "bye"}},
}


@pytest.mark.parametrize("metadata", OTHERS.values(), ids=OTHERS.keys())
async def test_a_foreign_one_is_never_taken_over(operator: Operated, metadata: dict[str, Any]) -> None:
    """ConfigMapConflict says what to do; the foreign object is not touched, whatever is tried."""
    theirs = await foreign(operator, **metadata)
    await operator.version("1.0.0")
    await operator.prompt("1.0.0")
    found = await until_condition(operator, "Ready", "ConfigMapConflict")
    assert (found["Stalled"], found["Serving"]) == ("True ConfigMapConflict", "False NothingServed")
    assert "spec.delivery.configMapName" in message(await operator.status(), "Ready")
    await operator.look_again()
    assert await read(operator) == theirs


async def test_one_of_another_controller_is_not_ours_by_its_labels(operator: Operated) -> None:
    """Our labels on it, but another object controls it: left alone."""
    owner = await foreign(operator, "owner")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await operator.version("1.0.0")
    theirs = await foreign(operator, labels=OUR_LABELS, ownerReferences=[reference | {"controller": True}])
    await operator.prompt("1.0.0")
    await until_condition(operator, "Ready", "ConfigMapConflict")
    assert await read(operator) == theirs


async def test_the_projection_appears_when_the_foreign_one_is_gone(operator: Operated) -> None:
    """Nothing watches a foreign ConfigMap: a look once a minute finds that it was deleted."""
    await foreign(operator)
    await operator.version("1.0.0")
    await operator.prompt("1.0.0")
    await until_condition(operator, "Ready", "ConfigMapConflict")
    await delete(operator, CONFIG_MAP, NAME)
    await operator.look_again()
    await operator.until_served("1.0.0")
    assert (await until_condition(operator, "Ready", "Active")).keys().isdisjoint({"Stalled", "Reconciling"})


async def test_a_restored_one_is_adopted(operator: Operated) -> None:
    """A backup brings our ConfigMap back with the owner reference of a Prompt that is gone: the owner is made right."""
    dead = {"apiVersion": "promptops.dev/v1alpha1", "kind": "Prompt", "name": "greeting", "controller": True}
    # A restore makes the Prompt first, or the garbage collector takes the ConfigMap: the dead owner is simulated on it.
    await operator.version("1.0.0")
    prompt = await operator.prompt("2.0.0")
    await foreign(
        operator,
        labels=OUR_LABELS,
        ownerReferences=[dead | {"uid": "5f3c0f3e-0000-4000-8000-000000000002"}],
    )
    await operator.prompt("1.0.0")
    await operator.until_served("1.0.0")
    await operator.settle()
    owners = (await read(operator))["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [prompt["metadata"]["uid"]]


async def test_two_prompts_that_ask_for_one_name(greeting: Operated) -> None:
    """The first keeps it, the second says so; when the second takes its own name it is served."""
    before = await read(greeting)
    await greeting.version("1.0.0", prompt="second")
    await greeting.prompt("1.0.0", name="second", delivery={"configMapName": NAME})
    await until_condition(greeting, "Ready", "ConfigMapConflict", "second")
    await greeting.look_again()
    assert await read(greeting) == before
    await greeting.prompt("1.0.0", name="second")
    await greeting.until_served("1.0.0", "second")
    assert await read(greeting) == before


async def test_a_changed_name_writes_the_new_one_and_removes_the_old(greeting: Operated) -> None:
    """The former ConfigMap would serve an old version for ever; it goes once the new one stands."""
    await greeting.prompt("1.0.0", delivery={"configMapName": "elsewhere"})

    async def moved() -> bool:
        return await greeting.served("elsewhere") == "1.0.0" and await greeting.config_map() is None

    await greeting.until(moved)
    await greeting.settle()
    assert (await greeting.status())["projection"]["configMap"] == "elsewhere"


async def test_a_name_changed_to_a_taken_one_keeps_the_old_projection(greeting: Operated) -> None:
    """Until the new name is free, applications keep what they have."""
    await foreign(greeting, "elsewhere")
    before = await read(greeting)
    await greeting.prompt("1.0.0", delivery={"configMapName": "elsewhere"})
    found = await until_condition(greeting, "Ready", "ConfigMapConflict")
    assert found["Serving"] == "True Active"
    assert await read(greeting) == before


# --- that the last good one stays


async def too_large(operator: Operated) -> str:
    """Make a version desired that does not fit a ConfigMap."""
    messages = [{"role": "User", "content": "x" * 65_000} for _ in range(8)]
    await operator.version("2.0.0", messages=messages)
    await operator.prompt("2.0.0")
    return "TooLarge"


async def missing(operator: Operated) -> str:
    """Make a version desired that does not exist."""
    await operator.prompt("2.0.0")
    return "VersionMissing"


async def draft(operator: Operated) -> str:
    """Make a Draft desired."""
    await operator.version("2.0.0", stage="Draft")
    await operator.prompt("2.0.0")
    return "VersionDraft"


async def wrong_hash(operator: Operated) -> str:
    """Make a version desired that declares another hash."""
    await operator.version("2.0.0", contentHash="sha256:" + "0" * 64)
    await operator.prompt("2.0.0")
    return "HashMismatch"


async def includes(operator: Operated) -> str:
    """Make a version desired that this release cannot put together."""
    await operator.version("2.0.0", includes=[{"promptRef": {"name": "tone"}, "version": "1.0.0"}])
    await operator.prompt("2.0.0")
    return "NotImplemented"


async def no_policy(operator: Operated) -> str:
    """Make a version desired under a policy that does not exist."""
    await operator.version("2.0.0")
    await operator.prompt("2.0.0", policyRef={"name": "strict"})
    return "PolicyNotFound"


async def recreated_with_other_content(operator: Operated) -> str:
    """Replace the active version by one of the same name that says something else."""
    await delete(operator, PROMPT_VERSION, "greeting-1.0.0")
    await operator.version("1.0.0", text="Evil.")
    return "HashMismatch"


async def deleted(operator: Operated) -> str:
    """Delete the active version."""
    await delete(operator, PROMPT_VERSION, "greeting-1.0.0")
    return "VersionMissing"


BAD_INPUTS = (too_large, missing, draft, wrong_hash, includes, no_policy, recreated_with_other_content, deleted)


@pytest.mark.parametrize("spoil", BAD_INPUTS, ids=lambda spoil: spoil.__name__)
async def test_the_last_good_projection_stays(greeting: Operated, spoil: Callable[[Operated], Awaitable[str]]) -> None:
    """Whatever is wrong with the desired version: Ready says it, Serving stays True, not a byte changes."""
    before = await read(greeting)
    reason = await spoil(greeting)
    found = await until_condition(greeting, "Ready", reason)
    await greeting.look_again()
    assert found["Ready"] == f"False {reason}"
    assert found["Serving"] == "True Active"
    assert await read(greeting) == before
    assert (await greeting.status())["activeVersion"] == "1.0.0"


@pytest.mark.parametrize("spoil", BAD_INPUTS, ids=lambda spoil: spoil.__name__)
async def test_it_is_back_after_the_input_is_good_again(
    greeting: Operated, spoil: Callable[[Operated], Awaitable[str]]
) -> None:
    """The good version desired again: Ready at once, without a trace of the trouble."""
    before = await read(greeting)
    await until_condition(greeting, "Ready", await spoil(greeting))
    if spoil is recreated_with_other_content:
        await delete(greeting, PROMPT_VERSION, "greeting-1.0.0")
    await greeting.version("1.0.0")
    await greeting.api.json_patch(
        PROMPT, greeting.namespace, "greeting", [{"op": "add", "path": "/spec", "value": {"version": "1.0.0"}}]
    )
    found = await until_condition(greeting, "Ready", "Active")
    await greeting.settle()
    assert found.keys().isdisjoint({"Stalled", "Reconciling"})
    assert essence(await read(greeting)) == essence(before)


async def test_too_large_is_told_with_figures(greeting: Operated) -> None:
    """The message has the size it would take and the size allowed."""
    await too_large(greeting)
    await until_condition(greeting, "Ready", "TooLarge")
    text = message(await greeting.status(), "Ready")
    assert "1000000" in text
    assert any(word.isdigit() and int(word) > 1_000_000 for word in text.split())


async def test_tampering_is_put_back_also_while_the_desired_version_is_missing(greeting: Operated) -> None:
    """The last good version is still there to be read: its projection is healed like any other."""
    before = await read(greeting)
    await missing(greeting)
    await until_condition(greeting, "Ready", "VersionMissing")
    await edit(greeting, NAME, ("replace", "/data/prompt.txt", "Evil."))

    async def as_before() -> bool:
        return essence(await read(greeting)) == essence(before)

    await greeting.until(as_before)


# --- deletion


async def test_deleting_the_prompt_removes_the_configmap(greeting: Operated) -> None:
    """The garbage collector follows the owner reference; the operator holds no finalizer and brings nothing back."""
    assert "finalizers" not in (await greeting.get(PROMPT, "greeting"))["metadata"]
    await delete(greeting, PROMPT, "greeting")

    async def gone() -> bool:
        return await greeting.config_map() is None

    await greeting.until(gone)
    await greeting.look_again()
    assert await gone()


async def test_a_prompt_deleted_and_created_again_at_once_is_served(greeting: Operated) -> None:
    """The garbage collector may take the old ConfigMap any moment: in the end one stands that the new Prompt owns."""
    before = await read(greeting)
    old = await delete(greeting, PROMPT, "greeting")
    new = (await greeting.prompt("1.0.0"))["metadata"]["uid"]
    assert new != old

    async def owned_by_the_new_one() -> bool:
        found = await greeting.config_map()
        owners = (found or {}).get("metadata", {}).get("ownerReferences", [])
        return [owner["uid"] for owner in owners] == [new]

    await greeting.until(owned_by_the_new_one)
    await greeting.until_served("1.0.0")
    after = await read(greeting)
    assert after["data"]["prompt.txt"] == TEXT
    revision = "promptops.dev/revision"
    assert int(after["metadata"]["annotations"][revision]) >= int(before["metadata"]["annotations"][revision])


async def test_a_namespace_that_goes_away_makes_no_noise(
    cluster: Cluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its objects vanish one by one in any order: no error is logged and nothing is retried without end."""
    doomed = f"{namespace}-doomed"
    cluster.kubectl("create", "namespace", doomed)
    async with operated(cluster.kubeconfig, doomed) as operator:
        await operator.start()
        for number in range(5):
            await operator.version("1.0.0", prompt=f"p{number}")
            await operator.prompt("1.0.0", name=f"p{number}")
            await operator.until_served("1.0.0", f"p{number}")
        cluster.kubectl("delete", "namespace", doomed, "--wait=false")

        async def empty() -> bool:
            assert operator.running is not None
            return not any(operator.running.engine.store.sizes().values())

        await operator.until(empty)
        await operator.settle()
        sizes = operator.running and operator.running.engine.queue.sizes()
        assert sizes == {"ready": 0, "running": 0, "delayed": 0, "failing": 0}
    ours = [record for record in caplog.records if record.name.startswith("prompt_operator")]
    assert [record.getMessage() for record in ours if record.levelno >= logging.WARNING] == []
