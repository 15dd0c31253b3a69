"""Wrong usage: what the API server would refuse is refused before it is asked, with exit status 2 and what to write."""

from __future__ import annotations

import click
import pytest
from tests.cli.cluster import HASHES, RECORD, FakeCluster, prompt, record, rolled_back, version

from prompt_operator.cli import arguments

REASON = ("--reason", "odd answers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", "greeting", "--reason", ""), "'--reason': it is empty: say why"),
        (("rollback", "greeting", "--reason", " \n\t"), "'--reason': it is empty: say why"),
        (("release", RECORD, "--reason", ""), "'--reason': it is empty: say why"),
        (("ack", RECORD, "--reason", "x" * 1025), "'--reason': it has 1025 characters, 1024 are kept at most."),
        (("rehash", "greeting", "1.0.0", "--reason", "\x1b[31m"), "'--reason': it has characters that cannot be shown"),
        (("rollback", "greeting", "--reason", "\udcff"), "'--reason': it has characters that cannot be shown"),
        (("suspend", "greeting", "--reason", ""), "'--reason': it is empty: say why"),
        (("rollback", "greeting"), "Missing option '--reason'"),
        (("rollback", "greeting", *REASON, "--to", "v1.0.0"), "'--to': 'v1.0.0': a version has three numbers"),
        (("rollback", "greeting", *REASON, "--to", ""), "'--to': '': a version has three numbers"),
        (("rollback", "greeting", *REASON, "--timeout", "nan"), "'--timeout': 'nan': write seconds or a duration"),
        (("rollback", "greeting", *REASON, "--timeout", "-1"), "'--timeout': '-1': write seconds or a duration"),
        (("explain", ""), "'NAME': '': a Prompt's name has lower case letters"),
        (("explain", "../../secrets"), "'NAME': '../../secrets': a Prompt's name"),
        (("get", "Greeting"), "'[NAME]': 'Greeting': a Prompt's name"),
        (("history", "g" * 64), "a Prompt's name"),
        (("retry", "promptversion/"), "a Prompt's name"),
        (("prune", "greeting", "a b"), "'[NAMES]...': 'a b': a Prompt's name"),
        (("ack", "no_record", *REASON), "'RECORD': 'no_record': a name has"),
        (("diff", "greeting", "1.0"), "'V1': '1.0': a version has three numbers"),
        (("diff", "greeting", "1.0.0", "latest"), "'[V2]': 'latest': a version has three numbers"),
        (("rehash", "greeting", "1.0.0", *REASON, "--hash", "abc"), "'--hash': 'abc': a hash is sha256:"),
        (("get", "-n", "a/b"), "'-n' / '--namespace': 'a/b': a namespace has"),
        (("doctor", "--operator", "a/b/c"), "'--operator': 'a/b/c': write NAMESPACE/NAME."),
        (("doctor", "--operator", ""), "'--operator': '': write NAMESPACE/NAME."),
        (("doctor", "--operator-url", "localhost:8080"), "'localhost:8080': write it as http://127.0.0.1:8080."),
        (("doctor", "--operator-url", "http://"), "'http://': write it as http://127.0.0.1:8080."),
        (("doctor", "--operator-url", "http://a:b"), "'http://a:b': write it as http://127.0.0.1:8080."),
        (("audit", "verify", "--from-cluster", "--name", "a/"), "'--name': 'a/': write NAMESPACE/NAME."),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(words: tuple[str, ...], said: str) -> None:
    """Nothing is asked of the cluster and nothing is written: not even the raw refusal of the API server shows."""
    cluster = FakeCluster.of(prompt(), failing=AssertionError("asked"))
    done = cluster.run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.startswith(f"Usage: kubectl prompt {words[0]}")
    assert "AssertionError" not in repr(done.exception)


def test_a_reason_is_one_line() -> None:
    """Line ends of a pasted text would break the tables in which it shows."""
    cluster = FakeCluster.of(prompt("1.0.0"))
    cluster.run("rollback", "greeting", "--reason", "odd\n  answers ", "--timeout", "0")
    request = next(each for (kind, _, _), each in cluster.objects.items() if kind == "PromptRollback")
    assert request["spec"]["reason"] == "odd answers"
    assert arguments.why("ü" * 1024) == "ü" * 1024


@pytest.mark.parametrize("name", ["greeting", "prompt/greeting", "prompts.promptops.dev/greeting", "Prompt/greeting"])
def test_a_name_may_be_as_kubectl_prints_it(name: str) -> None:
    """`kubectl get prompts -o name` prints prompt.promptops.dev/greeting."""
    assert FakeCluster.of(prompt()).run("get", name).exit_code == 0


def test_a_record_may_be_as_kubectl_prints_it() -> None:
    """The same for PromptRollbacks."""
    cluster = FakeCluster.of(rolled_back(), record())
    assert cluster.run("ack", f"promptrollback.promptops.dev/{RECORD}", "--reason", "on it").exit_code == 0


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1.5", 1.5), ("30s", 30), ("2m", 120), ("1m30s", 90)])
def test_a_time_to_wait_is_seconds_or_a_duration(text: str, seconds: float) -> None:
    """As with kubectl's own --timeout."""
    assert arguments.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "inf", "10 s", "9" * 400, "one"])
def test_what_is_no_time(text: str) -> None:
    """Neither a wait without an end nor a traceback."""
    with pytest.raises(click.BadParameter):
        arguments.seconds(text)


def test_what_is_right_is_taken_as_it_is() -> None:
    """The forms that the help texts name."""
    assert arguments.placed("prompt-operator/blue") == "prompt-operator/blue"
    assert arguments.placed("blue") == "blue"
    assert arguments.address("https://operator.example:8443/base") == "https://operator.example:8443/base"
    assert arguments.HASH(HASHES["1.0.0"]) == HASHES["1.0.0"]
    assert FakeCluster.of(version("1.0.0"), version("2.0.0-rc.1")).run("diff", "greeting", "1.0.0", "2.0.0-rc.1").stdout
