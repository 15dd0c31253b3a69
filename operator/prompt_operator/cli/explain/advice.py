"""The next step, as a command where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.conditions import find
from prompt_operator.core.reasons import ConditionType, Objection, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_operator.api.common import Condition
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.api.promptrollback import PromptRollback
    from prompt_operator.api.promptstatus import Held

_WHY = '--reason "…"'


def steps(prompt: Prompt, rollbacks: Iterable[PromptRollback], flags: str) -> Iterator[str]:
    """Yield what a person should do; one sentence when that is nothing."""
    found = [
        *_without_operator(prompt),
        *_switched_off(prompt, flags),
        *_not_ready(prompt),
        *_not_recovered(prompt, rollbacks),
        *_unhealthy(prompt, rollbacks, flags),
        *_to_review(prompt, flags),
    ]
    yield from found or ["Nothing."]


def lifting(prompt: Prompt, held: Held, flags: str) -> str:
    """Return the command that lifts a hold."""
    if held.record:
        return f"kubectl prompt release {held.record} {flags} {_WHY}"
    return f"kubectl prompt retry {prompt.metadata.name} {flags}"


def _without_operator(prompt: Prompt) -> Iterator[str]:
    if not prompt.status.conditions:
        yield "See whether the operator runs and looks after this namespace."


def _switched_off(prompt: Prompt, flags: str) -> Iterator[str]:
    name = prompt.metadata.name
    if prompt.spec.suspend:
        yield f"When it may go on: kubectl prompt resume {name} {flags}"
    if prompt.spec.mode == "Fallback":
        yield f"To serve the prompt again: kubectl prompt enable {name} {flags}"
    elif _of(prompt, ConditionType.SERVING).endswith(Reason.FALLBACK):
        yield "Its policy or the whole operator is switched to Fallback: switch it back there."


def _not_ready(prompt: Prompt) -> Iterator[str]:
    ready = find(prompt.status.conditions, ConditionType.READY)
    if ready is None or ready.status == "True" or prompt.spec.suspend:
        return
    desired = prompt.spec.version
    if any(held.version == desired for held in prompt.status.held):
        yield f"Put right what was wrong with {desired}, release it under a new version and set spec.version to that."
        yield f"If {desired} was not the cause, lift its hold as said above."
    elif ready.reason == Reason.VERSION_MISSING:
        yield f"Apply PromptVersion {prompt.metadata.name}-{desired}, or set spec.version to one that exists."
    else:
        yield "Do what the message of Ready says; the operator sees it by itself."


def _not_recovered(prompt: Prompt, rollbacks: Iterable[PromptRollback]) -> Iterator[str]:
    """Yield where to look when going back did not help, or nobody knows whether it did."""
    decision = prompt.status.decision
    if decision is None or prompt.status.override is None:
        return
    outcome = next((each.status.outcome for each in rollbacks if each.metadata.name == decision.id), None)
    if outcome == "NotRecovered":
        yield "Look outside the prompt: provider, model, data, application. The operator takes no second step back."
    elif outcome == "Inconclusive":
        yield "Look at the application yourself: this outcome is final and is not judged again."


def _unhealthy(prompt: Prompt, rollbacks: Iterable[PromptRollback], flags: str) -> Iterator[str]:
    healthy = find(prompt.status.conditions, ConditionType.HEALTHY)
    if healthy is None or healthy.status != "False":
        return
    name = prompt.metadata.name
    if healthy.reason == Reason.MANUAL_INTERVENTION_REQUIRED:
        for record in list(filter(_at_the_limit, rollbacks))[:1]:
            yield f"To allow automatic rollbacks again: kubectl prompt ack {record.metadata.name} {flags} {_WHY}"
    if not _without_target(healthy):
        yield f"To go back by hand: kubectl prompt rollback {name} {flags} {_WHY}"
    yield f"To let applications use their default: kubectl prompt fallback {name} {flags}"


def _at_the_limit(record: PromptRollback) -> bool:
    """Tell whether it is the refusal at the daily limit; the count begins anew when it is acknowledged."""
    return record.spec.guard == Objection.DAILY_LIMIT_REACHED and record.spec.acknowledge is None


def _without_target(healthy: Condition) -> bool:
    return healthy.reason in {Objection.NO_TARGET, Objection.TARGET_UNHEALTHY}


def _to_review(prompt: Prompt, flags: str) -> Iterator[str]:
    if _of(prompt, ConditionType.REVIEW_REQUIRED).startswith("True"):
        yield f"Look at its answers, then: kubectl prompt review {prompt.metadata.name} {flags}"


def _of(prompt: Prompt, kind: ConditionType) -> str:
    condition = find(prompt.status.conditions, kind)
    return f"{condition.status}/{condition.reason}" if condition is not None else ""
