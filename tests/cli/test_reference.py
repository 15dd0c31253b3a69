"""The command line as people see it: help texts, reference page, version."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.cli import reference

from prompt_operator.cli.audit.command import audit
from prompt_operator.cli.main import SECTIONS, main

if TYPE_CHECKING:
    from collections.abc import Coroutine


def test_the_reference_is_what_help_says() -> None:
    """A changed option shows in docs/reference/cli.md; `python -m tests.cli.reference` writes it."""
    assert reference.FILE.read_text("utf-8") == reference.render()


@pytest.mark.parametrize("verb", [*reference.verbs(), *audit.commands.values()], ids=lambda verb: verb.name)
def test_each_verb_and_option_explains_itself(verb: object) -> None:
    """Every option has a help text, every verb a first line that is not cut off in the overview."""
    assert all(getattr(parameter, "help", "") for parameter in verb.params if parameter.param_type_name == "option")  # type: ignore[attr-defined]
    assert "..." not in verb.get_short_help_str()  # type: ignore[attr-defined]


def test_the_overview_names_every_verb_and_the_exit_statuses() -> None:
    """With -h as with --help."""
    shown = CliRunner().invoke(main, ["-h"]).output
    assert all(f"\n  {verb.name} " in shown for verb in reference.verbs())
    assert shown.index("See how prompts are:") < shown.index("Go back, and let in again:") < shown.index("Switch:")
    assert "Exit status: 0 done; 1 refused" in shown


def test_the_overview_says_what_each_verb_says_itself() -> None:
    """It has the first lines of the help texts at hand, so that it need not import the verbs."""
    said = {name: line for verbs in SECTIONS.values() for name, (_, line) in verbs.items()}
    assert said == {verb.name: verb.get_short_help_str(80) for verb in reference.verbs()}


def test_one_verb_does_not_wait_for_the_others() -> None:
    """The overview imports no verb, and a verb none that is large and of another."""
    program = (
        "import sys; from click.testing import CliRunner; from prompt_operator.cli.main import main;"
        "CliRunner().invoke(main, sys.argv[1:]); print(*sys.modules)"
    )

    def imported(*words: str) -> set[str]:
        run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        return set(run.stdout.split())

    assert not imported("--help") & {"pydantic", "aiohttp", "kubernetes", "cel", "prompt_operator.cli.view.get"}
    assert not imported("get", "--help") & {"cel", "lark", "prompt_operator.cli.lint.command"}


def test_the_name_is_the_one_that_people_type(capsys: pytest.CaptureFixture[str]) -> None:
    """In usage errors as in help: kubectl runs `kubectl-prompt` for `kubectl prompt`."""
    with pytest.raises(SystemExit):
        main(["gett"])
    assert capsys.readouterr().err.startswith("Usage: kubectl prompt [OPTIONS]")


def test_an_interrupt_has_the_exit_status_that_shells_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no failure of the verb."""

    def interrupted(verb: Coroutine[object, object, None]) -> None:
        verb.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    done = CliRunner().invoke(main, ["get"])
    assert (done.exit_code, done.stderr) == (130, "Interrupted.\n")


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
