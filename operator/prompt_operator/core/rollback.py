"""Whether a version is rolled back now, and to which one: automatically under the guards, or because a person asks."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from prompt_operator.api.promptstatus import Decision
from prompt_operator.core.audit.entry import packed
from prompt_operator.core.audit.inputs import inputs_of, inputs_of_request
from prompt_operator.core.correlation import common_cause, factors_of
from prompt_operator.core.evidence import snapshot_of
from prompt_operator.core.ledger import is_rollback, ledger_of
from prompt_operator.core.reasons import Objection, Reason
from prompt_operator.core.rules.cadence import reach_of
from prompt_operator.core.rules.model import Action, Confidence, Severity
from prompt_operator.core.rules.streak import State
from prompt_operator.core.safeguards import Case, Refusal, first_refusal
from prompt_operator.core.standing import Standing, known_hash, target_from
from prompt_operator.core.target import Candidate, Choice, unusable

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from prompt_operator.core.correlation import CommonCause
    from prompt_operator.core.facts import Facts, RuleReading
    from prompt_operator.core.ledger import RollbackRecord

_CONFIDENCE = (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)
_SEVERITY = (Severity.CRITICAL, Severity.WARNING)


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that fired, and the guard that objected."""

    reading: RuleReading
    refusal: Refusal
    case: Case
    """What the guard was given."""


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A person's request that cannot be executed."""

    request: RollbackRecord
    reason: Reason | Objection
    message: str
    inputs: str
    """What it was decided on, as JSON."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The outcome of one look."""

    decision: Decision | None = None
    refused: tuple[Refused, ...] = ()
    refused_request: RefusedRequest | None = None

    @property
    def common_cause(self) -> CommonCause | None:
        """What the failing prompts share, where that is why a rule rolls nothing back."""
        causes = (r.case.common_cause for r in self.refused if r.refusal.objection is Objection.CORRELATED_BREACH)
        return next(causes, None)


def consider(facts: Facts, stand: Standing, mode: str, now: datetime) -> Turn:
    """Decide about a rollback of the active version; a person's request goes before any rule."""
    if stand.active != (facts.prompt.status.active_version or ""):
        return Turn()  # an activation is under way: there is nothing settled to roll back
    request = pending_request(facts)
    if request is not None:
        return _manual(facts, stand, request, now)
    return _automatic(facts, stand, mode, now)


def pending_request(facts: Facts) -> RollbackRecord | None:
    """Return the oldest request of a person that no record, no decision and not its own status answers yet.

    Its status is written after the record: what was executed is not executed again because a record was deleted.
    """
    answered = {record.request_ref for record in facts.records if record.request_ref}
    decision = facts.prompt.status.decision
    if decision is not None and decision.request_ref:
        answered.add(decision.request_ref)
    requests = (r for r in facts.records if r.is_request and r.name not in answered and not r.answered)
    return min(requests, key=lambda request: (request.at, request.name), default=None)


def firing(facts: Facts, stand: Standing) -> tuple[RuleReading, ...]:
    """Return the firing rules that ask for a rollback of the active version, the surest first."""
    readings = facts.readings
    if readings is None or (readings.version, readings.activated_at) != (
        stand.active,
        facts.prompt.status.activated_at,
    ):
        return ()
    asking = (r for r in readings.rules if Action.ROLLBACK in r.rule.actions and r.streak.beneath is State.FIRING)
    return tuple(sorted(asking, key=_order))


def _order(reading: RuleReading) -> tuple[int, int, str]:
    rule = reading.rule
    return _SEVERITY.index(rule.severity), _CONFIDENCE.index(rule.confidence), rule.name


def _automatic(facts: Facts, stand: Standing, mode: str, now: datetime) -> Turn:
    choice = target_from(facts, stand.active, stand.holds)
    refused = []
    for reading in firing(facts, stand):
        case = _case(facts, stand, mode, reading, choice, now)
        refusal = first_refusal(case)
        if refusal is None:
            return Turn(_rollback_by_rule(facts, stand, reading, case))
        refused.append(Refused(reading, refusal, case))
    return Turn(refused=tuple(refused))


def _case(facts: Facts, stand: Standing, mode: str, reading: RuleReading, choice: Choice, now: datetime) -> Case:
    status, version = facts.prompt.status, facts.versions.get(stand.active)
    ledger = ledger_of(facts.records, status.decision)
    return Case(
        now=now,
        suspended=bool(facts.prompt.spec.suspend),
        mode=mode,
        auto=facts.policy.auto if version is None or version.auto_rollback else "Disabled",
        policy=facts.policy,
        judged_at=reading.at,
        fresh_for=_fresh_for(facts, reading),
        judgement=reading.rollback,
        activated_at=status.activated_at,
        choice=choice,
        overridden=stand.overridden(facts.prompt.spec.version),
        ledger=ledger,
        skew=facts.elsewhere.skew,
        common_cause=common_cause(
            facts.elsewhere.tallies,
            factors_of(facts.prompt.metadata.namespace, version),
            share=facts.policy.correlated_share,
            at_least=facts.policy.correlated_at_least,
        ),
        elsewhere=facts.elsewhere.rollbacks,
        left_at=_left_at(facts, stand.active),
        reach=reach_of(reading.rule),
        handed_over=ledger.handed_over(facts.policy.max_per_day),
    )


