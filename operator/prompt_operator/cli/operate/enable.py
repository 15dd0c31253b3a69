"""`kubectl prompt enable`: the end of Fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.in_cluster
async def enable(session: Session, name: str) -> None:
    """End Fallback: serve the active version again.

    Sets spec.mode to Active.
    """
    said = f"{name} is enabled: applications are served its active version, unless its policy is in Fallback."
    await patching.switch(session, name, "mode", "Active", {}, said)
