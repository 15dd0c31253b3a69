"""Prompts, versions, records, readings and facts for the tests, in a few words.

Everything is built as the API server would return it and reduced by the same code as in production, so a test never
rests on a record that could not exist.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.core.rules.builders import Reading, judged, reading

from prompt_operator.api.common import API_VERSION, rfc3339
from prompt_operator.api.prompt import Prompt, PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.core import ledger, versions
from prompt_operator.core.facts import Content, Facts, Readings, RuleReading
from prompt_operator.core.ledger import Ledger
from prompt_operator.core.policy import Effective, effective
from prompt_operator.core.projection import Owner, Served, entry_of, observe, render
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.measure import needs
from prompt_operator.core.rules.streak import State, Streak
from prompt_operator.core.safeguards import Case
from prompt_operator.core.target import Choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prompt_operator.api.promptstatus import PromptStatus
    from prompt_operator.core.ledger import RollbackRecord
    from prompt_operator.core.plan import Effect, Plan
    from prompt_operator.core.projection import ObservedConfigMap
    from prompt_operator.core.versions import VersionRecord

T0 = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NAMESPACE, PROMPT = "shop", "greeting"
V1, V2, V3 = "1.0.0", "2.0.0", "3.0.0"
OWNER = Owner(NAMESPACE, PROMPT, "uid-greeting")
RULE = "critical-error-rate"


def after(**span: float) -> datetime:
    """Return T0 plus a span."""
    return T0 + timedelta(**span)


def a_spec(version: str = V1, **spec: Any) -> dict[str, Any]:
    """Return the spec of a PromptVersion; each version has a text of its own."""
    return {"promptRef": {"name": PROMPT}, "version": version, "text": f"Greet, as {version} does."} | spec


def a_version_manifest(
    version: str = V1, *, seen: bool = True, accepted: str = "", deleting: bool = False, **spec: Any
) -> dict[str, Any]:
    """Return a PromptVersion; `seen` puts the hash of its content into its status, as the operator does."""
    whole = a_spec(version, **spec)
    metadata: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": f"{PROMPT}-{version}",
        "uid": f"uid-{version}",
        "resourceVersion": "1",
        "generation": 1,
    }
    if accepted:
        metadata["annotations"] = {versions.ACCEPTED_HASH_ANNOTATION: accepted}
    if deleting:
        metadata["deletionTimestamp"] = rfc3339(T0)
    status = {"contentHash": hash_of(version, **spec)} if seen else {}
    return {"apiVersion": API_VERSION, "kind": "PromptVersion", "metadata": metadata, "spec": whole, "status": status}


def a_version(version: str = V1, **manifest: Any) -> VersionRecord:
    """Return what the store keeps of a PromptVersion."""
    return versions.record_of(a_version_manifest(version, **manifest))


def hash_of(version: str, **spec: Any) -> str:
    """Return the content hash of a version built here."""
    return str(entry_of(a_spec(version, **spec))["hash"])


def content_of(version: str, **spec: Any) -> Content:
    """Return the content of a version as it is read before it is projected."""
    entry = entry_of(a_spec(version, **spec))
    return Content(version, entry["hash"], entry)


def a_status(active: str = V1, *, history: tuple[str, ...] = (), **status: Any) -> dict[str, Any]:
    """Return the status of a Prompt that has served `active` since T0, and `history` before it (newest first)."""
    served = [{"version": v, "hash": hash_of(v), "at": rfc3339(T0)} for v in (active, *history)]
    projection = {
        "configMap": f"prompt-{PROMPT}", "revision": 7, "contentHash": hash_of(active), "at": rfc3339(T0),
    }  # fmt: skip
    return {
        "activeVersion": active,
        "activeHash": hash_of(active),
        "activatedAt": rfc3339(T0),
        "history": served,
        "projection": projection,
    } | status


def a_prompt(
    version: str = V1,
    *,
    status: Mapping[str, Any] | PromptStatus | None = None,
    annotations: Mapping[str, str] | None = None,
    generation: int = 1,
    deleting: bool = False,
    **spec: Any,
) -> Prompt:
    """Return a Prompt that wants this version."""
    metadata = {
        "namespace": NAMESPACE,
        "name": PROMPT,
        "uid": OWNER.uid,
        "resourceVersion": "1",
        "generation": generation,
        "annotations": dict(annotations or {}),
    }
    if deleting:
        metadata["deletionTimestamp"] = rfc3339(T0)
    return Prompt.from_manifest({"metadata": metadata, "spec": {"version": version} | spec, "status": status or {}})


def a_policy(prompt: Mapping[str, Any] | None = None, **policy: Any) -> Effective:
    """Return the policy in force under a PromptPolicy with these blocks; `prompt` is what the Prompt's spec adds."""
    spec = PromptSpec.model_validate({"version": V1} | dict(prompt or {}))
    return effective(spec, PromptPolicySpec.model_validate(policy) if policy else None, NAMESPACE)


def a_record_manifest(
    name: str = "record-1",
    *,
    from_: str = V2,
    to: str = V1,
    at: datetime = T0,
    decision: str = "Executed",
    trigger: str = "Automatic",
    **spec: Any,
) -> dict[str, Any]:
    """Return a record of the operator; `outcome` and `generation` go to status and metadata."""
    outcome, generation = spec.pop("outcome", ""), spec.pop("generation", 1)
    whole = {
        "promptRef": {"name": PROMPT},
        "fromVersion": from_,
        "toVersion": to,
        "trigger": trigger,
        "decision": decision,
        "decidedAt": rfc3339(at),
        "contentHash": hash_of(from_),
        "reason": f"{RULE}: too many errors",
    } | spec
    metadata = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": generation,
        "creationTimestamp": rfc3339(at),
    }
    status = {"outcome": outcome} if outcome else {}
    return {"apiVersion": API_VERSION, "kind": "PromptRollback", "metadata": metadata, "spec": whole, "status": status}


