"""What the store keeps of watch events, what it ignores, and whom it wakes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.builders import (
    NAMESPACE,
    PROMPT,
    T0,
    V1,
    V2,
    a_config_map,
    a_record_manifest,
    a_version_manifest,
)

from prompt_operator.api.common import API_VERSION, rfc3339
from prompt_operator.engine.store import Key, Name, Store
from prompt_operator.ports import (
    CONFIG_MAP,
    EXPERIMENT,
    PROMPT_POLICY,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    Kind,
    Manifest,
)
from prompt_operator.ports import PROMPT as PROMPT_KIND

NAME = Name(NAMESPACE, PROMPT)
KEY = Key("Prompt", NAMESPACE, PROMPT)


def a_prompt(version: str = V1, rv: int = 1, **extra: Any) -> Manifest:
    """Return a Prompt's manifest."""
    metadata = {"namespace": NAMESPACE, "name": PROMPT, "uid": "uid-1", "resourceVersion": str(rv), "generation": 1}
    metadata |= extra.pop("metadata", {})
    return {"apiVersion": API_VERSION, "kind": "Prompt", "metadata": metadata, "spec": {"version": version} | extra}


def a_policy(name: str = "default", rv: int = 1, **spec: Any) -> Manifest:
    """Return a PromptPolicy's manifest."""
    metadata = {"namespace": NAMESPACE, "name": name, "uid": f"uid-{name}", "resourceVersion": str(rv), "generation": 1}
    return {"apiVersion": API_VERSION, "kind": "PromptPolicy", "metadata": metadata, "spec": spec}


def at(manifest: Manifest, rv: int) -> Manifest:
    """Return an object at a resourceVersion."""
    return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(rv)}}


OBJECTS: list[tuple[Kind, Manifest, set[Key]]] = [
    (PROMPT_KIND, a_prompt(), {KEY}),
    (PROMPT_VERSION, a_version_manifest(V1), {KEY, Key("PromptVersion", NAMESPACE, f"{PROMPT}-{V1}")}),
    (PROMPT_ROLLBACK, a_record_manifest(), {KEY}),
    (CONFIG_MAP, a_config_map(V1), {KEY}),
    (PROMPT_POLICY, a_policy(), {Key("PromptPolicy", NAMESPACE, "default")}),
    (EXPERIMENT, a_policy("ab"), {Key("Experiment", NAMESPACE, "ab")}),
]
IDS = [kind.kind for kind, _, _ in OBJECTS]


@pytest.mark.parametrize(("kind", "manifest", "woken"), OBJECTS, ids=IDS)
def test_whom_a_change_wakes(kind: Kind, manifest: Manifest, woken: set[Key]) -> None:
    """Each object wakes its prompt, and itself where it has a status of its own."""
    store = Store()
    assert set(store.observe(kind, manifest)) == woken


@pytest.mark.parametrize(("kind", "manifest", "woken"), OBJECTS, ids=IDS)
def test_a_deletion_wakes_the_same(kind: Kind, manifest: Manifest, woken: set[Key]) -> None:
    """And leaves nothing behind; twice is once."""
    store, metadata = Store(), manifest["metadata"]
    store.observe(kind, manifest)
    assert set(store.forget(kind, NAMESPACE, metadata["name"], metadata["uid"])) == woken
    assert store.forget(kind, NAMESPACE, metadata["name"], metadata["uid"]) == ()
    assert set(store.sizes().values()) == {0}


@pytest.mark.parametrize(("kind", "manifest", "_woken"), OBJECTS, ids=IDS)
def test_the_deletion_of_an_earlier_object_is_ignored(kind: Kind, manifest: Manifest, _woken: set[Key]) -> None:
    """Deleted and created again: the late event belongs to another uid."""
    store = Store()
    store.observe(kind, manifest)
    assert store.forget(kind, NAMESPACE, manifest["metadata"]["name"], "uid-before") == ()
    assert sum(store.sizes().values()) == 1


@pytest.mark.parametrize("rv", [9, 10])
def test_older_news_changes_nothing(rv: int) -> None:
    """Resource versions are compared as numbers: 9 is before 10."""
    store = Store()
    store.observe(PROMPT_KIND, a_prompt(V2, rv=10))
    assert store.observe(PROMPT_KIND, a_prompt(V1, rv=rv)) == ()
    assert store.prompts[NAME].parsed().spec.version == V2


def test_an_object_created_again_is_taken_whatever_its_number() -> None:
    """Another uid is another object."""
    store = Store()
    store.observe(PROMPT_KIND, a_prompt(V2, rv=10))
    assert store.observe(PROMPT_KIND, a_prompt(V1, rv=5, metadata={"uid": "uid-2"}))
    assert store.prompts[NAME].parsed().spec.version == V1


def test_what_no_decision_rests_on_wakes_nobody() -> None:
    """A label, or a resync with a new resourceVersion, is taken in silently."""
    store = Store()
    store.observe(PROMPT_VERSION, a_version_manifest(V1))
    labelled = at(a_version_manifest(V1), 2)
    labelled["metadata"]["labels"] = {"team": "shop"}
    assert store.observe(PROMPT_VERSION, labelled) == ()
    assert store.versions[Name(NAMESPACE, f"{PROMPT}-{V1}")].resource_version == "2"


