"""Changes of single fields and annotations of a Prompt, as JSON patches by our own field manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_operator.api.common import rfc3339
from prompt_operator.cli import printing, reading
from prompt_operator.cli.session import PROGRAM
from prompt_operator.ports import PROMPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Kind, Manifest


async def switch(
    session: Session, name: str, field: str, value: Any, annotations: Mapping[str, str | None], said: str
) -> None:
    """Set a field of spec, say so, and warn that whoever owns the manifest may put it back.

    Args:
        session: the session.
        name: of the Prompt.
        field: member of spec.
        value: its new value.
        annotations: annotations to set, or to remove where the value is None.
        said: the sentence for the person.
    """
    manifest = await reading.manifest(session, PROMPT, name)
    changes = [*_field(manifest, field, value), *_annotations(manifest, annotations)]
    if not changes:
        printing.note(f"{name}: spec.{field} is already {_written(value)}, nothing was changed.")
        return
    await _patch(session, manifest, changes)
    printing.heading(said)
    printing.note(_may_come_back(manifest, field))


async def annotate_now(session: Session, name: str, annotation: str) -> str:
    """Set an annotation to the present time, which is how such a request is made; return that time."""
    manifest = await reading.manifest(session, PROMPT, name)
    now = rfc3339(session.now())
    await _patch(session, manifest, _annotations(manifest, {annotation: now}))
    return now


async def annotate_this(session: Session, kind: Kind, manifest: Manifest, annotations: Mapping[str, str]) -> None:
    """Set annotations of an object, only if it is still as it was read; raises Conflict otherwise."""
    metadata = manifest["metadata"]
    unchanged = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    changes = [unchanged, *_annotations(manifest, annotations)]
    await session.cluster.json_patch(kind, metadata["namespace"], metadata["name"], changes)


async def _patch(session: Session, manifest: Manifest, changes: list[dict[str, Any]]) -> None:
    name = manifest["metadata"]["name"]
    await session.cluster.json_patch(PROMPT, session.namespace, name, changes)


def _field(manifest: Manifest, field: str, value: Any) -> list[dict[str, Any]]:
    if (manifest["spec"].get(field) or False) == value:
        return []
    return [{"op": "add", "path": f"/spec/{field}", "value": value}]


def _annotations(manifest: Manifest, wanted: Mapping[str, str | None]) -> list[dict[str, Any]]:
    metadata = manifest["metadata"]
    present = metadata.get("annotations")
    changes: list[dict[str, Any]] = []
    if present is None and any(wanted.values()):
        present = {}
        # Annotations that somebody adds at this moment would be lost: refuse instead.
        changes.append({"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]})
        changes.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for annotation, value in wanted.items():
        path = f"/metadata/annotations/{annotation.replace('~', '~0').replace('/', '~1')}"
        if value is not None:
            changes.append({"op": "add", "path": path, "value": value})
        elif annotation in (present or {}):
            changes.append({"op": "remove", "path": path})
    return changes


def _may_come_back(manifest: Manifest, field: str) -> str:
    managers = sorted({_manager(entry) for entry in manifest["metadata"].get("managedFields") or ()} - {""})
    who = f" (its spec was written by {', '.join(managers)})" if managers else ""
    return f"If Git, Argo CD or Flux keeps this Prompt{who}, change spec.{field} there, too: it may put this back."


def _manager(entry: Mapping[str, Any]) -> str:
    """Return who else wrote a field of spec; empty for anything else."""
    manager = str(entry.get("manager", ""))
    return manager if manager != PROGRAM and "f:spec" in (entry.get("fieldsV1") or {}) else ""


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
