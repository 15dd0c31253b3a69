"""One entry of the audit trail: what happened, told once under an id that follows from what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prompt_client.wire import canonical_json

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from datetime import datetime

OPERATOR = "prompt-operator"
"""The actor of what nobody asked for."""
LONGEST = 1024
"""Characters of a reason or a name; longer ones are cut."""
LARGEST = 16_384
"""Bytes of the inputs as canonical JSON; larger ones are left out and their size is told instead."""


class Verb(StrEnum):
    """What was done."""

    TAKEOVER = "Takeover"
    """A writer began; names the writer before it and where that one ended."""
    ROLLBACK = "Rollback"
    REFUSE = "Refuse"
    DRY_RUN = "DryRun"
    RELEASE = "Release"
    ACKNOWLEDGE = "Acknowledge"
    HEAL = "Heal"
    """What somebody changed in a ConfigMap of ours was put back."""
    ACTIVATE = "Activate"
    """Another version became active, as a Prompt's spec wants it."""
    PROMPT = "Prompt"
    """Somebody changed the spec of a Prompt: its version, `suspend`, `mode`, rules."""
    RETRY = "Retry"
    """A person let all held versions of a prompt be activated again."""
    REVIEW = "Review"
    """A person said that they looked."""
    REHASH = "Rehash"
    """A person accepted the changed content of a version."""
    MODE = "Mode"
    POLICY = "Policy"
    LOST = "Lost"
    """Entries were given up because the sink took none for too long; says how many."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, before it has a place in a chain. Holds no prompt text and nothing of an application's users."""

    id: str
    """The same for the same fact, whoever tells it and however often."""
    at: datetime
    """When it happened."""
    actor: str
    verb: Verb
    object: Mapping[str, str]
    """apiVersion, kind, namespace, name, uid and resourceVersion, as far as there are such."""
    decision: str
    """What came of it: Executed, Refused, DryRun or Done."""
    reason: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What it was decided on; numbers are strings."""
    fleeting: bool = False
    """Nothing that outlives the process tells of it: where it finds no room it is lost."""

    def members(self) -> dict[str, Any]:
        """Return the entry as JSON members, within its bounds."""
        return {
            "id": shortened(self.id),
            "at": instant(self.at),
            "actor": shortened(self.actor),
            "verb": self.verb.value,
            "object": {key: shortened(value) for key, value in self.object.items()},
            "decision": self.decision,
            "reason": shortened(self.reason),
            "inputs": bounded(self.inputs),
        }


@dataclass(frozen=True, slots=True)
class Audited:
    """What the trail is known to hold, so that what was decided before a crash is told once, and old history is not."""

    ids: Container[str]
    """Ids of entries, all of them from `since` on."""
    since: datetime
    """What happened before was told by an earlier writer, or before there was a trail."""

    def lacks(self, entry_id: str, at: datetime) -> bool:
        """Tell whether what happened then has to be told."""
        return at >= self.since and entry_id not in self.ids


def instant(at: datetime) -> str:
    """Return an instant in UTC to the microsecond, shorter where it has none: `2026-01-02T03:04:05Z`."""
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def shortened(text: str, limit: int = LONGEST) -> str:
    """Cut a text that is too long, and drop what has no place in UTF-8."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bounded(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs; where they are too large, only what tells so."""
    size = len(canonical_json(inputs))
    return inputs if size <= LARGEST else {"omitted": f"{size} bytes are more than the {LARGEST} that are kept"}


def packed(inputs: Mapping[str, Any]) -> str:
    """Return inputs as the API keeps them until they are on the trail: canonical JSON, within its bounds."""
    return canonical_json(bounded(inputs)).decode()
