"""The entries: what each thing that happened tells. Pure, and the same for the same thing."""

from __future__ import annotations

import json
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from prompt_client.wire import canonical_json
from prompt_operator.api.common import API_VERSION
from prompt_operator.core.audit.entry import OPERATOR, Entry, Verb, instant
from prompt_operator.core.audit.inputs import policy_numbers
from prompt_operator.core.managed import SIGNATURES, UNWRITTEN, signed_at, written
from prompt_operator.core.project import config_map_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prompt_operator.core.facts import Facts
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.reasons import Objection
    from prompt_operator.core.versions import VersionRecord

DONE = "Done"
_SIGNATURES = {"release": Verb.RELEASE, "acknowledge": Verb.ACKNOWLEDGE}
_DECISIONS = {"Executed": Verb.ROLLBACK, "Refused": Verb.REFUSE, "DryRun": Verb.DRY_RUN}
_TOLD = ("trigger", "fromVersion", "toVersion", "rule", "guard", "contentHash")


def of_record(manifest: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield what a PromptRollback tells: the decision, if it is a record, and each signature."""
    spec, metadata = manifest["spec"], manifest["metadata"]
    if spec.get("decision"):
        yield Entry(
            id=metadata["name"],
            at=datetime.fromisoformat(spec["decidedAt"]),
            actor=spec.get("requestedBy") or OPERATOR,
            verb=_DECISIONS[spec["decision"]],
            object=_identity(manifest),
            decision=spec["decision"],
            reason=spec.get("reason", ""),
            inputs=_inputs_of(spec),
        )
    for member in SIGNATURES:
        if member in spec:
            yield _signature(manifest, member)


def _inputs_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: spec[key] for key in _TOLD if spec.get(key)}
    told = {"prompt": spec["promptRef"]["name"], **told}
    if "requestRef" in spec:
        told["request"] = spec["requestRef"]["name"]
    return {**_kept(spec.get("inputs", "")), "record": told}


def _kept(text: str) -> dict[str, Any]:
    """Read the inputs that a record keeps; whoever restores a backup may have written anything there."""
    try:
        kept = json.loads(text or "{}")
    except ValueError:
        kept = None
    return kept if isinstance(kept, dict) else {"omitted": "the inputs in the record are not JSON"}


def _signature(manifest: Mapping[str, Any], member: str) -> Entry:
    spec, metadata = manifest["spec"], manifest["metadata"]
    signed = spec[member]
    return Entry(
        id=signature_id(metadata["name"], member),
        at=signed_at(manifest, member),
        actor=signed["by"],
        verb=_SIGNATURES[member],
        object=_identity(manifest),
        decision=DONE,
        reason=signed["reason"],
        inputs={"record": {"prompt": spec["promptRef"]["name"], "version": spec["fromVersion"]}},
    )


def signature_id(record: str, member: str) -> str:
    """Return the id of the entry about a signature."""
    return f"{record}/{member}"


def refusal(facts: Facts, refusal_id: str, objection: Objection, message: str, inputs: Mapping[str, Any]) -> Entry:
    """Tell of a guard's objection that passes by itself and so has no record."""
    status = facts.prompt.status
    record = {
        "prompt": facts.prompt.metadata.name,
        "trigger": "Automatic",
        "fromVersion": status.active_version or "",
        "guard": str(objection),
    }
    return Entry(
        id=refusal_id,
        at=datetime.fromisoformat(inputs["now"]),
        actor=OPERATOR,
        verb=Verb.REFUSE,
        object=of_prompt(facts),
        decision="Refused",
        reason=message,
        inputs={**inputs, "record": record},
        fleeting=True,
    )


def rehash_id(version: VersionRecord) -> str:
    """Return the id of the entry about an accepted content."""
    return f"{version.name}/{version.uid}/{version.accepted_hash}"


def rehash(version: VersionRecord) -> Entry:
    """Tell that a person accepted the changed content of a version."""
    by, at = version.accepted
    return Entry(
        id=rehash_id(version),
        at=at,
        actor=by,
        verb=Verb.REHASH,
        object={
            "apiVersion": API_VERSION,
            "kind": "PromptVersion",
            "namespace": version.namespace,
            "name": version.name,
            "uid": version.uid,
            "resourceVersion": version.resource_version,
        },
        decision=DONE,
        reason=version.accepted_reason or "no reason was given",
        inputs={"acceptedHash": version.accepted_hash},
    )


def heal(facts: Facts, now: datetime) -> Entry:
    """Tell that the ConfigMap of a prompt was put back after somebody else changed or deleted it."""
    found, namespace = facts.config_map, facts.prompt.metadata.namespace
    state = f"{found.uid}/{found.resource_version}" if found else f"{facts.prompt.metadata.uid}/{instant(now)}"
    identity = {"uid": found.uid, "resourceVersion": found.resource_version} if found else {}
    return Entry(
        id=f"heal/{state}",
        at=now,
        actor=OPERATOR,
        verb=Verb.HEAL,
        object={
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": namespace,
            "name": config_map_name(facts),
            **identity,
        },
        decision=DONE,
        reason="somebody changed it: its content was put back" if found else "somebody deleted it: it was made again",
        inputs={"record": {"prompt": facts.prompt.metadata.name, "contentHash": facts.prompt.status.active_hash or ""}},
        fleeting=True,
    )


def policy(manifest: Mapping[str, Any], in_force: Effective) -> Entry:
    """Tell of a generation of a PromptPolicy: who wrote it, and what a prompt without rules of its own gets from it."""
    metadata, field = manifest["metadata"], written(manifest, "f:spec") or UNWRITTEN
    return Entry(
        id=policy_id(manifest),
        at=policy_at(manifest),
        actor=field.manager,
        verb=Verb.POLICY,
        object=_identity(manifest),
        decision=DONE,
        reason=f"generation {metadata['generation']}",
        inputs={
            "generation": str(metadata["generation"]),
            "specHash": "sha256:" + sha256(canonical_json(manifest["spec"])).hexdigest(),
            "mode": in_force.mode,
            "auto": in_force.auto,
            "policy": policy_numbers(in_force),
        },
    )


def policy_deleted(namespace: str, name: str, uid: str, at: datetime) -> Entry:
    """Tell that a PromptPolicy is gone: the prompts under it are now under the built-in one."""
    return Entry(
        id=f"{name}/{uid}/deleted",
        at=at,
        actor=UNWRITTEN.manager,
        verb=Verb.POLICY,
        object={"apiVersion": API_VERSION, "kind": "PromptPolicy", "namespace": namespace, "name": name, "uid": uid},
        decision=DONE,
        reason="somebody deleted it: the built-in policy applies",
        fleeting=True,
    )


def policy_at(manifest: Mapping[str, Any]) -> datetime:
    """Return when a policy was last written, as the API server noted it; else when it was made."""
    field, made = written(manifest, "f:spec") or UNWRITTEN, manifest["metadata"]["creationTimestamp"]
    return max(field.at, datetime.fromisoformat(made))


def policy_id(manifest: Mapping[str, Any]) -> str:
    """Return the id of the entry about this generation of a policy."""
    metadata = manifest["metadata"]
    return f"{metadata['name']}/{metadata['uid']}/generation/{metadata['generation']}"


def mode(old: str, new: str, at: datetime) -> Entry:
    """Tell that the operator-wide mode changed."""
    return Entry(
        id=f"mode/{instant(at)}",
        at=at,
        actor="settings",
        verb=Verb.MODE,
        object={},
        decision=DONE,
        reason=f"{old} -> {new}",
        inputs={"from": old, "to": new},
        fleeting=True,
    )


def takeover(writer: str, inputs: Mapping[str, Any], at: datetime) -> Entry:
    """Tell that a writer begins a chain; the inputs name the writers before it and their heads."""
    previous = (inputs.get("previous") or {}).get("writer", "")
    return Entry(
        id=f"takeover/{writer}",
        at=at,
        actor=writer,
        verb=Verb.TAKEOVER,
        object={},
        decision=DONE,
        reason=f"{writer} takes over from {previous}" if previous else f"{writer} begins",
        inputs=inputs,
    )


def lost(writer: str, total: int, count: int, at: datetime) -> Entry:
    """Tell that entries were given up because the sink took none for too long."""
    return Entry(
        id=f"lost/{writer}/{total}",
        at=at,
        actor=OPERATOR,
        verb=Verb.LOST,
        object={},
        decision=DONE,
        reason=f"{count} entries that nothing else tells of found no room while the sink took none",
        inputs={"count": str(count)},
        fleeting=True,
    )


def _identity(manifest: Mapping[str, Any]) -> dict[str, str]:
    metadata = manifest["metadata"]
    known = {key: str(metadata[key]) for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], **known}


def of_prompt(facts: Facts) -> dict[str, str]:
    """Return the identity of the prompt."""
    metadata = facts.prompt.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": "Prompt",
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    }
