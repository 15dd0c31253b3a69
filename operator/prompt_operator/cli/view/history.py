"""`kubectl prompt history`: which versions were active, since when, by whom and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.api.common import rfc3339
from prompt_operator.cli import arguments, options, printing, reading

if TYPE_CHECKING:
    from prompt_operator.api.promptstatus import HistoryEntry
    from prompt_operator.cli.session import Session

_HEADERS = ("VERSION", "ACTIVATED", "BY", "LEFT BY", "HASH", "REASON")
_HASH = len("sha256:") + 12


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.output
@options.in_cluster
async def history(session: Session, name: str, output: str) -> None:
    """Show the last activations, newest first."""
    entries = (await reading.prompt(session, name)).status.history
    if output != "table":
        members = [entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in entries]
        printing.document(members, output)
    elif not entries:
        printing.note(f"No version of {name} was ever active.")
    else:
        printing.table(_HEADERS, [_cells(entry) for entry in entries])


def _cells(entry: HistoryEntry) -> tuple[str, ...]:
    words = (entry.by or "unknown", entry.left_because or "")
    return (entry.version, rfc3339(entry.at), *words, entry.hash[:_HASH], entry.reason or "")
