"""Perform the effects of a plan, in their order. Every write is idempotent or fenced; each answer goes to the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from prompt_operator.api.common import API_VERSION
from prompt_operator.core.audit.entries import of_record
from prompt_operator.core.leftovers import leftovers
from prompt_operator.core.plan import (
    ApplyConfigMap,
    Audit,
    AuditRecord,
    CreateRecord,
    DeleteConfigMap,
    DeleteRecord,
    Effect,
    ObserveRecord,
    RemoveKeys,
    Tell,
    WriteRecordStatus,
    WriteStatus,
)
from prompt_operator.core.projection import MANAGER
from prompt_operator.engine.store import Name
from prompt_operator.ports import CONFIG_MAP, PROMPT, PROMPT_ROLLBACK, PROMPT_VERSION, Happening, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prompt_operator.api.common import ApiModel
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.engine.store import Key, Store
    from prompt_operator.ports import Cluster, Events, Kind, Manifest, Trail
    from prompt_operator.telemetry import Telemetry

STATUS_MANAGER = "prompt-operator-status"


@dataclass(slots=True)
class Applier:
    """Writes what plans say.

    Attributes:
        cluster: the API server.
        events: the recorder of Events.
        store: takes in the answers, so that the next decision knows of them before the watch tells.
        telemetry: counts what was healed.
        wake: wakes the keys that an answer concerns.
        trail: the audit trail.
    """

    cluster: Cluster
    events: Events
    store: Store
    telemetry: Telemetry
    wake: Callable[[Iterable[Key]], None]
    trail: Trail

    async def apply(self, prompt: Prompt, effects: Iterable[Effect]) -> None:
        """Perform effects one after the other; the first failure ends it, and the next run does the rest."""
        resource_version, config_map_version = prompt.metadata.resource_version, ""
        for effect in effects:
            if isinstance(effect, WriteStatus):
                name = Name(prompt.metadata.namespace, prompt.metadata.name)
                resource_version = await self.write_status(PROMPT, name, effect.status, resource_version)
            elif isinstance(effect, RemoveKeys):
                config_map_version = await self._remove_keys(prompt.metadata.namespace, effect)
            elif isinstance(effect, ApplyConfigMap):
                await self._apply_config_map(effect, config_map_version or effect.resource_version)
            elif isinstance(effect, Audit | AuditRecord):
                await self._audit(prompt.metadata.namespace, effect)
            else:
                await self._perform(prompt, effect)

    async def write_status(self, kind: Kind, name: Name, status: ApiModel, resource_version: str) -> str:
        """Apply a whole status, fenced by resourceVersion, and return the new one.

        Raises:
            Conflict: the object changed since it was read; decide again on what it is now.
        """
        body = _status_body(kind, name, status, resource_version)
        answer = await self.cluster.apply(kind, body, manager=STATUS_MANAGER, subresource="status")
        foreign = tuple(leftovers(answer.get("status", {}), body["status"]))
        if foreign:
            answer = await self._remove_from_status(kind, answer["metadata"], foreign)
        keys = self.store.observe(kind, answer)
        if (
            kind == PROMPT
        ):  # its own key is the one that runs; that its versions follow may not wait for what comes next
            self.wake(key for key in keys if key.kind == PROMPT_VERSION.kind)
        return str(answer["metadata"]["resourceVersion"])

    async def _remove_from_status(self, kind: Kind, metadata: Mapping[str, Any], pointers: tuple[str, ...]) -> Manifest:
        """Remove what another manager wrote into a status, as whoever restores a backup does: it is not true of now."""
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        removals = [{"op": "remove", "path": pointer} for pointer in pointers]
        answer = await self.cluster.json_patch(
            kind, metadata["namespace"], metadata["name"], [test, *removals], subresource="status"
        )
        self.telemetry.status_leftovers.labels(kind.kind).inc(len(pointers))
        return answer

    async def _perform(self, prompt: Prompt, effect: Effect) -> None:
        namespace = prompt.metadata.namespace
        match effect:
            case DeleteConfigMap(name, uid):
                await self.cluster.delete(CONFIG_MAP, namespace, name, uid=uid)
                self.store.forget(CONFIG_MAP, namespace, name, uid)
            case CreateRecord(manifest):
                await self._create_record(dict(manifest))
            case WriteRecordStatus():
                await self._write_record_status(namespace, effect)
            case ObserveRecord():
                await self._observe_record(namespace, effect)
            case DeleteRecord(name, uid):
                await self.cluster.delete(PROMPT_ROLLBACK, namespace, name, uid=uid)
                self.store.forget(PROMPT_ROLLBACK, namespace, name, uid)
            case Tell():
                self._tell(prompt, effect)
            case WriteStatus() | RemoveKeys() | ApplyConfigMap() | Audit() | AuditRecord():
                raise AssertionError("done by apply, which keeps track of resourceVersions")
            case other:
                assert_never(other)

    async def _apply_config_map(self, effect: ApplyConfigMap, resource_version: str) -> None:
        """Project. A new ConfigMap is applied without force: somebody may have put a foreign one there meanwhile.

        The uid keeps a deleted one from coming back; the resourceVersion keeps out a write that was held up on its way,
        or by a process that stood still while another one led, from undoing what was projected since.
        """
        body = dict(effect.manifest)
        if effect.uid:
            body["metadata"] = {**body["metadata"], "uid": effect.uid, "resourceVersion": resource_version}
        answer = await self.cluster.apply(CONFIG_MAP, body, manager=MANAGER, force=bool(effect.uid))
        self._seen_config_map(answer)
        if effect.healed:
            self.telemetry.tampering_healed.labels("apply").inc()

    async def _remove_keys(self, namespace: str, effect: RemoveKeys) -> str:
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": effect.resource_version}
        removals = [{"op": "remove", "path": pointer} for pointer in effect.pointers]
        answer = await self.cluster.json_patch(CONFIG_MAP, namespace, effect.name, [test, *removals])
        self._seen_config_map(answer)
        self.telemetry.tampering_healed.labels("remove").inc()
        return str(answer["metadata"]["resourceVersion"])

    async def _write_record_status(self, namespace: str, effect: WriteRecordStatus) -> None:
        status = effect.status
        await self.write_status(PROMPT_ROLLBACK, Name(namespace, effect.name), status, effect.resource_version)
        if status.judged_at is not None and status.record is None:  # of the record, not of the request it answers
            self.telemetry.outcomes.labels(status.outcome).inc()

    async def _observe_record(self, namespace: str, effect: ObserveRecord) -> None:
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": effect.resource_version},
            {"op": "replace", "path": "/status/observedGeneration", "value": effect.generation},
        ]
        answer = await self.cluster.json_patch(
            PROMPT_ROLLBACK, namespace, effect.name, operations, subresource="status"
        )
        self.store.observe(PROMPT_ROLLBACK, answer)

    async def _create_record(self, manifest: Manifest) -> None:
        answer = await self.cluster.create(PROMPT_ROLLBACK, manifest)
        if answer is None:
            return  # written before a crash or by another operator: the watch brings it
        self.wake(self.store.observe(PROMPT_ROLLBACK, answer))
        spec = answer["spec"]
        if spec["decision"] == "Executed":
            self.telemetry.rollbacks.labels(spec["trigger"].lower(), spec.get("rule", "")).inc()
        else:
            self.telemetry.refusals.labels(spec.get("guard", "")).inc()

    async def _audit(self, namespace: str, effect: Audit | AuditRecord) -> None:
        if isinstance(effect, Audit):
            self.trail.offer(effect.entry)
            return
        try:
            manifest = await self.cluster.get(PROMPT_ROLLBACK, namespace, effect.name)
        except NotFound:
            return  # deleted a moment ago, and the watch tells soon
        for entry in of_record(manifest):
            self.trail.offer(entry)

    def _seen_config_map(self, answer: Manifest) -> None:
        """Take in our own write; wake the prompt only where something of somebody else's is still in it."""
        keys = self.store.observe(CONFIG_MAP, answer)
        observed = self.store.config_maps.get(Name(answer["metadata"]["namespace"], answer["metadata"]["name"]))
        if observed is not None and not observed.intact:
            self.wake(keys)

    def _tell(self, prompt: Prompt, effect: Tell) -> None:
        self.events.publish(self._happening(prompt, effect))
        if effect.guard:
            self.telemetry.refusals.labels(effect.guard).inc()

    def _happening(self, prompt: Prompt, tell: Tell) -> Happening:
        namespace = prompt.metadata.namespace
        record = self.store.rollbacks.get(Name(namespace, tell.rollback)) if tell.rollback else None
        kind, name, uid = PROMPT.kind, prompt.metadata.name, prompt.metadata.uid
        if record is not None:
            kind, name, uid = PROMPT_ROLLBACK.kind, record.name, record.uid
        return Happening(
            regarding={"apiVersion": API_VERSION, "kind": kind, "namespace": namespace, "name": name, "uid": uid},
            type=tell.type,
            reason=tell.reason,
            action=tell.action,
            note=tell.note,
        )


def _status_body(kind: Kind, name: Name, status: ApiModel, resource_version: str) -> Manifest:
    """Return the apply configuration: identity, fence and status, nothing else."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"namespace": name.namespace, "name": name.name, "resourceVersion": resource_version},
        "status": status.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
