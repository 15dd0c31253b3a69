"""`kubectl prompt audit`: whether the audit trail is whole, and whether its decisions follow from what they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prompt_operator.adapters.audit import SegmentSink
from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.cli import options, printing
from prompt_operator.cli.failures import Refused, Unreadable, sentence
from prompt_operator.core.audit.chain import FORM, Malformed, lines_of, read
from prompt_operator.core.audit.held import anchors_of
from prompt_operator.core.audit.replay import replay as decided_again
from prompt_operator.core.audit.verify import verify as check
from prompt_operator.ports import CONFIG_MAP, GiveUp, NotFound, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prompt_operator.cli.options import Reach
    from prompt_operator.core.audit.chain import Head, Line
    from prompt_operator.core.audit.held import Anchored
    from prompt_operator.core.audit.replay import Replayed
    from prompt_operator.core.audit.verify import Checked

HOME = "prompt-operator"
NAME, HEADS = f"{HOME}/prompt-operator-audit", f"{HOME}/prompt-operator-audit-heads"
_NOT_ANCHORED = 2
_MARK = f'"v":"{FORM}"'.encode()


def _where(verb: Callable[..., None]) -> Callable[..., None]:
    """Add what says where the trail is."""
    chosen: tuple[Callable[..., Callable[..., None]], ...] = (
        click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True)),
        click.option("--from-cluster", is_flag=True, help="Read the ConfigMaps instead of files."),
        click.option(
            "--name",
            default=NAME,
            show_default=True,
            help="NAMESPACE/NAME of --audit-name, for --from-cluster.",
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
    "--anchor", default=HEADS, show_default=True, help="NAMESPACE/NAME of the ConfigMap that keeps the last hashes."
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
    placed = await _lines(reach, files, name, from_cluster=from_cluster, logs=logs)
    anchors, why = await _anchors(reach, anchor, anchor_file)
    places, lines = [place for place, _ in placed], [line for _, line in placed]
    found = check(lines, _heads_of(lines, anchors), partial=partial, places=places)
    if found.broken is not None:
        raise Refused(f"The audit trail is broken at {found.broken}.")
    _tell(found, why)


def _tell(found: Checked, why: str) -> None:
    writers = f"{len(found.heads)} writer{'' if len(found.heads) == 1 else 's'}"
    printing.heading(f"{found.entries} entries of {writers} are whole, each in its place.")
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
    lines = [line for _, line in await _lines(reach, files, name, from_cluster=from_cluster, logs=logs)]
    found = [each for line in _entries(lines) if (each := decided_again(line.members)) is not None]
    if not found:
        printing.note("There is no decision in it.")
        return
    printing.table(("ID", "RECORDED", "REPLAYED"), [_cells(each) for each in found])
    different, unread = sum(each.differs for each in found), sum(bool(each.problem) for each in found)
    decisions = f"{len(found)} decision{'' if len(found) == 1 else 's'}"
    printing.note(f"{decisions}: {different} with another verdict, {unread} that cannot be made again.")
    if different:
        click.get_current_context().exit(1)


def _cells(each: Replayed) -> tuple[str, str, str]:
    return each.id, each.recorded, f"({each.problem})" if each.problem else each.replayed


async def _lines(
    reach: Reach, files: tuple[Path, ...], name: str, *, from_cluster: bool, logs: bool
) -> list[tuple[str, bytes]]:
    """Return each line of the trail and where it stands."""
    if bool(files) == from_cluster:
        raise click.UsageError("Name one or more FILEs, or use --from-cluster.")
    if from_cluster:
        return await _from_cluster(reach, name)
    lines = [placed for file in files for placed in _numbered(str(file), lines_of(_read(file)))]
    return [(place, line) for place, line in lines if _MARK in line] if logs else lines


def _numbered(source: str, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    return ((f"{source} line {number}", line) for number, line in enumerate(lines, 1))


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as stream:
            return bytes(stream.read())
    except OSError as error:
        raise Unreadable(f"Cannot read {file}: {error.strerror}.") from error


async def _from_cluster(reach: Reach, name: str) -> list[tuple[str, bytes]]:
    namespace, name = _placed(name)
    try:
        async with reach() as session:
            found = [each async for each in SegmentSink(session.cluster, namespace, name).segments()]
    except (NoCredentials, Retry, GiveUp) as error:
        raise Unreadable(sentence(error)) from error
    if not found:
        raise Unreadable(f"There are no segments {name}-000001 … in namespace {namespace}: is --audit=configMap set?")
    return [placed for segment, lines in found for placed in _numbered(segment, lines)]


async def _anchors(reach: Reach, name: str, file: Path | None) -> tuple[tuple[Anchored, ...], str]:
    """Return the anchors, and why there are none."""
    if file is not None:
        return _anchors_in(file), ""
    namespace, name = _placed(name)
    try:
        async with reach() as session:
            manifest = await session.cluster.get(CONFIG_MAP, namespace, name)
    except NotFound:
        return (), f"There is no ConfigMap {name} in namespace {namespace}: set --audit-anchor of the operator."
    except (NoCredentials, Retry, GiveUp) as error:
        return (), f"The anchor cannot be read ({error}): give it with --anchor-file."
    return anchors_of(manifest.get("data") or {}), ""


def _anchors_in(file: Path) -> tuple[Anchored, ...]:
    try:
        data = json.loads(_read(file))["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{file} is not a ConfigMap as JSON: kubectl get configmap -o json writes one.") from error
    return anchors_of(data)


def _placed(name: str) -> tuple[str, str]:
    namespace, _, name = name.rpartition("/")
    return namespace or HOME, name


def _heads_of(lines: Iterable[bytes], anchors: Iterable[Anchored]) -> dict[str, Head]:
    """Return the anchored heads of this trail: of its kind of sink, as the last takeover names it, and of its writers.

    One anchor may serve one trail after another, where `--audit` was changed.
    """
    entries = _entries(lines)
    sinks = [line.members["inputs"]["sink"] for line in entries if "sink" in line.members["inputs"]][-1:]
    writers = {line.head.writer for line in entries}
    return {each.head.writer: each.head for each in anchors if each.sink in sinks or each.head.writer in writers}


def _entries(lines: Iterable[bytes]) -> list[Line]:
    found = []
    for raw in lines:
        try:
            found.append(read(raw))
        except Malformed:
            continue  # `audit verify` says where
    return found
