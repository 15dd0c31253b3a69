"""`get`, `history` and `diff`: what they print, to the letter."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.cli.cluster import HASHES, FakeCluster, at, prompt, rolled_back, version

from prompt_operator.cli.main import main


def text(block: str) -> str:
    """Return an expected text."""
    return dedent(block).lstrip("\n")


def three() -> FakeCluster:
    """Return a cluster with a fine, a rolled back and a new prompt, and one in another namespace."""
    firing = [{"name": "critical-error-rate", "state": "Firing", "since": at(9)}]
    new: dict[str, Any] = {"activeVersion": None, "conditions": [], "history": []}
    return FakeCluster.of(
        prompt(name="answers", status={"rules": firing}),
        rolled_back(),
        prompt("0.1.0", name="new", status=new),
        prompt(name="elsewhere", namespace="lab"),
    )


def test_the_table_of_prompts() -> None:
    """Columns as wide as they need to be, a dash for nothing, no trailing blanks."""
    assert three().run("get").stdout == text("""
        NAME       ACTIVE   DESIRED   READY   REASON       HEALTHY   FIRING                HELD    AGE
        answers    1.0.0    1.0.0     True    Active       True      critical-error-rate   -       10m
        greeting   1.0.0    2.0.0     False   RolledBack   True      -                     2.0.0   10m
        new        -        0.1.0     -       -            -         -                     -       10m
        """)


def test_a_terminal_gets_colours_and_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow it is nothing is cut, and no blanks at the end of a line make it wrap."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    cluster = three()
    coloured = CliRunner().invoke(main, ["get"], obj=cluster.connect, color=True).stdout
    assert "\x1b[31mFalse" in coloured
    assert click.unstyle(coloured) == three().run("get").stdout


def test_one_prompt_and_all_namespaces() -> None:
    """By name, one line; with -A, every namespace and its column."""
    assert three().run("get", "new").stdout.splitlines()[1].startswith("new ")
    lines = three().run("get", "-A").stdout.splitlines()
    assert lines[0].startswith("NAMESPACE   NAME ")
    assert [line.split()[:2] for line in lines[1:]] == [
        ["lab", "elsewhere"], ["shop", "answers"], ["shop", "greeting"], ["shop", "new"],
    ]  # fmt: skip


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_prompts_for_programs(form: str, parse: Any) -> None:
    """The same facts as members, with null for what is not there."""
    rows = parse(three().run("get", "-o", form).stdout)
    assert rows[1] == {
        "namespace": "shop", "name": "greeting", "active": "1.0.0", "desired": "2.0.0", "ready": "False",
        "reason": "RolledBack", "healthy": "True", "firing": [], "held": ["2.0.0"], "created": "2026-11-21T08:00:00Z",
    }  # fmt: skip
    assert rows[2]["active"] is None


def test_no_prompts_is_said_beside_the_output() -> None:
    """A pipe gets nothing, a person a sentence, a program an empty list."""
    done = FakeCluster().run("get")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "There are no prompts in namespace shop.\n")
    assert FakeCluster().run("get", "-A").stderr == "There are no prompts.\n"
    assert FakeCluster().run("get", "-o", "json").stdout == "[]\n"


def test_text_is_printed_only_when_asked_for() -> None:
    """The active version's text, or its messages as YAML; without --text no form of output has it."""
    messages = [{"role": "System", "content": "Be brief."}, {"role": "User", "content": "{{ question }}"}]
    cluster = FakeCluster.of(prompt(), version())
    assert cluster.run("get", "greeting", "--text").stdout == "Greet {{ name }} as 1.0.0 does.\n"
    assert "Greet" not in cluster.run("get", "greeting", "-o", "yaml").stdout
    spoken = FakeCluster.of(prompt(), version(messages=messages)).run("get", "greeting", "--text").stdout
    assert yaml.safe_load(spoken) == messages


