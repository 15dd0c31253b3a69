"""`kubectl prompt prune`: what it shows, what it asks, what it deletes."""

from __future__ import annotations

import click
import pytest
from tests.cli.cluster import FakeCluster, at, prompt, version

from prompt_operator.cli import options

KEEP_ONE = {"retention": {"versions": 1}}


def cluster() -> FakeCluster:
    """Return a prompt that serves 1.0.0, keeps one version, and has two older and one newer one."""
    versions = [version(number) for number in ("0.8.0", "0.9.0", "1.0.0", "2.0.0")]
    versions[-1]["metadata"]["creationTimestamp"] = at(3)
    return FakeCluster.of(prompt(spec=KEEP_ONE), *versions)


def left(cluster: FakeCluster) -> list[str]:
    """Return the versions that are there."""
    return sorted(name.removeprefix("greeting-") for kind, _, name in cluster.objects if kind == "PromptVersion")


def test_a_dry_run_shows_what_goes_and_why_the_rest_stays() -> None:
    """A row per version, newest first; nothing is deleted."""
    shop = cluster()
    done = shop.run("prune", "greeting", "--dry-run")
    assert [line.split(maxsplit=3) for line in done.stdout.splitlines()[1:]] == [
        ["greeting", "2.0.0", "-", "one of the newest 1"],
        ["greeting", "1.0.0", "-", "desired"],
        ["greeting", "0.9.0", "yes", "-"],
        ["greeting", "0.8.0", "yes", "-"],
    ]
    assert done.stderr == "2 versions would be deleted.\n"
    assert len(left(shop)) == 4


@pytest.mark.parametrize("words", [("greeting",), ("--all",)])
def test_what_nobody_needs_is_deleted(words: tuple[str, ...]) -> None:
    """By name or all of the namespace; a second run finds nothing."""
    shop = cluster()
    assert shop.run("prune", *words, "--yes").stdout.endswith("Deleted 2 versions.\n")
    assert left(shop) == ["1.0.0", "2.0.0"]
    assert "There is nothing to delete." in shop.run("prune", *words).stderr


def test_a_script_must_say_yes() -> None:
    """Where nobody can answer nothing is deleted."""
    shop = cluster()
    done = shop.run("prune", "--all")
    assert (done.exit_code, len(left(shop))) == (1, 4)
    assert "run it with --yes. Nothing was done." in done.stderr


def test_what_came_to_be_needed_meanwhile_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a person thinks about the question, somebody makes an old version the desired one."""
    shop = cluster()

    def answer(question: str, **_: object) -> None:
        assert question == "Delete 2 versions for good?"
        shop.put(prompt("0.8.0", spec=KEEP_ONE))

    monkeypatch.setattr(options, "_on_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", answer)
    done = shop.run("prune", "greeting")
    assert left(shop) == ["0.8.0", "1.0.0", "2.0.0"]
    assert "greeting-0.8.0 was left: it is needed by now." in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "Name the prompts, or say --all."),
        (("greeting", "--all"), 2, "Name the prompts, or say --all."),
        (("greeting", "nobody", "--yes"), 1, "There is no Prompt nobody in namespace shop; nothing was deleted."),
    ],
)
def test_wrong_words_delete_nothing(words: tuple[str, ...], status: int, said: str) -> None:
    """Which prompts are meant is not guessed."""
    shop = cluster()
    done = shop.run("prune", *words)
    assert (done.exit_code, len(left(shop))) == (status, 4)
    assert said in done.stderr
