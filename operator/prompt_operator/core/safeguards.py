"""The guards of an automatic rollback: an ordered tuple of small functions; the first objection wins.

Each guard sees one frozen case and answers with None or with its reason and a sentence. Status, Event, record and
command line print that same sentence, so nothing has to explain the decision a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prompt_operator.api.common import rfc3339
from prompt_operator.core.duration import spoken
from prompt_operator.core.ledger import DAY
from prompt_operator.core.reasons import Objection
from prompt_operator.core.rules.judgement import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_operator.core.correlation import CommonCause
    from prompt_operator.core.ledger import HandOver, Ledger
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.target import Choice

MAX_SKEW = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the guards look at, on one snapshot."""

    now: datetime
    suspended: bool
    mode: str
    """Effective mode: Active or Fallback."""
    auto: str
    """Enabled, DryRun or Disabled, after version, prompt and policy were merged."""
    policy: Effective
    judged_at: datetime
    """Instant of the newest reading behind the judgement."""
    fresh_for: timedelta
    """How old a reading may be before it is stale."""
    judgement: Judgement
    """The rule's condition at the confidence that a rollback needs."""
    activated_at: datetime | None
    choice: Choice
    overridden: bool
    """An override by an earlier rollback is in force."""
    ledger: Ledger
    skew: timedelta | None = None
    """The API server's clock less ours; None when it was not measured."""
    common_cause: CommonCause | None = None
    """What many failing prompts share, this one among them."""
    elsewhere: tuple[datetime, ...] = ()
    """Instants of the automatic rollbacks of all prompts."""
    left_at: datetime | None = None
    """When a rollback left this very version the last time."""
    reach: timedelta = timedelta()
    """How long before the reading the oldest request that the rule counts may lie."""
    handed_over: HandOver | None = None
    """A refusal at the daily limit that waits for a person."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard's objection and its sentence."""

    objection: Objection
    message: str


def first_refusal(case: Case) -> Refusal | None:
    """Ask the guards in the contract's order; return the first objection, or None when the rollback may happen."""
    return next((refusal for guard in GUARDS if (refusal := guard(case))), None)


def suspended(case: Case) -> Refusal | None:
    """A suspended prompt, or one in Fallback, is in a person's hands."""
    if case.suspended:
        return Refusal(
            Objection.SUSPENDED, "the prompt is suspended: nothing automatic happens until spec.suspend is false"
        )
    if case.mode != "Active":
        return Refusal(Objection.SUSPENDED, f"mode is {case.mode}: no version is served that could be rolled back")
    return None


def disabled(case: Case) -> Refusal | None:
    """Version, prompt or policy switched automatic rollback off."""
    if case.auto != "Disabled":
        return None
    return Refusal(
        Objection.AUTO_ROLLBACK_DISABLED, "rollback.auto is Disabled in the version, the prompt or its policy"
    )


def stale(case: Case) -> Refusal | None:
    """Old evidence says nothing about now."""
    age = case.now - case.judged_at
    if -MAX_SKEW <= age <= case.fresh_for:
        return _decided_on(case)
    if age < timedelta():
        return Refusal(
            Objection.EVIDENCE_STALE,
            f"the newest measurement is of {rfc3339(case.judged_at)}, which is yet to come: this clock was set back, "
            "and how old the measurement is cannot be told",
        )
    return Refusal(
        Objection.EVIDENCE_STALE,
        f"the newest measurement is of {rfc3339(case.judged_at)}, older than {spoken(case.fresh_for)}: "
        "see whether Prometheus answers",
    )


def _decided_on(case: Case) -> Refusal | None:
    """What a rollback of this version was decided on decides nothing a second time."""
    if case.left_at is None or case.judged_at - case.reach >= case.left_at:
        return None
    return Refusal(
        Objection.EVIDENCE_STALE,
        f"this version was rolled back at {rfc3339(case.left_at)} already, and the rule still counts requests from "
        f"before that: it decides again from {rfc3339(case.left_at + case.reach)} on",
    )


def clock_skew(case: Case) -> Refusal | None:
    """With a wrong clock neither evidence nor spacing can be dated."""
    if case.skew is None or abs(case.skew) <= MAX_SKEW:
        return None
    side = "behind" if case.skew > timedelta() else "ahead of"
    return Refusal(
        Objection.CLOCK_SKEW,
        f"this clock is {spoken(abs(case.skew))} {side} the API server's, more than {spoken(MAX_SKEW)}: "
        "set the clock of the node",
    )


def settling(case: Case) -> Refusal | None:
    """Right after an activation pods still serve the version before."""
    if case.activated_at is None:
        return None
    age = max(case.now - case.activated_at, timedelta())
    if age >= case.policy.initial_delay:
        return None
    return Refusal(
        Objection.SETTLING,
        f"activated at {rfc3339(case.activated_at)}; nothing is judged within initialDelay "
        f"({spoken(case.policy.initial_delay)})",
    )


