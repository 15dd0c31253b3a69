"""`kubectl prompt resume`: the operator looks after the prompt again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, patching
from prompt_operator.cli.operate.suspend import REASON_ANNOTATION

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.in_cluster
async def resume(session: Session, name: str) -> None:
    """End suspend: look after the prompt again.

    Sets spec.suspend to false.
    """
    said = f"{name} is resumed: the desired version is activated unless something stands against it."
    await patching.switch(session, name, "suspend", False, {REASON_ANNOTATION: None}, said)  # noqa: FBT003  a field's value
