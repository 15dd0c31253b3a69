"""`kubectl prompt get`: the prompts and how they are, or the text of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import yaml

from prompt_operator.api.common import rfc3339
from prompt_operator.api.prompt import Prompt
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.errors import Refused
from prompt_operator.core.conditions import find
from prompt_operator.core.reasons import ConditionType
from prompt_operator.ports import PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from prompt_operator.api.promptversion import PromptVersion
    from prompt_operator.cli.session import Session

_HEADERS = ("NAME", "ACTIVE", "DESIRED", "READY", "REASON", "HEALTHY", "FIRING", "HELD", "AGE")


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt in one line."""

    namespace: str
    name: str
    active: str
    desired: str
    ready: str
    reason: str
    healthy: str
    firing: tuple[str, ...]
    held: tuple[str, ...]
    created: datetime | None

    def cells(self, now: datetime) -> tuple[str, ...]:
        """Return it for the table."""
        words = (self.name, self.active, self.desired, self.ready, self.reason, self.healthy)
        return (*words, ",".join(self.firing), ",".join(self.held), printing.ago(self.created, now))

    def members(self) -> dict[str, Any]:
        """Return it for programs."""
        names = ("namespace", "name", "active", "desired", "ready", "reason", "healthy")
        return {
            **{name: getattr(self, name) or None for name in names},
            "firing": list(self.firing),
            "held": list(self.held),
            "created": rfc3339(self.created) if self.created else None,
        }


@click.command()
@click.argument("name", type=arguments.PROMPT, required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="Prompts of all namespaces.")
@click.option("--text", is_flag=True, help="Print the content of the active version of NAME instead.")
@options.output
@options.in_cluster
async def get(session: Session, name: str | None, *, all_namespaces: bool, text: bool, output: str) -> None:
    """Show prompts and how they are.

    The active and the desired version, health, firing rules, held versions. Without NAME, all of the namespace.
    """
    if (name and all_namespaces) or (text and not name):
        raise click.UsageError("--text needs a NAME, and a NAME goes without --all-namespaces.")
    if name and text:
        await _print_text(session, name)
        return
    if name:
        found = [await reading.prompt(session, name)]
    else:
        namespace = None if all_namespaces else session.namespace
        found = [Prompt.from_manifest(each) async for each in session.cluster.list(PROMPT, namespace=namespace)]
    _print(session, [row_of(prompt) for prompt in found], output, wide=all_namespaces)


def row_of(prompt: Prompt) -> Row:
    """Return a prompt in one line."""
    ready = find(prompt.status.conditions, ConditionType.READY)
    healthy = find(prompt.status.conditions, ConditionType.HEALTHY)
    return Row(
        namespace=prompt.metadata.namespace,
        name=prompt.metadata.name,
        active=prompt.status.active_version or "",
        desired=prompt.spec.version,
        ready=ready.status if ready else "",
        reason=ready.reason if ready else "",
        healthy=healthy.status if healthy else "",
        firing=tuple(rule.name for rule in prompt.status.rules if rule.state == "Firing"),
        held=tuple(held.version for held in prompt.status.held),
        created=prompt.metadata.creation_timestamp,
    )


def _print(session: Session, rows: Iterable[Row], output: str, *, wide: bool) -> None:
    rows = sorted(rows, key=lambda row: (row.namespace, row.name))
    if output != "table":
        printing.document([row.members() for row in rows], output)
    elif not rows:
        printing.note("There are no prompts." if wide else f"There are no prompts in namespace {session.namespace}.")
    elif wide:
        cells = [(row.namespace, *row.cells(session.now())) for row in rows]
        printing.table(("NAMESPACE", *_HEADERS), cells)
    else:
        printing.table(_HEADERS, [row.cells(session.now()) for row in rows])


async def _print_text(session: Session, name: str) -> None:
    prompt = await reading.prompt(session, name)
    active = prompt.status.active_version
    if not active:
        raise Refused(f"No version of {name} is active: {options.command(session, 'explain', name)} says why.")
    click.echo("\n".join(content_lines(await reading.version(session, name, active))))


def content_lines(version: PromptVersion) -> list[str]:
    """Return the text, or the messages as YAML, line by line."""
    if version.spec.text is not None:
        return version.spec.text.splitlines()
    messages = [message.model_dump(by_alias=True) for message in version.spec.messages or ()]
    return str(yaml.safe_dump(messages, sort_keys=False, allow_unicode=True)).splitlines()
