"""Fields that this release accepts but does not act on. The list only shrinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prompt_operator.core.conditions import Wanted
from prompt_operator.core.reasons import ConditionType, Reason

PROMPT = (
    "rollout.steps",
    "rollout.unit",
)
PROMPT_VERSION = ("includes",)
PROMPT_POLICY = (
    "escalation",
    "models",
    "require",
    "validation",
    "experiments",
    "reports",
    "budgets",
)
EXPERIMENT = ("type",)
"""Nothing of an Experiment is acted on yet; its `type` is always there."""


def not_implemented(spec: Mapping[str, Any], fields: tuple[str, ...]) -> Wanted | None:
    """Return the condition that names the given fields nothing acts on, or None.

    Args:
        spec: the spec as written (camelCase).
        fields: dotted paths that this release does not act on.
    """
    given = [f"spec.{field}" for field in fields if _given(spec, field)]
    if not given:
        return None
    message = f"accepted, but without effect in this release: {', '.join(given)}"
    return Wanted(ConditionType.NOT_IMPLEMENTED, "True", Reason.NOT_IMPLEMENTED, message)


def _given(spec: Mapping[str, Any], field: str) -> bool:
    value: Any = spec
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value not in (None, [], {})
