"""Version -> ConfigMap: deterministic bytes that prove themselves, and what a ConfigMap found in the cluster says.

A projected ConfigMap carries everything needed to check it: re-rendering what its `prompt.json` says must give the
whole object again. So a reconcile needs no prompt text, and a restart reads none, unless something has to be written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prompt_client import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

MANAGER = "prompt-operator-projection"
_PROMPT_KIND = "Prompt"
_PROMPT_API = "promptops.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Served:
    """What a ConfigMap tells applications; equal values mean equal bytes, because the hash covers the content."""

    version: str
    """The active version; empty in Fallback before any version was active."""
    content_hash: str
    mode: str
    """`Active` or `Fallback`."""
    revision: int = 0

    def same_content(self, other: Served | None) -> bool:
        """Tell whether both say the same to an application; the revision only counts changes."""
        return other is not None and (self.version, self.content_hash, self.mode) == (
            other.version,
            other.content_hash,
            other.mode,
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """The Prompt a ConfigMap belongs to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ObservedConfigMap:
    """A ConfigMap as found, reduced to what decisions need. Holds no text."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    prompt: str
    """Value of our label: the Prompt it says it belongs to."""
    owner_uid: str
    """uid of the owning Prompt, empty without one."""
    served: Served | None
    """None when its `prompt.json` cannot be read or its hash does not fit its content."""
    intact: bool
    """Every value, label and annotation of ours is exactly what `served` renders to."""
    keys: tuple[str, ...] = ()
    """JSON pointers of all keys of data and binaryData."""
    claims: tuple[str, ...] = ()
    """Names of the Prompts that may call it theirs: by owner reference, or by label without another controller."""
    managed: bool = False
    """This operator's field manager wrote to it."""
    immutable: bool = False
    deleting: bool = False

    def belongs_to(self, prompt: str) -> bool:
        """Tell whether the operator may write it for this Prompt; anything else is never taken over."""
        return prompt in self.claims or (self.managed and not self.claims)


def entry_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire entry of a PromptVersion's spec: `versions{v}` of prompt.json, with its content hash."""
    entry = {member: spec[member] for member in wire.HASHED_MEMBERS if spec.get(member) not in (None, [], {})}
    entry.setdefault("engine", "Simple")
    return {"hash": wire.content_hash(spec), **entry}


def render(owner: Owner, name: str, served: Served, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Build the ConfigMap: same arguments, same bytes.

    Args:
        owner: the Prompt; becomes the controlling owner reference.
        name: the ConfigMap's name.
        served: what applications shall read.
        entry: wire entry of the active version (see `entry_of`); not used in Fallback, which carries no content.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {wire.MANAGED_BY_LABEL: wire.MANAGED_BY, wire.PROMPT_LABEL: owner.name},
            "annotations": _annotations(served),
            "ownerReferences": [_owner_reference(owner)],
        },
        "data": _data(owner, served, entry if served.mode == wire.MODE_ACTIVE else None),
    }


def size(manifest: Mapping[str, Any]) -> int:
    """Return the bytes of all keys and values of a rendered ConfigMap, as the API server counts them."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in manifest["data"].items())


def foreign_keys(observed: ObservedConfigMap, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Return JSON pointers of the keys that somebody added; server-side apply never removes those."""
    ours = {f"/data/{_pointer(key)}" for key in wanted["data"]}
    return tuple(pointer for pointer in observed.keys if pointer not in ours)


def observe(manifest: Mapping[str, Any]) -> ObservedConfigMap:
    """Reduce a ConfigMap to facts; re-renders it from its own `prompt.json` to see whether anybody changed it."""
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    owner = _owner_of(metadata)
    served, entry = _read_back(manifest.get("data") or {})
    expected = _expected(metadata, served, entry)
    return ObservedConfigMap(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        prompt=labels.get(wire.PROMPT_LABEL, ""),
        owner_uid=owner.get("uid", ""),
        served=served,
        intact=expected is not None and _values_stand(expected, manifest),
        keys=_pointers(manifest),
        claims=_claims(metadata),
        managed=any(entry.get("manager") == MANAGER for entry in metadata.get("managedFields") or ()),
        immutable=bool(manifest.get("immutable")),
        deleting="deletionTimestamp" in metadata,
    )


