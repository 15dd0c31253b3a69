"""The order of decisions for one prompt: facts in, plan out.

standing (people's wishes and holds) -> rollback (a person's request, else the rules) -> projection -> status, records
and Events. A rollback is written to status before anything moves; an activation follows from `spec` alone and is
projected first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from prompt_operator.api.promptstatus import Decision, HandledRequest, PromptStatus
from prompt_operator.core import health, records, situation
from prompt_operator.core.activation import activated, held_of, override_of, rollbacks_of, rolled_back
from prompt_operator.core.audit.due import due
from prompt_operator.core.baseline import frozen, own
from prompt_operator.core.conditions import Wanted, transition
from prompt_operator.core.evidence import queries_of, with_queries
from prompt_operator.core.mode import Mode
from prompt_operator.core.plan import ApplyConfigMap, DeleteRecord, Effect, Plan, Tell, WriteStatus
from prompt_operator.core.project import Projection, changed, project, unfit
from prompt_operator.core.pruning import prunable
from prompt_operator.core.reasons import Reason
from prompt_operator.core.recovery import next_judgement
from prompt_operator.core.rollback import Turn, consider, pending_request
from prompt_operator.core.situation import Situation
from prompt_operator.core.standing import (
    Blocked,
    Standing,
    current_holds,
    policy_missing,
    retry,
    standing,
)
from prompt_operator.core.unimplemented import PROMPT, not_implemented
from prompt_operator.core.unrecorded import not_recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from prompt_operator.core.facts import Facts

_PRUNED = 20  # records in one look, so that an old heap delays nothing else
_FOREIGN_EVERY = timedelta(seconds=60)
"""A foreign ConfigMap is not watched: look again whether it went away."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Where the decisions of one look lead."""

    facts: Facts
    mode: str
    stand: Standing
    turn: Turn
    status: PromptStatus
    """With the active version and the bookkeeping of this look, before projection and conditions."""
    projection: Projection


def reconcile(facts: Facts, now: datetime) -> Plan:
    """Decide what to do for one prompt.

    The plan may ask for a version's content instead (`read_content_of`): read it, put it into the facts, decide again.
    """
    if facts.operator_mode == Mode.FROZEN or facts.prompt.metadata.deletion_timestamp is not None:
        return Plan()
    now = now.replace(microsecond=0)  # times in the API have whole seconds
    outcome = _decide(facts, now)
    if outcome.projection.read_content_of:
        return Plan(read_content_of=outcome.projection.read_content_of)
    return Plan(
        tuple(_effects(outcome, now)),
        _wake_at(outcome, now),
        decision=outcome.turn.decision,
        common_cause=outcome.turn.common_cause,
    )


def troubled(facts: Facts, message: str, now: datetime) -> PromptStatus | None:
    """Return the status that tells of trouble with the API, all else as it was; None when it says so already."""
    before, generation, now = facts.prompt.status, facts.prompt.metadata.generation, now.replace(microsecond=0)
    wanted = list(_troubled_conditions(replace(facts, readings=None), Blocked(Reason.API_ERROR, message), now))
    changed = {want.type for want in wanted} | {"Reconciling", "Stalled"}
    kept = (
        condition.model_copy(update={"observed_generation": generation})
        for condition in before.conditions
        if condition.type not in changed
    )
    fresh = transition(before.conditions, wanted, generation, now)
    after = before.model_copy(update={"conditions": (*fresh, *kept), "observed_generation": generation})
    return None if _said(before) == _said(after) else after


def _troubled_conditions(facts: Facts, trouble: Blocked, now: datetime) -> Iterator[Wanted]:
    status, mode = facts.prompt.status, effective_mode(facts)
    active = status.active_version or ""
    told = Situation(
        active=active,
        desired=facts.prompt.spec.version,
        mode=mode,
        suspended=False,
        blocked=trouble,
        served=_served(facts, status),
    )
    yield from situation.wanted(facts, told, now)
    yield health.healthy(facts, mode, active, (), now)
    yield health.propagated(facts, active)


