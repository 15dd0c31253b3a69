"""`kubectl prompt suspend`: nothing automatic happens any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session

REASON_ANNOTATION = "promptops.dev/suspendReason"
"""For people only: `explain` shows it, `resume` removes it."""


@click.command()
@click.argument("name", type=arguments.PROMPT)
@click.option("--reason", type=arguments.why, metavar="TEXT", help="Why; shown by explain until the prompt is resumed.")
@options.in_cluster
async def suspend(session: Session, name: str, reason: str | None) -> None:
    """Stop everything automatic for a prompt.

    Applications keep what they are served. A person's rollback still works. Sets spec.suspend to true.
    """
    said = f"{name} is suspended: applications keep what they are served, nothing automatic happens."
    await patching.switch(session, name, "suspend", True, {REASON_ANNOTATION: reason} if reason else {}, said)  # noqa: FBT003  a field's value
