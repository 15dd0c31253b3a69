"""A cluster in memory for whole plans: `look` decides as the engine does, `perform` does one effect.

What is kept are manifests, reduced to records anew at each look, so nothing is known that the API server would not say.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tests.core.builders import NAMESPACE, OWNER, PROMPT, T0, V1, a_version_manifest

from prompt_operator.api.common import rfc3339
from prompt_operator.api.prompt import Prompt
from prompt_operator.core import ledger, versions
from prompt_operator.core.facts import Content, Facts
from prompt_operator.core.plan import (
    ApplyConfigMap,
    CreateRecord,
    DeleteConfigMap,
    DeleteRecord,
    ObserveRecord,
    RemoveKeys,
    Tell,
    WriteRecordStatus,
    WriteStatus,
)
from prompt_operator.core.policy import effective
from prompt_operator.core.projection import entry_of, observe
from prompt_operator.core.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.api.common import ApiModel, Measurement
    from prompt_operator.core.facts import Readings
    from prompt_operator.core.plan import Effect, Plan

Manifest = dict[str, Any]
CONFIG_MAP = f"prompt-{PROMPT}"


def dumped(status: ApiModel) -> Any:
    """Return a status as the API server keeps it: through JSON."""
    return json.loads(json.dumps(status.model_dump(by_alias=True, exclude_none=True, mode="json")))


@lru_cache(maxsize=256)
def _version(manifest: str) -> versions.VersionRecord:
    """Reduce a PromptVersion; what takes longest, its hash, is the same at nearly every look."""
    return versions.record_of(json.loads(manifest))


def merged(old: Manifest, new: Mapping[str, Any], owned: set[str]) -> Manifest:
    """Server-side apply of a ConfigMap by one manager: keys it owned and no longer names go, foreign ones stay."""
    data = {key: value for key, value in old.get("data", {}).items() if key not in owned}
    result = copy.deepcopy(old)
    result["data"] = data | dict(new["data"])
    result |= {"immutable": True} if new.get("immutable") else {}
    for field_ in ("labels", "annotations"):
        result["metadata"][field_] = old["metadata"].get(field_, {}) | new["metadata"].get(field_, {})
    ours = {owner["uid"]: owner for owner in old["metadata"].get("ownerReferences", ())}
    ours |= {owner["uid"]: owner for owner in new["metadata"].get("ownerReferences", ())}
    if ours:
        result["metadata"]["ownerReferences"] = list(ours.values())
    return result


@dataclass
class World:
    """One Prompt and all that belongs to it."""

    now: datetime = T0
    spec: Manifest = field(default_factory=lambda: {"version": V1})
    status: Manifest = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    versions: dict[str, Manifest] = field(default_factory=dict)
    records: dict[str, Manifest] = field(default_factory=dict)
    config_maps: dict[str, Manifest] = field(default_factory=dict)
    readings: Readings | None = None
    normal: tuple[Measurement, ...] = ()
    """What was measured of the version that counted as normal when it was asked for."""
    told: list[Tell] = field(default_factory=list)
    applied: dict[str, set[str]] = field(default_factory=dict)
    """Data keys that our field manager owns, by ConfigMap."""
    _serial: int = 0

    @classmethod
    def with_versions(cls, *names: str, **given: Any) -> World:
        """Return a world in which these versions exist."""
        return cls(versions={name: a_version_manifest(name) for name in names}, **given)

    def serial(self) -> str:
        """Return the next resourceVersion."""
        self._serial += 1
        return str(self._serial)

    def pass_(self, **span: float) -> None:
        """Let time go by."""
        self.now += timedelta(**span)

    def want(self, version: str) -> None:
        """Git names another version."""
        if self.spec["version"] != version:
            self.spec = self.spec | {"version": version}
            self.generation += 1

    def prompt(self) -> Prompt:
        """Return the Prompt as it is."""
        metadata = {
            "namespace": NAMESPACE, "name": PROMPT, "uid": OWNER.uid, "resourceVersion": "1",
            "generation": self.generation, "annotations": self.annotations,
        }  # fmt: skip
        return Prompt.from_manifest({"metadata": metadata, "spec": self.spec, "status": self.status})

    def facts(self) -> Facts:
        """Return all that is known now."""
        prompt = self.prompt()
        records = sorted(map(ledger.record_of, self.records.values()), key=lambda record: (record.at, record.name))
        found = {name: observe(manifest) for name, manifest in self.config_maps.items()}
        return Facts(
            prompt=prompt,
            policy=effective(prompt.spec, None, NAMESPACE),
            policy_missing="",
            versions={name: _version(json.dumps(manifest)) for name, manifest in self.versions.items()},
            records=tuple(records),
            config_map=found.get(self.wanted_name()),
            config_map_known=True,
            stray_config_maps=tuple(each for name, each in found.items() if name != self.wanted_name()),
            readings=self.readings,
            contents={},
            operator_mode="Active",
            fresh_for=timedelta(seconds=60),
            desired_by="kubectl",
            normal=self.normal,
        )

    def wanted_name(self) -> str:
        """Return the name of the ConfigMap that the Prompt asks for."""
        return str((self.spec.get("delivery") or {}).get("configMapName", CONFIG_MAP))

    def look(self) -> Plan:
        """Decide, on the content that is asked for."""
        facts = self.facts()
        plan = reconcile(facts, self.now)
        while plan.read_content_of:
            content = self._content(plan.read_content_of)
            assert content is not None, "asks for content that is not there"
            assert content.version not in facts.contents, "asks twice for the same content"
            facts = replace(facts, contents={**facts.contents, content.version: content})
            plan = reconcile(facts, self.now)
        return plan

    def _content(self, version: str) -> Content | None:
        manifest = self.versions.get(version)
        if manifest is None:
            return None
        entry = entry_of(manifest["spec"])
        return Content(version, entry["hash"], entry)

    def step(self, crash_after: int | None = None) -> Plan:
        """Look once and perform the effects, or only the first `crash_after` of them."""
        plan = self.look()
        for effect in plan.effects[:crash_after]:
            self.perform(effect)
        return plan

    def settle(self, most: int = 8) -> int:
        """Look until nothing is to be done; return how many looks wrote something."""
        for count in range(most):
            if not self.step().effects:
                return count
        raise AssertionError(f"not settled after {most} looks: {self.look().effects}")

    def perform(self, effect: Effect) -> None:
        """Do one effect as the API server would, refusing what it would refuse."""
        match effect:
            case WriteStatus(status):
                self.status = dumped(status)
            case ApplyConfigMap(manifest, uid):
                self._apply(manifest, uid)
            case RemoveKeys(name, resource_version, pointers):
                self._remove(name, resource_version, pointers)
            case DeleteConfigMap(name, uid):
                assert self.config_maps[name]["metadata"]["uid"] == uid
                del self.config_maps[name]
                self.applied.pop(name, None)
            case CreateRecord(manifest):
                self._create(json.loads(json.dumps(manifest)))
            case WriteRecordStatus(name, _, status):
                self.records[name]["status"] = dumped(status)
            case ObserveRecord(name, _, generation):
                self.records[name]["status"]["observedGeneration"] = generation
            case DeleteRecord(name, uid):
                assert self.records[name]["metadata"]["uid"] == uid
                del self.records[name]
            case Tell():
                self.told.append(effect)

    def _apply(self, manifest: Mapping[str, Any], uid: str) -> None:
        manifest, name = json.loads(json.dumps(manifest)), manifest["metadata"]["name"]
        old = self.config_maps.get(name)
        if old is None:
            assert not uid, "would bring back a ConfigMap that was deleted"
            old = {"metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-{self.serial()}"}}
        else:
            assert uid in ("", old["metadata"]["uid"])
            assert not old.get("immutable"), "an immutable ConfigMap cannot be written"
        new = merged(old, manifest, self.applied.get(name, set()))
        managed = [{"manager": "prompt-operator-projection"}]
        new["metadata"] |= {"resourceVersion": self.serial(), "managedFields": managed}
        self.config_maps[name] = new
        self.applied[name] = set(manifest["data"])

    def _remove(self, name: str, resource_version: str, pointers: tuple[str, ...]) -> None:
        found = self.config_maps[name]
        assert found["metadata"]["resourceVersion"] == resource_version
        for pointer in pointers:
            _, field_, key = pointer.split("/", 2)
            del found[field_][key.replace("~1", "/").replace("~0", "~")]
        found["metadata"]["resourceVersion"] = self.serial()

    def _create(self, manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        if name in self.records:
            return
        manifest["metadata"] |= {
            "uid": f"uid-{name}", "resourceVersion": self.serial(), "generation": 1,
            "creationTimestamp": rfc3339(self.now),
        }  # fmt: skip
        self.records[name] = manifest

    def served(self) -> str:
        """Return the version that applications read from the ConfigMap; empty without one."""
        return str(self.config_maps.get(CONFIG_MAP, {}).get("data", {}).get("version", ""))

    def executed(self) -> list[Manifest]:
        """Return the records of rollbacks that switched, oldest first."""
        found = [each for each in self.records.values() if each["spec"].get("decision") == "Executed"]
        return sorted(found, key=lambda each: each["spec"]["decidedAt"])
