"""`kubectl prompt fallback`: applications use the text they were built with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.yes
@options.in_cluster
async def fallback(session: Session, name: str, *, yes: bool) -> None:
    """Let applications use their built-in default.

    Sets spec.mode to Fallback.
    """
    options.sure(f"Tell all applications of {name} to use their built-in default?", yes=yes)
    said = f"{name} is in Fallback: applications are told to use their built-in default."
    await patching.switch(session, name, "mode", "Fallback", {}, said)
