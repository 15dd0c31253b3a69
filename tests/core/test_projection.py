"""The ConfigMap: deterministic bytes that prove themselves, and what is seen of every kind of change to it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.builders import OWNER, PROMPT, V1, V2, a_config_map, a_spec, content_of, hash_of, observed

from prompt_client import wire
from prompt_operator.core.projection import Owner, Served, entry_of, foreign_keys, observe, render, size

if TYPE_CHECKING:
    from collections.abc import Callable

Manifest = dict[str, Any]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
JSON = st.recursive(st.none() | st.booleans() | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def test_equal_arguments_give_equal_bytes() -> None:
    """Rendering twice is the same to the byte, whatever order the members came in."""
    spec = a_spec(V1, variables=[{"name": "name", "required": True}], model={"provider": "stub", "name": "m"})
    turned = dict(reversed(spec.items()))
    served = Served(V1, hash_of(V1), "Active", 7)
    one, other = (render(OWNER, "prompt-greeting", served, entry_of(each)) for each in (spec, turned))
    assert json.dumps(one) == json.dumps(other)


@given(text=TEXTS, description=TEXTS)
@settings(deadline=None)
def test_what_is_rendered_is_intact_and_says_the_same(text: str, description: str) -> None:
    """Reading a rendered ConfigMap back gives what was served, for any text."""
    entry = entry_of(a_spec(V1, text=text, variables=[{"name": "a", "description": description}]))
    served = Served(V1, entry["hash"], "Active", 3)
    manifest = render(OWNER, "prompt-greeting", served, entry)
    manifest["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    seen = observe(manifest)
    assert seen.intact
    assert seen.served == served


@given(text=TEXTS, seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_the_entry_has_the_hash_of_the_spec(text: str, seed: int) -> None:
    """Operator and client compute the same hash, from the spec and from the entry on the wire."""
    spec = a_spec(V1, text=text, model={"provider": "stub", "seed": seed}, createdBy="ada", message="why")
    entry = entry_of(spec)
    assert entry["hash"] == wire.content_hash(spec) == wire.content_hash(entry)


def test_the_entry_carries_what_is_hashed_and_nothing_else() -> None:
    """Who made it and why is not content."""
    entry = entry_of(a_spec(V1, createdBy="ada", message="why", stage="Staged", variables=[]))
    assert set(entry) == {"hash", "engine", "text"}


def test_messages_stand_in_a_key_of_their_own() -> None:
    """A chat prompt has messages.json instead of prompt.txt."""
    spec = a_spec(V1, messages=[{"role": "User", "content": "Hello"}])
    del spec["text"]
    entry = entry_of(spec)
    data = render(OWNER, "prompt-greeting", Served(V1, entry["hash"], "Active", 1), entry)["data"]
    assert json.loads(data["messages.json"]) == spec["messages"]
    assert "prompt.txt" not in data


def test_fallback_carries_no_content() -> None:
    """Version and hash stay to be read; the text goes."""
    data = a_config_map(V1, mode="Fallback")["data"]
    assert set(data) == {"mode", "prompt.json", "version", "hash"}
    assert json.loads(data["prompt.json"])["versions"] == {}
    assert observed(V1, mode="Fallback").intact


def test_fallback_before_any_version() -> None:
    """Applications can be told to use their default before anything was ever active."""
    data = a_config_map("", mode="Fallback")["data"]
    assert set(data) == {"mode", "prompt.json"}
    assert observed("", mode="Fallback").intact


def test_the_keys_and_metadata_of_the_contract() -> None:
    """Labels, annotations and owner are those that the wire contract names."""
    manifest = a_config_map(V1)
    metadata = manifest["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "prompt-operator", "promptops.dev/prompt": PROMPT}
    assert metadata["annotations"] == {
        "promptops.dev/content-hash": hash_of(V1),
        "promptops.dev/version": V1,
        "promptops.dev/revision": "7",
    }
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Prompt", PROMPT, OWNER.uid, True)
    document = json.loads(manifest["data"]["prompt.json"])
    assert document["apiVersion"] == "promptops.dev/wire/v1"
    assert (document["active"], document["allocation"], document["shadow"]) == (V1, None, None)


def test_size_counts_bytes_of_keys_and_values() -> None:
    """As the API server does: UTF-8, not characters."""
    assert size({"data": {"ä": "€"}}) == 5


# --- what others do to it


def _value(manifest: Manifest) -> None:
    manifest["data"]["prompt.txt"] = "Say what I want."


def _document(manifest: Manifest) -> None:
    manifest["data"]["prompt.json"] = "{}"


def _no_json(manifest: Manifest) -> None:
    manifest["data"]["prompt.json"] = "not JSON"


def _version(manifest: Manifest) -> None:
    manifest["data"]["version"] = V2


def _hash(manifest: Manifest) -> None:
    manifest["data"]["hash"] = hash_of(V2)


def _mode(manifest: Manifest) -> None:
    manifest["data"]["mode"] = "Fallback"


def _gone(manifest: Manifest) -> None:
    del manifest["data"]["hash"]


def _key(manifest: Manifest) -> None:
    manifest["data"]["mine"] = "too"


def _binary(manifest: Manifest) -> None:
    manifest["binaryData"] = {"mine": "AAAA"}


def _annotation(manifest: Manifest) -> None:
    manifest["metadata"]["annotations"]["promptops.dev/version"] = V2


def _revision(manifest: Manifest) -> None:
    manifest["metadata"]["annotations"]["promptops.dev/revision"] = "99"


def _label(manifest: Manifest) -> None:
    del manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"]


def _text_in_document(manifest: Manifest) -> None:
    document = json.loads(manifest["data"]["prompt.json"])
    document["versions"][V1]["text"] = "Say what I want."
    manifest["data"]["prompt.json"] = json.dumps(document)


def _spaces(manifest: Manifest) -> None:
    manifest["data"]["prompt.json"] += " "


def _emptied(manifest: Manifest) -> None:
    del manifest["data"]


EDITS = (
    _value, _document, _no_json, _version, _hash, _mode, _gone, _key, _binary, _annotation, _revision, _label,
    _text_in_document, _spaces, _emptied,
)  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__.strip("_"))
def test_every_edit_is_seen(edit: Callable[[Manifest], None]) -> None:
    """Whatever is changed of what is ours, the ConfigMap no longer counts as intact."""
    manifest = a_config_map(V1)
    edit(manifest)
    assert not observe(manifest).intact


@given(path=st.sampled_from(("active", "versions", "mode", "revision", "prompt")), value=JSON)
@settings(deadline=None)
def test_no_document_is_too_odd_to_read(path: str, value: object) -> None:
    """Anything may stand in prompt.json: it is judged, never raised about."""
    manifest = a_config_map(V1)
    document = json.loads(manifest["data"]["prompt.json"])
    manifest["data"]["prompt.json"] = json.dumps(document | {path: value})
    seen = observe(manifest)
    assert not seen.intact or document[path] == value


@pytest.mark.parametrize(
    "document", ["[" * 100_000, '{"active": "", "versions": {}, "mode": "Fallback", "revision": 1e999}']
)
def test_documents_that_break_readers(document: str) -> None:
    """Nesting without end and a number beyond all bounds are seen as edits like any other."""
    manifest = a_config_map(V1)
    manifest["data"]["prompt.json"] = document
    assert observe(manifest).served is None


def test_what_others_may_add() -> None:
    """Foreign labels and annotations are left alone."""
    manifest = a_config_map(V1)
    manifest["metadata"]["labels"]["team"] = "shop"
    manifest["metadata"]["annotations"]["note"] = "ours"
    assert observe(manifest).intact


def test_foreign_keys_are_named_by_json_pointers() -> None:
    """Keys in data and binaryData that nothing of ours explains, escaped as RFC 6901 says."""
    manifest = a_config_map(V1)
    manifest["data"]["a~b"] = "x"
    manifest["binaryData"] = {"raw": "AAAA"}
    assert foreign_keys(observe(manifest), a_config_map(V1)) == ("/binaryData/raw", "/data/a~0b")


# --- whose it is


def _prompt_owner(name: str = PROMPT) -> Manifest:
    return {"apiVersion": "promptops.dev/v1alpha1", "kind": "Prompt", "name": name, "uid": "u", "controller": True}


DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bot", "uid": "d", "controller": True}
OURS = {"app.kubernetes.io/managed-by": "prompt-operator", "promptops.dev/prompt": PROMPT}
MANAGED = [{"manager": "prompt-operator-projection"}]
CLAIMS = {
    "as we write it": ({"labels": OURS, "ownerReferences": [_prompt_owner()], "managedFields": MANAGED}, True),
    "restored, without owner": ({"labels": OURS}, True),
    "only our manager": ({"managedFields": MANAGED}, True),
    "only an owner of the name": ({"ownerReferences": [_prompt_owner()]}, True),
    "our label, another controller": ({"labels": OURS, "ownerReferences": [DEPLOYMENT]}, False),
    "another prompt's owner": ({"labels": OURS, "ownerReferences": [_prompt_owner("other")]}, False),
    "another prompt's label": ({"labels": OURS | {"promptops.dev/prompt": "other"}, "managedFields": MANAGED}, False),
    "nothing of ours": ({"labels": {"app": "bot"}}, False),
    "only the label with the name": ({"labels": {"promptops.dev/prompt": PROMPT}}, False),
}


@pytest.mark.parametrize(("metadata", "ours"), CLAIMS.values(), ids=CLAIMS)
def test_whose_config_map_it_is(metadata: Manifest, ours: bool) -> None:  # noqa: FBT001  a factor
    """Manager, label without another controller, or an owner of the same kind and name; anything else is foreign."""
    base = {"namespace": "shop", "name": "prompt-greeting", "uid": "u", "resourceVersion": "1"}
    assert observe({"metadata": base | copy.deepcopy(metadata), "data": {}}).belongs_to(PROMPT) is ours


def test_an_operator_of_another_owner_is_seen_by_its_uid() -> None:
    """The uid of the owner tells a Prompt that was created again from the one before."""
    assert observed(V1, owner=replace(OWNER, uid="uid-before")).owner_uid == "uid-before"
    assert observed(V1, owner=Owner("shop", PROMPT, "")).intact


def test_content_of_another_version_is_another_content() -> None:
    """Equal content means equal version, hash and mode; the revision only counts."""
    one = Served(V1, hash_of(V1), "Active", 1)
    assert one.same_content(replace(one, revision=2))
    assert not one.same_content(Served(V2, content_of(V2).content_hash, "Active", 1))
    assert not one.same_content(replace(one, mode="Fallback"))
    assert not one.same_content(None)