def a_record(name: str = "record-1", **record: Any) -> RollbackRecord:
    """Return what the store keeps of a record."""
    return ledger.record_of(a_record_manifest(name, **record))


def a_request(name: str = "please", *, from_: str = V2, to: str = "", at: datetime = T0) -> RollbackRecord:
    """Return a person's request for a rollback."""
    manifest = a_record_manifest(name, from_=from_, at=at, trigger="Manual", requestedBy="ada", reason="odd answers")
    for member in ("decision", "decidedAt", "contentHash", "toVersion"):
        del manifest["spec"][member]
    if to:
        manifest["spec"]["toVersion"] = to
    return ledger.record_of(manifest)


def a_config_map(version: str = V1, *, mode: str = "Active", revision: int = 7, owner: Owner = OWNER) -> dict[str, Any]:
    """Return the ConfigMap that the operator projects for a version, as the API server returns it."""
    served = Served(version, hash_of(version) if version else "", mode, revision)
    manifest = render(owner, f"prompt-{PROMPT}", served, content_of(version).entry if version else None)
    manifest["metadata"] |= {
        "uid": "uid-config-map",
        "resourceVersion": "1",
        "managedFields": [{"manager": "prompt-operator-projection", "operation": "Apply"}],
    }
    return manifest


def observed(version: str = V1, **config_map: Any) -> ObservedConfigMap:
    """Return what the store keeps of that ConfigMap."""
    return observe(a_config_map(version, **config_map))


def a_reading(
    rule: str = RULE,
    *,
    errors: float = 100,
    requests: float = 200,
    state: State = State.FIRING,
    at: datetime = T0 + timedelta(minutes=10),
    fired_at: datetime | None = None,
    policy: Effective | None = None,
) -> RuleReading:
    """Return a rule's reading with these counts in every window, in this state; judged by the real rule."""
    spec = next(each for each in (policy or a_policy()).rules if each.name == rule)
    measured: Reading = {}
    for window in ("1m", "5m", "10m", "15m"):
        measured |= reading(window, errors=errors, requests=requests)
    text = spec.text.split(" for ")[0]
    alert = judged(text, measured)
    fired = (fired_at or at) if state in {State.FIRING, State.RECOVERING} else None
    streak = Streak(
        state,
        at,
        beneath=state,
        active_at=fired,
        fired_at=fired,
        last_true=at if alert.verdict is Verdict.TRUE else None,
        last_false=at if alert.verdict is Verdict.FALSE else None,
    )
    basis = {need: measured[need] for need in needs(spec) if need in measured}
    return RuleReading(spec, streak, alert, judged(text, measured, confidence=0.9999), at, basis)


def readings(
    *rules: RuleReading, version: str = V2, activated_at: datetime | None = T0, traffic: bool = True
) -> Readings:
    """Return the readings of an activation."""
    return Readings(version, activated_at, rules, traffic)


def facts(
    prompt: Prompt | None = None,
    *,
    versions: Iterable[VersionRecord] | None = None,
    records: Iterable[RollbackRecord] = (),
    config_map: ObservedConfigMap | None = None,
    config_map_known: bool = True,
    strays: Iterable[ObservedConfigMap] = (),
    policy: Effective | None = None,
    policy_missing: str = "",
    readings: Readings | None = None,
    contents: Iterable[Content] = (),
    operator_mode: str = "Active",
) -> Facts:
    """Return facts: without modifiers, a Prompt that was just created beside its versions 1.0.0 and 2.0.0."""
    prompt = prompt or a_prompt()
    records = tuple(sorted(records, key=lambda record: (record.at, record.name)))
    return Facts(
        prompt=prompt,
        policy=policy or effective(prompt.spec, None, NAMESPACE),
        policy_missing=policy_missing,
        versions={
            each.version: each for each in (versions if versions is not None else (a_version(V1), a_version(V2)))
        },
        records=records,
        config_map=config_map,
        config_map_known=config_map_known,
        stray_config_maps=tuple(strays),
        readings=readings,
        contents={each.version: each for each in contents},
        operator_mode=operator_mode,
        fresh_for=timedelta(seconds=60),
        desired_by="kubectl",
    )


def of(plan: Plan, kind: type[Any]) -> list[Any]:
    """Return the effects of a plan that are of one kind."""
    return [effect for effect in plan.effects if isinstance(effect, kind)]


def kinds(effects: Iterable[Effect]) -> list[str]:
    """Return the kinds of effects in their order."""
    return [type(effect).__name__ for effect in effects]


def condition(status: PromptStatus, kind: str) -> tuple[str, str] | None:
    """Return status and reason of a condition; None when it is absent."""
    return next(((each.status, each.reason) for each in status.conditions if each.type == kind), None)


def a_case(**changed: Any) -> Case:
    """Return a case that no guard objects to, but for what is changed."""
    case = Case(
        now=after(hours=30),
        suspended=False,
        mode="Active",
        auto="Enabled",
        policy=a_policy(),
        judged_at=after(hours=30),
        fresh_for=timedelta(seconds=60),
        judgement=a_reading().rollback,
        activated_at=T0,
        choice=Choice(V1),
        overridden=False,
        ledger=Ledger(),
    )
    return replace(case, **changed)
