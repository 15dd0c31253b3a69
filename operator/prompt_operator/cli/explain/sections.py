"""What `explain` says, as sentences: pure, from what the operator wrote down.

Reasons and measurements are the operator's own sentences; nothing here judges anything a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prompt_operator.api.common import rfc3339
from prompt_operator.cli.explain import advice, aftermath
from prompt_operator.cli.operate.suspend import REASON_ANNOTATION
from prompt_operator.cli.reading import when
from prompt_operator.core.baseline import baselines_of
from prompt_operator.core.conditions import find
from prompt_operator.core.duration import spoken
from prompt_operator.core.reasons import ConditionType
from prompt_operator.core.rules.metrics import METRICS
from prompt_operator.core.rules.values import format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from prompt_operator.api.common import Evidence
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.api.promptrollback import PromptRollback
    from prompt_operator.api.promptstatus import Decision, RuleStatus
    from prompt_operator.api.promptversion import PromptVersion

_REFUSALS = 5
_FEW = 3
"""Rules that are Unknown: more are told in one line each."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that is told from."""

    prompt: Prompt
    rollbacks: tuple[PromptRollback, ...]
    """Requests and records of the prompt, newest first."""
    versions: Mapping[str, PromptVersion]
    """The rejected and the active version, as far as they exist."""
    flags: str
    """Options of this run, for commands to copy."""
    now: datetime
    unread: Mapping[str, str] = field(default_factory=dict)
    """Version -> why its text cannot be told: it is gone, or the user may not read it."""
    with_texts: bool = True
    """Whether to tell what the texts of two versions differ in."""
    queries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rule -> what its values are asked by, as far as that can be told from policy and profile."""
    signed: Mapping[aftermath.Signed, datetime] = field(default_factory=dict)
    """When a member of which record was signed."""
    every_query: bool = False
    """Whether to tell the queries of all rules that are Unknown, however many they are."""


@dataclass(frozen=True, slots=True)
class Section:
    """A title and its sentences."""

    title: str
    lines: tuple[str, ...]


def sections(case: Case) -> tuple[Section, ...]:
    """Return the sections that have something to say, in reading order."""
    name = f"{case.prompt.metadata.name} in namespace {case.prompt.metadata.namespace}"
    told = (
        Section(name, tuple(_active(case))),
        Section("What is wrong", tuple(_wrong(case)) or ("Nothing.",)),
        Section("Rules that are not Normal", tuple(_rules(case))),
        Section("What counts as normal", tuple(_normal(case))),
        Section("What happened", tuple(_happened(case))),
        Section("Last decision", tuple(_decision(case))),
        *_after_a_rollback(case),
        Section("Rollbacks that were refused", tuple(_refusals(case))),
        Section("Held versions", tuple(_held(case))),
        Section("What to do", tuple(advice.steps(case.prompt, case.rollbacks, case.flags))),
    )
    return tuple(section for section in told if section.lines)


def rejected(prompt: Prompt) -> str | None:
    """Return the version that the last decision rolled back; None when it did not roll back."""
    decision = prompt.status.decision
    return decision.from_version if decision is not None and decision.kind != "Activation" else None


# --- what is active


def _active(case: Case) -> Iterator[str]:
    prompt, status = case.prompt, case.prompt.status
    active, desired = status.active_version, prompt.spec.version
    if not active:
        yield f"No version is active; spec.version asks for {desired}."
    else:
        since = f", for {spoken(case.now - status.activated_at)}" if status.activated_at else ""
        asked = "as spec.version asks" if active == desired else f"but spec.version asks for {desired}"
        yield f"{active} is active{since}, {asked}."
        yield from _activation(case)
    yield from _switches(prompt)
    if (status.observed_generation or 0) < prompt.metadata.generation:
        yield "The operator has not looked at the latest change of spec yet."


def _activation(case: Case) -> Iterator[str]:
    status = case.prompt.status
    if status.override is not None:
        how = {"Rollback": "an automatic rollback", "ManualRollback": "a rollback that a person asked for"}
        cause = how.get(status.override.because, "an experiment")
        yield f"It stands in for {status.override.against} since {rfc3339(status.override.since)}, by {cause}."
    elif status.history and status.history[0].version == status.active_version:
        entry = status.history[0]
        why = f": {entry.reason}" if entry.reason else "."
        yield f"It was activated at {rfc3339(entry.at)} for {entry.by or 'unknown'}{why}"


def _switches(prompt: Prompt) -> Iterator[str]:
    if prompt.spec.suspend:
        reason = prompt.metadata.annotations.get(REASON_ANNOTATION, "")
        yield f"It is suspended{f' ({reason})' if reason else ''}: nothing automatic happens."
    serving = find(prompt.status.conditions, ConditionType.SERVING)
    if serving is not None and serving.status != "True":
        yield f"Serving is {serving.status} ({serving.reason}): {serving.message}."


# --- what is wrong


def _wrong(case: Case) -> Iterator[str]:
    said = ""
    for kind, fine in _FINE.items():
        condition = find(case.prompt.status.conditions, kind)
        if condition is not None and condition.status not in fine and condition.message not in said:
            said += condition.message
            yield f"{kind} is {condition.status} ({condition.reason}): {condition.message}."
            if kind is ConditionType.HEALTHY:
                yield from _foreseen(case, case.prompt.status.active_version)
    record = _record(case)
    if record is not None and case.prompt.status.override is not None and record.status.outcome in _NO_HELP:
        yield f"The rollback {_NO_HELP[record.status.outcome]}."
    if not case.prompt.status.conditions:
        yield "The operator has not looked at this prompt yet."
    for request in case.rollbacks:
        if request.spec.decision is None and request.status.record is None:
            yield f"Request {request.metadata.name} of {request.spec.requested_by} is not answered yet."


_FINE: Mapping[ConditionType, tuple[str, ...]] = {
    ConditionType.READY: ("True",),
    ConditionType.STALLED: ("False",),
    ConditionType.RECONCILING: ("False",),
    ConditionType.HEALTHY: ("True", "Unknown"),
    ConditionType.REVIEW_REQUIRED: ("False",),
    ConditionType.NOT_RECORDED: ("False",),
    ConditionType.NOT_IMPLEMENTED: ("False",),
}
"""Condition -> the statuses that nobody has to care about."""


_NO_HELP = {
    "NotRecovered": "did not help (NotRecovered): the rejected version was probably not the cause",
    "Inconclusive": "may have helped or not (Inconclusive): there was nothing to judge it by",
}
"""Outcome of the rollback in force -> what it means."""


def _rules(case: Case) -> Iterator[str]:
    """Yield the rules that are not Normal, those first that say something: most that are Unknown have no traffic."""
    rules = sorted(case.prompt.status.rules, key=lambda rule: rule.name)
    unknown = [rule for rule in rules if rule.state == "Unknown"]
    for rule in rules:
        if rule.state != "Unknown":
            yield from _rule(rule, case.now)
    if len(unknown) > _FEW and not case.every_query:
        yield from _together(case, unknown)
        return
    for rule in unknown:
        yield from _rule(rule, case.now)
        if rule.query is None:
            yield from _unanswered(case.queries.get(rule.name, ()))


def _together(case: Case, unknown: list[RuleStatus]) -> Iterator[str]:
    """Without traffic every rule is Unknown: their queries would bury what else there is to read."""
    yield f"{len(unknown)} rules are Unknown:"
    for rule in unknown:
        yield f"  {rule.name}, for {spoken(case.now - rule.since)}" + (f": {rule.message}" if rule.message else "")
    yield f"  what they ask: kubectl prompt explain {case.prompt.metadata.name} --queries {case.flags}".rstrip()


def _unanswered(queries: tuple[str, ...]) -> Iterator[str]:
    """Status has no query of a rule that is Unknown: they are told from policy and profile."""
    if queries:
        yield "  asked by"
    yield from (f"  {query}" for query in queries)


def _rule(rule: RuleStatus, now: datetime) -> Iterator[str]:
    message = f": {rule.message}" if rule.message else "."
    yield f"{rule.name} is {rule.state} for {spoken(now - rule.since)}{message}"
    if rule.measured_at is not None:
        yield f"  measured at {rfc3339(rule.measured_at)}{', by' if rule.query else ''}"
    yield from (f"  {query}" for query in (rule.query or "").splitlines())


def _normal(case: Case) -> Iterator[str]:
    """Tell what `baseline` stands for: what was measured, and what is declared where nothing was."""
    active = case.versions.get(case.prompt.status.active_version or "")
    expected = active.spec.expectations if active is not None else None
    fields = expected.model_dump(by_alias=True, exclude_none=True, mode="json") if expected is not None else {}
    baselines = baselines_of(case.prompt.status, ((name, str(value)) for name, value in fields.items()), {})
    for name, known in sorted({**baselines.declared, **baselines.frozen}.items()):
        metric = METRICS.get(name)
        yield f"{name} {format_value(metric, known.value) if metric else known.value}: {known.source}"


# --- after a rollback


def _happened(case: Case) -> Iterator[str]:
    decision = case.prompt.status.decision
    if decision is not None and rejected(case.prompt):
        yield from aftermath.timeline(case.prompt, decision, case.rollbacks, case.signed)


def _after_a_rollback(case: Case) -> Iterator[Section]:
    """Yield what a person would tell of the last decision, if it was a rollback."""
    decision, record = case.prompt.status.decision, _record(case)
    left = rejected(case.prompt)
    if decision is None or left is None or decision.to_version is None:
        return
    restored = decision.to_version
    if record is not None:
        yield Section("Before and after", tuple(aftermath.numbers(record)))
        yield Section("The guards", tuple(aftermath.guards(record)))
    yield Section(f"What {left} changed against {restored}", tuple(_changes(case, left, restored)))
    new, old = case.versions.get(left), case.versions.get(restored)
    if new is not None:
        yield Section("How the versions came about", tuple(aftermath.exploration(new, old)))


def _changes(case: Case, left: str, restored: str) -> Iterator[str]:
    new, old, decision = case.versions.get(left), case.versions.get(restored), case.prompt.status.decision
    command = f"kubectl prompt diff {case.prompt.metadata.name} {restored} {left} {case.flags}"
    if not case.with_texts:
        yield f"Not told here: {command}"
    elif new is None or old is None:
        yield from (f"Not known: {case.unread[each]}" for each in (left, restored) if each in case.unread)
    else:
        yield from aftermath.changes(old, new, decision.from_hash if decision else None, command)


# --- what was decided


def _decision(case: Case) -> Iterator[str]:
    decision = case.prompt.status.decision
    if decision is None:
        return
    yield f"{rfc3339(decision.at)}: {decision.from_version or 'nothing'} -> {decision.to_version}, {_by(decision)}."
    if decision.reason:
        yield f"Because {decision.reason}"
    if decision.evidence:
        yield f"Measured at {rfc3339(decision.evidence[0].at)}; the numbers are in PromptRollback {decision.id}."
        yield from _queries(decision.evidence)
    yield from _outcome(case, decision)


def _queries(evidence: Iterable[Evidence]) -> Iterator[str]:
    """Yield what to ask Prometheus to see the values again."""
    for query in dict.fromkeys(each.query for each in evidence if each.query):
        yield f"  {query}"


def _by(decision: Decision) -> str:
    if decision.kind == "ManualRollback":
        return f"a rollback that {decision.requested_by or 'somebody'} asked for"
    return f"an automatic rollback by rule {decision.rule}" if decision.kind == "Rollback" else "an activation"


def _record(case: Case) -> PromptRollback | None:
    """Return the record of the last decision."""
    decision = case.prompt.status.decision
    return next((each for each in case.rollbacks if decision is not None and each.metadata.name == decision.id), None)


def _outcome(case: Case, decision: Decision) -> Iterator[str]:
    record = _record(case)
    if record is None:
        yield f"There is no PromptRollback {decision.id}: its outcome is not known."
        return
    status = record.status
    if status.message:
        yield f"Outcome: {status.outcome or 'not judged yet'}: {status.message}."
    if record.spec.acknowledge is not None:
        yield f"{record.spec.acknowledge.by} takes care of it: {record.spec.acknowledge.reason}"


def _foreseen(case: Case, failing: str | None) -> Iterator[str]:
    """Yield what the author of the failing version thought might go wrong."""
    version = case.versions.get(failing or "")
    exploration = version.spec.exploration if version is not None else None
    for choice in exploration.decisions if exploration is not None else ():
        if version is not None and choice.potential_issue:
            yield f"The author of {version.spec.version} foresaw, choosing {choice.selected}: {choice.potential_issue}"


def _refusals(case: Case) -> Iterator[str]:
    """Yield the newest refusals, of rules by guards and of people's requests."""
    refused = [each for each in case.rollbacks if each.spec.decision in {"Refused", "DryRun"}]
    for record in refused[:_REFUSALS]:
        spec = record.spec
        who = f"rule {spec.rule}" if spec.trigger == "Automatic" else f"a request of {spec.requested_by}"
        yield f"{rfc3339(when(record))}: {who} from {spec.from_version}: {spec.guard}: {spec.reason}"
        yield from _queries(spec.evidence)
    if len(refused) > _REFUSALS:
        yield f"… and {len(refused) - _REFUSALS} earlier ones: kubectl get promptrollbacks {case.flags}"


def _held(case: Case) -> Iterator[str]:
    decision = case.prompt.status.decision
    for held in case.prompt.status.held:
        told = decision is not None and held.record == decision.id
        yield f"{held.version} since {rfc3339(held.since)}{f': {held.reason}' if held.reason and not told else ''}"
        yield f"  lift it with: {advice.lifting(case.prompt, held, case.flags)}"
