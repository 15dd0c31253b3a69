"""`kubectl prompt audit`: whether the audit trail is whole, and whether its decisions follow from what they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prompt_operator.cli import arguments, options, printing
from prompt_operator.cli.audit.trail import HOME, anchors_at, entries, heads_of, lines_in
from prompt_operator.cli.errors import Refused
from prompt_operator.core.audit.replay import replay as decided_again
from prompt_operator.core.audit.verify import verify as check

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_operator.cli.options import Reach
    from prompt_operator.core.audit.replay import Replayed
    from prompt_operator.core.audit.verify import Checked

NAME, HEADS = f"{HOME}/prompt-operator-audit", f"{HOME}/prompt-operator-audit-heads"
_NOT_ANCHORED = 2


def _where(verb: Callable[..., None]) -> Callable[..., None]:
    """Add what says where the trail is."""
    chosen: tuple[Callable[..., Callable[..., None]], ...] = (
        click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True)),
        click.option("--from-cluster", is_flag=True, help="Read the ConfigMaps instead of files."),
        click.option(
            "--name",
            type=arguments.placed,
            metavar="NAMESPACE/NAME",
            default=NAME,
            show_default=True,
            help="The operator's --audit-name, for --from-cluster.",
        ),
        click.option("--logs", is_flag=True, help="Skip lines that are no entries, as in `kubectl logs`."),
    )
    for option in reversed(chosen):
        verb = option(verb)
    return verb


@click.group()
def audit() -> None:
    """Check the audit trail."""


@audit.command()
@_where
@click.option(
    "--anchor",
    type=arguments.placed,
    metavar="NAMESPACE/NAME",
    default=HEADS,
    show_default=True,
    help="The ConfigMap that keeps the last hashes.",
)
@click.option(
    "--anchor-file",
    type=click.Path(path_type=Path),
    help="That ConfigMap as JSON, kept somewhere else: no cluster is asked.",
)
@click.option("--partial", is_flag=True, help="The beginning was moved elsewhere: the trail may begin anywhere.")
@options.reaching
async def verify(
    reach: Reach,
    files: tuple[Path, ...],
    name: str,
    anchor: str,
    anchor_file: Path | None,
    *,
    from_cluster: bool,
    logs: bool,
    partial: bool,
) -> None:
    """Check that the audit trail is whole.

    Nothing of it was changed, taken out or put in.

    FILEs are read in their order, oldest first; - is standard input. Exit status 0: whole, up to the anchored end.
    1: broken, and where. 2: whole, but nothing vouches for its end: entries since the last anchor, or no anchor.
    3: it cannot be read.
    """
    placed = await lines_in(reach, files, name, from_cluster=from_cluster, logs=logs)
    anchors, why = await anchors_at(reach, anchor, anchor_file)
    places, lines = [place for place, _ in placed], [line for _, line in placed]
    found = check(lines, heads_of(lines, anchors), partial=partial, places=places)
    if found.broken is not None:
        raise Refused(f"The audit trail is broken at {found.broken}.")
    _tell(found, why)


def _tell(found: Checked, why: str) -> None:
    entries, writers = printing.counted(found.entries, "entry", "entries"), printing.counted(len(found.heads), "writer")
    printing.heading(f"{entries} of {writers}: whole, each in its place.")
    if found.heads and not found.loose:
        printing.note(f"The end is anchored: {found.heads[-1]}.")
    for loose in found.loose:
        printing.note(f"Not vouched for: {loose}.")
    if why:
        printing.note(why)
    if found.loose or not found.heads:
        click.get_current_context().exit(_NOT_ANCHORED)


@audit.command()
@_where
@options.reaching
async def replay(reach: Reach, files: tuple[Path, ...], name: str, *, from_cluster: bool, logs: bool) -> None:
    """Make the recorded decisions again.

    The safeguards of this release get what each entry recorded. Prints a table of each decision's id, its recorded
    verdict and the one that comes out now. Exit status 1 where they differ: the entry was changed, or this release
    decides otherwise; `audit verify` tells which. 3: the trail cannot be read.
    """
    lines = [line for _, line in await lines_in(reach, files, name, from_cluster=from_cluster, logs=logs)]
    found = [each for line in entries(lines) if (each := decided_again(line.members)) is not None]
    if not found:
        printing.note("There is no decision in it.")
        return
    printing.table(("ID", "RECORDED", "REPLAYED"), [_cells(each) for each in found])
    different, unread = sum(each.differs for each in found), sum(bool(each.problem) for each in found)
    decisions = printing.counted(len(found), "decision")
    printing.note(f"{decisions}: {different} with another verdict, {unread} that cannot be made again.")
    if different:
        click.get_current_context().exit(1)


def _cells(each: Replayed) -> tuple[str, str, str]:
    return each.id, each.recorded, f"({each.problem})" if each.problem else each.replayed
