"""`kubectl prompt ack`: a person takes care of a rollback, or of the refusal of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.rollbacks.signing import sign
from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("record", type=arguments.OBJECT)
@options.reason
@options.in_cluster
async def ack(session: Session, record: str, reason: str) -> None:
    """Say that you take care of a rollback.

    It no longer counts to the daily limit of automatic ones; a refusal at that limit: the count begins anew. RECORD is
    the name of a PromptRollback.
    """
    found = PromptRollback.from_manifest(await reading.manifest(session, PROMPT_ROLLBACK, record))
    await sign(session, found, "acknowledge", reason)
    printing.heading(f"{record} is acknowledged.")
