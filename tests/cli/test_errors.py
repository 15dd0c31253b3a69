"""Every way in which the cluster can fail is one sentence and exit status 1."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.cli.cluster import FakeCluster, prompt

from prompt_operator.cli.main import main
from prompt_operator.ports import Conflict, Forbidden, GiveUp, Retry, Unavailable, UnknownKind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Forbidden('GET Prompt shop/greeting: 403 Forbidden: prompts is forbidden: User "bob" cannot get it'),
            (
                'You may not do this: prompts is forbidden: User "bob" cannot get it. '
                "Ask for the right, or choose another --context."
            ),
        ),
        (
            UnknownKind("GET Prompt shop: 404 : 404 page not found"),
            (
                "The cluster does not know this kind: install the CRDs (kubectl apply --server-side -f crds/), "
                "or choose another cluster with --context (GET Prompt shop: 404 : 404 page not found)."
            ),
        ),
        (
            Unavailable("GET Prompt shop: connection refused"),
            (
                "The API server does not answer: see whether the cluster runs and --context is right "
                "(GET Prompt shop: connection refused)."
            ),
        ),
        (
            Conflict("PATCH Prompt shop/greeting: 409 Conflict"),
            (
                "Somebody changed it at the same moment, nothing was written: run it again "
                "(PATCH Prompt shop/greeting: 409 Conflict)."
            ),
        ),
        (
            Retry("GET Prompt: 429 TooManyRequests: too many requests"),
            "The API server refused it, nothing was written: too many requests.",
        ),
        (GiveUp("PATCH Prompt shop/x: 422 Invalid: no"), "The API server refused it, nothing was written: no."),
        (
            GiveUp("PATCH: no answer of the usual form"),
            "The API server refused it, nothing was written: PATCH: no answer of the usual form.",
        ),
        (
            Retry("GET Prompt shop: 401 Unauthorized: Unauthorized"),
            (
                "The API server does not know you: log in again, or choose another --context "
                "(GET Prompt shop: 401 Unauthorized: Unauthorized)."
            ),
        ),
    ],
)
def test_a_failure_of_the_cluster(error: Exception, said: str) -> None:
    """What happened and what to do, without a traceback."""
    done = FakeCluster(failing=error).run("explain", "greeting")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"Error: {said}\n")


def test_an_object_of_another_release() -> None:
    """A status this release cannot read is told with the field, not with a traceback."""
    done = FakeCluster.of(prompt(status={"activatedAt": "yesterday"})).run("get")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: This Prompt is of another release (status.activatedAt: ")


def test_no_kubeconfig(tmp_path: Path) -> None:
    """The file that was tried is named."""
    done = CliRunner().invoke(main, ["get", "--kubeconfig", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert done.stderr == f"Error: No cluster: there is no file {tmp_path / 'none'}.\n"


@pytest.mark.parametrize("text", ["a: [", "", "[]", "- a", "just words", "\x00", "users: 3", "clusters: [{}]"])
def test_a_broken_kubeconfig(tmp_path: Path, text: str) -> None:
    """One sentence with the name of the file, whatever is wrong with it."""
    (tmp_path / "config").write_text(text)
    done = CliRunner().invoke(main, ["get", "--kubeconfig", str(tmp_path / "config")])
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("Error: No cluster: ")
    assert str(tmp_path / "config") in done.stderr


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    """A misspelt --context is told as such."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{apiVersion: v1, kind: Config, contexts: [{name: lab, context: {}}, {name: test}]}")
    done = CliRunner().invoke(main, ["get", "--kubeconfig", str(kubeconfig), "--context", "prod"])
    assert done.exit_code == 1
    assert done.stderr == f"Error: No cluster: there is no context prod in {kubeconfig}, only lab, test.\n"
    done = CliRunner().invoke(main, ["get", "--kubeconfig", str(kubeconfig)])
    assert done.stderr == f"Error: No cluster: there is no current context in {kubeconfig}, only lab, test.\n"


def test_commands_to_copy_go_to_the_same_cluster() -> None:
    """--context and --kubeconfig are part of every command that is shown."""
    cluster = FakeCluster.of(prompt(spec={"suspend": True}))
    shown = cluster.run("explain", "greeting", "--context", "my prod").stdout
    assert "kubectl prompt resume greeting -n shop --context 'my prod'\n" in shown


def test_no_verb_shows_the_verbs() -> None:
    """Without a verb the help is printed, as wrong usage."""
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 2
    assert "See how prompts are:" in done.output


@pytest.mark.parametrize(
    ("code", "status", "said"), [(errno.ENOSPC, 1, "Error: output: No space left on device.\n"), (errno.EPIPE, 1, "")]
)
def test_an_output_that_takes_nothing(monkeypatch: pytest.MonkeyPatch, code: int, status: int, said: str) -> None:
    """A full disk is a sentence; a pipe to `head` that ends is nothing to speak of."""

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("prompt_operator.cli.printing.table", full)
    done = FakeCluster.of(prompt()).run("get")
    assert (done.exit_code, done.stderr) == (status, said)
