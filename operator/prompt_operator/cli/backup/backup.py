"""`kubectl prompt backup`: everything needed to stand where one stood, in one file."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from prompt_operator.api.common import rfc3339
from prompt_operator.cli import options, printing
from prompt_operator.cli.backup import archive
from prompt_operator.cli.backup.archive import Archive
from prompt_operator.cli.backup.contents import KINDS, forgotten, key_of
from prompt_operator.cli.session import PROGRAM
from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Kind, Manifest


@click.command()
@click.option("-o", "--output", "file", required=True, help="File to write, a .tar.gz; one that exists is left alone.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@options.in_cluster
async def backup(session: Session, file: str, *, all_namespaces: bool) -> None:
    """Write prompts and their records to a file.

    Versions, policies and experiments, too. With the records of rollbacks what was rejected stays out after a
    restore. Only its owner can read the
    file (mode 0600): it holds the text of the prompts. It holds no Secrets.
    """
    namespace = None if all_namespaces else session.namespace
    found = [each for kind in _in_order() for each in await _of(session, kind, namespace)]
    taken = Archive(rfc3339(session.now()), f"{PROGRAM} {version('prompt-operator')}", session.server, tuple(found))
    archive.write(taken, file)
    printing.heading(f"{file}: {_counted(found)}, {_place(namespace)}. It holds the text of prompts; mode 0600.")
    for warning in _warnings(found):
        printing.note(warning)


def _in_order() -> tuple[Kind, ...]:
    """Return the kinds with Prompts first: what is held by their status has its record by the time records are read."""
    return (PROMPT, *(kind for kind in KINDS if kind is not PROMPT))


async def _of(session: Session, kind: Kind, namespace: str | None) -> list[Manifest]:
    found: list[Manifest] = []
    async for manifest in session.cluster.list(kind, namespace=namespace):
        manifest["metadata"].pop("managedFields", None)
        if "deletionTimestamp" not in manifest["metadata"]:
            found.append({"apiVersion": kind.api_version, "kind": kind.kind, **manifest})
    return found


def _counted(found: Iterable[Manifest]) -> str:
    counts = Counter(manifest["kind"] for manifest in found)
    return ", ".join(printing.counted(counts[kind.kind], kind.kind.lower(), kind.plural) for kind in KINDS)


def _place(namespace: str | None) -> str:
    return f"namespace {namespace}" if namespace else "all namespaces"


def _warnings(found: Iterable[Manifest]) -> list[str]:
    """Say which holds a restore could not know of, since their records were deleted."""
    found = tuple(found)
    records = {key_of(manifest) for manifest in found if manifest["kind"] == PROMPT_ROLLBACK.kind}
    return [
        f"{manifest['metadata']['name']}: {', '.join(lost)} is held without a record, which restore cannot bring back."
        for manifest in found
        if manifest["kind"] == PROMPT.kind and (lost := forgotten(manifest, records))
    ]
