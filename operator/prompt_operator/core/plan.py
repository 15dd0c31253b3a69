"""A plan is a value: the effects in their order, when to look again, and what must be read before deciding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from prompt_operator.api.promptrollback import PromptRollbackStatus
    from prompt_operator.api.promptstatus import Decision, PromptStatus
    from prompt_operator.core.audit.entry import Entry
    from prompt_operator.core.correlation import CommonCause


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the Prompt's whole status, fenced by the resourceVersion the decision was made on."""

    status: PromptStatus


@dataclass(frozen=True, slots=True)
class ApplyConfigMap:
    """Project by server-side apply, fenced by uid and resourceVersion, so that no write arrives after a later one."""

    manifest: Mapping[str, Any]
    uid: str
    """Of the ConfigMap; empty when there must be none yet."""
    resource_version: str = ""
    healed: bool = False
    """The content was right before somebody changed it."""


@dataclass(frozen=True, slots=True)
class RemoveKeys:
    """Remove keys that somebody added, by a JSON Patch fenced by resourceVersion."""

    name: str
    resource_version: str
    pointers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteConfigMap:
    """Delete one of our own ConfigMaps, fenced by uid."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CreateRecord:
    """Create a PromptRollback record; it is named by its decision, so creating it again does nothing."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WriteRecordStatus:
    """Write the status of a PromptRollback."""

    name: str
    resource_version: str
    status: PromptRollbackStatus


@dataclass(frozen=True, slots=True)
class ObserveRecord:
    """Say in a judged PromptRollback's status that its newest generation (a release) was seen; all else stays."""

    name: str
    resource_version: str
    generation: int


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Delete a PromptRollback record that has outlived its use, fenced by uid."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Publish an Event about the Prompt, or about the PromptRollback named `rollback`."""

    type: str
    reason: str
    action: str
    note: str
    rollback: str = ""
    guard: str = ""
    """Which safeguard objected, where no record counts it."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Put an entry on the audit trail; one whose id the trail holds already is left out."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Put on the audit trail what a PromptRollback tells; it is read for that, because the store keeps less of it."""

    name: str


Effect: TypeAlias = (
    WriteStatus
    | ApplyConfigMap
    | RemoveKeys
    | DeleteConfigMap
    | CreateRecord
    | WriteRecordStatus
    | ObserveRecord
    | DeleteRecord
    | Tell
    | Audit
    | AuditRecord
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one prompt."""

    effects: tuple[Effect, ...] = ()
    wake_at: datetime | None = None
    """When time alone changes the answer; None when only an event can."""
    read_content_of: str = ""
    """Not a plan yet: this version's content (and the ConfigMap's name) must be read, then decide again."""
    decision: Decision | None = None
    """The rollback that these effects carry out."""
    common_cause: CommonCause | None = None
    """Why a rule that fires carries out none: many prompts fail at once."""
