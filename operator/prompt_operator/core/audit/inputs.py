"""What the guards decided on, as JSON with numbers as strings, and back: enough to decide the same again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from prompt_operator.api.prompt import PromptSpec
from prompt_operator.core.audit.basis import basis_of, judged_again, told
from prompt_operator.core.audit.entry import instant, shortened
from prompt_operator.core.correlation import Factor, Tally, common_cause
from prompt_operator.core.ledger import DAY, Execution, HandOver, Ledger
from prompt_operator.core.policy import Effective, Rate, effective
from prompt_operator.core.rules.judgement import Judgement, Verdict
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.safeguards import Case
from prompt_operator.core.target import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.correlation import CommonCause
    from prompt_operator.core.facts import RuleReading
    from prompt_operator.core.ledger import RollbackRecord

_MOST = 32
"""Elements of a list that are kept at most."""
_SENTENCE = 256


def inputs_of(case: Case, reading: RuleReading) -> dict[str, Any]:
    """Return what the guards were given about one firing rule."""
    found: dict[str, Any] = {
        "now": instant(case.now),
        "suspended": str(case.suspended).lower(),
        "mode": case.mode,
        "auto": case.auto,
        "judgedAt": instant(case.judged_at),
        "freshForSeconds": _seconds(case.fresh_for),
        "activatedAt": instant(case.activated_at) if case.activated_at else "",
        "target": target(case.choice),
        "overridden": str(case.overridden).lower(),
        "executed": _executed(case),
        "skewSeconds": _seconds(case.skew) if case.skew is not None else "",
        "elsewhere": _elsewhere(case),
        "policy": policy_numbers(case.policy),
        "judgement": _judgement(case.judgement),
        "rule": told(reading),
    }
    if case.left_at is not None:
        found |= {"leftAt": instant(case.left_at), "reachSeconds": _seconds(case.reach)}
    if case.handed_over is not None:
        found["handedOver"] = {"record": case.handed_over.record, "at": instant(case.handed_over.at)}
    if case.common_cause is not None:
        found["commonCause"] = _common(case.common_cause)
    basis = basis_of(reading)
    return {**found, "basis": basis} if basis else found


def inputs_of_request(request: RollbackRecord, active: str, choice: Choice, now: datetime) -> dict[str, Any]:
    """Return what a person's request was answered on."""
    return {
        "now": instant(now),
        "request": {"name": request.name, "uid": request.uid, "fromVersion": request.from_version},
        "active": active,
        "target": target(choice),
    }


def case_of(inputs: Mapping[str, Any]) -> Case:
    """Build the case again; the rule is judged anew where what it was judged on is there.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: these are not such inputs.
    """
    policy = _policy_of(inputs["policy"])
    return Case(
        now=_at(inputs["now"]),
        suspended=inputs["suspended"] == "true",
        mode=inputs["mode"],
        auto=inputs["auto"],
        policy=policy,
        judged_at=_at(inputs["judgedAt"]),
        fresh_for=_span(inputs["freshForSeconds"]),
        judgement=judged_again(inputs) or _judgement_of(inputs["judgement"]),
        activated_at=_at(inputs["activatedAt"]) if inputs["activatedAt"] else None,
        choice=choice_of(inputs["target"]),
        overridden=inputs["overridden"] == "true",
        ledger=Ledger(tuple(_execution(each) for each in inputs["executed"])),
        skew=_span(inputs["skewSeconds"]) if inputs["skewSeconds"] else None,
        common_cause=_common_of(inputs["commonCause"], policy) if "commonCause" in inputs else None,
        elsewhere=tuple(_at(each) for each in inputs["elsewhere"]),
        left_at=_at(inputs["leftAt"]) if "leftAt" in inputs else None,
        reach=_span(inputs.get("reachSeconds", "0")),
        handed_over=_hand_over(inputs["handedOver"]) if "handedOver" in inputs else None,
    )


def target(choice: Choice) -> dict[str, Any]:
    """Return the target that was chosen, and why others were not."""
    rejected = [shortened(each, _SENTENCE) for each in choice.rejected[:_MOST]]
    return {"version": choice.version, "rejected": rejected}


