"""The command line as people see it: help texts, reference page, version."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from click.testing import CliRunner
from tests.cli import reference

from prompt_operator.cli.audit.command import audit
from prompt_operator.cli.main import VERBS, main


def test_the_reference_is_what_help_says() -> None:
    """A changed option shows in docs/reference/cli.md; `python -m tests.cli.reference` writes it."""
    assert reference.FILE.read_text("utf-8") == reference.render()


@pytest.mark.parametrize("verb", [*VERBS, *audit.commands.values()], ids=lambda verb: verb.name)
def test_each_verb_and_option_explains_itself(verb: object) -> None:
    """Every option has a help text, every verb a first line that is not cut off in the overview."""
    assert all(getattr(parameter, "help", "") for parameter in verb.params if parameter.param_type_name == "option")  # type: ignore[attr-defined]
    assert "..." not in verb.get_short_help_str()  # type: ignore[attr-defined]


def test_the_overview_names_every_verb_and_the_exit_statuses() -> None:
    """With -h as with --help."""
    shown = CliRunner().invoke(main, ["-h"]).output
    assert all(f"  {verb.name} " in shown for verb in VERBS)
    assert "Exit status: 0 done; 1 refused" in shown


def test_the_version_is_the_packages() -> None:
    """Operator and command come from one package."""
    assert CliRunner().invoke(main, ["--version"]).output == f"kubectl-prompt, version {version('prompt-operator')}\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_where_they_are_wanted(no_color: str, coloured: bool) -> None:  # noqa: FBT001  a parameter
    """On a terminal findings and headings are coloured, unless NO_COLOR is set; to a pipe they never are."""
    manifest = "apiVersion: promptops.dev/v1alpha1\nkind: Promt\n"
    given = {"args": ["lint", "-"], "input": manifest, "env": {"NO_COLOR": no_color}}
    assert ("\x1b[" in CliRunner().invoke(main, color=True, **given).stdout) is coloured  # type: ignore[arg-type]
    assert "\x1b[" not in CliRunner().invoke(main, **given).stdout  # type: ignore[arg-type]
