"""What past rollbacks mean for the next one: holds, spacing and the daily count.

All of it is rebuilt from the operator's own PromptRollback records and from a decision that has no record yet, so the
loss of a Prompt's status forgets nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prompt_operator.api.common import Evidence
from prompt_operator.core.conditions import summary_of
from prompt_operator.core.managed import SIGNATURES, signed_at
from prompt_operator.core.reasons import Objection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prompt_operator.api.promptstatus import Decision, Held

AUTOMATIC = "Automatic"
MANUAL = "Manual"
EXECUTED = "Executed"
DAY = timedelta(hours=24)
DAILY_LIMIT = Objection.DAILY_LIMIT_REACHED


@dataclass(frozen=True, slots=True)
class RollbackRecord:
    """One PromptRollback as seen by the watch: a person's request, or the operator's record of a decision."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    prompt: str
    trigger: str
    decision: str
    """Executed, Refused or DryRun; empty for a request."""
    from_version: str
    to_version: str
    content_hash: str
    reason: str
    requested_by: str
    request_ref: str
    rule: str
    at: datetime
    """When it was decided; for a request when it was created."""
    released: bool
    acknowledged: bool
    outcome: str
    """Empty until recovery was judged."""
    seen: tuple[str, ...]
    """What its status says, without times."""
    guard: str = ""
    """Which safeguard objected; empty where none did."""
    evidence: tuple[Evidence, ...] = ()
    """What was measured when it was decided."""
    signed: tuple[tuple[str, datetime], ...] = ()
    """Members that a person signed, `release` or `acknowledge`, and when."""

    @property
    def executed(self) -> bool:
        """It switched a version."""
        return self.decision == EXECUTED

    @property
    def automatic(self) -> bool:
        """A rule asked for it."""
        return self.trigger == AUTOMATIC

    @property
    def answered(self) -> bool:
        """Its status tells what became of it."""
        return any(each.startswith("Accepted=") for each in self.seen)

    @property
    def is_request(self) -> bool:
        """It is a person's request and not the operator's record."""
        return not self.decision


