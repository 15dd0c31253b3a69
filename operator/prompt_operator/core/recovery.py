"""Whether a rollback helped: the same rule, on the restored version, on requests from after the switch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_operator.api.common import rfc3339
from prompt_operator.core.ledger import DAY
from prompt_operator.core.reasons import Reason
from prompt_operator.core.rollback import shortened
from prompt_operator.core.rules.cadence import reach_of
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.units import NO_TIME

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.facts import Facts, RuleReading
    from prompt_operator.core.ledger import RollbackRecord


_TOO_LATE = "it was not judged within a day; an outcome that was there was lost with the record's status"
_LOOKS = 4
"""So often within the time that a reading is fresh: the rules' next look is about to come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollback ended, or that it is still watched."""

    reason: Reason
    status: str
    """Status of the condition Recovered."""
    message: str
    judged: bool = True
    """False: it is too late to judge, and nobody is told."""

    @property
    def final(self) -> bool:
        """It was judged and stays so."""
        return self.reason is not Reason.WATCHING


def recovery(facts: Facts, record: RollbackRecord, now: datetime) -> Outcome:
    """Judge whether the rollback helped, once the recovery window is over and the rule's own lies behind the switch."""
    due, other = _due(facts, record), _left_for(facts, record)
    if now > due + DAY:
        return Outcome(Reason.INCONCLUSIVE, "Unknown", _TOO_LATE, judged=False)
    if other:
        return _unknown(f"{other} was activated before {record.to_version} was judged")
    if now < due:
        return _watching(f"{record.to_version} is watched until {rfc3339(due)}")
    return _judged(facts, record, judged_by(facts, record), now)


def _judged(facts: Facts, record: RollbackRecord, reading: RuleReading | None, now: datetime) -> Outcome:
    if _judged_later(facts) or (reading is not None and _looks_back(facts, record, reading, now)):
        return _watching(f"{record.to_version} is watched until its rules are judged again")
    if reading is None or _is_stale(facts, reading, now) or reading.alert.verdict is Verdict.UNKNOWN:
        why = reading.alert.message if reading else _unmeasured(record)
        return _unknown(shortened(f"no traffic to judge by: {why}"))
    if reading.alert.verdict is Verdict.FALSE:
        return Outcome(Reason.RECOVERED, "True", shortened(reading.alert.message))
    return Outcome(
        Reason.NOT_RECOVERED,
        "False",
        shortened(f"{reading.alert.message}: the cause may lie elsewhere; a person should look"),
    )


def _left_for(facts: Facts, record: RollbackRecord) -> str:
    """Return what was activated since instead of the restored version, be it back by now; empty when nothing was."""
    status = facts.prompt.status
    if status.active_version != record.to_version:
        return status.active_version or "another version"
    later = (each.from_version for each in facts.records if each.executed and each.at > record.at)
    since = (entry.version for entry in status.history if entry.at > record.at)
    return next((version for version in (*since, *later) if version != record.to_version), "")


def next_judgement(facts: Facts, now: datetime) -> datetime | None:
    """Return when the next recovery is due; one that still waits for the rules is looked at again now and then."""
    due = (_due(facts, record) for record in facts.records if record.executed and not record.outcome)
    return min((instant if instant > now else now + facts.fresh_for / _LOOKS for instant in due), default=None)


def judged_by(facts: Facts, record: RollbackRecord) -> RuleReading | None:
    """Return the reading of the rule that fired; for a manual rollback the worst reading that says anything.

    Of the latter only rules whose windows have room between the switch and the end of the recovery window.
    """
    readings = facts.readings
    if readings is None or readings.version != facts.prompt.status.active_version:
        return None
    if record.rule:
        return next((reading for reading in readings.rules if reading.rule.name == record.rule), None)
    known = [
        reading
        for reading in readings.rules
        if reading.alert.verdict is not Verdict.UNKNOWN and reach_of(reading.rule) <= facts.policy.recovery_window
    ]
    return min(known, key=lambda reading: reading.alert.verdict is not Verdict.TRUE, default=None)


def _due(facts: Facts, record: RollbackRecord) -> datetime:
    """Return when it is judged: what the restored version did before it was left says nothing of the rollback."""
    reach = next((reach_of(rule) for rule in facts.policy.rules if rule.name == record.rule), NO_TIME)
    return record.at + max(facts.policy.recovery_window, reach)


def _looks_back(facts: Facts, record: RollbackRecord, reading: RuleReading, now: datetime) -> bool:
    """Tell whether the reading counts requests from before the switch, and a newer one is about to come."""
    if reading.alert.verdict is Verdict.UNKNOWN or _is_stale(facts, reading, now):
        return False
    return reading.at - reach_of(reading.rule) < record.at


def _is_stale(facts: Facts, reading: RuleReading, now: datetime) -> bool:
    return now - reading.at > facts.fresh_for_rule(reading.rule)


def _judged_later(facts: Facts) -> bool:
    """Tell whether the rules of the active version were not judged yet: right after a restart nothing is known."""
    status, readings = facts.prompt.status, facts.readings
    if not facts.measured or "Fallback" in (facts.operator_mode, facts.policy.mode):
        return False
    return readings is None or (readings.version, readings.activated_at) != (status.active_version, status.activated_at)


def _unmeasured(record: RollbackRecord) -> str:
    return "the rule was not measured" if record.rule else "no rule has data that lies wholly behind the switch"


def _watching(message: str) -> Outcome:
    return Outcome(Reason.WATCHING, "Unknown", message)


def _unknown(message: str) -> Outcome:
    return Outcome(Reason.INCONCLUSIVE, "Unknown", message)
