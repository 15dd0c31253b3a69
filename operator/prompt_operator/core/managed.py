"""Who wrote a field, and when: what the API server notes in `managedFields`, the only thing it tells of that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


SIGNATURES = ("release", "acknowledge")
"""Members of a PromptRollback's spec that a person sets later, with name and reason."""


class Written(NamedTuple):
    """The newest write of a manager that owns a field."""

    manager: str
    at: datetime
    """The beginning of time where nobody noted it."""


UNWRITTEN = Written("unknown", datetime.min.replace(tzinfo=UTC))


class Acts(NamedTuple):
    """Who did what to an object, and when."""

    spec: Written = UNWRITTEN
    """The last change of spec."""
    annotations: tuple[tuple[str, Written], ...] = ()
    """Name and last write of each annotation that was asked for and is there."""

    def annotated(self, annotation: str) -> Written:
        """Return the last write of an annotation."""
        return dict(self.annotations).get(annotation, UNWRITTEN)


UNKNOWN = Acts()
"""Nothing is known of who did what."""


def acts_of(manifest: Mapping[str, Any], annotations: Iterable[str]) -> Acts:
    """Return the acts that `managedFields` tells of, of the annotations those of these names."""
    found = ((each, written(manifest, "f:metadata", "f:annotations", f"f:{each}")) for each in annotations)
    spec = written(manifest, "f:spec") or UNWRITTEN
    return Acts(spec, tuple((each, write) for each, write in found if write is not None))


def written(manifest: Mapping[str, Any], *path: str) -> Written | None:
    """Return the manager that owns a field, given by its path in the form of `fieldsV1`; of several the newest.

    The time is that of the manager's last write to any of its fields of the object.
    """
    entries = manifest["metadata"].get("managedFields") or ()
    owners = [entry for entry in entries if not entry.get("subresource") and _owns(entry.get("fieldsV1"), path)]
    newest = max(owners, key=lambda entry: str(entry.get("time", "")), default=None)
    if newest is None:
        return None
    at = datetime.fromisoformat(newest["time"]) if newest.get("time") else UNWRITTEN.at
    return Written(str(newest.get("manager") or UNWRITTEN.manager)[:253], at)


def signed_at(manifest: Mapping[str, Any], member: str) -> datetime:
    """Return when a signature of a PromptRollback was set; where nobody noted it, when the object was made."""
    field, made = written(manifest, "f:spec", f"f:{member}"), manifest["metadata"]["creationTimestamp"]
    return max(field.at if field else UNWRITTEN.at, datetime.fromisoformat(made))


def _owns(fields: Any, path: tuple[str, ...]) -> bool:
    for step in path:
        if not isinstance(fields, dict) or step not in fields:
            return False
        fields = fields[step]
    return True
