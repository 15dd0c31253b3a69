"""`kubectl prompt lint`: what is wrong with manifests, without a cluster."""

from __future__ import annotations

import click

from prompt_operator.cli import options, printing
from prompt_operator.cli.errors import BadFile
from prompt_operator.cli.lint.finding import ERROR, Finding
from prompt_operator.cli.lint.findings import findings
from prompt_operator.cli.manifests.documents import documents, ours


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@options.output
def lint(files: tuple[str, ...], *, strict: bool, output: str) -> None:
    """Check manifests without a cluster.

    Fields, values, rules, names, and fields without effect in this release. FILE is a file, a folder, or - for
    stdin. Objects of other API groups are not looked at. Each finding is one line: file:line:column: field: message.
    """
    looked_at = [document for document in documents(files) if ours(document)]
    if not looked_at:
        raise BadFile(f"No object of promptops.dev in {', '.join(files)}.")
    found = findings(looked_at)
    if output == "table":
        _print(found, len(looked_at))
    else:
        printing.document([_members(finding) for finding in found], output)
    if any(strict or finding.severity == ERROR for finding in found):
        click.get_current_context().exit(1)


def _print(found: list[Finding], objects: int) -> None:
    for finding in found:
        click.secho(str(finding), fg="red" if finding.severity == ERROR else "yellow")
    errors = sum(finding.severity == ERROR for finding in found)
    counts = {"error": errors, "warning": len(found) - errors, "object": objects}
    printing.note("{}, {} in {}".format(*(printing.counted(count, word) for word, count in counts.items())))


def _members(finding: Finding) -> dict[str, str | int]:
    document, position = finding.document, finding.position
    return {
        "file": document.file,
        "document": document.number,
        "line": position.line,
        "column": position.column,
        "kind": document.kind,
        "name": document.name,
        "severity": finding.severity,
        "path": finding.path,
        "message": finding.message,
    }
