"""What people did to a Prompt, and what became active by it: told by its spec, its annotations and its history."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from prompt_client.wire import canonical_json
from prompt_operator.core import health, instant
from prompt_operator.core.activation import HISTORY
from prompt_operator.core.audit.entries import DONE, of_prompt
from prompt_operator.core.audit.entry import Entry, Verb
from prompt_operator.core.audit.entry import instant as told_at
from prompt_operator.core.managed import UNWRITTEN
from prompt_operator.core.standing import RETRY_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from prompt_operator.api.promptstatus import HistoryEntry, PromptStatus
    from prompt_operator.core.audit.entry import Audited
    from prompt_operator.core.facts import Facts

REQUESTS = {Verb.RETRY: RETRY_ANNOTATION, Verb.REVIEW: health.REVIEWED_ANNOTATION}
"""Annotations by which a person asks for something, or says that it is done."""
_REASONS = {Verb.RETRY: "all held versions may be activated again", Verb.REVIEW: "a person looked"}


def acts(facts: Facts, after: PromptStatus, audited: Audited, retried: str) -> Iterator[Entry]:
    """Yield what the trail lacks.

    Args:
        facts: what is known of the prompt.
        after: its status after this look.
        audited: what the trail holds.
        retried: the newest retry as it was written, empty without one.
    """
    if audited.lacks(_generation_id(facts), _changed_at(facts)):
        yield _generation(facts)
    wishes = {Verb.RETRY: retried, Verb.REVIEW: facts.prompt.metadata.annotations.get(REQUESTS[Verb.REVIEW], "")}
    for verb, value in wishes.items():
        at = _asked_at(facts, verb, value)
        if at is not None and audited.lacks(_id(facts, verb.lower(), value), at):
            yield _request(facts, verb, value, at)
    for entry, before in _activations(after):
        if audited.lacks(_activation_id(facts, entry), entry.at):
            yield _activation(facts, entry, before)


def _generation(facts: Facts) -> Entry:
    spec, generation = facts.prompt.spec, facts.prompt.metadata.generation
    plain = spec.model_dump(by_alias=True, exclude_none=True, exclude_unset=True, mode="json")
    switched = [f"mode {spec.mode}"] if spec.mode != "Active" else []
    switched += ["suspended"] if spec.suspend else []
    return Entry(
        id=_generation_id(facts),
        at=_changed_at(facts),
        actor=facts.acts.spec.manager,
        verb=Verb.PROMPT,
        object=_of(facts),
        decision=DONE,
        reason=", ".join((f"generation {generation}: version {spec.version}", *switched)),
        inputs={
            "generation": str(generation),
            "specHash": "sha256:" + sha256(canonical_json(plain)).hexdigest(),
            "version": spec.version,
            "mode": spec.mode,
            "suspend": str(bool(spec.suspend)).lower(),
            "auto": facts.policy.auto,
        },
    )


def _request(facts: Facts, verb: Verb, value: str, at: datetime) -> Entry:
    return Entry(
        id=_id(facts, verb.lower(), value),
        at=at,
        actor=facts.acts.annotated(REQUESTS[verb]).manager,
        verb=verb,
        object=_of(facts),
        decision=DONE,
        reason=_REASONS[verb],
        inputs={REQUESTS[verb]: value},
    )


def _activation(facts: Facts, entry: HistoryEntry, before: HistoryEntry | None) -> Entry:
    inputs = {"toVersion": entry.version, "contentHash": entry.hash}
    return Entry(
        id=_activation_id(facts, entry),
        at=entry.at,
        actor=entry.by or UNWRITTEN.manager,
        verb=Verb.ACTIVATE,
        object=_of(facts),
        decision=DONE,
        reason=entry.reason or f"{before.version if before else 'nothing'} -> {entry.version}",
        inputs={"fromVersion": before.version, **inputs} if before else inputs,
    )


def _activations(status: PromptStatus) -> Iterator[tuple[HistoryEntry, HistoryEntry | None]]:
    """Yield what was activated and after what, newest first; rollbacks have records of their own.

    Why a version came is noted at the one that it replaced. That of the oldest is gone when the history is full.
    """
    for entry, before in pairwise(status.history):
        if before.left_because == "Activation":
            yield entry, before
    if status.history and len(status.history) < HISTORY:
        yield status.history[-1], None


def _changed_at(facts: Facts) -> datetime:
    made = facts.prompt.metadata.creation_timestamp
    return max(facts.acts.spec.at, made) if made else facts.acts.spec.at


def _asked_at(facts: Facts, verb: Verb, value: str) -> datetime | None:
    """Return when the API server took the annotation, else the instant that it names; None where it names none."""
    named, write = instant.parse(value), facts.acts.annotated(REQUESTS[verb])
    return named if named is None or write is UNWRITTEN else write.at


def _generation_id(facts: Facts) -> str:
    return _id(facts, "generation", str(facts.prompt.metadata.generation))


def _activation_id(facts: Facts, entry: HistoryEntry) -> str:
    return _id(facts, "activate", f"{entry.version}/{told_at(entry.at)}")


def _id(facts: Facts, what: str, which: str) -> str:
    metadata = facts.prompt.metadata
    return f"{metadata.name}/{metadata.uid}/{what}/{which}"


def _of(facts: Facts) -> dict[str, str]:
    """Return the prompt's identity without its resourceVersion, which may have moved on since."""
    return {key: value for key, value in of_prompt(facts).items() if key != "resourceVersion"}