def _left_at(facts: Facts, version: str) -> datetime | None:
    """Return when a rollback left a version the last time; the decision may have no record yet."""
    decision = facts.prompt.status.decision
    instants = [record.at for record in facts.records if record.executed and record.from_version == version]
    if decision is not None and is_rollback(decision) and decision.from_version == version:
        instants.append(decision.at)
    return max(instants, default=None)


def _fresh_for(facts: Facts, reading: RuleReading) -> timedelta:
    """A slow window may be as old as its cadence makes it, but not because the last queries failed."""
    return facts.fresh_for if reading.streak.state is State.UNKNOWN else facts.fresh_for_rule(reading.rule)


def _rollback_by_rule(facts: Facts, stand: Standing, reading: RuleReading, case: Case) -> Decision:
    now, choice = case.now, case.choice
    return Decision(
        id=decision_id(facts.prompt.metadata.name, now, facts.prompt.metadata.uid, stand.active, reading.rule.name),
        kind="Rollback",
        decision="Executed",
        from_version=stand.active,
        to_version=choice.version,
        from_hash=known_hash(facts, stand.active) or None,
        to_hash=facts.versions[choice.version].content_hash,
        rule=reading.rule.name,
        reason=shortened(f"{reading.rule.name}: {reading.rollback.message}"),
        at=now,
        evidence=snapshot_of(facts, reading),
        inputs=packed(inputs_of(case, reading)),
    )


def _manual(facts: Facts, stand: Standing, request: RollbackRecord, now: datetime) -> Turn:
    choice = _requested_target(facts, stand, request)
    inputs = packed(inputs_of_request(request, stand.active, choice, now))
    reason = request_refusal(request.from_version, stand.active, choice)
    if reason is None:
        return Turn(_rollback_by_person(facts, stand, request, choice, now, inputs))
    none = "there is no earlier version to go back to: fix forward, or use Fallback"
    message = _stale(request, stand) if reason is Reason.STALE_REQUEST else "; ".join(choice.rejected) or none
    return Turn(refused_request=RefusedRequest(request, reason, message, inputs))


def request_refusal(from_version: str, active: str, choice: Choice) -> Reason | Objection | None:
    """Say why a person's request cannot be executed, or None: no other guard stops a person."""
    if from_version != active:
        return Reason.STALE_REQUEST
    if choice.version:
        return None
    return Objection.TARGET_UNHEALTHY if choice.rejected else Objection.NO_TARGET


def _stale(request: RollbackRecord, stand: Standing) -> str:
    return (
        f"fromVersion is {request.from_version}, but {stand.active or 'nothing'} is active: "
        "somebody was faster; look again and create a new request if it is still needed"
    )


def _requested_target(facts: Facts, stand: Standing, request: RollbackRecord) -> Choice:
    if not request.to_version:
        return target_from(facts, stand.active, stand.holds)
    candidate = Candidate(request.to_version, known_hash(facts, request.to_version))
    problem = unusable(candidate, facts.versions, stand.holds)
    return Choice(rejected=(problem,)) if problem else Choice(request.to_version)


def _rollback_by_person(
    facts: Facts, stand: Standing, request: RollbackRecord, choice: Choice, now: datetime, inputs: str
) -> Decision:
    return Decision(
        id=decision_id(facts.prompt.metadata.name, now, request.uid),
        kind="ManualRollback",
        decision="Executed",
        from_version=stand.active,
        to_version=choice.version,
        from_hash=known_hash(facts, stand.active) or None,
        to_hash=facts.versions[choice.version].content_hash,
        reason=shortened(request.reason),
        requested_by=request.requested_by,
        request_ref=request.name,
        at=now,
        evidence=snapshot_of(facts),
        inputs=inputs,
    )


def decision_id(prompt: str, at: datetime, *parts: str) -> str:
    """Return a name that says which prompt and when, unique by what was decided: equal inputs, equal id."""
    digest = sha256("\n".join(parts).encode()).hexdigest()[:8]
    return f"{prompt}-{at:%Y%m%dt%H%M%Sz}-{digest}"


def shortened(text: str, limit: int = 1024) -> str:
    """Cut a text to what the API accepts."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
