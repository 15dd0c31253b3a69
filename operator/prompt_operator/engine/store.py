"""What the watch has seen, as slim records, and which keys a change wakes.

The records hold no prompt's text: of a PromptVersion they keep digests, of a ConfigMap what it says of itself. Our
own writes are put in with the answer of the API server, so that the next decision never rests on what was before them.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.core import ledger, projection, versions
from prompt_operator.core.audit.acts import REQUESTS
from prompt_operator.core.managed import acts_of
from prompt_operator.engine.texts import Texts
from prompt_operator.ports import CONFIG_MAP, EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prompt_operator.core.ledger import RollbackRecord
    from prompt_operator.core.managed import Acts
    from prompt_operator.core.projection import ObservedConfigMap
    from prompt_operator.core.versions import VersionRecord
    from prompt_operator.ports import Kind, Manifest

_log = logging.getLogger(__name__)

DEFAULT_POLICY = "default"
_REMEMBERED = 4096
"""Ended objects: more than can end while one list is read."""


class Key(NamedTuple):
    """What the queue runs: one object by kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Name(NamedTuple):
    """A namespace and a name in it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A Prompt; its manifest is kept as bytes, because ten thousand parsed ones would fill the memory."""

    uid: str
    resource_version: str
    policy: str
    """`spec.policyRef.name`, empty without one."""
    desired_by: str
    """Field manager that set `spec.version`."""
    acts: Acts
    """Who changed spec and asked for what, and when."""
    holding: frozenset[str]
    """Condition types that are True, to count without parsing."""
    held: tuple[str, ...]
    """Rejected versions."""
    firing: tuple[str, ...]
    """Rules that fire."""
    serving: tuple[str, str]
    """Active version and since when; versions tell it in their own status."""
    decided: tuple[str, datetime] | None
    """Id and instant of the last decision, where that was a rule's rollback."""
    manifest: bytes = field(repr=False)

    def parsed(self) -> Prompt:
        """Return the Prompt.

        Raises:
            pydantic.ValidationError: it was written under another CRD than this release's.
        """
        return Prompt.from_manifest(json.loads(self.manifest))


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A PromptPolicy; one that this release cannot read keeps its last valid form in force."""

    uid: str
    resource_version: str
    spec: PromptPolicySpec | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object of which only its existence matters here."""

    uid: str
    resource_version: str