def _said(status: PromptStatus) -> set[tuple[object, ...]]:
    """Return what status says of which generation, without the messages, in which an error may differ each time."""
    conditions = {(each.type, each.status, each.reason) for each in status.conditions}
    return {(status.observed_generation,), *conditions}


def effective_mode(facts: Facts) -> str:
    """Return Fallback if the prompt, its policy or the whole operator is switched to it, else Active."""
    return "Fallback" if "Fallback" in (facts.operator_mode, facts.policy.mode) else "Active"


def _decide(facts: Facts, now: datetime) -> _Outcome:
    mode, stand = effective_mode(facts), standing(facts, now)
    trouble = unfit(facts, stand.active) if stand.active != facts.prompt.status.active_version else None
    if trouble is not None:
        stand = Standing(facts.prompt.status.active_version or "", trouble, stand.holds)
    turn = consider(facts, stand, mode, now)
    if turn.decision is not None and unfit(facts, turn.decision.to_version or "") is not None:
        turn = Turn()  # the target was changed while it was read: the watch tells soon, then another one is chosen
    status = _booked(facts, stand, turn.decision, now)
    if turn.decision is not None:
        stand = _after_decision(facts, status, turn.decision, now)
    active = status.active_version or ""
    projection = project(facts, active, status.active_hash or "", mode, now)
    return _Outcome(facts, mode, stand, turn, status, projection)


def _after_decision(facts: Facts, status: PromptStatus, decision: Decision, now: datetime) -> Standing:
    decided = replace(facts, prompt=facts.prompt.model_copy(update={"status": status}))
    holds = current_holds(decided, now)
    return Standing(decision.to_version or "", standing(decided, now).blocked, holds)


def _booked(facts: Facts, stand: Standing, decision: Decision | None, now: datetime) -> PromptStatus:
    """Return the status with the active version and what belongs to it."""
    before = facts.prompt.status
    if decision is not None:
        return rolled_back(before, decision, now)
    version = facts.versions.get(stand.active)
    if stand.active and stand.active != before.active_version and version is not None:
        by, reason, back = facts.desired_by or "unknown", "", stand.active != facts.prompt.spec.version
        if back:
            by, reason = "prompt-operator", f"{facts.prompt.spec.version} is held"
        baseline = own(before.baseline, stand.active) if back else ()
        return activated(
            before, stand.active, version.content_hash,
            cause="Activation", by=by, reason=reason, now=now, baseline=baseline,
        )  # fmt: skip
    if version is not None and version.content_hash == version.accepted_hash and version.verified():
        return before.model_copy(update={"active_hash": version.content_hash})
    return before


def _status(outcome: _Outcome, now: datetime) -> PromptStatus:
    """Return the whole status as it should be after this look."""
    facts, stand, before = outcome.facts, outcome.stand, outcome.status
    desired, generation = facts.prompt.spec.version, facts.prompt.metadata.generation
    rules = before.rules
    readings = facts.readings
    if readings is not None and (readings.version, readings.activated_at) == (
        before.active_version,
        before.activated_at,
    ):
        rules = health.rule_statuses(rules, readings, facts.policy.unknown_after, now, partial(queries_of, facts))
    status = before.model_copy(
        update={
            "observed_generation": generation,
            "override": override_of(
                before, desired, before.active_version or "", stand.holds.get(desired), facts.records
            ),
            "held": held_of(stand.holds),
            "rules": rules,
            "rollbacks": rollbacks_of(facts.records, before.decision),
            "decision": records.once_recorded(facts, before.decision),
            "projection": outcome.projection.status,
            "handled_requests": _handled(facts, now),
            # Nothing of this release fills these: what stands there was left by another manager.
            "rollout": None,
            "incidents": (),
        }
    )
    status = status.model_copy(update={"baseline": frozen(status, facts.normal)})
    wanted = tuple(_wanted(outcome, status, now))
    return status.model_copy(update={"conditions": transition(facts.prompt.status.conditions, wanted, generation, now)})


