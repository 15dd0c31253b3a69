"""`kubectl prompt release`: lift the hold of a rejected version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.errors import Refused
from prompt_operator.cli.rollbacks.signing import sign
from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prompt_operator.api.promptstatus import Held
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.OBJECT)
@options.reason
@options.yes
@options.in_cluster
async def release(session: Session, name: str, reason: str, *, yes: bool) -> None:
    """Lift the hold of a rejected version.

    It may then be activated again. NAME is a PromptRollback record, or a Prompt of which one version is held.
    """
    found = await reading.manifest_if_there(session, PROMPT_ROLLBACK, name)
    records = [PromptRollback.from_manifest(found)] if found else await _records_of(session, name)
    for record in records:
        _holding(record)
    version, prompt = records[0].spec.from_version, records[0].spec.prompt_ref.name
    options.sure(f"Let the rejected version {version} of {prompt} be activated again?", yes=yes)
    for record in records:
        await sign(session, record, "release", reason)
    printing.heading(f"{version} of {prompt} is released: it may be activated again.")


def _holding(record: PromptRollback) -> None:
    spec, answer = record.spec, record.status.record
    if spec.decision is None:
        where = f" Its record is {answer}." if answer else ""
        raise Refused(f"{record.metadata.name} is a request: only the record of a rollback holds a version.{where}")
    if spec.decision != "Executed":
        raise Refused(f"{record.metadata.name} holds no version: its decision is {spec.decision}.")


async def _records_of(session: Session, name: str) -> list[PromptRollback]:
    """Return the records that hold the one version of this prompt that is held."""
    found = await reading.manifest_if_there(session, PROMPT, name)
    if found is None:
        raise Refused(f"There is no PromptRollback and no Prompt {name} in namespace {session.namespace}.")
    held = Prompt.from_manifest(found).status.held
    if not held:
        raise Refused(f"No version of {name} is held.")
    if len(held) > 1:
        raise Refused(f"Several versions of {name} are held, name the record:\n{_commands(session, held)}")
    rollbacks = await reading.rollbacks(session, name)
    records = [each for each in rollbacks if _holds(each, held[0].version)]
    if not records:
        retry = options.command(session, "retry", name)
        raise Refused(f"The record that holds {held[0].version} was deleted, so it cannot be signed: use {retry}.")
    return records


def _holds(record: PromptRollback, version: str) -> bool:
    spec = record.spec
    return spec.decision == "Executed" and spec.from_version == version and spec.release is None


def _commands(session: Session, held: Iterable[Held]) -> str:
    lines = (f"  {each.version}: {options.command(session, 'release', each.record or '-')}" for each in held)
    return "\n".join(lines)
