"""What the rules mean for status: the states worth writing down, Healthy, Propagated and ReviewRequired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.api.common import rfc3339
from prompt_operator.api.promptstatus import RuleStatus
from prompt_operator.core import instant
from prompt_operator.core.conditions import Wanted, find
from prompt_operator.core.duration import spoken
from prompt_operator.core.ledger import ledger_of
from prompt_operator.core.reasons import ConditionType, Objection, Reason
from prompt_operator.core.rollback import shortened
from prompt_operator.core.rules.model import Action, Severity
from prompt_operator.core.rules.streak import FLAPS, FLAPS_WITHIN, State
from prompt_operator.core.safeguards import waiting_for_a_person
from prompt_operator.core.unrecorded import gap_of, gap_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta

    from prompt_operator.api.promptstatus import PromptStatus
    from prompt_operator.core.facts import Facts, Readings, RuleReading
    from prompt_operator.core.rollback import Refused

REVIEWED_ANNOTATION = "promptops.dev/reviewedAt"
_OF_NOW = frozenset(
    {
        Reason.METRICS_SOURCE_NOT_FOUND,
        Reason.METRICS_PROFILE_NOT_FOUND,
        Reason.MANUAL_INTERVENTION_REQUIRED,
    }
)
"""Said for as long as it is so, and of no version: never carried over."""
_NO_EVIDENCE = Wanted(
    ConditionType.HEALTHY, "Unknown", Reason.NO_EVIDENCE, "not judged: too new, or no critical rule has data"
)
"""One message for both, so that a version without traffic costs no second write when it stops being new."""
_LONGEST_QUERY = 4096
_ALARMING = frozenset({State.FIRING, State.RECOVERING})
_FIRES_BENEATH = frozenset({State.RECOVERING, State.UNKNOWN})


def visible_state(reading: RuleReading, unknown_after: timedelta, now: datetime) -> State:
    """Return the state status shows: unknown for less than `unknown_after` still shows what was known before.

    In whole seconds, as decisions are made: else the clock would see a change that the decision it wakes does not see.
    """
    streak = reading.streak
    frozen_at = (streak.frozen_at or streak.since).replace(microsecond=0)
    if streak.state is State.UNKNOWN and now.replace(microsecond=0) - frozen_at < unknown_after:
        return streak.beneath
    return streak.state


def rule_statuses(
    before: tuple[RuleStatus, ...],
    readings: Readings,
    unknown_after: timedelta,
    now: datetime,
    queries: Callable[[RuleReading], Iterable[str]] = lambda _: (),
) -> tuple[RuleStatus, ...]:
    """Return the rules that are not Normal; time and message of a state stay as they were when it began.

    Only the message of Unknown follows a recording that began or ended, since people do something about that.
    `queries` gives the queries behind the values of a rule: for one that fires or may soon, as most prompts of a large
    cluster have no traffic and many rules that are Unknown.
    """
    known = {rule.name: rule for rule in before}
    after = []
    for reading in readings.rules:
        state = visible_state(reading, unknown_after, now)
        if state is State.NORMAL:
            continue
        old = known.get(reading.rule.name)
        if old is None or State(old.state) is not state:
            after.append(_with_queries(_rule_status(reading, state, now), reading, queries))
        elif state is State.UNKNOWN and gap_told(old.message) is not gap_of(reading):
            after.append(_rule_status(reading, state, now).model_copy(update={"since": old.since}))
        else:
            after.append(old)
    return tuple(sorted(after, key=lambda rule: rule.name))


def _with_queries(
    status: RuleStatus, reading: RuleReading, queries: Callable[[RuleReading], Iterable[str]]
) -> RuleStatus:
    if State(status.state) is State.UNKNOWN:
        return status
    text = "\n".join(queries(reading))
    query = text if 0 < len(text) <= _LONGEST_QUERY else None
    return status.model_copy(update={"measured_at": reading.at.replace(microsecond=0), "query": query})


def _rule_status(reading: RuleReading, state: State, now: datetime) -> RuleStatus:
    streak = reading.streak
    began = {State.FIRING: streak.fired_at, State.PENDING: streak.active_at, State.UNKNOWN: streak.frozen_at}
    since = began.get(state) or now  # of Unknown too: a restart must not take it for one that began just now
    return RuleStatus(
        name=reading.rule.name,
        state=state.value,
        since=since,
        fired_at=streak.fired_at if state in _FIRES_BENEATH and streak.firing else None,
        message=shortened(_told(reading)) or None,
    )


def _told(reading: RuleReading) -> str:
    """Tell what was seen; of a rule that fires, also since when nothing is known, and whether it comes and goes."""
    streak, message = reading.streak, reading.alert.message
    if streak.state is State.UNKNOWN and streak.firing and streak.frozen_at and streak.fired_at:
        known = f"firing since {rfc3339(streak.fired_at)} as far as is known, nothing since {rfc3339(streak.frozen_at)}"
        return f"{known}: {message}" if message else known
    if streak.state is State.FIRING and streak.flapping:
        return f"fired {FLAPS} times within {spoken(FLAPS_WITHIN)}, keepFiringFor would steady it; {message}"
    return message


def healthy(facts: Facts, mode: str, active: str, refused: Iterable[Refused], now: datetime) -> Wanted:
    """Say whether the rules are content with the active version."""
    if facts.prompt.spec.suspend:
        return _healthy("Unknown", Reason.SUSPENDED, "the prompt is suspended: its rules decide nothing")
    if mode != "Active":
        return _healthy("Unknown", Reason.FALLBACK, "applications use their built-in default")
    if not active:
        return _healthy("Unknown", Reason.NOTHING_SERVED, "no version is active")
    said = _measured(facts, active, refused, now)
    return said if said.status == "False" else _waiting(facts) or _unmeasured(facts) or said


def _waiting(facts: Facts) -> Wanted | None:
    """A person is asked for until one took over, also when the rule that asked fires no more."""
    handed_over = ledger_of(facts.records, facts.prompt.status.decision).handed_over(facts.policy.max_per_day)
    if handed_over is None:
        return None
    message = shortened(waiting_for_a_person(handed_over))
    return Wanted(ConditionType.HEALTHY, "False", Reason.MANUAL_INTERVENTION_REQUIRED, message)


def _unmeasured(facts: Facts) -> Wanted | None:
    if facts.source_missing:
        message = f"the operator has no metric source {facts.source_missing!r}: no rule is judged, no other is asked"
        return _healthy("Unknown", Reason.METRICS_SOURCE_NOT_FOUND, message)
    if facts.profile_missing:
        message = f"the operator has no metric profile {facts.profile_missing!r}: no rule is judged"
        return _healthy("Unknown", Reason.METRICS_PROFILE_NOT_FOUND, message)
    return None


def _measured(facts: Facts, active: str, refused: Iterable[Refused], now: datetime) -> Wanted:
    readings = facts.readings
    if readings is None or (readings.version, readings.activated_at) != (active, facts.prompt.status.activated_at):
        return _carried_over(facts, active)
    return _judged(readings, tuple(refused), facts.policy.unknown_after, now)


def _carried_over(facts: Facts, active: str) -> Wanted:
    """After a restart the rules are not judged yet: what was said of this version stands until they are."""
    old = find(facts.prompt.status.conditions, ConditionType.HEALTHY)
    if old is None or old.reason in _OF_NOW or facts.prompt.status.active_version != active:
        return _NO_EVIDENCE
    return _healthy(old.status, Reason(old.reason) if old.reason in set(Reason) else old.reason, old.message)


def _judged(readings: Readings, refused: tuple[Refused, ...], unknown_after: timedelta, now: datetime) -> Wanted:
    critical = [r for r in readings.rules if r.rule.severity is Severity.CRITICAL]
    states = {reading.rule.name: visible_state(reading, unknown_after, now) for reading in critical}
    alarming = [reading for reading in critical if reading.streak.firing]
    if alarming:
        return _alarm(alarming, refused)
    if any(known(reading) and states[reading.rule.name] is not State.UNKNOWN for reading in critical):
        return _healthy(
            "True", Reason.RULES_NORMAL, "no critical rule fires; those without data are Unknown in status.rules"
        )
    return _NO_EVIDENCE


def known(reading: RuleReading) -> bool:
    """Tell whether the rule was ever true or false for this version, since the operator started."""
    return reading.streak.last_true is not None or reading.streak.last_false is not None


def _alarm(alarming: list[RuleReading], refused: tuple[Refused, ...]) -> Wanted:
    worst = alarming[0]
    objections = {each.reading.rule.name: each.refusal for each in refused}
    for reading in alarming:
        refusal = objections.get(reading.rule.name)
        if refusal is None:
            continue
        handed_over = refusal.objection is Objection.DAILY_LIMIT_REACHED
        reason = Reason.MANUAL_INTERVENTION_REQUIRED.value if handed_over else refusal.objection.value
        return _healthy("False", reason, shortened(f"{reading.rule.name} fires, not rolled back: {refusal.message}"))
    return _healthy("False", Reason.CRITICAL_RULE_FIRING, shortened(f"{worst.rule.name}: {_told(worst)}"))


def _healthy(status: str, reason: str, message: str) -> Wanted:
    return Wanted(ConditionType.HEALTHY, status, reason, message, lively=status == "False")


def propagated(facts: Facts, active: str) -> Wanted:
    """Say whether applications were seen to serve the active version; only their metrics can tell."""
    old = find(facts.prompt.status.conditions, ConditionType.PROPAGATED)
    same = facts.prompt.status.active_version == active
    seen = facts.readings is not None and facts.readings.version == active and facts.readings.traffic
    if active and (seen or (same and old is not None and old.status == "True")):
        return Wanted(ConditionType.PROPAGATED, "True", Reason.SEEN_IN_METRICS, f"applications report {active}")
    return Wanted(
        ConditionType.PROPAGATED,
        "Unknown",
        Reason.NOT_SEEN_YET,
        f"no application has reported {active or 'any version'} in its metrics yet",
    )


def review_required(facts: Facts, rules: tuple[RuleStatus, ...]) -> Wanted | None:
    """Ask for a person's look when a rule with the action Review fired, until `reviewedAt` is newer than that."""
    asking = {r.rule.name for r in facts.readings.rules if Action.REVIEW in r.rule.actions} if facts.readings else set()
    firing = [rule for rule in rules if rule.name in asking and State(rule.state) is State.FIRING]
    reviewed = instant.parse(facts.prompt.metadata.annotations.get(REVIEWED_ANNOTATION, ""))
    open_ = [rule for rule in firing if reviewed is None or rule.since > reviewed]
    if open_:
        return Wanted(
            ConditionType.REVIEW_REQUIRED,
            "True",
            Reason.REVIEW_REQUESTED,
            f"{', '.join(rule.name for rule in open_)} asks for a review: "
            f"annotate the Prompt with {REVIEWED_ANNOTATION}=<time now> when done",
            lively=True,
        )
    old = find(facts.prompt.status.conditions, ConditionType.REVIEW_REQUIRED)
    if old is None or (reviewed is not None and reviewed >= old.last_transition_time):
        return None
    return Wanted(ConditionType.REVIEW_REQUIRED, "True", Reason.REVIEW_REQUESTED, old.message)


def _fires(rule: RuleStatus) -> bool:
    return State(rule.state) in _ALARMING or rule.fired_at is not None


def rule_transitions(before: PromptStatus, after: PromptStatus) -> tuple[tuple[str, RuleStatus], ...]:
    """Return (Firing or Resolved, rule) for each rule that began or ceased to fire on the same version."""
    if before.active_version != after.active_version:
        return ()
    old = {rule.name: rule for rule in before.rules if _fires(rule)}
    new = {rule.name: rule for rule in after.rules if _fires(rule)}
    unknown = {rule.name for rule in after.rules if State(rule.state) is State.UNKNOWN}
    fired = [("Firing", new[name]) for name in sorted(new.keys() - old.keys())]
    return (*fired, *(("Resolved", old[name]) for name in sorted(old.keys() - new.keys() - unknown)))