def _wanted(outcome: _Outcome, status: PromptStatus, now: datetime) -> Iterator[Wanted]:
    facts, active = outcome.facts, status.active_version or ""
    yield from situation.wanted(facts, _situation(outcome, status), now)
    yield health.healthy(facts, outcome.mode, active, outcome.turn.refused, now)
    yield health.propagated(facts, active)
    review = health.review_required(facts, status.rules)
    if review is not None:
        yield review
    unrecorded = not_recorded(facts, status.rules)
    if unrecorded is not None:
        yield unrecorded
    spec = facts.prompt.spec.model_dump(by_alias=True, exclude_none=True, mode="json", exclude_unset=True)
    idle = not_implemented(spec, PROMPT)
    if idle is not None:
        yield idle


def _situation(outcome: _Outcome, status: PromptStatus) -> Situation:
    facts = outcome.facts
    return Situation(
        active=status.active_version or "",
        desired=facts.prompt.spec.version,
        mode=outcome.mode,
        suspended=bool(facts.prompt.spec.suspend),
        blocked=_trouble(outcome),
        served=_served(facts, status),
    )


def _served(facts: Facts, status: PromptStatus) -> str:
    """Return the version that applications read: the active one, unless it could not be projected yet."""
    if status.projection is None:
        return ""
    if facts.served_version and status.projection.content_hash not in (None, status.active_hash):
        return facts.served_version
    return status.active_version or ""


def _trouble(outcome: _Outcome) -> Blocked | None:
    """Return the first trouble; its message tells the others too: a version can be held for weeks."""
    troubles = tuple(_troubles(outcome))
    if not troubles:
        return None
    first, *others = troubles
    also = (f"; also {other.reason}: {other.message}" for other in others if other != first)
    return replace(first, message=first.message + "".join(also))


def _troubles(outcome: _Outcome) -> Iterator[Blocked]:
    """Yield what is wrong, the worst first."""
    facts = outcome.facts
    if outcome.projection.blocked is not None:
        yield outcome.projection.blocked
    if outcome.stand.blocked is not None:
        yield outcome.stand.blocked
    active, served = outcome.status.active_version, outcome.status.active_hash
    stand_in = facts.versions.get(active) if active and active != facts.prompt.spec.version else None
    if stand_in is not None and not stand_in.verified(served or ""):
        yield changed(facts, stand_in.version)
    if facts.policy_missing:
        yield policy_missing(facts)
    if facts.policy.problems:
        yield Blocked(Reason.RULE_INVALID, "; ".join(facts.policy.problems))


def _handled(facts: Facts, now: datetime) -> tuple[HandledRequest, ...]:
    annotations = facts.prompt.metadata.annotations
    handled = []
    retried = retry(facts, now)
    if retried:
        handled.append(HandledRequest(verb="Retry", value=retried))
    if annotations.get(health.REVIEWED_ANNOTATION):
        handled.append(HandledRequest(verb="Review", value=annotations[health.REVIEWED_ANNOTATION][:63]))
    return tuple(handled)


def _effects(outcome: _Outcome, now: datetime) -> Iterator[Effect]:
    """Yield the effects in their order: a decision before anything moves, Events last."""
    _facts, before, after = outcome.facts, outcome.facts.prompt.status, _status(outcome, now)
    if outcome.turn.decision is not None:
        yield from _record(outcome.facts, before.decision)  # a crash may have left it out, and status forgets it now
        yield WriteStatus(after.model_copy(update={"projection": before.projection}))
    yield from outcome.projection.effects
    yield from _record_effects(outcome, now)
    if after != before:
        yield WriteStatus(after)
    yield from _told(outcome, after)
    healed = any(isinstance(effect, ApplyConfigMap) and effect.healed for effect in outcome.projection.effects)
    yield from due(outcome.facts, after, outcome.turn.refused, now, healed=healed)


