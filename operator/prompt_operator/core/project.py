"""What has to be written so that the ConfigMap says what it should; nothing when it does already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_client import wire
from prompt_operator.api.promptstatus import ProjectionStatus
from prompt_operator.core.plan import ApplyConfigMap, DeleteConfigMap, Effect, RemoveKeys
from prompt_operator.core.projection import Owner, Served, foreign_keys, render, size
from prompt_operator.core.reasons import Reason
from prompt_operator.core.standing import Blocked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from prompt_operator.core.facts import Content, Facts
    from prompt_operator.core.projection import ObservedConfigMap


HIGHEST_REVISION = 2**53 - 1
"""What JSON holds exactly in every language; only a hand-written ConfigMap comes near."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The outcome: effects, what status will say of the ConfigMap, or why it is left as it is."""

    status: ProjectionStatus | None
    effects: tuple[Effect, ...] = ()
    blocked: Blocked | None = None
    read_content_of: str = ""


def project(facts: Facts, version: str, content_hash: str, mode: str, now: datetime) -> Projection:
    """Compare the ConfigMap with what it should say.

    Args:
        facts: the snapshot.
        version: the active version; empty when nothing is active.
        content_hash: the hash its content must have.
        mode: Active or Fallback.
        now: becomes the time of a new projection.
    """
    before = facts.prompt.status.projection
    observed = facts.config_map
    if observed is not None and not observed.belongs_to(facts.prompt.metadata.name):
        return Projection(before, blocked=_conflict(facts))
    if (not version and mode == wire.MODE_ACTIVE) or (observed is not None and observed.deleting):
        return Projection(before)
    want = Served(version, content_hash if version else "", mode)
    if facts.prompt.spec.suspend and before is not None and _same_identity(before, want, facts):
        return Projection(before)  # whoever suspended it may have edited the ConfigMap by hand, on purpose
    revision = min(_revision(facts, want, now), HIGHEST_REVISION)
    want = Served(want.version, want.content_hash, mode, revision)
    if observed is not None and _stands(observed, want, facts.prompt.metadata.uid):
        return Projection(_status(facts, want, before, now), _strays(facts))
    return _write(facts, want, now)


def config_map_name(facts: Facts) -> str:
    """Return the name of the ConfigMap that applications mount."""
    delivery = facts.prompt.spec.delivery
    return (delivery and delivery.config_map_name) or f"prompt-{facts.prompt.metadata.name}"


def unfit(facts: Facts, version: str) -> Blocked | None:
    """Say why the content that was read for this version cannot be projected; None when it can or was not read."""
    content, record = facts.contents.get(version), facts.versions.get(version)
    if content is None:
        return None
    if record is not None and record.content_hash != content.content_hash:
        return changed(facts, version)
    return _too_large(facts, content)


def _too_large(facts: Facts, content: Content) -> Blocked | None:
    served = Served(content.version, content.content_hash, wire.MODE_ACTIVE, HIGHEST_REVISION)
    bytes_ = size(render(_owner(facts), config_map_name(facts), served, content.entry))
    if bytes_ <= wire.MAX_BYTES:
        return None
    return Blocked(
        Reason.TOO_LARGE,
        f"{content.version} would take {bytes_} bytes in its ConfigMap, "
        f"at most {wire.MAX_BYTES} are allowed: shorten it",
    )


def _write(facts: Facts, want: Served, now: datetime) -> Projection:
    before, content = facts.prompt.status.projection, facts.contents.get(want.version)
    if not facts.config_map_known:
        return Projection(before, read_content_of=want.version or "-")
    if want.mode == wire.MODE_ACTIVE:
        if content is None and want.version in facts.versions:
            return Projection(before, read_content_of=want.version)
        trouble = _unprojectable(facts, want, content)
        if trouble is not None:
            return Projection(before if facts.config_map is not None else None, blocked=trouble)
    entry = content.entry if content and want.mode == wire.MODE_ACTIVE else None
    manifest = render(_owner(facts), config_map_name(facts), want, entry)
    return Projection(_status(facts, want, None, now), (*_effects(facts, manifest, want), *_strays(facts)))