class Store:
    """Records by kind, and the keys that a change wakes. Used from one event loop only."""

    def __init__(self) -> None:
        self.prompts: dict[Name, PromptRecord] = {}
        self.policies: dict[Name, PolicyRecord] = {}
        self.experiments: dict[Name, Seen] = {}
        self.versions: dict[Name, VersionRecord] = {}
        self.rollbacks: dict[Name, RollbackRecord] = {}
        self.config_maps: dict[Name, ObservedConfigMap] = {}
        self._decided: dict[Name, tuple[Name, datetime]] = {}
        """Prompt -> the record, there or not, and the instant of the automatic rollback that its status tells of."""
        self.texts = Texts()
        self._gone: dict[str, int] = {}
        """uid of an object that ended -> the resourceVersion of its end."""
        self._versions_of: dict[Name, dict[str, VersionRecord]] = {}
        self._rollbacks_of: dict[Name, dict[str, RollbackRecord]] = {}
        self._config_maps_of: dict[Name, dict[str, ObservedConfigMap]] = {}
        self.tables: dict[str, dict[Name, Any]] = {
            PROMPT.kind: self.prompts,
            PROMPT_VERSION.kind: self.versions,
            PROMPT_POLICY.kind: self.policies,
            PROMPT_ROLLBACK.kind: self.rollbacks,
            EXPERIMENT.kind: self.experiments,
            CONFIG_MAP.kind: self.config_maps,
        }
        self._indexes: dict[str, dict[Name, dict[str, Any]]] = {
            PROMPT_VERSION.kind: self._versions_of,
            PROMPT_ROLLBACK.kind: self._rollbacks_of,
            CONFIG_MAP.kind: self._config_maps_of,
        }

    # --- what belongs to a prompt

    def versions_of(self, prompt: Name) -> Mapping[str, VersionRecord]:
        """Return the PromptVersions of a prompt by version, as they are now: what comes later does not change it."""
        return dict(self._versions_of.get(prompt, ()))

    def rollbacks_of(self, prompt: Name) -> tuple[RollbackRecord, ...]:
        """Return the PromptRollbacks of a prompt, oldest first."""
        return tuple(sorted(self._rollbacks_of.get(prompt, {}).values(), key=lambda record: (record.at, record.name)))

    def config_maps_of(self, prompt: Name) -> Iterable[ObservedConfigMap]:
        """Return the ConfigMaps that carry our label for a prompt."""
        return tuple(self._config_maps_of.get(prompt, {}).values())

    def version_of(self, prompt: Name, version: str) -> VersionRecord | None:
        """Return one PromptVersion of a prompt."""
        return self._versions_of.get(prompt, {}).get(version)

    def automatic_rollbacks(self) -> dict[Name, datetime]:
        """Return when rules rolled back, over all prompts, by record; also where the record is not written yet."""
        recorded = {n: record.at for n, record in self.rollbacks.items() if record.executed and record.automatic}
        return {**dict(self._decided.values()), **recorded}

    def policy_of(self, record: PromptRecord, namespace: str) -> tuple[PromptPolicySpec | None, str]:
        """Return the policy a prompt is under, and the name of one that it asks for and that does not exist."""
        policy = self.policies.get(Name(namespace, record.policy or DEFAULT_POLICY))
        if policy is not None:
            return policy.spec, ""
        return None, record.policy

    def prompts_under(self, policy: Name) -> Iterator[Name]:
        """Yield the prompts a policy applies to."""
        for name, record in self.prompts.items():
            if name.namespace == policy.namespace and (record.policy or DEFAULT_POLICY) == policy.name:
                yield name

    def sizes(self) -> dict[str, int]:
        """Return how many records of each kind are held."""
        return {kind: len(table) for kind, table in self.tables.items()}

    def names(self, kind: Kind) -> Iterator[tuple[Name, str]]:
        """Yield name and uid of every record of a kind."""
        yield from ((name, record.uid) for name, record in self._table(kind).items())

    # --- what was seen

    def observe(self, kind: Kind, manifest: Manifest) -> tuple[Key, ...]:
        """Take in an object as the API server has it; older news than what is known changes nothing.

        Returns:
            The keys to wake; empty when nothing changed that a decision could rest on.
        """
        metadata = manifest["metadata"]
        name = Name(metadata["namespace"], metadata["name"])
        old = self._table(kind).get(name)
        if self._gone.get(metadata["uid"], -1) >= int(metadata["resourceVersion"]):
            return ()
        if old is not None and not _newer(metadata, old):
            return ()
        new = self._record(kind, manifest, old)
        self._put(kind, name, new)
        return () if old is not None and _alike(old, new) else self._wakes(kind, name, old, new)

    def newer(self, kind: Kind, metadata: Mapping[str, Any]) -> int:
        """Return the resourceVersion that is known of this very object, if it is a later one than given; else 0."""
        old = self._table(kind).get(Name(metadata["namespace"], metadata["name"]))
        if old is None or _newer(metadata, old) or metadata["resourceVersion"] == old.resource_version:
            return 0
        return int(old.resource_version)

    def forget(self, kind: Kind, namespace: str, name: str, uid: str, resource_version: str = "") -> tuple[Key, ...]:
        """Take in that an object is gone, or out of the watch; one of the same name with another uid stays.

        Args:
            kind: its kind.
            namespace: its namespace.
            name: its name.
            uid: its uid.
            resource_version: when that was; nothing older of this object is taken in from now on.
        """
        key = Name(namespace, name)
        old = self._table(kind).get(key)
        known = old is not None and old.uid == uid
        at = int(resource_version or (old.resource_version if old is not None and known else 0))
        if old is not None and known and at < int(old.resource_version):
            return ()
        self._bury(uid, at)
        if old is None or not known:
            return ()
        self._drop(kind, key, old)
        return self._wakes(kind, key, old, None)

    def _bury(self, uid: str, at: int) -> None:
        """Remember for a while that this object ended: an answer or a page that was on its way must not revive it."""
        self._gone[uid] = max(at, self._gone.pop(uid, 0))
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _table(self, kind: Kind) -> dict[Name, Any]:
        return self.tables[kind.kind]

    def _record(self, kind: Kind, manifest: Manifest, old: Any) -> Any:
        metadata = manifest["metadata"]
        match kind.kind:
            case PROMPT.kind:
                return _prompt_record(manifest)
            case PROMPT_VERSION.kind:
                return self._version_record(manifest)
            case PROMPT_ROLLBACK.kind:
                return ledger.record_of(manifest)
            case CONFIG_MAP.kind:
                return projection.observe(manifest)
            case PROMPT_POLICY.kind:
                return _policy_record(manifest, old)
        return Seen(metadata["uid"], metadata["resourceVersion"])

    def _version_record(self, manifest: Manifest) -> VersionRecord:
        record = versions.record_of(manifest)
        if record.content_hash:
            self.texts.keep(record.content_hash, manifest["spec"])
        return record

    def _put(self, kind: Kind, name: Name, record: Any) -> None:
        table = self._table(kind)
        if name in table:
            self._drop(kind, name, table[name])
        table[name] = record
        if kind == PROMPT and record.decided is not None:
            self._decided[name] = Name(name.namespace, record.decided[0]), record.decided[1]
        index = self._index(kind)
        if index is not None:
            index.setdefault(Name(name.namespace, record.prompt), {})[_index_key(kind, record)] = record

    def _drop(self, kind: Kind, name: Name, record: Any) -> None:
        del self._table(kind)[name]
        if kind == PROMPT:
            self._decided.pop(name, None)
        index, prompt = self._index(kind), Name(name.namespace, getattr(record, "prompt", ""))
        if index is not None and prompt in index:
            index[prompt].pop(_index_key(kind, record), None)
            if not index[prompt]:
                del index[prompt]

    def _index(self, kind: Kind) -> dict[Name, dict[str, Any]] | None:
        return self._indexes.get(kind.kind)

    def _wakes(self, kind: Kind, name: Name, old: Any, new: Any) -> tuple[Key, ...]:
        if kind == EXPERIMENT:
            return (Key(kind.kind, *name),)
        if kind == PROMPT:
            return (*_serving_changed(name, old, new), *self._recounted(name, old, new), Key(kind.kind, *name))
        if kind == PROMPT_POLICY:
            return (Key(kind.kind, *name), *(Key(PROMPT.kind, *prompt) for prompt in self.prompts_under(name)))
        prompts = {record.prompt for record in (old, new) if record is not None and record.prompt}
        keys = tuple(Key(PROMPT.kind, name.namespace, prompt) for prompt in sorted(prompts))
        return (Key(kind.kind, *name), *keys) if kind == PROMPT_VERSION else keys

    def _recounted(self, name: Name, old: PromptRecord | None, new: PromptRecord | None) -> Iterator[Key]:
        """Yield the policies that have one prompt more or less under them."""
        before, after = ((record.policy or DEFAULT_POLICY) if record else "" for record in (old, new))
        for policy in sorted({before, after}) if before != after else ():
            if Name(name.namespace, policy) in self.policies:
                yield Key(PROMPT_POLICY.kind, name.namespace, policy)


