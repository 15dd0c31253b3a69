"""Rules that look back further than anybody recorded: the condition that names them, and when it has to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.conditions import Wanted, find
from prompt_operator.core.reasons import ConditionType, Reason
from prompt_operator.core.rules.judgement import CAUSES
from prompt_operator.core.rules.reasons import GAPS
from prompt_operator.core.rules.reasons import Reason as Why
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from prompt_operator.api.promptstatus import RuleStatus
    from prompt_operator.core.facts import Facts, RuleReading


def gap_of(reading: RuleReading) -> Why | None:
    """Return the gap in the recording that keeps a rule unknown; None when nothing or something else does."""
    return reading.alert.because if reading.alert.because in GAPS else None


def gap_told(message: str | None) -> Why | None:
    """Return the gap that a stored message tells of."""
    return next((gap for gap in sorted(GAPS) if CAUSES[gap] in (message or "")), None)


def not_recorded(facts: Facts, rules: tuple[RuleStatus, ...]) -> Wanted | None:
    """Return the condition that names the rules without recorded series, and what to load; None without any.

    It comes when such a rule is visibly unknown, and goes when none is left. A recording that covers too little as yet
    needs nobody: the rule says so, and time mends it. After a restart it stands until the rules are judged again.
    """
    old, readings = find(facts.prompt.status.conditions, ConditionType.NOT_RECORDED), facts.readings
    if readings is None:
        return Wanted(ConditionType.NOT_RECORDED, "True", old.reason, old.message) if old is not None else None
    visible = {rule.name for rule in rules if State(rule.state) is State.UNKNOWN}
    missing = {each.rule.name for each in readings.rules if gap_of(each) is Why.NOT_RECORDED}
    if not missing or (old is None and missing.isdisjoint(visible)):
        return None
    message = _message(facts.policy.profile, sorted(missing))
    return Wanted(ConditionType.NOT_RECORDED, "True", Reason.RECORDING_RULES_MISSING, message)


def _message(profile: str, rules: list[str]) -> str:
    return (
        f"{', '.join(rules)} cannot be judged: windows of 24h and more are read from recorded series, and Prometheus "
        f"does not evaluate the recording rules of profile {profile}. Load them: kubectl apply --server-side "
        f"--filename=manifests/recording-rules/{profile}.prometheusrule.yaml (other ways: docs/long-windows.md)"
    )