def _record_effects(outcome: _Outcome, now: datetime) -> Iterator[Effect]:
    facts = outcome.facts
    yield from _record(facts, outcome.status.decision)
    yield from records.records_of_refusals(facts, outcome.turn.refused, now)
    if outcome.turn.refused_request is not None:
        yield from records.record_of_refused_request(facts, outcome.turn.refused_request, now)
    yield from records.statuses(facts, now)
    yield from (DeleteRecord(record.name, record.uid) for record in islice(prunable(facts.records, now), _PRUNED))


def _record(facts: Facts, decision: Decision | None) -> Iterator[Effect]:
    record = records.record_of_decision(facts, decision) if decision is not None else None
    if record is not None and decision is not None:
        # Until the record exists it is told again: people hear of it after a crash too, and the recorder knows repeats.
        if decision.rule is not None:
            told = with_queries(decision.reason or decision.rule, _queries(decision))
            yield Tell("Warning", Reason.RULE_FIRING, "EvaluateRules", told)
        note = f"{decision.from_version} -> {decision.to_version}: {decision.reason}"
        yield Tell("Warning", Reason.ROLLED_BACK, "Rollback", note)
        yield record


def _queries(decision: Decision) -> Iterable[str]:
    return dict.fromkeys(evidence.query for evidence in decision.evidence if evidence.query)


def _told(outcome: _Outcome, after: PromptStatus) -> Iterator[Effect]:
    before = outcome.facts.prompt.status
    if outcome.turn.decision is None and after.active_version != before.active_version:
        yield Tell(
            "Normal", Reason.ACTIVATED, "Activate", f"{before.active_version or 'nothing'} -> {after.active_version}"
        )
    for effect in outcome.projection.effects:
        if isinstance(effect, ApplyConfigMap) and effect.healed:
            name = effect.manifest["metadata"]["name"]
            yield Tell(
                "Warning", Reason.HEALED, "Project", f"somebody changed ConfigMap {name}: its content was put back"
            )
    yield from _ready_told(before, after)
    yield from records.passing_told(outcome.facts, outcome.turn.refused, after)
    for change, rule in health.rule_transitions(before, after):
        if change == "Firing":
            told = with_queries(f"{rule.name}: {rule.message or ''}", (rule.query or "").splitlines())
            yield Tell("Warning", Reason.RULE_FIRING, "EvaluateRules", told)
        else:
            yield Tell("Normal", Reason.RULE_RESOLVED, "EvaluateRules", f"{rule.name} no longer fires")


def _ready_told(before: PromptStatus, after: PromptStatus) -> Iterator[Effect]:
    """Tell when the desired version newly cannot be activated."""
    old = {condition.reason for condition in before.conditions if condition.type == "Stalled"}
    for condition in after.conditions:
        if condition.type == "Stalled" and condition.reason not in {*old, Reason.VERSION_HELD}:
            yield Tell("Warning", condition.reason, "Reconcile", condition.message[:1024])


def _wake_at(outcome: _Outcome, now: datetime) -> datetime | None:
    facts = outcome.facts
    instants = [next_judgement(facts, now)]
    trouble = _trouble(outcome)
    if trouble is not None and trouble.reason is Reason.VERSION_MISSING:
        until = situation.missing_until(facts, now)
        instants.append(until if until > now else None)
    if trouble is not None and trouble.reason is Reason.CONFIG_MAP_CONFLICT:
        instants.append(now + _FOREIGN_EVERY)
    if outcome.stand.active != (facts.prompt.status.active_version or "") and pending_request(facts) is not None:
        instants.append(now)  # it is answered once the activation is written
    return min((instant for instant in instants if instant is not None), default=None)