def _serving_changed(name: Name, old: PromptRecord | None, new: PromptRecord | None) -> Iterator[Key]:
    """Yield the versions whose own status has to follow: what serves is another one, or since another time."""
    before, after = (record.serving if record else ("", "") for record in (old, new))
    if before != after:
        for version in sorted({before[0], after[0]} - {""}):
            yield Key(PROMPT_VERSION.kind, name.namespace, f"{name.name}-{version}")


def _newer(metadata: Mapping[str, Any], old: Any) -> bool:
    """Resource versions of one resource are ordered numbers (KEP-5504); another uid is another object."""
    if metadata["uid"] != old.uid:
        return True
    return int(metadata["resourceVersion"]) > int(old.resource_version)


def _alike(old: Any, new: Any) -> bool:
    """Tell whether two records of one object differ in nothing that a decision rests on."""
    return bool(old == replace(new, resource_version=old.resource_version))


def _index_key(kind: Kind, record: Any) -> str:
    return str(record.version if kind == PROMPT_VERSION else record.name)


_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


def _prompt_record(manifest: Manifest) -> PromptRecord:
    metadata = manifest["metadata"]
    slim = {key: metadata[key] for key in _METADATA if key in metadata}
    annotations = metadata.get("annotations") or {}
    slim["annotations"] = {key: value for key, value in annotations.items() if key.startswith("promptops.dev/")}
    body = {"kind": PROMPT.kind, "metadata": slim, "spec": manifest["spec"], "status": manifest.get("status") or {}}
    status = manifest.get("status") or {}
    return PromptRecord(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        holding=_holding(status),
        held=tuple(held["version"] for held in status.get("held") or ()),
        firing=tuple(rule["name"] for rule in status.get("rules") or () if rule["state"] == "Firing"),
        serving=(status.get("activeVersion", ""), status.get("activatedAt", "")),
        policy=(manifest["spec"].get("policyRef") or {}).get("name", ""),
        desired_by=_manager_of_version(metadata.get("managedFields") or ()),
        acts=acts_of(manifest, REQUESTS.values()),
        decided=_decided(status.get("decision") or {}),
        manifest=json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(),
    )


def _decided(decision: Mapping[str, Any]) -> tuple[str, datetime] | None:
    if decision.get("kind") != "Rollback":
        return None
    return decision["id"], datetime.fromisoformat(decision["at"])


def _holding(status: Mapping[str, Any]) -> frozenset[str]:
    return _SETS.setdefault(
        true := frozenset(c["type"] for c in status.get("conditions") or () if c["status"] == "True"), true
    )


_SETS: dict[frozenset[str], frozenset[str]] = {}
"""One set for all prompts in the same state: there are only a few states."""


def _manager_of_version(managed: Iterable[Mapping[str, Any]]) -> str:
    """Return who owns `spec.version`; of several the one that wrote last."""
    owners = [entry for entry in managed if "f:version" in (entry.get("fieldsV1") or {}).get("f:spec", {})]
    newest = max(owners, key=lambda entry: str(entry.get("time", "")), default=None)
    return str(newest["manager"])[:253] if newest and newest.get("manager") else ""


def _policy_record(manifest: Manifest, old: PolicyRecord | None) -> PolicyRecord:
    metadata = manifest["metadata"]
    spec: PromptPolicySpec | None
    try:
        spec, problem = PromptPolicySpec.model_validate(manifest["spec"]), ""
    except ValidationError as error:
        spec = old.spec if old is not None and old.uid == metadata["uid"] else None
        problem = _first_error(error)
        _log.warning("PromptPolicy %s/%s: %s", metadata["namespace"], metadata["name"], problem)
    return PolicyRecord(metadata["uid"], metadata["resourceVersion"], spec, problem)


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"spec.{'.'.join(map(str, first['loc']))}: {first['msg']}; its last valid form stays in force"
