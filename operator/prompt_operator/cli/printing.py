"""Tables, JSON and YAML. Colours only on a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prompt_operator.core.duration import spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
"""First character of a line of a diff -> its colour."""
_STYLES = {"True": "green", "False": "red", "Unknown": "yellow"}
_UNLIMITED = 100_000
"""Columns: nothing is cut off; a narrow terminal wraps the line, as with kubectl."""
_BLANK_END = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")
_RESET = "\x1b[0m"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns as kubectl does: as wide as their longest cell, a dash for an empty one."""
    grid = Table(*headers, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in grid.columns:
        column.no_wrap = True
    for row in rows:
        grid.add_row(*(Text(cell or "-", style=_STYLES.get(cell, "")) for cell in row))
    console = Console(highlight=False, width=_UNLIMITED)
    with console.capture() as captured:
        console.print(grid)
    for line in captured.get().splitlines():
        click.echo(_BLANK_END.sub(_RESET if _RESET in line else "", line))


def document(value: Any, form: str) -> None:
    """Print a value as `json` or `yaml`."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def heading(text: str) -> None:
    """Print a line in bold where there is a terminal."""
    click.secho(text, bold=True)


def note(text: str) -> None:
    """Tell a person something beside the result: on stderr, so that pipes get the result alone."""
    click.echo(text, err=True)


def counted(count: int, one: str, many: str = "") -> str:
    """Return `1 version`, `2 versions`; `many` where it is not `one` with an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def ago(instant: datetime | None, now: datetime) -> str:
    """Return how long ago that was, `5m10s`; empty for never."""
    return "" if instant is None else spoken(now - instant)