def test_a_version_that_moves_to_another_prompt_wakes_both() -> None:
    """Deleted and created again for another prompt under the same name."""
    store = Store()
    store.observe(CONFIG_MAP, a_config_map(V1))
    moved = at(a_config_map(V1), 2)
    moved["metadata"]["labels"] = moved["metadata"]["labels"] | {"promptops.dev/prompt": "other"}
    assert {key.name for key in store.observe(CONFIG_MAP, moved)} == {PROMPT, "other"}
    assert list(store.config_maps_of(NAME)) == []


def test_a_policy_wakes_the_prompts_under_it() -> None:
    """By name, or the one named default for those that name none; never those of another namespace."""
    store = Store()
    store.observe(PROMPT_KIND, a_prompt())
    named = a_prompt(policyRef={"name": "strict"})
    named["metadata"] |= {"name": "second", "uid": "uid-2"}
    other = a_prompt()
    other["metadata"] |= {"namespace": "elsewhere", "uid": "uid-3"}
    store.observe(PROMPT_KIND, named)
    store.observe(PROMPT_KIND, other)
    assert KEY in store.observe(PROMPT_POLICY, a_policy())
    woken = store.observe(PROMPT_POLICY, a_policy("strict"))
    assert set(woken) == {Key("PromptPolicy", NAMESPACE, "strict"), Key("Prompt", NAMESPACE, "second")}


def test_which_policy_a_prompt_is_under() -> None:
    """The named one, else default, else none; a named one that is missing is told by its name."""
    store = Store()
    store.observe(PROMPT_KIND, a_prompt(policyRef={"name": "strict"}))
    assert store.policy_of(store.prompts[NAME], NAMESPACE) == (None, "strict")
    store.observe(PROMPT_POLICY, a_policy("strict", mode="Fallback"))
    spec, missing = store.policy_of(store.prompts[NAME], NAMESPACE)
    assert spec is not None
    assert (spec.mode, missing) == ("Fallback", "")
    store.observe(PROMPT_KIND, a_prompt(rv=2))
    assert store.policy_of(store.prompts[NAME], NAMESPACE) == (None, "")


def test_a_policy_that_cannot_be_read_keeps_its_last_form() -> None:
    """Written under another CRD: what was valid stays in force, and the problem is kept to be told."""
    store = Store()
    store.observe(PROMPT_POLICY, a_policy(mode="Fallback"))
    store.observe(PROMPT_POLICY, a_policy(rv=2, mode="Sideways"))
    record = store.policies[Name(NAMESPACE, "default")]
    assert record.spec is not None
    assert record.spec.mode == "Fallback"
    assert "spec.mode" in record.problem


def test_who_wanted_the_version_is_read_from_managed_fields() -> None:
    """The newest manager that owns spec.version."""
    fields: dict[str, Any] = {"f:spec": {"f:version": {}}}
    managed = [
        {"manager": "kubectl", "time": "2026-11-21T08:00:00Z", "fieldsV1": fields},
        {"manager": "argocd", "time": "2026-11-21T09:00:00Z", "fieldsV1": fields},
        {"manager": "prompt-operator-status", "time": "2026-11-21T10:00:00Z", "fieldsV1": {"f:status": {}}},
    ]
    store = Store()
    store.observe(PROMPT_KIND, a_prompt(metadata={"managedFields": managed}))
    assert store.prompts[NAME].desired_by == "argocd"


def test_no_text_is_kept() -> None:
    """Neither of a version nor of a ConfigMap: the store holds digests."""
    store = Store()
    secret = "the house recipe"
    store.observe(PROMPT_VERSION, a_version_manifest(V1, text=secret))
    manifest = a_config_map(V1)
    manifest["data"]["prompt.txt"] = secret
    store.observe(CONFIG_MAP, manifest)
    assert secret not in repr(vars(store))


def test_facts_do_not_change_under_a_decision() -> None:
    """What was gathered stays as it was, whatever the watch brings meanwhile."""
    store = Store()
    store.observe(PROMPT_VERSION, a_version_manifest(V1))
    before = store.versions_of(NAME)
    store.observe(PROMPT_VERSION, at(a_version_manifest(V1, stage="Deprecated"), 2))
    assert before[V1].stage == "Staged"
    assert store.versions_of(NAME)[V1].stage == "Deprecated"


@pytest.mark.parametrize(("kind", "counted"), [("Rollback", True), ("ManualRollback", False)])
def test_a_rollback_counts_before_its_record_is_written(kind: str, counted: bool) -> None:  # noqa: FBT001  a factor
    """Over the whole cluster: by rule only, once with its record, and no more when the prompt is gone."""
    store = Store()
    decision = {"id": "record-1", "kind": kind, "decision": "Executed", "from": V2, "to": V1, "at": rfc3339(T0)}
    store.observe(PROMPT_KIND, a_prompt() | {"status": {"decision": decision}})
    expected = {Name(NAMESPACE, "record-1"): T0} if counted else {}
    assert store.automatic_rollbacks() == expected
    if counted:
        store.observe(PROMPT_ROLLBACK, a_record_manifest("record-1"))
        assert store.automatic_rollbacks() == expected
        store.forget(PROMPT_ROLLBACK, NAMESPACE, "record-1", "uid-record-1")
    store.forget(PROMPT_KIND, NAMESPACE, PROMPT, "uid-1")
    assert store.automatic_rollbacks() == {}