@dataclass(frozen=True, slots=True)
class Hold:
    """A version that must not become active again until a person releases it."""

    version: str
    content_hash: str
    reason: str
    since: datetime
    record: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One executed rollback, as far as spacing and counting go."""

    id: str
    at: datetime
    counted: bool
    """Automatic and not acknowledged, by itself or with a refusal after it: it counts towards the daily cap."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """A refusal at the daily limit that nobody acknowledged."""

    record: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """The executed rollbacks of one prompt, and what was refused because they were too many."""

    executed: tuple[Execution, ...] = ()
    hand_overs: tuple[HandOver, ...] = ()

    @property
    def last_at(self) -> datetime | None:
        """When the newest rollback, automatic or manual, was executed."""
        return max((execution.at for execution in self.executed), default=None)

    def automatic_since(self, instant: datetime) -> int:
        """Count the automatic rollbacks after `instant` that nobody acknowledged."""
        return sum(execution.counted and execution.at > instant for execution in self.executed)

    def handed_over(self, most: int) -> HandOver | None:
        """Return the newest refusal that waits for a person, however long ago; `most` are allowed in 24 hours.

        It no longer waits when somebody acknowledged it, a later one, or so many of the rollbacks before it that the
        limit was not reached.
        """
        waiting = (each for each in self.hand_overs if self.counted_before(each.at) >= most)
        return max(waiting, key=lambda each: each.at, default=None)

    def counted_before(self, instant: datetime) -> int:
        """Count the automatic rollbacks of the day before `instant` that nobody acknowledged.

        Instants are whole seconds: one in the second of a refusal is the one that followed its acknowledgement.
        """
        return sum(each.counted and instant - DAY < each.at < instant for each in self.executed)


def ledger_of(records: Iterable[RollbackRecord], decision: Decision | None) -> Ledger:
    """Rebuild the ledger; a decision that is written in status but not yet recorded counts as well."""
    records = tuple(records)
    taken_note = max((r.at for r in records if r.acknowledged and r.guard == DAILY_LIMIT), default=None)
    executed = {
        record.name: Execution(record.name, record.at, _counts(record, taken_note))
        for record in records
        if record.executed
    }
    if decision is not None and is_rollback(decision) and decision.id not in executed:
        executed[decision.id] = Execution(decision.id, decision.at, decision.kind == "Rollback")
    open_ = (r for r in records if r.guard == DAILY_LIMIT and _is_open(r, taken_note))
    return Ledger(tuple(executed[name] for name in sorted(executed)), tuple(HandOver(r.name, r.at) for r in open_))


def _counts(record: RollbackRecord, taken_note: datetime | None) -> bool:
    return record.automatic and _is_open(record, taken_note)


def _is_open(record: RollbackRecord, taken_note: datetime | None) -> bool:
    return not record.acknowledged and (taken_note is None or record.at > taken_note)


def is_rollback(decision: Decision) -> bool:
    """Tell whether the decision switched back, automatically or for a person."""
    return decision.kind in ("Rollback", "ManualRollback")


def awaits_record(decision: Decision) -> bool:
    """Tell whether no record of the decision was ever seen: status keeps its inputs until then."""
    return decision.inputs is not None


def holds_of(
    records: Iterable[RollbackRecord],
    decision: Decision | None,
    remembered: Iterable[Held],
    lifted_before: datetime | None,
) -> dict[str, Hold]:
    """Return the versions that must not become active, by version; the newest hold of each.

    Args:
        records: all PromptRollbacks of the prompt.
        decision: the decision in status; counts until its record was there once.
        remembered: `status.held`; counts where its record was deleted by somebody, since deleting is not releasing.
        lifted_before: instant of the retry request: holds older than it are lifted.
    """
    records = tuple(records)
    names = {record.name for record in records}
    holds = [_hold_of(record) for record in records if record.executed and not record.released]
    if decision is not None and is_rollback(decision) and decision.id not in names and awaits_record(decision):
        holds.append(
            Hold(decision.from_version or "", decision.from_hash or "", decision.reason or "", decision.at, decision.id)
        )
    holds += [
        Hold(held.version, held.content_hash or "", held.reason or "", held.since, held.record or "")
        for held in remembered
        if (held.record or "") not in names
    ]
    holds.sort(key=lambda hold: (hold.since, hold.record))
    return {hold.version: hold for hold in holds if lifted_before is None or hold.since >= lifted_before}


def _hold_of(record: RollbackRecord) -> Hold:
    return Hold(record.from_version, record.content_hash, record.reason, record.at, record.name)


def record_of(manifest: Mapping[str, Any]) -> RollbackRecord:
    """Reduce a PromptRollback's manifest to what decisions need."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    status = manifest.get("status") or {}
    return RollbackRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        prompt=spec["promptRef"]["name"],
        trigger=spec.get("trigger", MANUAL),
        decision=spec.get("decision", ""),
        from_version=spec.get("fromVersion", ""),
        to_version=spec.get("toVersion", ""),
        content_hash=spec.get("contentHash", ""),
        reason=spec.get("reason", ""),
        requested_by=spec.get("requestedBy", ""),
        request_ref=(spec.get("requestRef") or {}).get("name", ""),
        rule=spec.get("rule", ""),
        at=datetime.fromisoformat(spec.get("decidedAt") or metadata["creationTimestamp"]),
        released="release" in spec,
        acknowledged="acknowledge" in spec,
        outcome=status.get("outcome", ""),
        seen=summary_of(status, "outcome"),
        guard=spec.get("guard", ""),
        evidence=tuple(_evidence(spec)),
        signed=tuple((member, signed_at(manifest, member)) for member in SIGNATURES if member in spec),
    )


def _evidence(spec: Mapping[str, Any]) -> Iterator[Evidence]:
    """Yield what can be read of it: the hold of a record that another release wrote stands all the same."""
    for each in spec.get("evidence") or ():
        with suppress(ValidationError):
            yield Evidence.model_validate(each)
