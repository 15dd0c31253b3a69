"""Objects of the cluster as the API's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptpolicy import PromptPolicy
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.api.promptversion import PromptVersion
from prompt_operator.cli.errors import Refused
from prompt_operator.ports import PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION, NotFound, UnknownKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Kind, Manifest


async def manifest(session: Session, kind: Kind, name: str) -> Manifest:
    """Read an object as it is; Refused when there is none."""
    found = await manifest_if_there(session, kind, name)
    if found is None:
        listing = " ".join(filter(None, ("kubectl get", kind.plural, "-A", session.flags_in(""))))
        raise Refused(
            f"There is no {kind.kind} {name} in namespace {session.namespace}: see {listing}, and choose with -n."
        )
    return found


async def manifest_if_there(session: Session, kind: Kind, name: str) -> Manifest | None:
    """Read an object as it is; None when there is none."""
    try:
        return await session.cluster.get(kind, session.namespace, name)
    except UnknownKind:
        raise
    except NotFound:
        return None


async def prompt(session: Session, name: str) -> Prompt:
    """Read a Prompt."""
    return Prompt.from_manifest(await manifest(session, PROMPT, name))


async def version(session: Session, name: str, version: str) -> PromptVersion:
    """Read a version of a prompt."""
    return PromptVersion.from_manifest(await manifest(session, PROMPT_VERSION, f"{name}-{version}"))


async def version_if_there(session: Session, name: str, version: str) -> PromptVersion | None:
    """Read a version of a prompt; None when there is none."""
    found = await manifest_if_there(session, PROMPT_VERSION, f"{name}-{version}")
    return None if found is None else PromptVersion.from_manifest(found)


async def policy_if_there(session: Session, name: str) -> PromptPolicy | None:
    """Read a policy; None when there is none."""
    found = await manifest_if_there(session, PROMPT_POLICY, name)
    return None if found is None else PromptPolicy.from_manifest(found)


async def rollbacks(session: Session, name: str) -> tuple[PromptRollback, ...]:
    """Read the requests and records of a prompt, newest first."""
    return newest_first(await rollback_manifests(session, name))


async def rollback_manifests(session: Session, name: str) -> list[Manifest]:
    """Read the requests and records of a prompt as they are."""
    # No label selects them: a request that a person wrote by hand has none.
    found = session.cluster.list(PROMPT_ROLLBACK, namespace=session.namespace)
    return [each async for each in found if each["spec"]["promptRef"]["name"] == name]


def newest_first(manifests: Iterable[Manifest]) -> tuple[PromptRollback, ...]:
    """Return requests and records as models, newest first."""
    found = map(PromptRollback.from_manifest, manifests)
    return tuple(sorted(found, key=lambda each: (when(each), each.metadata.name), reverse=True))


def when(record: PromptRollback) -> datetime:
    """Return when a record was decided, or a request created."""
    at = record.spec.decided_at or record.metadata.creation_timestamp
    if at is None:
        raise Refused(f"PromptRollback {record.metadata.name} has no creationTimestamp: the API server gives one.")
    return at
