"""What `explain` tells after a rollback, as sentences: timeline, numbers, guards, what was changed, how it came."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from prompt_client import wire
from prompt_operator.api.common import rfc3339
from prompt_operator.cli.printing import counted
from prompt_operator.cli.reading import when
from prompt_operator.cli.view.diff import compared
from prompt_operator.core import instant
from prompt_operator.core.audit.inputs import case_of
from prompt_operator.core.duration import spoken
from prompt_operator.core.ledger import DAY
from prompt_operator.core.rules.metrics import METRICS
from prompt_operator.core.rules.values import format_value
from prompt_operator.core.safeguards import GUARDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from prompt_operator.api.common import Measurement
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.api.promptrollback import PromptRollback
    from prompt_operator.api.promptstatus import Decision, HistoryEntry
    from prompt_operator.api.promptversion import ExplorationDecision, PromptVersion
    from prompt_operator.core.safeguards import Case

Signed = tuple[str, str]
"""Name of a record and the member of its spec that a person signed."""
_MOMENTS = 20
_DIFFERENCES = 60
_GUARDED = "numbers of the guards are not in its record, which an earlier release wrote"


# --- timeline


def timeline(
    prompt: Prompt, decision: Decision, rollbacks: Sequence[PromptRollback], signed: Mapping[Signed, datetime]
) -> Iterator[str]:
    """Yield what happened since the rejected version was activated, oldest first.

    Args:
        prompt: the prompt.
        decision: its last rollback.
        rollbacks: requests and records, newest first.
        signed: when a member of which record was signed; the API server notes it.
    """
    entries = [each for each in prompt.status.history if each.at <= decision.at]
    begun = [each.at for each in entries if each.version == decision.from_version]
    start = max(begun, default=decision.at)
    moments = [
        *((each.at, _activated(each)) for each in reversed(prompt.status.history) if not _told_by(each, rollbacks)),
        *(moment for each in _requests_first(rollbacks) for moment in _moments(each)),
        *(moment for each in rollbacks for moment in _signatures(each, signed)),
        *((at, "a person asked to try again what was held") for at in _retries(prompt)),
    ]
    told = sorted((moment for moment in moments if moment[0] >= start), key=lambda moment: moment[0])
    if len(told) > _MOMENTS:
        yield f"… {counted(len(told) - _MOMENTS, 'earlier moment')} left out"
    yield from (f"{rfc3339(at)}  {text}" for at, text in told[-_MOMENTS:])


def _requests_first(rollbacks: Sequence[PromptRollback]) -> list[PromptRollback]:
    """Return requests, then records, each oldest first: a request is often answered within the second of its time."""
    oldest_first = rollbacks[::-1]
    return sorted(oldest_first, key=lambda each: each.spec.decision is not None)


def _activated(entry: HistoryEntry) -> str:
    why = f": {entry.reason}" if entry.reason else ""
    return f"{entry.version} was activated for {entry.by or 'unknown'}{why}"


def _told_by(entry: HistoryEntry, rollbacks: Sequence[PromptRollback]) -> bool:
    """Say whether a record tells of this activation, too."""
    specs = (each.spec for each in rollbacks if each.spec.decision == "Executed")
    return any((spec.decided_at, spec.to_version) == (entry.at, entry.version) for spec in specs)


def _moments(record: PromptRollback) -> Iterator[tuple[datetime, str]]:
    spec, status = record.spec, record.status
    if spec.decision is None:
        yield when(record), f"{spec.requested_by} asked to leave {spec.from_version}: {spec.reason}"
        return
    yield when(record), _decided(record)
    if spec.decision != "Executed":
        return
    if status.executed_at is not None:
        yield status.executed_at, f"the ConfigMap serves {spec.to_version}"
    if status.judged_at is not None:
        yield status.judged_at, f"{status.outcome}: {status.message or 'no more is known'}"


def _signatures(record: PromptRollback, signed: Mapping[Signed, datetime]) -> Iterator[tuple[datetime, str]]:
    """Yield what people wrote on a record: after it, also where the API server's clock is behind the operator's."""
    spec, name, decided = record.spec, record.metadata.name, when(record)
    if spec.release is not None and (at := signed.get((name, "release"))):
        yield max(at, decided), f"{spec.release.by} lifted the hold on {spec.from_version}: {spec.release.reason}"
    if spec.acknowledge is not None and (at := signed.get((name, "acknowledge"))):
        yield max(at, decided), f"{spec.acknowledge.by} acknowledged {name}: {spec.acknowledge.reason}"


def _retries(prompt: Prompt) -> Iterator[datetime]:
    written = (each.value for each in prompt.status.handled_requests if each.verb == "Retry")
    yield from (at for text in written if (at := instant.parse(text)))


def _decided(record: PromptRollback) -> str:
    spec = record.spec
    who = f"rule {spec.rule}" if spec.trigger == "Automatic" else f"{spec.requested_by}"
    if spec.decision == "Executed":
        return f"{spec.from_version} was rolled back to {spec.to_version}, by {who}"
    return f"no rollback of {spec.from_version} for {who}: {spec.guard}"


# --- numbers


def numbers(record: PromptRollback) -> Iterator[str]:
    """Yield each metric of the rejected version with what it was on the restored one."""
    after = {(each.metric, each.window): each for each in record.status.after}
    for each in record.status.before:
        then = after.get((each.metric, each.window))
        window = f" over {each.window}" if each.window else ""
        yield f"{each.metric}{window}: {_measured(each)}, then {_measured(then) if then else 'not measured'}"


def _measured(measurement: Measurement) -> str:
    metric, value = METRICS.get(measurement.metric), float(measurement.value)
    shown = format_value(metric, value) if metric else measurement.value
    of = f" of {measurement.version}" if measurement.version else ""
    return f"{shown}{of}" + (f" ({counted(measurement.samples, 'sample')})" if measurement.samples is not None else "")


# --- guards


def guards(record: PromptRollback) -> Iterator[str]:
    """Yield what the guards were given, from the record; they are asked again, and must say the same."""
    if record.spec.trigger == "Manual":
        yield "A person asked: only a missing or unusable target would have stopped it."
        return
    try:
        inputs = json.loads(record.spec.inputs or "{}")
        case = case_of(inputs)
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError):
        yield f"All let it pass; the {_GUARDED}."
        return
    objections = [refusal for guard in GUARDS if (refusal := guard(case))]
    yield f"{len(GUARDS) - len(objections)} of {len(GUARDS)} let it pass. They saw:"
    yield from (f"  {line}" for line in _seen(case))
    yield from (f"  {each.objection}: {each.message}" for each in objections)


def _seen(case: Case) -> Iterator[str]:
    policy, ledger = case.policy, case.ledger
    yield f"the newest measurement was {spoken(case.now - case.judged_at)} old; {spoken(case.fresh_for)} may pass"
    if case.activated_at is not None:
        age = spoken(case.now - case.activated_at)
        yield f"the version was active for {age}; nothing is judged in the first {spoken(policy.initial_delay)}"
    last = f"{spoken(case.now - ledger.last_at)} earlier" if ledger.last_at else "none that counts"
    yield f"the rollback of this prompt before: {last}; the cooldown is {spoken(policy.cooldown)}"
    count = ledger.automatic_since(case.now - DAY)
    yield f"automatic rollbacks within 24 hours: {count}; the limit is {policy.max_per_day}"
    skew = "not measured" if case.skew is None else f"{abs(case.skew.total_seconds()):.1f} s"
    yield f"difference to the API server's clock: {skew}"
    yield f"version to go back to: {case.choice.version or 'none'}"


# --- what was changed


def changes(old: PromptVersion, new: PromptVersion, known_hash: str | None, command: str) -> Iterator[str]:
    """Yield the difference from the restored version to the rejected one; `command` prints it whole."""
    if (
        known_hash
        and wire.content_hash(new.spec.model_dump(by_alias=True, exclude_none=True, mode="json")) != known_hash
    ):
        yield f"{new.spec.version} is not what was rolled back: its content has changed since."
    lines = [*compared(old, new, "content"), *compared(old, new, "settings")]
    yield from islice(lines, _DIFFERENCES)
    if len(lines) > _DIFFERENCES:
        yield f"… {counted(len(lines) - _DIFFERENCES, 'more line')}: {command}"
    if not lines:
        yield "Nothing: content and settings are the same. The cause lies elsewhere."
    if new.spec.message:
        yield f"Its author wrote: {new.spec.message}"


# --- how the versions came about


def exploration(new: PromptVersion, old: PromptVersion | None) -> Iterator[str]:
    """Yield the way to each version and the choices, with what their author feared; the rejected version first."""
    if new.spec.exploration is None:
        return
    yield from _way(new)
    theirs = old.spec.exploration if old is not None else None
    if old is None or theirs is None:
        return
    yield from _way(old)
    ours, others = _by_depth(new.spec.exploration.decisions), _by_depth(theirs.decisions)
    parted = next((depth for depth in sorted({*ours, *others}) if ours.get(depth) != others.get(depth)), None)
    if parted is not None:
        chosen, instead = ours.get(parted, "nothing"), others.get(parted, "nothing")
        yield f"They part at depth {parted}: {chosen} instead of {instead}."


def _way(version: PromptVersion) -> Iterator[str]:
    found = version.spec.exploration
    if found is None:
        return
    about = [*found.techniques, *([f"complexity {found.complexity}"] if found.complexity else [])]
    yield f"{version.spec.version}: {found.path or 'no path given'}" + (f" ({', '.join(about)})" if about else "")
    for choice in found.decisions:
        yield from _choice(choice)


def _choice(choice: ExplorationDecision) -> Iterator[str]:
    others = [f"{each.name}{f' ({each.score})' if each.score else ''}" for each in choice.alternatives]
    yield f"  depth {choice.depth}: {choice.selected}" + (f", not {', '.join(others)}" if others else "")
    if choice.rationale:
        yield f"    because: {choice.rationale}"
    if choice.potential_issue:
        yield f"    foreseen: {choice.potential_issue}"


def _by_depth(choices: Sequence[ExplorationDecision]) -> Mapping[int, str]:
    return {each.depth: each.selected for each in choices}
