"""`kubectl prompt rehash`: accept that the content of a version was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.api.prompt import Prompt
from prompt_operator.cli import arguments, options, patching, printing, reading
from prompt_operator.cli.errors import Refused
from prompt_operator.core.versions import ACCEPTED_HASH_ANNOTATION, ACCEPTED_REASON_ANNOTATION, record_of
from prompt_operator.ports import PROMPT, PROMPT_VERSION

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session
    from prompt_operator.core.versions import VersionRecord

_MEANING = (
    "Accept it only if you know who changed the content and why: the changed content may then be activated and is\n"
    "projected to applications at once where the version is active. Records of earlier rollbacks keep the old hash."
)


@click.command()
@click.argument("name", type=arguments.PROMPT)
@click.argument("version", type=arguments.VERSION)
@options.reason
@click.option(
    "--hash",
    "looked_at",
    type=arguments.HASH,
    metavar="HASH",
    default="",
    help="The hash you looked at; refused if it is another one by now.",
)
@options.yes
@options.in_cluster
async def rehash(session: Session, name: str, version: str, reason: str, looked_at: str, *, yes: bool) -> None:
    """Accept a changed content of a version.

    For HashMismatch, when the change was right. Shows the old and the present hash and what it means, then sets the
    annotation promptops.dev/accepted-hash on the PromptVersion; it holds for the present content only.
    """
    manifest = await reading.manifest(session, PROMPT_VERSION, f"{name}-{version}")
    record = record_of(manifest)
    served = await _served_under(session, name, version)
    _refuse(record, looked_at)
    if record.verified(served):
        printing.note(f"{record.name} has the hash it should have ({record.content_hash}), nothing was changed.")
        return
    # A version made anew was first seen as it is now: what was served is what differs then.
    known = record.first_hash if record.first_hash not in {"", record.content_hash} else served
    click.echo(f"known:   {known}\npresent: {record.content_hash}")
    printing.note(_MEANING)
    options.sure(f"Accept the present content of {record.name}?", yes=yes)
    accepted = {
        ACCEPTED_HASH_ANNOTATION: record.content_hash,
        ACCEPTED_REASON_ANNOTATION: f"{await session.user()}: {reason}",
    }
    await patching.annotate_this(session, PROMPT_VERSION, manifest, accepted)
    printing.heading(f"The present content of {record.name} is accepted ({record.content_hash}).")


async def _served_under(session: Session, name: str, version: str) -> str:
    """Return the hash under which the prompt served the version; empty when there is no such prompt, or it did not."""
    found = await reading.manifest_if_there(session, PROMPT, name)
    if found is None:
        return ""
    status = Prompt.from_manifest(found).status
    if status.active_version == version and status.active_hash:
        return status.active_hash
    return next((entry.hash for entry in status.history if entry.version == version), "")


def _refuse(record: VersionRecord, looked_at: str) -> None:
    """Say why the present content cannot be accepted."""
    present, declared = record.content_hash, record.declared_hash
    if not present:
        raise Refused(f"The content of {record.name} has no canonical form, so it has no hash: release a new version.")
    if looked_at and looked_at != present:
        raise Refused(f"The present hash of {record.name} is {present}, not {looked_at}: look at the content again.")
    if declared and declared != present:
        raise Refused(
            f"{record.name} declares {declared} in spec.contentHash, its content has {present}, and spec cannot be "
            "changed: release the content under a new version."
        )
