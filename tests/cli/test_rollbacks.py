"""The verbs about going back: what they write, what they say, when they ask first."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import click
import pytest
from tests.cli.cluster import NOW, RECORD, FakeCluster, at, prompt, record, rolled_back, thing

from prompt_operator.api.common import rfc3339
from prompt_operator.cli import options
from prompt_operator.ports import PROMPT_ROLLBACK

NOW_TEXT = rfc3339(NOW)
ANNOTATIONS = "/metadata/annotations"


def add(path: str, value: Any) -> dict[str, Any]:
    """Return a JSON patch operation."""
    return {"op": "add", "path": path, "value": value}


# --- retry


def test_retry_lifts_what_is_held() -> None:
    """The annotation carries the cluster's time; other annotations are left alone."""
    cluster = FakeCluster.of(rolled_back(annotations={"team": "shop"}))
    done = cluster.run("retry", "greeting")
    assert cluster.patches == [("Prompt", "greeting", [add(f"{ANNOTATIONS}/promptops.dev~1retryAt", NOW_TEXT)])]
    assert done.stdout == f"greeting: 2.0.0 may be activated again (promptops.dev/retryAt={NOW_TEXT}).\n"


def test_retry_of_nothing_writes_nothing() -> None:
    """Without a hold there is nothing to retry."""
    cluster = FakeCluster.of(prompt())
    assert "No version of greeting is held" in cluster.run("retry", "greeting").stderr
    assert cluster.patches == []


# --- rollback


def answers(**spec: Any) -> Any:
    """Return an operator that answers each request with a record of this decision."""

    def answer(cluster: FakeCluster, request: dict[str, Any]) -> None:
        asked = request["spec"]
        cluster.put(record("answer", trigger="Manual", **({"reason": asked["reason"], "rule": ""} | spec)))
        request["status"] = {"record": "answer"}

    return answer


def test_a_rollback_is_requested_and_its_answer_told() -> None:
    """The request names the active version and the user; the answer says what is held and how to release it."""
    cluster = FakeCluster.of(prompt("2.0.0", status={"activeVersion": "2.0.0"}), answering=answers())
    done = cluster.run("rollback", "greeting", "--reason", "odd answers", "--to", "1.0.0")
    request = cluster.objects["PromptRollback", "shop", "greeting-request-x1"]
    assert request["metadata"]["labels"] == {"promptops.dev/prompt": "greeting"}
    assert request["spec"] == {
        "promptRef": {"name": "greeting"}, "fromVersion": "2.0.0", "toVersion": "1.0.0",
        "reason": "odd answers", "requestedBy": "ada",
    }  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "greeting was rolled back from 2.0.0 to 1.0.0.\n"
        '2.0.0 is held: nothing activates it again until kubectl prompt release answer --reason "…" -n shop\n'
    )


def test_a_refused_rollback_is_exit_status_one() -> None:
    """The guard and the operator's sentence, on stderr."""
    refusing = answers(decision="Refused", guard="NoTarget", reason="there is no earlier version")
    done = FakeCluster.of(prompt(), answering=refusing).run("rollback", "greeting", "--reason", "odd")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("was refused: NoTarget: there is no earlier version.\n")


def test_a_rollback_that_nobody_answers() -> None:
    """The request stays; the sentence says so and where to look."""
    cluster = FakeCluster.of(prompt())
    done = cluster.run("rollback", "greeting", "--reason", "odd", "--timeout", "0")
    assert done.exit_code == 1
    assert "has not answered PromptRollback greeting-request-x1 within 0 s" in done.stderr
    assert ("PromptRollback", "shop", "greeting-request-x1") in cluster.objects


def test_a_rollback_of_nothing_creates_nothing() -> None:
    """Without an active version there is nothing to leave."""
    cluster = FakeCluster.of(prompt(status={"activeVersion": None}))
    assert "there is nothing to roll back" in cluster.run("rollback", "greeting", "--reason", "odd").stderr
    assert len(cluster.objects) == 1


def test_a_rollback_to_what_is_active_creates_nothing() -> None:
    """The API server would refuse it, in words about fields."""
    cluster = FakeCluster.of(prompt())
    done = cluster.run("rollback", "greeting", "--reason", "odd", "--to", "1.0.0")
    assert (done.exit_code, len(cluster.objects)) == (1, 1)
    assert done.stderr == "Error: 1.0.0 is the active version of greeting: there is nothing to roll back.\n"


