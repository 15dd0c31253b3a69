"""`kubectl prompt explain`: how a prompt is, why, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from prompt_operator.cli import options, printing, reading
from prompt_operator.cli.explanation import Case, rejected, sections

if TYPE_CHECKING:
    from prompt_operator.cli.explanation import Section
    from prompt_operator.cli.session import Session


@click.command()
@click.argument("name")
@options.output
@options.in_cluster
async def explain(session: Session, name: str, output: str) -> None:
    """Tell how a prompt is, why, and what to do.

    Which version is active and why, what is wrong, what was decided on which evidence, what is held, the next step.
    """
    prompt = await reading.prompt(session, name)
    wanted = {rejected(prompt), prompt.status.active_version} - {None}
    found = {version: await reading.version_if_there(session, name, version) for version in sorted(map(str, wanted))}
    versions = {version: manifest for version, manifest in found.items() if manifest is not None}
    told = sections(Case(prompt, await reading.rollbacks(session, name), versions, session.flags, session.now()))
    if output == "table":
        _print(told)
    else:
        printing.document([asdict(section) for section in told], output)


def _print(told: tuple[Section, ...]) -> None:
    for number, section in enumerate(told):
        if number:
            click.echo()
        printing.heading(section.title)
        for line in section.lines:
            click.echo(f"  {line}")
