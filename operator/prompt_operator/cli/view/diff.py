"""`kubectl prompt diff`: what changed between two versions."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING

import click
import yaml

from prompt_client import wire
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.errors import Refused
from prompt_operator.cli.view.get import content_lines
from prompt_operator.core.projection import entry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_operator.api.promptversion import PromptVersion
    from prompt_operator.cli.session import Session

_CONTENT = ("text", "messages")


@click.command()
@click.argument("name", type=arguments.PROMPT)
@click.argument("v1", type=arguments.VERSION)
@click.argument("v2", type=arguments.VERSION, required=False)
@options.in_cluster
async def diff(session: Session, name: str, v1: str, v2: str | None) -> None:
    """Compare two versions.

    Content, model, variables, engine and output schema of V1 with those of V2, by default the active version. Prints
    the prompts' text.
    """
    other = v2 or await _active(session, name)
    old, new = await reading.version(session, name, v1), await reading.version(session, name, other)
    lines = [*compared(old, new, "content"), *compared(old, new, "settings")]
    for line in lines:
        click.secho(line, fg=printing.DIFF_STYLES.get(line[:1]), bold=line[:3] in {"---", "+++"} or None)
    if not lines:
        printing.note(f"{v1} and {other} of {name} have the same content and settings.")


async def _active(session: Session, name: str) -> str:
    active = (await reading.prompt(session, name)).status.active_version
    if not active:
        raise Refused(f"No version of {name} is active: name the second version, too.")
    return active


def compared(old: PromptVersion, new: PromptVersion, part: str) -> Iterator[str]:
    """Yield the lines of a unified diff of `content` or `settings` (all else that the content hash covers)."""
    lines = content_lines if part == "content" else settings_lines
    before, after = (f"{version.metadata.name}/{part}" for version in (old, new))
    return unified_diff(lines(old), lines(new), before, after, lineterm="")


def settings_lines(version: PromptVersion) -> list[str]:
    """Return engine, variables, model, output schema and includes as YAML."""
    spec = version.spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    entry = entry_of(spec)
    settings = {key: entry[key] for key in wire.HASHED_MEMBERS if key in entry and key not in _CONTENT}
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)).splitlines()
