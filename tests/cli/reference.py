"""docs/reference/cli.md from the help texts: `python -m tests.cli.reference` writes it."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from prompt_operator.cli.main import main

FILE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
_INTRODUCTION = """\
# kubectl prompt

<!-- Generated from the help texts; change those, then run: python -m tests.cli.reference -->

`kubectl-prompt` comes with `pip install "prompt-operator[operator]"`; on PATH, kubectl runs it as `kubectl prompt`.

It uses your kubeconfig and your rights; the roles are in `manifests/roles-for-people.yaml`. Reading verbs need `get`
and `list` on prompts, promptversions and promptrollbacks; `suspend`, `resume`, `fallback`, `enable`, `retry` and
`review` need `patch` on prompts; `rollback` needs `create`, `release` and `ack` need `patch` on promptrollbacks.

- **Exit status:** 0 done; 1 refused, not found, no cluster, or something was found; 2 wrong usage or a file that cannot
  be read; 130 interrupted. `doctor` and `audit` have more to say by it: see their help.
- **Names** may be as `kubectl get --output=name` prints them: `prompt.promptops.dev/greeting`.
- **Output:** the result is on stdout, remarks and errors are on stderr. `-o json` and `-o yaml` are for programs.
  Colours are off when stdout is no terminal, and with `NO_COLOR` set.
- **Text of prompts** is printed by `diff`, `get --text` and, after a rollback, by `explain` without `--no-texts`;
  `backup` writes it to a file.
- **Confirmation:** `rollback`, `release`, `retry`, `fallback`, `rehash` and `restore` ask first on a terminal;
  `--yes` does not ask. `prune` asks always: where nobody can answer it needs `--yes`.
- **Git:** `suspend`, `resume`, `fallback` and `enable` patch one field of `spec` as field manager `kubectl-prompt`.
  Where Git, Argo CD or Flux keeps the manifest, it may put the field back: change it there, too.
"""


def render() -> str:
    """Return the whole page."""
    return "\n".join([_INTRODUCTION, *(_section(*words) for verb in verbs() for words in _commands(verb))])


def verbs() -> list[click.Command]:
    """Return all verbs in their order; the group imports each when it is asked for it."""
    context = click.Context(main)
    return [verb for name in main.list_commands(context) if (verb := main.get_command(context, name))]


def _commands(verb: click.Command) -> list[tuple[str, ...]]:
    """Return the words of a verb, or of each verb of a group."""
    name = str(verb.name)
    return [(name, each) for each in verb.commands] if isinstance(verb, click.Group) else [(name,)]


def _section(*words: str) -> str:
    shown = CliRunner().invoke(main, [*words, "--help"], prog_name="kubectl prompt", terminal_width=100)
    return f"## {' '.join(words)}\n\n```text\n{shown.output.rstrip()}\n```\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(render(), "utf-8")