@pytest.mark.parametrize("words", [("--text",), ("greeting", "-A")])
def test_get_with_the_wrong_words(words: tuple[str, ...]) -> None:
    """Wrong usage is exit status 2."""
    done = FakeCluster.of(prompt()).run("get", *words)
    assert (done.exit_code, "--text needs a NAME" in done.stderr) == (2, True)


def test_text_of_nothing() -> None:
    """Where no version is active, say where the reason stands."""
    done = FakeCluster.of(prompt(status={"activeVersion": None})).run("get", "greeting", "--text")
    assert done.exit_code == 1
    assert "No version of greeting is active: kubectl prompt explain greeting -n shop says why." in done.stderr


def test_the_table_of_activations() -> None:
    """Newest first, with who asked, what ended it and the beginning of the hash."""
    assert FakeCluster.of(rolled_back()).run("history", "greeting").stdout == text("""
        VERSION   ACTIVATED              BY                LEFT BY    HASH                  REASON
        1.0.0     2026-11-21T08:05:00Z   prompt-operator   -          sha256:aaaaaaaaaaaa   critical-error-rate: error_rate 60.0% (120 of 200 in 5m; at least 48.4% at 99.9% confidence) > 5%
        2.0.0     2026-11-21T08:01:00Z   argocd            Rollback   sha256:bbbbbbbbbbbb   -
        """)  # noqa: E501


def test_activations_for_programs_and_none_at_all() -> None:
    """Members as in status; an empty history is said."""
    rows = json.loads(FakeCluster.of(prompt()).run("history", "greeting", "-o", "json").stdout)
    assert rows == [{"version": "1.0.0", "hash": HASHES["1.0.0"], "at": at(0), "by": "argocd-controller"}]
    done = FakeCluster.of(prompt(status={"history": []})).run("history", "greeting")
    assert (done.stdout, done.stderr) == ("", "No version of greeting was ever active.\n")


def test_a_diff_of_content_and_settings() -> None:
    """Against the active version when only one is named; model, variables and engine follow the text."""
    old = version("2.0.0", text="Be kind.\nGreet {{ name }}.", model={"name": "small", "temperature": "0.2"})
    new = version("1.0.0", text="Be kind.\nGreet {{ name }} twice.", model={"name": "large"}, engine="Jinja2")
    assert FakeCluster.of(prompt(), old, new).run("diff", "greeting", "2.0.0").stdout == text("""
        --- greeting-2.0.0/content
        +++ greeting-1.0.0/content
        @@ -1,2 +1,2 @@
         Be kind.
        -Greet {{ name }}.
        +Greet {{ name }} twice.
        --- greeting-2.0.0/settings
        +++ greeting-1.0.0/settings
        @@ -1,4 +1,3 @@
        -engine: Simple
        +engine: Jinja2
         model:
        -  name: small
        -  temperature: '0.2'
        +  name: large
        """)


def test_a_diff_of_equal_versions() -> None:
    """Equal content and settings: nothing on stdout, also when only a message differs."""
    cluster = FakeCluster.of(prompt(), version("1.0.0", text="Hi."), version("2.0.0", text="Hi.", message="again"))
    done = cluster.run("diff", "greeting", "1.0.0", "2.0.0")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "1.0.0 and 2.0.0 of greeting have the same content and settings.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "nobody"), "There is no Prompt nobody in namespace shop"),
        (("explain", "nobody"), "There is no Prompt nobody in namespace shop"),
        (("diff", "greeting", "9.9.9"), "There is no PromptVersion greeting-9.9.9 in namespace shop"),
        (("diff", "nobody", "1.0.0"), "There is no Prompt nobody in namespace shop"),
    ],
)
def test_what_is_not_there_is_named(words: tuple[str, ...], said: str) -> None:
    """A missing object is exit status 1 and one sentence."""
    done = FakeCluster.of(prompt(), version()).run(*words)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {said}")


def test_a_diff_needs_an_active_version_or_two_names() -> None:
    """Nothing to compare with: say what to add."""
    cluster = FakeCluster.of(prompt(status={"activeVersion": None}), version())
    assert (
        "No version of greeting is active: name the second version" in cluster.run("diff", "greeting", "1.0.0").stderr
    )
