"""What the operator keeps of a PromptVersion: digests and switches, never its text."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prompt_client import wire
from prompt_operator.core.conditions import summary_of
from prompt_operator.core.managed import UNWRITTEN, Written, written
from prompt_operator.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCEPTED_HASH_ANNOTATION = "promptops.dev/accepted-hash"
ACCEPTED_REASON_ANNOTATION = "promptops.dev/accepted-reason"
"""Who accepted it and why, for people."""


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One PromptVersion as seen by the watch; about half a kilobyte."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    prompt: str
    version: str
    stage: str
    content_hash: str
    """Hash of the content as it is now; empty when it has no canonical form."""
    first_hash: str
    """Hash kept in status when the version was first seen; empty before."""
    declared_hash: str
    """`spec.contentHash`: what the author says it must be; empty when not given."""
    accepted_hash: str
    """Annotation by which a person accepted a changed content; empty without one."""
    reference: str
    """`spec.rollback.reference`: the author's choice of where to go back to."""
    auto_rollback: bool
    """False when the author switched automatic rollback off for this version."""
    unsupported: tuple[str, ...]
    """Fields this release cannot act on, so that the version cannot be served as written."""
    expectations: tuple[tuple[str, str], ...]
    """Declared baseline by field name."""
    provider: str
    """`spec.model.provider`; empty when not given."""
    model: str
    """`spec.model.name`; empty when not given."""
    activated_at: str
    """When it last became active, as its status says (RFC 3339); empty when never."""
    seen: tuple[str, ...]
    """What status says: observedGeneration, stage, and status/reason of each condition."""
    deleting: bool
    accepted: Written = UNWRITTEN
    """Which field manager set `accepted_hash`, and when."""
    accepted_reason: str = ""
    """Annotation that says who accepted it and why, as `kubectl prompt rehash` writes it."""

    def problem(self, known_hash: str = "") -> Reason | None:
        """Say why this version cannot be activated, or None.

        Args:
            known_hash: the hash under which the Prompt served this version before, when it did.
        """
        if self.stage == "Draft":
            return Reason.VERSION_DRAFT
        if not self.verified(known_hash):
            return Reason.HASH_MISMATCH
        return Reason.NOT_IMPLEMENTED if self.unsupported else None

    def verified(self, known_hash: str = "") -> bool:
        """Tell whether the content is the one declared, first seen and served before, or accepted by a person."""
        if not self.content_hash:
            return False
        if self.declared_hash and self.declared_hash != self.content_hash:
            return False
        if self.accepted_hash == self.content_hash:
            return True
        return all(known in ("", self.content_hash) for known in (self.first_hash, known_hash))


def record_of(manifest: Mapping[str, Any]) -> VersionRecord:
    """Reduce a PromptVersion's manifest to what decisions need."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    status = manifest.get("status") or {}
    rollback, model = spec.get("rollback") or {}, spec.get("model") or {}
    content_hash = _content_hash(spec)
    first_hash = status.get("contentHash", "")
    return VersionRecord(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        prompt=sys.intern(spec["promptRef"]["name"]),
        version=sys.intern(spec["version"]),
        stage=sys.intern(spec.get("stage", "Staged")),
        content_hash=content_hash,
        first_hash=content_hash if first_hash == content_hash else first_hash,  # one string instead of two
        declared_hash=spec.get("contentHash", ""),
        accepted_hash=(metadata.get("annotations") or {}).get(ACCEPTED_HASH_ANNOTATION, ""),
        reference=rollback.get("reference", ""),
        auto_rollback=rollback.get("auto") != "Disabled",
        unsupported=("spec.includes",) if spec.get("includes") else (),
        expectations=tuple(sorted((key, str(value)) for key, value in (spec.get("expectations") or {}).items())),
        provider=sys.intern(model.get("provider", "")),
        model=sys.intern(model.get("name", "")),
        activated_at=status.get("activatedAt", ""),
        seen=_shared(summary_of(status, "stage")),
        deleting="deletionTimestamp" in metadata,
        accepted=_accepted(manifest),
        accepted_reason=(metadata.get("annotations") or {}).get(ACCEPTED_REASON_ANNOTATION, "")[:1024],
    )


@lru_cache(maxsize=1024)
def _shared(seen: tuple[str, ...]) -> tuple[str, ...]:
    """Return one tuple for all versions in the same state: there are only a few states."""
    return seen


def _accepted(manifest: Mapping[str, Any]) -> Written:
    if ACCEPTED_HASH_ANNOTATION not in (manifest["metadata"].get("annotations") or {}):
        return UNWRITTEN
    return written(manifest, "f:metadata", "f:annotations", f"f:{ACCEPTED_HASH_ANNOTATION}") or UNWRITTEN


def _content_hash(spec: Mapping[str, Any]) -> str:
    try:
        return wire.content_hash(spec)
    except wire.CanonicalizationError:
        return ""