def _annotations(served: Served) -> dict[str, str]:
    return {
        wire.CONTENT_HASH_ANNOTATION: served.content_hash,
        wire.VERSION_ANNOTATION: served.version,
        wire.REVISION_ANNOTATION: str(served.revision),
    }


def _owner_reference(owner: Owner) -> dict[str, Any]:
    return {
        "apiVersion": _PROMPT_API,
        "kind": _PROMPT_KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _data(owner: Owner, served: Served, entry: Mapping[str, Any] | None) -> dict[str, str]:
    document = {
        "apiVersion": wire.API_VERSION,
        "prompt": {"namespace": owner.namespace, "name": owner.name},
        "revision": served.revision,
        "mode": served.mode,
        "active": served.version or None,
        "versions": {served.version: dict(entry)} if entry else {},
        "allocation": None,
        "shadow": None,
    }
    data = {wire.MODE: served.mode, wire.PROMPT_JSON: _json(document)}
    if served.version:
        data |= {wire.VERSION: served.version, wire.HASH: served.content_hash}
    if entry and "messages" in entry:
        data[wire.MESSAGES_JSON] = _json(entry["messages"])
    elif entry:
        data[wire.PROMPT_TEXT] = entry["text"]
    return data


def _json(value: object) -> str:
    return wire.canonical_json(value).decode()


def _read_back(data: Mapping[str, str]) -> tuple[Served | None, dict[str, Any] | None]:
    """Return what `prompt.json` says and its active entry; (None, None) where it cannot be trusted."""
    try:
        document = json.loads(data[wire.PROMPT_JSON])
        version = document["active"] or ""
        entry = document["versions"].get(version)
        content_hash = data.get(wire.HASH, "")
        if entry is not None and wire.content_hash(entry) != content_hash:
            return None, None
        return Served(version, content_hash, document["mode"], int(document["revision"])), entry
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None, None  # anybody may have written anything there


def _expected(
    metadata: Mapping[str, Any], served: Served | None, entry: dict[str, Any] | None
) -> dict[str, Any] | None:
    if served is None or (served.mode == wire.MODE_ACTIVE and entry is None):
        return None
    name = (metadata.get("labels") or {}).get(wire.PROMPT_LABEL, "")
    try:
        return render(Owner(metadata["namespace"], name, ""), metadata["name"], served, entry)
    except (KeyError, ValueError):
        return None


def _values_stand(expected: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    metadata, found = expected["metadata"], manifest["metadata"]
    return (
        manifest.get("data") == expected["data"]
        and not manifest.get("binaryData")
        and _includes(found.get("labels"), metadata["labels"])
        and _includes(found.get("annotations"), metadata["annotations"])
    )


def _includes(found: Mapping[str, str] | None, expected: Mapping[str, str]) -> bool:
    return expected.items() <= (found or {}).items()


def _pointers(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    fields = ("data", "binaryData")
    return tuple(sorted(f"/{field}/{_pointer(key)}" for field in fields for key in manifest.get(field) or {}))


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")  # RFC 6901, section 3


def _owner_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = metadata.get("ownerReferences") or []
    return next((owner for owner in owners if _is_prompt(owner)), {})


def _is_prompt(owner: Mapping[str, Any]) -> bool:
    return owner.get("kind") == _PROMPT_KIND and str(owner.get("apiVersion", "")).startswith("promptops.dev/")


def _claims(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    owners = metadata.get("ownerReferences") or []
    claims = {owner["name"] for owner in owners if _is_prompt(owner)}
    labels = metadata.get("labels") or {}
    other_controller = any(owner.get("controller") and not _is_prompt(owner) for owner in owners)
    if labels.get(wire.MANAGED_BY_LABEL) == wire.MANAGED_BY and not claims and not other_controller:
        claims.add(labels.get(wire.PROMPT_LABEL, ""))
    return tuple(sorted(claims))
