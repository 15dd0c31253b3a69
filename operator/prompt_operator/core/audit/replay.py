"""Decide again on what an entry recorded, with the very guards that decided then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prompt_operator.core.audit.entry import Verb
from prompt_operator.core.audit.inputs import case_of, choice_of
from prompt_operator.core.rollback import request_refusal
from prompt_operator.core.safeguards import first_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

DECISIONS = frozenset({Verb.ROLLBACK, Verb.REFUSE, Verb.DRY_RUN})


@dataclass(frozen=True, slots=True)
class Replayed:
    """An entry's verdict, and the one that its inputs give now."""

    id: str
    recorded: str
    """`1.1.0 -> 1.0.0`, or the guard that objected."""
    replayed: str
    """The same; empty where the inputs do not suffice, and `problem` says why."""
    problem: str = ""

    @property
    def differs(self) -> bool:
        """The inputs were understood and give another verdict."""
        return not self.problem and self.recorded != self.replayed


def replay(members: Mapping[str, Any]) -> Replayed | None:
    """Decide again; None for an entry that is no decision."""
    if members["verb"] not in DECISIONS:
        return None
    inputs, recorded = members["inputs"], _recorded(members)
    if "now" not in inputs:
        why = inputs.get("omitted") or "written by a release that kept no inputs"
        return Replayed(members["id"], recorded, "", f"no inputs: {why}")
    try:
        return Replayed(members["id"], recorded, _decided(inputs))
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        return Replayed(members["id"], recorded, "", f"the inputs cannot be read: {error!r}")


def _recorded(members: Mapping[str, Any]) -> str:
    told = members["inputs"].get("record", {})
    if members["verb"] == Verb.ROLLBACK:
        return f"{told.get('fromVersion', '')} -> {told.get('toVersion', '')}"
    return str(told.get("guard", ""))


def _decided(inputs: Mapping[str, Any]) -> str:
    if "request" in inputs:
        return _answered(inputs)
    case = case_of(inputs)
    refusal = first_refusal(case)
    return refusal.objection.value if refusal else f"{inputs['record']['fromVersion']} -> {case.choice.version}"


def _answered(inputs: Mapping[str, Any]) -> str:
    choice, asked = choice_of(inputs["target"]), inputs["request"]["fromVersion"]
    refusal = request_refusal(asked, inputs["active"], choice)
    return refusal.value if refusal else f"{asked} -> {choice.version}"
