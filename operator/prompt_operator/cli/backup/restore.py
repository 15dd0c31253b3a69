"""`kubectl prompt restore`: create what a backup holds and the cluster does not have."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from prompt_operator.cli import options, printing
from prompt_operator.cli.backup import archive, contents
from prompt_operator.cli.backup.archive import path_of
from prompt_operator.cli.backup.contents import KINDS, body_of, key_of
from prompt_operator.cli.errors import Refused
from prompt_operator.ports import (
    PROMPT,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    Forbidden,
    GiveUp,
    NotFound,
    Retry,
    UnknownKind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prompt_operator.cli.backup.contents import Key
    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Kind, Manifest

CREATED, EQUAL, DIFFERS, LEFT_OUT, FAILED = "created", "there and equal", "there and different", "left out", "failed"
_HEADERS = ("NAMESPACE", "KIND", "NAME", "RESULT", "WHY")
_THERE = frozenset({CREATED, EQUAL, DIFFERS})
_CONTENT = "it was left as it is; to get the content of the backup, delete it and restore again"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one object."""

    namespace: str
    kind: str
    name: str
    result: str
    why: str = ""


@dataclass(slots=True)
class _Restore:
    """One restore; results grow with each kind."""

    session: Session
    objects: Sequence[Manifest]
    file: str
    dry_run: bool
    results: list[Result] = field(default_factory=list)
    records: set[Key] = field(default_factory=set)
    """Records that are there now, by where they were."""

    async def run(self) -> None:
        for kind in KINDS:
            of_kind = [manifest for manifest in self.objects if manifest["kind"] == kind.kind]
            results = await asyncio.gather(*(self._one(kind, manifest) for manifest in of_kind))
            self.results += results
            if kind is PROMPT_ROLLBACK:
                pairs = zip(of_kind, results, strict=True)
                self.records = {key_of(manifest) for manifest, result in pairs if result.result in _THERE}

    async def _one(self, kind: Kind, manifest: Manifest) -> Result:
        body = body_of(manifest, self.session.chosen or manifest["metadata"]["namespace"])
        place = (body["metadata"]["namespace"], kind.kind, body["metadata"]["name"])
        if why := contents.request(manifest):
            return Result(*place, LEFT_OUT, why)
        if why := contents.changed(manifest) or self._unsafe(kind, manifest):
            return Result(*place, FAILED, why)
        try:
            return Result(*place, *await self._put(kind, body))
        except UnknownKind:
            raise
        except (Retry, GiveUp) as error:
            return Result(*place, FAILED, f"{_hint(kind, error)}{error}")

    def _unsafe(self, kind: Kind, manifest: Manifest) -> str:
        """Say what would become active again if this Prompt were created without its records."""
        rollbacks = (each for each in self.objects if each["kind"] == PROMPT_ROLLBACK.kind)
        lost = contents.forgotten(manifest, self.records, rollbacks) if kind is PROMPT else []
        if not lost:
            return ""
        return (
            f"the record that holds {', '.join(lost)} is not there, so nothing would keep it out; "
            f"where it may be active: tar -xzOf {self.file} {path_of(manifest)}"
        )

    async def _put(self, kind: Kind, body: Manifest) -> tuple[str, str]:
        cluster, metadata = self.session.cluster, body["metadata"]
        if not self.dry_run and await cluster.create(kind, body) is not None:
            return CREATED, ""
        try:
            found = await cluster.get(kind, metadata["namespace"], metadata["name"])
        except UnknownKind:
            raise
        except NotFound:
            return CREATED, ""  # a dry run
        if found["spec"] == body["spec"]:
            return EQUAL, ""
        return DIFFERS, _CONTENT if kind is PROMPT_VERSION else "it was left as it is"


def _hint(kind: Kind, error: Exception) -> str:
    """Say which right is missing: the server's own words are long, and cut."""
    if kind is PROMPT_ROLLBACK and isinstance(error, Forbidden):
        return (
            "records need the verb restore on promptrollbacks (ClusterRole prompt-operator-promptrollbacks-restore): "
        )
    return ""


@click.command()
@click.argument("file")
@click.option("--from", "source", default="", help="Only the objects that were in this namespace.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done; rights are not tried.")
@options.output
@options.yes
@options.in_cluster
async def restore(session: Session, file: str, source: str, output: str, *, dry_run: bool, yes: bool) -> None:
    """Create what a backup holds and is missing.

    Into the namespaces where it was, or into that of -n; they must exist. What is there already is left as it is.
    Status is never written: the operator rebuilds it from the records, for which you need the right `restore` on
    promptrollbacks. Requests are not made again. A damaged file is refused as a whole.
    """
    taken = archive.read(file)
    chosen = [each for each in taken.objects if source in {"", each["metadata"]["namespace"]}]
    _one_namespace(session, chosen)
    objects = printing.counted(len(chosen), "object")
    question = f"Create what is missing of {objects} of {taken.created_at}, from {taken.server}?"
    options.sure(question, yes=yes or dry_run)
    work = _Restore(session, chosen, file, dry_run)
    await work.run()
    _print(work.results, output)
    _summary(work.results, dry_run=dry_run)


def _one_namespace(session: Session, objects: Iterable[Manifest]) -> None:
    namespaces = sorted({manifest["metadata"]["namespace"] for manifest in objects})
    if not namespaces:
        raise Refused("There is nothing of that namespace in the backup.")
    if session.chosen and len(namespaces) > 1:
        raise Refused(
            f"The backup is of several namespaces ({', '.join(namespaces)}), -n is one: choose with --from, "
            "or leave -n out to restore each where it was."
        )


def _print(results: Iterable[Result], output: str) -> None:
    """Print every result for programs, and for people those that say something."""
    if output != "table":
        printing.document([asdict(result) for result in results], output)
        return
    rows = [tuple(asdict(result).values()) for result in results if result.result not in {CREATED, EQUAL}]
    if rows:
        printing.table(_HEADERS, rows)


def _summary(results: Iterable[Result], *, dry_run: bool) -> None:
    counts = Counter(result.result for result in results)
    told = ", ".join(f"{counts[result]} {result}" for result in (CREATED, EQUAL, DIFFERS, LEFT_OUT, FAILED))
    printing.note(f"{'Would be: ' if dry_run else ''}{told}.")
    if counts[FAILED]:
        raise Refused("Not everything was restored: put right what the table names and run it again.")
