"""PromptRollback records: what the operator writes about its decisions, and what became of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from prompt_client import wire
from prompt_operator.api.common import API_VERSION, rfc3339
from prompt_operator.api.promptrollback import PromptRollbackStatus
from prompt_operator.core.audit.entry import packed
from prompt_operator.core.audit.inputs import inputs_of
from prompt_operator.core.conditions import Wanted, find, summary, transition
from prompt_operator.core.evidence import evidence_of, measurements_of, queries_of, snapshot_of, with_queries
from prompt_operator.core.ledger import awaits_record
from prompt_operator.core.plan import CreateRecord, Effect, ObserveRecord, Tell, WriteRecordStatus
from prompt_operator.core.reasons import ConditionType, Objection, Reason
from prompt_operator.core.recovery import Outcome, judged_by, recovery
from prompt_operator.core.rollback import Refused, RefusedRequest, decision_id, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from prompt_operator.api.common import Evidence, Measurement
    from prompt_operator.api.promptstatus import Decision, PromptStatus
    from prompt_operator.core.facts import Facts
    from prompt_operator.core.ledger import RollbackRecord

PASSING = frozenset(
    {
        Objection.EVIDENCE_STALE,
        Objection.CLOCK_SKEW,
        Objection.SETTLING,
        Objection.TOO_FEW_SAMPLES,
        Objection.NOT_CONFIDENT,
        Objection.GLOBAL_RATE_LIMITED,
    }
)
"""Objections that pass by themselves, as evidence or room comes: shown in status, too restless for a record."""


def record_of_decision(facts: Facts, decision: Decision) -> CreateRecord | None:
    """Return the record of the decision in status; None when it exists, or was deleted after it had been released.

    One that was deleted while it held a version is written again: its `release` is where the hold is lifted.
    """
    holding = any(held.record == decision.id for held in facts.prompt.status.held)
    if _recorded(facts, decision) or not (awaits_record(decision) or holding):
        return None
    manual = decision.kind == "ManualRollback"
    spec = {
        "fromVersion": decision.from_version,
        "toVersion": decision.to_version,
        "reason": decision.reason or None,
        "requestedBy": decision.requested_by,
        "trigger": "Manual" if manual else "Automatic",
        "decision": "Executed",
        "decidedAt": rfc3339(decision.at),
        "requestRef": {"name": decision.request_ref} if decision.request_ref else None,
        "contentHash": decision.from_hash,
        "rule": decision.rule,
        "evidence": _plain(decision.evidence),
        "inputs": decision.inputs,
    }
    return CreateRecord(_manifest(facts, decision.id, spec))


def once_recorded(facts: Facts, decision: Decision | None) -> Decision | None:
    """Return the decision as status keeps it: without the inputs as soon as its record has them."""
    if decision is None or not awaits_record(decision) or not _recorded(facts, decision):
        return decision
    return decision.model_copy(update={"inputs": None})


def _recorded(facts: Facts, decision: Decision) -> bool:
    return any(record.name == decision.id for record in facts.records)


def records_of_refusals(facts: Facts, refused: Iterable[Refused], now: datetime) -> Iterator[Effect]:
    """Yield a record and an Event for each refusal worth one: one per rule, guard and firing episode."""
    names = {record.name for record in facts.records}
    for each in refused:
        if each.refusal.objection in PASSING:
            continue
        name = episode(facts, each, now)
        if name not in names:
            yield CreateRecord(_manifest(facts, name, _refusal(facts, each, now)))
            yield _told(facts, each)


def passing_told(facts: Facts, refused: Iterable[Refused], after: PromptStatus) -> Iterator[Effect]:
    """Yield an Event when an objection that has no record becomes the one that Healthy shows."""
    old, new = (find(status.conditions, ConditionType.HEALTHY) for status in (facts.prompt.status, after))
    if new is None or (old is not None and old.reason == new.reason):
        return
    shown = (each for each in refused if each.refusal.objection in PASSING and each.refusal.objection == new.reason)
    yield from (replace(_told(facts, each), guard=each.refusal.objection) for each in islice(shown, 1))


def record_of_refused_request(facts: Facts, refused: RefusedRequest, now: datetime) -> tuple[Effect, ...]:
    """Return the record that answers a request which cannot be executed."""
    request = refused.request
    spec = {
        "fromVersion": request.from_version,
        "toVersion": request.to_version or None,
        "reason": shortened(refused.message),  # the person's own reason stands in the request
        "requestedBy": request.requested_by,
        "trigger": "Manual",
        "decision": "Refused",
        "decidedAt": rfc3339(now),
        "requestRef": {"name": request.name},
        "guard": refused.reason,
        "inputs": refused.inputs,
    }
    name = decision_id(facts.prompt.metadata.name, request.at, request.uid, "refused")
    told = Tell("Warning", Reason.ROLLBACK_REFUSED, "Rollback", f"{refused.reason}: {refused.message}", request.name)
    return CreateRecord(_manifest(facts, name, spec)), told


def statuses(facts: Facts, now: datetime) -> Iterator[Effect]:
    """Yield the status writes that the PromptRollbacks of this prompt need."""
    answers = {record.request_ref: record for record in facts.records if record.request_ref and not record.is_request}
    for record in facts.records:
        answer = answers.get(record.name) if record.is_request else record
        if answer is not None:
            yield from _status(facts, record, answer, now)


def _manifest(facts: Facts, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    prompt = facts.prompt.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": "PromptRollback",
        "metadata": {
            "name": name,
            "namespace": prompt.namespace,
            "labels": {wire.MANAGED_BY_LABEL: wire.MANAGED_BY, wire.PROMPT_LABEL: prompt.name},
        },
        "spec": {
            "promptRef": {"name": prompt.name},
            **{key: value for key, value in spec.items() if value is not None},
        },
    }


def _refusal(facts: Facts, refused: Refused, now: datetime) -> dict[str, Any]:
    dry_run = refused.refusal.objection is Objection.DRY_RUN
    return {
        "fromVersion": facts.prompt.status.active_version,
        "reason": shortened(refused.refusal.message),
        "trigger": "Automatic",
        "decision": "DryRun" if dry_run else "Refused",
        "decidedAt": rfc3339(now),
        "contentHash": facts.prompt.status.active_hash,
        "guard": refused.refusal.objection,
        "rule": refused.reading.rule.name,
        "evidence": _plain(evidence_of(facts, refused.reading)),
        "inputs": packed(inputs_of(refused.case, refused.reading)),
    }


def _plain(evidence: Iterable[Evidence]) -> list[dict[str, Any]] | None:
    """Return evidence as it stands in a manifest; None rather than an empty list."""
    return [each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in evidence] or None


def episode(facts: Facts, refused: Refused, now: datetime) -> str:
    """Return the name of a refusal: one for all looks while the rule goes on firing and the guard objecting."""
    since = refused.reading.streak.fired_at or now
    prompt = facts.prompt.metadata
    return decision_id(prompt.name, since, prompt.uid, refused.reading.rule.name, refused.refusal.objection)


def _told(facts: Facts, refused: Refused) -> Tell:
    dry_run = refused.refusal.objection is Objection.DRY_RUN
    reason = Reason.ROLLBACK_DRY_RUN if dry_run else Reason.ROLLBACK_REFUSED
    note = f"{refused.reading.rule.name}: {refused.refusal.objection}: {refused.refusal.message}"
    return Tell("Warning", reason, "Rollback", with_queries(note, queries_of(facts, refused.reading)))


def _status(facts: Facts, record: RollbackRecord, answer: RollbackRecord, now: datetime) -> Iterator[Effect]:
    if record.outcome:
        if record.seen[0] != str(record.generation):
            yield ObserveRecord(record.name, record.resource_version, record.generation)
        return
    outcome = _outcome(facts, answer, now)
    wanted = tuple(_wanted(answer, outcome))
    final = outcome.reason.value if outcome.final else None
    if summary(record.generation, final, (want.short for want in wanted)) == record.seen:
        return
    executed = answer.at if answer.executed else None
    judged = bool(final) and answer.executed and outcome.judged
    status = PromptRollbackStatus(
        observed_generation=record.generation,
        outcome=final,
        record=answer.name if record.is_request else None,
        accepted_at=answer.at,
        executed_at=executed,
        judged_at=now if judged else None,
        before=measurements_of(answer.evidence, answer.from_version) if answer.executed else (),
        after=_after(facts, answer) if judged else (),
        message=outcome.message,
        conditions=(
            *transition((), wanted[:-1], record.generation, answer.at),
            *transition((), wanted[-1:], record.generation, now if judged else answer.at),
        ),
    )
    yield WriteRecordStatus(record.name, record.resource_version, status)
    if judged and answer is record:
        kind = "Normal" if outcome.reason is Reason.RECOVERED else "Warning"
        yield Tell(kind, outcome.reason, "JudgeRecovery", f"rollback to {record.to_version}: {outcome.message}")


def _after(facts: Facts, answer: RollbackRecord) -> tuple[Measurement, ...]:
    """Return what is measured of the restored version; nothing where another one is active by now."""
    readings = facts.readings
    if readings is None or readings.version != answer.to_version:
        return ()
    return measurements_of(snapshot_of(facts, judged_by(facts, answer)), answer.to_version)


def _outcome(facts: Facts, answer: RollbackRecord, now: datetime) -> Outcome:
    if answer.decision == "Refused":
        return Outcome(Reason.REFUSED, "False", answer.reason)
    if answer.decision == "DryRun":
        return Outcome(Reason.DRY_RUN, "False", answer.reason)
    return recovery(facts, answer, now)


def _wanted(answer: RollbackRecord, outcome: Outcome) -> Iterator[Wanted]:
    accepted = answer.decision != "Refused"
    executed = "True" if answer.executed else "False"
    yield Wanted(
        ConditionType.ACCEPTED,
        "True" if accepted else "False",
        Reason.ACCEPTED if accepted else Reason.REFUSED,
        outcome.message,
    )
    yield Wanted(
        ConditionType.EXECUTED, executed, Reason.EXECUTED if answer.executed else outcome.reason, outcome.message
    )
    yield Wanted(ConditionType.RECOVERED, outcome.status, outcome.reason, outcome.message)
