"""Runs of the kinds beside Prompt: their status only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_operator.api.common import rfc3339
from prompt_operator.api.experiment import ExperimentStatus
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicyStatus
from prompt_operator.api.promptversion import PromptVersionStatus
from prompt_operator.core.audit import entries
from prompt_operator.core.companions import (
    PolicyProblems,
    experiment_status,
    policy_status,
    version_settled,
    version_status,
)
from prompt_operator.core.policy import effective
from prompt_operator.engine.store import Name
from prompt_operator.ports import EXPERIMENT, PROMPT_POLICY, PROMPT_VERSION, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from prompt_operator.api.common import ApiModel
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.versions import VersionRecord
    from prompt_operator.engine.apply import Applier
    from prompt_operator.engine.store import Key, PolicyRecord, Store
    from prompt_operator.ports import Cluster, Kind, Manifest
    from prompt_operator.telemetry import Telemetry

_POLICY_DELAY = 2.0
"""Seconds: a thousand prompts that appear under a policy are one write of its status, not a thousand."""
_ANY_VERSION = "0.0.0"


@dataclass(frozen=True, slots=True)
class Known:
    """Names that the operator was configured with."""

    profiles: Collection[str]
    sources: Collection[str]

    def problems(self, record: PolicyRecord, in_force: Effective) -> PolicyProblems:
        """Say what is wrong with a policy."""
        profile, source = in_force.profile, in_force.source
        return PolicyProblems(
            record.problem,
            in_force.metric_problems,
            in_force.policy_problems,
            profile_missing="" if profile in self.profiles else profile,
            source_missing="" if not source or source in self.sources else source,
        )


@dataclass(slots=True)
class Companions:
    """Keeps the status of PromptVersion, PromptPolicy and Experiment."""

    cluster: Cluster
    store: Store
    applier: Applier
    telemetry: Telemetry
    known: Known

    def delay(self, key: Key) -> float:
        """Return how long a wake of this key may wait to be joined by others."""
        return _POLICY_DELAY if key.kind == PROMPT_POLICY.kind else 0.0

    async def run(self, key: Key, now: datetime) -> None:
        """Bring the status of one object up to date."""
        name = Name(key.namespace, key.name)
        try:
            if key.kind == PROMPT_VERSION.kind:
                await self._version(name, now)
            elif key.kind == PROMPT_POLICY.kind and name in self.store.policies:
                await self._policy(name, now)
            elif key.kind == EXPERIMENT.kind and name in self.store.experiments:
                await self._experiment(name, now)
        except NotFound:
            return  # deleted meanwhile: the watch tells

    async def _version(self, name: Name, now: datetime) -> None:
        record = self.store.versions.get(name)
        if record is None or record.deleting:
            return
        activated_at = self._activated_at(record)
        if version_settled(record, rfc3339(activated_at) if activated_at else ""):
            return
        manifest = await self.cluster.get(PROMPT_VERSION, *name)
        before = PromptVersionStatus.model_validate(manifest.get("status") or {})
        after = version_status(record, before, activated_at, now)
        if any(c.reason == "HashMismatch" for c in after.conditions) and after.conditions != before.conditions:
            self.telemetry.hash_mismatches.inc()
        await self._write(PROMPT_VERSION, name, before, after, manifest["metadata"]["resourceVersion"])

    def _activated_at(self, record: VersionRecord) -> datetime | None:
        """Return since when the prompt serves this version; None when it does not."""
        prompt = self.store.prompts.get(Name(record.namespace, record.prompt))
        if prompt is None:
            return None
        status = prompt.parsed().status
        return status.activated_at if status.active_version == record.version else None

    async def _policy(self, name: Name, now: datetime) -> None:
        manifest = await self.cluster.get(PROMPT_POLICY, *name)
        # What was read may be newer than the watch: status must be judged on the generation that it names.
        self.applier.wake(key for key in self.store.observe(PROMPT_POLICY, manifest) if key.kind != PROMPT_POLICY.kind)
        record, metadata = self.store.policies.get(name), manifest["metadata"]
        if record is None or record.resource_version != metadata["resourceVersion"]:
            raise Conflict(f"PromptPolicy {name.namespace}/{name.name} changed while it was read")
        before = PromptPolicyStatus.model_validate(manifest.get("status") or {})
        in_force = effective(PromptSpec(version=_ANY_VERSION), record.spec, name.namespace)
        after = policy_status(
            manifest["spec"],
            self.known.problems(record, in_force),
            before,
            prompts=sum(1 for _ in self.store.prompts_under(name)),
            generation=metadata["generation"],
            now=now,
        )
        await self._write(PROMPT_POLICY, name, before, after, metadata["resourceVersion"])
        self._audit_policy(manifest, in_force)

    def _audit_policy(self, manifest: Manifest, in_force: Effective) -> None:
        audited = self.applier.trail.audited
        if audited is not None and audited.lacks(entries.policy_id(manifest), entries.policy_at(manifest)):
            self.applier.trail.offer(entries.policy(manifest, in_force))

    async def _experiment(self, name: Name, now: datetime) -> None:
        manifest = await self.cluster.get(EXPERIMENT, *name)
        metadata = manifest["metadata"]
        before = ExperimentStatus.model_validate(manifest.get("status") or {})
        after = experiment_status(manifest["spec"], before, generation=metadata["generation"], now=now)
        await self._write(EXPERIMENT, name, before, after, metadata["resourceVersion"])

    async def _write(self, kind: Kind, name: Name, before: ApiModel, after: ApiModel, resource_version: str) -> None:
        if before != after:
            await self.applier.write_status(kind, name, after, resource_version)
