"""`kubectl prompt retry`: all rejected versions may be activated again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching, printing, reading
from prompt_operator.core.standing import RETRY_ANNOTATION

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.yes
@options.in_cluster
async def retry(session: Session, name: str, *, yes: bool) -> None:
    """Lift all holds of a prompt.

    The desired version is activated again. Sets the annotation promptops.dev/retryAt. `release` lifts the hold of
    one version, with a reason on record.
    """
    held = [each.version for each in (await reading.prompt(session, name)).status.held]
    if not held:
        printing.note(f"No version of {name} is held, nothing was changed.")
        return
    options.sure(f"Let rejected versions of {name} be activated again: {', '.join(held)}?", yes=yes)
    now = await patching.annotate_now(session, name, RETRY_ANNOTATION)
    printing.heading(f"{name}: {', '.join(held)} may be activated again ({RETRY_ANNOTATION}={now}).")