def test_an_interrupted_wait_says_that_the_request_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the waiting, not the rollback: whoever pressed it must know."""
    waits = asyncio.sleep

    async def interrupted(_: float) -> None:
        signal.raise_signal(signal.SIGINT)
        await waits(60)

    monkeypatch.setattr("asyncio.sleep", interrupted)
    cluster = FakeCluster.of(prompt())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        done = cluster.run("rollback", "greeting", "--reason", "odd")
    finally:
        signal.signal(signal.SIGINT, before)
    said = "PromptRollback greeting-request-x1 was created and stays: the operator carries it out all the same.\n"
    assert (done.exit_code, done.stderr) == (130, f"{said}Interrupted.\n")
    assert len(cluster.objects) == 2


def test_a_rollback_needs_a_reason() -> None:
    """The record is for those who read it later: without a reason it is wrong usage."""
    assert FakeCluster.of(prompt()).run("rollback", "greeting").exit_code == 2


# --- release, ack


def test_a_release_is_signed() -> None:
    """With the name the API server knows, on the record and nowhere else."""
    cluster = FakeCluster.of(rolled_back(), record())
    done = cluster.run("release", RECORD, "--reason", "the provider was down")
    signature = add("/spec/release", {"by": "ada", "reason": "the provider was down"})
    assert cluster.patches == [("PromptRollback", RECORD, [signature])]
    assert done.stdout == "2.0.0 of greeting is released: it may be activated again.\n"


def test_a_release_by_the_name_of_the_prompt() -> None:
    """Every record that holds the version is signed, since one alone would still hold it."""
    older = record("older", minutes=1)
    others = [record("done", release={"by": "bob", "reason": "x"}), record("another", fromVersion="3.0.0")]
    cluster = FakeCluster.of(rolled_back(), record(), older, *others)
    assert cluster.run("release", "greeting", "--reason", "fine").exit_code == 0
    assert [name for _, name, _ in cluster.patches] == [RECORD, "older"]


@pytest.mark.parametrize(
    ("objects", "name", "said"),
    [
        ([prompt()], "greeting", "No version of greeting is held."),
        ([rolled_back()], "greeting", "was deleted, so it cannot be signed: use kubectl prompt retry greeting -n shop"),
        ([record(decision="Refused")], RECORD, "holds no version: its decision is Refused."),
        ([record(release={"by": "bob", "reason": "fine"})], RECORD, "bob did that already (fine)."),
        ([], "nobody", "There is no PromptRollback and no Prompt nobody in namespace shop."),
    ],
)
def test_a_release_that_cannot_be(objects: list[dict[str, Any]], name: str, said: str) -> None:
    """Each case says why and, where there is one, names the other way."""
    cluster = FakeCluster.of(*objects)
    done = cluster.run("release", name, "--reason", "fine")
    assert (done.exit_code, cluster.patches) == (1, [])
    assert said in done.stderr


def test_a_release_of_a_request_names_its_record() -> None:
    """People hold the name of what they created; the hold is on the record that answers it."""
    spec = {"promptRef": {"name": "greeting"}, "fromVersion": "2.0.0", "reason": "odd", "requestedBy": "ada"}
    request = thing(PROMPT_ROLLBACK, "please", spec, status={"record": RECORD})
    done = FakeCluster.of(request).run("release", "please", "--reason", "fine")
    assert f"please is a request: only the record of a rollback holds a version. Its record is {RECORD}." in done.stderr


def test_a_release_among_several_names_the_commands() -> None:
    """Which one is meant is not guessed."""
    held = [{"version": each, "since": at(5), "record": f"record-{each}"} for each in ("2.0.0", "3.0.0")]
    done = FakeCluster.of(rolled_back(status={"held": held})).run("release", "greeting", "--reason", "fine")
    assert done.exit_code == 1
    assert "  3.0.0: kubectl prompt release record-3.0.0 -n shop\n" in done.stderr


def test_an_acknowledgement_is_signed_once() -> None:
    """The second person learns who was first."""
    cluster = FakeCluster.of(record())
    assert cluster.run("ack", RECORD, "--reason", "on it").stdout == f"{RECORD} is acknowledged.\n"
    assert cluster.patches[0][2] == [add("/spec/acknowledge", {"by": "ada", "reason": "on it"})]
    assert "ada did that already (on it)." in cluster.run("ack", RECORD, "--reason", "me too").stderr


# --- asking first


@pytest.mark.parametrize(
    "words",
    [
        ("fallback", "greeting"),
        ("retry", "greeting"),
        ("release", RECORD, "--reason", "fine"),
        ("rollback", "greeting", "--reason", "odd", "--timeout", "0"),
    ],
)
def test_on_a_terminal_people_are_asked_first(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A no writes nothing; --yes is not asked."""
    asked: list[str] = []

    def no(question: str, **_: object) -> None:
        asked.append(question)
        raise click.Abort

    monkeypatch.setattr(options, "_on_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", no)
    cluster = FakeCluster.of(rolled_back(), record())
    assert cluster.run(*words).exit_code == 1
    assert (len(asked), cluster.patches, len(cluster.objects)) == (1, [], 2)
    cluster.run(*words, "--yes")
    assert len(asked) == 1
    assert cluster.patches or len(cluster.objects) == 3
