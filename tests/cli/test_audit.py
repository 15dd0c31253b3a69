"""`kubectl prompt audit` on files: the three exit statuses, where a trail breaks, and the table of replays."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.core.audit.test_chain import ANCHORS, LINES, resealed
from tests.core.audit.trails import A, B, an_entry
from tests.core.builders import V1, V2, a_case, a_reading, after

from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.cli.main import main
from prompt_operator.core.audit.chain import Head, genesis, link
from prompt_operator.core.audit.entry import Verb
from prompt_operator.core.audit.held import Anchored, anchor_data
from prompt_operator.core.audit.inputs import inputs_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from prompt_operator.cli.session import Session, Target


@asynccontextmanager
async def nowhere(target: Target) -> AsyncIterator[Session]:
    """Stand for a machine without a kubeconfig."""
    raise NoCredentials(f"no kubeconfig for {target}")
    yield  # pragma: no cover


def run(*words: str, given: bytes = b"") -> Result:
    """Run the command without a cluster."""
    return CliRunner().invoke(main, ["audit", *words], input=given, obj=nowhere)


WHOLE = "10 entries of 2 writers: whole, each in its place."


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A whole trail of two writers."""
    return written(tmp_path / "audit.jsonl", LINES)


def written(path: Path, lines: list[bytes]) -> Path:
    """Write a log."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def anchored(folder: Path, heads: Mapping[str, Head], sink: str = "") -> str:
    """Write an anchor's ConfigMap and return the option that names it."""
    path = folder / "anchor.json"
    data = anchor_data(Anchored(head, sink, after()) for head in heads.values())
    path.write_text(json.dumps({"kind": "ConfigMap", "data": data}), "utf-8")
    return f"--anchor-file={path}"


def test_a_whole_anchored_trail_is_zero(log: Path, tmp_path: Path) -> None:
    """No cluster is asked where the anchor is given."""
    found = run("verify", str(log), anchored(tmp_path, ANCHORS))
    assert (found.exit_code, found.output) == (0, f"{WHOLE}\nThe end is anchored: seq 4 of {B}.\n")


def test_a_broken_trail_is_one_and_says_where(log: Path, tmp_path: Path) -> None:
    """Seq, what was expected and what was found."""
    written(log, [*LINES[:6], resealed(LINES[6], actor="mallory"), *LINES[7:]])
    found = run("verify", str(log), anchored(tmp_path, ANCHORS))
    assert found.exit_code == 1
    place = f"{log} line 8, seq 2 of {B}"
    assert found.output.startswith(f"Error: The audit trail is broken at {place}: expected prev sha256:")


def test_an_unanchored_tail_is_two(log: Path, tmp_path: Path) -> None:
    """Whole, but entries came after the anchor: nobody vouches for them."""
    found = run("verify", str(log), anchored(tmp_path, {A: ANCHORS[A]}))
    assert found.exit_code == 2
    assert f"Not vouched for: 5 entries of {B} up to seq 4 are not anchored.\n" in found.output


def test_a_trail_of_which_nothing_is_left_is_broken(tmp_path: Path) -> None:
    """An empty file is not whole: the anchor names what was in it. Only a beginning that was moved may be all of it."""
    empty = written(tmp_path / "empty.jsonl", [])
    found = run("verify", str(empty), anchored(tmp_path, ANCHORS, sink="file"))
    assert found.exit_code == 1
    assert "broken at the anchor" in found.output
    assert run("verify", str(empty), "--partial", anchored(tmp_path, ANCHORS, sink="file")).exit_code == 2


def test_without_a_cluster_nothing_vouches_for_the_end(log: Path) -> None:
    """The anchor cannot be read; the chain is checked all the same, and what to do is said."""
    found = run("verify", str(log))
    assert found.exit_code == 2
    assert "The anchor cannot be read (no kubeconfig for" in found.output
    written(log, LINES[1:])
    assert run("verify", str(log)).exit_code == 1


def test_several_files_and_standard_input_are_one_trail(tmp_path: Path) -> None:
    """A rotated file and the present one; of container logs only the entries count where that is asked for."""
    old = written(tmp_path / "audit.jsonl.1", LINES[:3])
    mixed = b"".join(b'{"level":"info"}\n' + line + b"\n" for line in LINES[3:])
    anchor = anchored(tmp_path, ANCHORS)
    assert run("verify", str(old), "-", "--logs", anchor, given=mixed).exit_code == 0
    assert run("verify", str(old), "-", anchor, given=mixed).exit_code == 1
    assert run("verify", "-", "--logs", "--partial", anchor, given=mixed).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replay", "missing.jsonl"), "Cannot read missing.jsonl: No such file or directory."),
        (("verify", "-", "--anchor-file=missing.json"), "Cannot read missing.json"),
        (("verify", "--from-cluster"), "No cluster: no kubeconfig for"),
    ],
)
def test_a_trail_that_cannot_be_read_is_three(words: tuple[str, ...], said: str) -> None:
    """Neither whole nor broken: whoever watches the exit status is not told of tampering."""
    found = run(*words)
    assert (found.exit_code, said in found.output) == (3, True)


def test_wrong_usage_says_what_would_be_right() -> None:
    """Neither files nor the cluster are named."""
    assert "Name one or more FILEs, or use --from-cluster." in run("verify").output


def a_decision(**changed: str) -> bytes:
    """Return the line of a rollback; `changed` are members of its inputs."""
    inputs = {
        **inputs_of(a_case(), a_reading()),
        "record": {"fromVersion": V2, "toVersion": V1},
        **changed,
    }
    entry = an_entry("greeting-20261121t140000z-0123abcd", verb=Verb.ROLLBACK, inputs=inputs)
    return link(entry, genesis(A), after())[0]


def test_a_trail_without_decisions_says_so(log: Path) -> None:
    """Releases alone have no verdict."""
    found = run("replay", str(log))
    assert (found.exit_code, found.stdout, found.stderr) == (0, "", "There is no decision in it.\n")


def test_replay_shows_both_verdicts(tmp_path: Path) -> None:
    """The same: exit status 0. Another one, because somebody changed what was recorded: 1."""
    same = run("replay", str(written(tmp_path / "same", [*LINES, a_decision()])))
    assert same.exit_code == 0
    assert same.stdout.splitlines()[1:] == ["greeting-20261121t140000z-0123abcd   2.0.0 -> 1.0.0   2.0.0 -> 1.0.0"]
    other = run("replay", str(written(tmp_path / "other", [a_decision(auto="Disabled")])))
    assert other.exit_code == 1
    assert "2.0.0 -> 1.0.0   AutoRollbackDisabled" in other.stdout
    assert other.stderr == "1 decision: 1 with another verdict, 0 that cannot be made again.\n"
