"""What the trail still lacks of one prompt: asked at every look, so that a crash at any moment loses nothing.

Status, records and annotations outlive the process; whatever they tell that the trail does not hold is due, whether it
was decided a moment ago or by a process that died before it could tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.audit.acts import acts
from prompt_operator.core.audit.entries import heal, refusal, rehash, rehash_id, signature_id
from prompt_operator.core.audit.inputs import inputs_of
from prompt_operator.core.plan import Audit, AuditRecord
from prompt_operator.core.records import PASSING, episode
from prompt_operator.core.standing import retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from prompt_operator.api.promptstatus import PromptStatus
    from prompt_operator.core.audit.entry import Audited
    from prompt_operator.core.facts import Facts
    from prompt_operator.core.ledger import RollbackRecord
    from prompt_operator.core.plan import Effect
    from prompt_operator.core.rollback import Refused


def due(
    facts: Facts, after: PromptStatus, refused: Iterable[Refused], now: datetime, *, healed: bool
) -> Iterator[Effect]:
    """Yield the effects that tell it; nothing while it is not known what the trail holds.

    They come last in a plan: a record is read before it is told, and that must not delay anything else.

    Args:
        facts: what is known of the prompt.
        after: its status after this look.
        refused: the objections of this look.
        now: the instant of this look.
        healed: this plan puts the ConfigMap back.
    """
    audited = facts.audited
    if audited is None:
        return
    if healed:
        yield Audit(heal(facts, now))
    yield from (AuditRecord(record.name) for record in facts.records if _untold(record, audited))
    yield from map(Audit, acts(facts, after, audited, retry(facts, now)))
    for version in facts.versions.values():
        accepted = version.accepted_hash and version.accepted_hash == version.content_hash
        if accepted and audited.lacks(rehash_id(version), version.accepted.at):
            yield Audit(rehash(version))
    for each in refused:
        name = episode(facts, each, now)
        if each.refusal.objection in PASSING and audited.lacks(name, now):
            inputs = inputs_of(each.case, each.reading)
            yield Audit(refusal(facts, name, each.refusal.objection, each.refusal.message, inputs))


def _untold(record: RollbackRecord, audited: Audited) -> bool:
    if not record.is_request and audited.lacks(record.name, record.at):
        return True
    return any(audited.lacks(signature_id(record.name, member), at) for member, at in record.signed)
