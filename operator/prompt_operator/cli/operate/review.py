"""`kubectl prompt review`: a person has looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching, printing
from prompt_operator.core.health import REVIEWED_ANNOTATION

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.in_cluster
async def review(session: Session, name: str) -> None:
    """Say that you have reviewed a prompt.

    For a prompt whose rules asked for a review. Sets the annotation promptops.dev/reviewedAt; what fires later asks
    again.
    """
    now = await patching.annotate_now(session, name, REVIEWED_ANNOTATION)
    printing.heading(f"{name} is reviewed ({REVIEWED_ANNOTATION}={now}).")