def _unprojectable(facts: Facts, want: Served, content: Content | None) -> Blocked | None:
    if content is None:
        name = f"{facts.prompt.metadata.name}-{want.version}"
        return Blocked(Reason.VERSION_MISSING, f"PromptVersion {name} does not exist: its ConfigMap cannot be written")
    if content.content_hash != want.content_hash:
        return changed(facts, want.version)
    return _too_large(facts, content)


def _effects(facts: Facts, manifest: Mapping[str, Any], want: Served) -> tuple[Effect, ...]:
    observed, healed = facts.config_map, _healed(facts, want)
    if observed is None:
        return (ApplyConfigMap(manifest, "", healed=healed),)
    if observed.immutable:
        return (DeleteConfigMap(observed.name, observed.uid), ApplyConfigMap(manifest, "", healed=healed))
    # Keys of ours that are no longer wanted go with the apply; a patch for them would show applications half a change.
    unwanted = () if observed.intact and observed.managed else foreign_keys(observed, manifest)
    if observed.owner_uid not in ("", facts.prompt.metadata.uid) and not observed.managed:
        unwanted += ("/metadata/ownerReferences",)  # of a Prompt that is gone; two controllers would be refused
    apply = ApplyConfigMap(manifest, observed.uid, observed.resource_version, healed=healed)
    if not unwanted:
        return (apply,)
    return (RemoveKeys(observed.name, observed.resource_version, unwanted), apply)


def _healed(facts: Facts, want: Served) -> bool:
    """Tell whether this very content was projected before, so that somebody else must have changed it.

    The revision does not matter: after a forgery that proves itself it is one more, as clients may have loaded that.
    """
    before = facts.prompt.status.projection
    return before is not None and _same_identity(before, want, facts)


def _stands(observed: ObservedConfigMap, want: Served, uid: str) -> bool:
    return observed.intact and observed.served == want and observed.owner_uid == uid and not observed.immutable


def _revision(facts: Facts, want: Served, now: datetime) -> int:
    """Return the revision: the old one for the same content, else one more.

    The first one is the time in Unix seconds, so that it grows also when a Prompt is deleted and created again.
    """
    before, observed = facts.prompt.status.projection, facts.config_map
    served = observed.served if observed is not None and observed.intact else None
    if before is None:
        if served is None:
            return int(now.timestamp())
        return served.revision if want.same_content(served) else served.revision + 1
    revision = before.revision if _same_identity(before, want, facts) else before.revision + 1
    if served is not None and not want.same_content(served) and served.revision >= revision:
        return served.revision + 1
    return revision


def _same_identity(before: ProjectionStatus, want: Served, facts: Facts) -> bool:
    return (
        (before.content_hash or "") == (want.content_hash if want.mode == wire.MODE_ACTIVE else "")
        and before.config_map == config_map_name(facts)
        and facts.prompt.status.active_version in (None, want.version)
    )


def _status(facts: Facts, want: Served, before: ProjectionStatus | None, now: datetime) -> ProjectionStatus:
    content_hash = want.content_hash if want.mode == wire.MODE_ACTIVE else None
    after = ProjectionStatus(
        config_map=config_map_name(facts), revision=want.revision, content_hash=content_hash or None, at=now
    )
    same = before is not None and before.model_copy(update={"at": after.at}) == after
    return before if before is not None and same else after


def _owner(facts: Facts) -> Owner:
    metadata = facts.prompt.metadata
    return Owner(metadata.namespace, metadata.name, metadata.uid)


def _strays(facts: Facts) -> tuple[Effect, ...]:
    """Return the removal of our ConfigMaps under a former name: they would serve an old version for ever."""
    return tuple(DeleteConfigMap(stray.name, stray.uid) for stray in facts.stray_config_maps if not stray.deleting)


def _conflict(facts: Facts) -> Blocked:
    name = config_map_name(facts)
    return Blocked(
        Reason.CONFIG_MAP_CONFLICT,
        f"ConfigMap {name} belongs to somebody else and is left alone: "
        "delete it, or choose another name in spec.delivery.configMapName",
    )


def changed(facts: Facts, version: str) -> Blocked:
    """Say that a version was made anew with other content."""
    name = f"{facts.prompt.metadata.name}-{version}"
    return Blocked(
        Reason.HASH_MISMATCH, f"{name} has not the content it had when it was activated: the ConfigMap stays as it was"
    )