def choice_of(told: Mapping[str, Any]) -> Choice:
    """Return the choice that `target` tells."""
    return Choice(told["version"], tuple(told["rejected"]))


def _executed(case: Case) -> list[dict[str, str]]:
    """Return the rollbacks that spacing and cap look at: those of the last day, and the last one."""
    newest = sorted(case.ledger.executed, key=lambda each: each.at, reverse=True)
    seen = [each for place, each in enumerate(newest) if not place or each.at > case.now - DAY][: _kept(case)]
    return [{"id": each.id, "at": instant(each.at), "counted": str(each.counted).lower()} for each in seen]


def _kept(case: Case) -> int:
    return max(_MOST, case.policy.max_per_day + 1)


def _execution(told: Mapping[str, str]) -> Execution:
    return Execution(told["id"], _at(told["at"]), told["counted"] == "true")


def _hand_over(told: Mapping[str, str]) -> HandOver:
    return HandOver(told["record"], _at(told["at"]))


def _elsewhere(case: Case) -> list[str]:
    """Return the newest rollbacks of all prompts within the rate's span, as many as reach the limit."""
    rate = case.policy.global_rate
    within = sorted((at for at in case.elsewhere if case.now - rate.per < at), reverse=True)
    return [instant(at) for at in within[: rate.count]]


def policy_numbers(policy: Effective) -> dict[str, str]:
    """Return the numbers of a policy that the guards look at."""
    return {
        "cooldownSeconds": _seconds(policy.cooldown),
        "maxPerDay": str(policy.max_per_day),
        "initialDelaySeconds": _seconds(policy.initial_delay),
        "globalRateCount": str(policy.global_rate.count),
        "globalRateSeconds": _seconds(policy.global_rate.per),
        "correlatedShare": repr(policy.correlated_share),
        "correlatedAtLeast": str(policy.correlated_at_least),
        "minSamples": str(policy.min_samples),
        "rollbackConfidence": repr(policy.rollback_confidence),
    }


@cache
def _any_policy() -> Effective:
    return effective(PromptSpec(version="0.0.0"), None, "")


def _policy_of(told: Mapping[str, str]) -> Effective:
    return replace(
        _any_policy(),
        cooldown=_span(told["cooldownSeconds"]),
        max_per_day=int(told["maxPerDay"]),
        initial_delay=_span(told["initialDelaySeconds"]),
        global_rate=Rate(int(told["globalRateCount"]), _span(told["globalRateSeconds"])),
        correlated_share=float(told["correlatedShare"]),
        correlated_at_least=int(told["correlatedAtLeast"]),
        min_samples=int(told["minSamples"]),
        rollback_confidence=float(told["rollbackConfidence"]),
    )


def _judgement(judgement: Judgement) -> dict[str, str]:
    return {
        "verdict": judgement.verdict.value,
        "because": judgement.because.value,
        "message": shortened(judgement.message),
    }


@dataclass(frozen=True, slots=True)
class _Told(Judgement):
    """A judgement of which only the sentence is known."""

    said: str = ""

    @property
    def message(self) -> str:
        return self.said


def _judgement_of(told: Mapping[str, str]) -> Judgement:
    return _Told(Verdict(told["verdict"]), Reason(told["because"]), said=told["message"])


def _common(cause: CommonCause) -> dict[str, str]:
    return {
        "kind": cause.factor.kind,
        "value": cause.factor.value,
        "breaching": str(cause.tally.breaching),
        "comparable": str(cause.tally.comparable),
    }


def _common_of(told: Mapping[str, str], policy: Effective) -> CommonCause | None:
    factor = Factor(told["kind"], told["value"])
    tallies = {factor: Tally(int(told["breaching"]), int(told["comparable"]))}
    share, at_least = policy.correlated_share, policy.correlated_at_least
    return common_cause(tallies, (factor,), share=share, at_least=at_least)


def _seconds(span: timedelta) -> str:
    return repr(span.total_seconds())


def _span(text: str) -> timedelta:
    return timedelta(seconds=float(text))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