def few_samples(case: Case) -> Refusal | None:
    """Too few observations, or none, decide nothing."""
    if case.judgement.verdict is not Verdict.UNKNOWN:
        return None
    return Refusal(Objection.TOO_FEW_SAMPLES, case.judgement.message)


def not_confident(case: Case) -> Refusal | None:
    """The bound at the confidence of rollbacks does not lie beyond the threshold."""
    if case.judgement.verdict is Verdict.TRUE:
        return None
    return Refusal(Objection.NOT_CONFIDENT, case.judgement.message)


def correlated_breach(case: Case) -> Refusal | None:
    """When many fail at once, the cause is in what they share."""
    if case.common_cause is None:
        return None
    return Refusal(
        Objection.CORRELATED_BREACH,
        f"{case.common_cause}: look at the {case.common_cause.factor.kind}; "
        "going back to an earlier version would not help",
    )


def no_target(case: Case) -> Refusal | None:
    """There is no earlier version at all."""
    if case.choice.version or case.choice.rejected:
        return None
    return Refusal(
        Objection.NO_TARGET,
        "there is no earlier version to go back to: fix forward, "
        "or set spec.mode: Fallback to let applications use their default",
    )


def target_unhealthy(case: Case) -> Refusal | None:
    """There are earlier versions, but none that may be served."""
    if case.choice.version:
        return None
    return Refusal(Objection.TARGET_UNHEALTHY, "no earlier version is usable: " + "; ".join(case.choice.rejected))


def rollback_of_rollback(case: Case) -> Refusal | None:
    """The version that a rollback restored fails too: a person must look."""
    if not case.overridden:
        return None
    return Refusal(
        Objection.ROLLBACK_OF_ROLLBACK,
        "the active version was itself restored by a rollback: a second step back is a person's decision",
    )


def cooling_down(case: Case) -> Refusal | None:
    """Rollbacks of one prompt keep a distance."""
    last = case.ledger.last_at
    if last is None:
        return None
    since = max(case.now - last, timedelta())  # a stored time in the future counts as now
    if since >= case.policy.cooldown:
        return None
    return Refusal(
        Objection.COOLING_DOWN,
        f"the last rollback was at {rfc3339(last)}; "
        f"the next automatic one may follow {spoken(case.policy.cooldown)} later",
    )


def daily_limit(case: Case) -> Refusal | None:
    """So many rollbacks a day, then a human."""
    count = case.ledger.automatic_since(case.now - DAY)
    if count < case.policy.max_per_day:
        return _handed_over(case)
    return Refusal(
        Objection.DAILY_LIMIT_REACHED,
        f"{count} automatic rollbacks within 24 hours, the limit is {case.policy.max_per_day}: "
        "a person must decide; acknowledge a PromptRollback to allow the next one",
    )


def _handed_over(case: Case) -> Refusal | None:
    """A day later the hand-over still stands: nobody has looked."""
    if case.handed_over is None:
        return None
    return Refusal(Objection.DAILY_LIMIT_REACHED, waiting_for_a_person(case.handed_over))


def waiting_for_a_person(handed_over: HandOver) -> str:
    """Say since when, and what ends it."""
    return (
        f"the daily limit of automatic rollbacks was reached at {rfc3339(handed_over.at)}, and nobody took over yet: "
        f"acknowledge PromptRollback {handed_over.record} to allow the next one"
    )


def global_rate_limited(case: Case) -> Refusal | None:
    """Rollbacks keep a distance over the whole cluster, too."""
    rate = case.policy.global_rate
    count = sum(case.now - rate.per < instant for instant in case.elsewhere)
    if count < rate.count:
        return None
    return Refusal(
        Objection.GLOBAL_RATE_LIMITED,
        f"{count} automatic rollbacks of all prompts within {spoken(rate.per)}, the limit is {rate.count}: "
        "decided again at the next look",
    )


def dry_run(case: Case) -> Refusal | None:
    """Everything speaks for it, but the prompt only rehearses."""
    if case.auto != "DryRun":
        return None
    return Refusal(Objection.DRY_RUN, f"rollback.auto is DryRun: would have switched to {case.choice.version}")


GUARDS: tuple[Callable[[Case], Refusal | None], ...] = (
    suspended,
    disabled,
    stale,
    clock_skew,
    settling,
    few_samples,
    not_confident,
    correlated_breach,
    no_target,
    target_unhealthy,
    rollback_of_rollback,
    cooling_down,
    daily_limit,
    global_rate_limited,
    dry_run,
)
