"""`kubectl prompt backup` and `restore`: what the file holds, what is created, what stays out, what is refused."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.cluster import HASHES, RECORD, FakeCluster, at, prompt, record, rolled_back, thing, version

from prompt_operator.cli import options
from prompt_operator.cli.backup import archive
from prompt_operator.cli.backup.archive import Archive
from prompt_operator.ports import EXPERIMENT, PROMPT_POLICY, PROMPT_ROLLBACK, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prompt_operator.ports import Manifest

REQUEST = thing(
    PROMPT_ROLLBACK,
    "please",
    {"promptRef": {"name": "greeting"}, "fromVersion": "2.0.0", "reason": "odd", "requestedBy": "bob"},
    status={"record": RECORD},
)
ALL = (
    thing(PROMPT_POLICY, "default", {"mode": "Active"}),
    version("1.0.0"),
    version("2.0.0"),
    record(status={"outcome": "Recovered"}),
    REQUEST,
    rolled_back(annotations={"team": "shop", "kubectl.kubernetes.io/last-applied-configuration": "{}"}),
    thing(EXPERIMENT, "tone", {"promptRef": {"name": "greeting"}, "type": "ABTest"}),
)


def backed_up(tmp_path: Path, *objects: Manifest) -> str:
    """Back these objects up, and return the file."""
    file = str(tmp_path / "prompts.tar.gz")
    done = FakeCluster.of(*objects).run("backup", "-A", "-o", file)
    assert done.exit_code == 0, done.output
    return file


def restored(file: str, *words: str, **given: Any) -> tuple[FakeCluster, Any]:
    """Restore into an empty cluster; return it and what was said."""
    cluster = FakeCluster(**given)
    return cluster, cluster.run("restore", file, *words)


def test_a_backup_says_what_it_holds_and_is_for_its_owner(tmp_path: Path) -> None:
    """One sentence with counts; the file has mode 0600, and a list with sums, time, source and schema."""
    file = tmp_path / "prompts.tar.gz"
    done = FakeCluster.of(*ALL, prompt(name="other", namespace="elsewhere")).run("backup", "-o", str(file))
    assert done.stdout == (
        f"{file}: 1 promptpolicy, 2 promptversions, 2 promptrollbacks, 1 prompt, 1 experiment, namespace shop. "
        "It holds the text of prompts; mode 0600.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as opened:
        manifest = json.load(opened.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert (manifest["format"], manifest["schema"]) == ("promptops.dev/backup", 1)
    assert (manifest["createdAt"], manifest["source"]) == (at(10), {"server": "https://cluster"})
    assert len(manifest["files"]) == 7
    assert list(tmp_path.iterdir()) == [file], "nothing half written is left"


def test_a_backup_never_replaces_another(tmp_path: Path) -> None:
    """The file that is there may be the one that is needed."""
    file = backed_up(tmp_path, *ALL)
    done = FakeCluster().run("backup", "-o", file)
    assert done.exit_code == 1
    assert "is there already and was left alone" in done.stderr
    assert len(archive.read(file).objects) == len(ALL)


def test_a_backup_where_nothing_can_be_written() -> None:
    """A folder that is not there is told like wrong usage."""
    done = FakeCluster().run("backup", "-o", "/nowhere/prompts.tar.gz")
    assert done.exit_code == 2
    assert "/nowhere/prompts.tar.gz: cannot be written" in done.stderr


def test_a_restore_creates_all_but_requests_in_order(tmp_path: Path) -> None:
    """Policies, versions, records, then Prompts; without status, owners and what kubectl remembers."""
    cluster, done = restored(backed_up(tmp_path, *ALL))
    assert done.exit_code == 0, done.output
    assert [name for _, _, name in cluster.objects] == [
        "default", "greeting-1.0.0", "greeting-2.0.0", RECORD, "greeting", "tone",
    ]  # fmt: skip
    assert not any("status" in each for each in cluster.objects.values())
    assert cluster.objects["Prompt", "shop", "greeting"]["metadata"]["annotations"] == {"team": "shop"}
    assert cluster.objects["PromptRollback", "shop", RECORD]["spec"] == record()["spec"]
    assert f"a request is not made again; its answer is record {RECORD}" in done.stdout
    assert done.stderr == "6 created, 0 there and equal, 0 there and different, 1 left out, 0 failed.\n"


def test_a_second_restore_changes_nothing(tmp_path: Path) -> None:
    """What is there and equal is counted; what differs is named and left."""
    file = backed_up(tmp_path, *ALL)
    cluster, _ = restored(file)
    cluster.objects["PromptVersion", "shop", "greeting-2.0.0"]["spec"]["text"] = "Other."
    done = cluster.run("restore", file)
    assert done.stderr == "0 created, 5 there and equal, 1 there and different, 1 left out, 0 failed.\n"
    assert "delete it and restore again" in done.stdout
    assert cluster.objects["PromptVersion", "shop", "greeting-2.0.0"]["spec"]["text"] == "Other."


def test_a_dry_run_creates_nothing(tmp_path: Path) -> None:
    """It says what would be done, for programs one entry per object."""
    cluster, done = restored(backed_up(tmp_path, *ALL), "--dry-run", "-o", "json")
    assert cluster.objects == {}
    assert done.stderr.startswith("Would be: 6 created")
    assert {entry["result"] for entry in json.loads(done.stdout)} == {"created", "left out"}


def test_without_the_record_the_prompt_stays_out(tmp_path: Path) -> None:
    """Who may not restore records gets no Prompt that would activate what they hold; the rest is restored."""
    why = "decision is for the operator: needs the verb restore on promptrollbacks"
    cluster, done = restored(backed_up(tmp_path, *ALL), refused={RECORD: why})
    assert done.exit_code == 1
    assert why in done.stdout
    assert "the record that holds 2.0.0 is not there" in done.stdout
    assert "tar -xzOf" in done.stdout
    assert "objects/shop/Prompt/greeting.json" in done.stdout
    assert ("Prompt", "shop", "greeting") not in cluster.objects
    assert ("PromptVersion", "shop", "greeting-2.0.0") in cluster.objects


def test_a_record_that_status_does_not_know_yet_counts_too(tmp_path: Path) -> None:
    """The operator was down when the backup was taken: the record alone says what is held."""
    file = backed_up(tmp_path, record(), rolled_back(status={"held": []}))
    cluster, _ = restored(file, refused={RECORD: "no"})
    assert cluster.objects == {}


def test_a_hold_without_a_record_is_told_at_the_backup(tmp_path: Path) -> None:
    """Its record was deleted: only status remembers, and status is not restored."""
    file = str(tmp_path / "prompts.tar.gz")
    done = FakeCluster.of(rolled_back()).run("backup", "-o", file)
    assert "greeting: 2.0.0 is held without a record, which restore cannot bring back." in done.stderr


@pytest.mark.parametrize("changes", [{"decision": "Refused"}, {"decision": "DryRun"}, {"release": {"by": "a"}}])
def test_what_holds_nothing_keeps_no_prompt_out(tmp_path: Path, changes: Mapping[str, Any]) -> None:
    """A refusal, a dry run or a released record that cannot be restored is no reason to leave the Prompt out."""
    file = backed_up(tmp_path, record(**changes), prompt("2.0.0"))
    cluster, _ = restored(file, refused={RECORD: "no"})
    assert ("Prompt", "shop", "greeting") in cluster.objects


def test_a_content_that_was_changed_is_not_laundered(tmp_path: Path) -> None:
    """A version that did not verify when it was backed up would be seen for the first time as it is now."""
    file = backed_up(tmp_path, {**version(), "status": {"contentHash": HASHES["1.0.0"]}})
    cluster, done = restored(file)
    assert (cluster.objects, done.exit_code) == ({}, 1)
    assert "was not the one first seen or declared" in done.stdout


def test_a_restore_into_another_namespace(tmp_path: Path) -> None:
    """-n is where to; with several namespaces in the file --from says which one is meant."""
    file = backed_up(tmp_path, *ALL, prompt(name="other", namespace="elsewhere"))
    _, done = restored(file, "-n", "new")
    assert done.exit_code == 1
    assert "several namespaces (elsewhere, shop), -n is one: choose with --from" in done.stderr
    cluster, _ = restored(file, "-n", "new", "--from", "shop")
    assert {(namespace) for _, namespace, _ in cluster.objects} == {"new"}
    assert ("Prompt", "new", "greeting") in cluster.objects
    assert "nothing of that namespace" in restored(file, "--from", "gone")[1].stderr


def test_a_server_that_does_not_answer_is_told_per_object(tmp_path: Path) -> None:
    """Nothing is hidden by the first failure, and the exit status says that something is missing."""
    _, done = restored(backed_up(tmp_path, version()), failing=Unavailable("POST PromptVersion: no answer"))
    assert done.exit_code == 1
    assert "POST PromptVersion: no answer" in done.stdout


def cut(raw: bytes) -> bytes:
    """Half of it."""
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    """One bit of the content."""
    unpacked = bytearray(gzip.decompress(raw))
    unpacked[unpacked.index(b"Greet")] ^= 1
    return gzip.compress(bytes(unpacked))


def added(raw: bytes) -> bytes:
    """A member that the list does not name."""
    content = io.BytesIO(gzip.decompress(raw))
    with tarfile.open(fileobj=content, mode="a") as opened:
        opened.addfile(tarfile.TarInfo("objects/x.json"))
    return gzip.compress(content.getvalue())


@pytest.mark.parametrize("damage", [cut, flipped, added, lambda _: b"", lambda raw: gzip.decompress(raw)[:700]])
def test_a_damaged_file_is_refused_as_a_whole(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Nothing is created from a file that is not what was written."""
    file = tmp_path / "damaged.tar.gz"
    file.write_bytes(damage(Path(backed_up(tmp_path, *ALL)).read_bytes()))
    cluster, done = restored(str(file))
    assert (done.exit_code, cluster.objects) == (2, {})
    assert "this is no whole backup, nothing was restored" in done.stderr


def test_a_file_of_a_newer_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its schema, whatever else it holds."""
    file = str(tmp_path / "newer.tar.gz")
    monkeypatch.setattr(archive, "SCHEMA", 2)
    archive.write(Archive(at(0), "kubectl-prompt 9.0.0", "https://cluster", (version(),)), file)
    monkeypatch.undo()
    cluster, done = restored(file)
    assert (done.exit_code, cluster.objects) == (2, {})
    assert "written by kubectl-prompt 9.0.0 in schema 2, this kubectl-prompt reads schema 1" in done.stderr


def test_people_are_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal; not for a dry run."""
    file = backed_up(tmp_path, *ALL)
    monkeypatch.setattr(options, "_on_terminal", lambda: True)
    cluster, done = restored(file)
    assert (done.exit_code, cluster.objects) == (1, {})
    assert f"Create what is missing of 7 objects of {at(10)}, from https://cluster?" in done.stderr
    assert restored(file, "--dry-run")[1].exit_code == 0


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    """What is missing is told in words, not by a number of the operating system."""
    missing = tmp_path / "none" / "b.tar.gz"
    read = FakeCluster().run("restore", str(missing))
    assert (read.exit_code, read.stderr) == (2, f"Error: {missing}: cannot be read: No such file or directory.\n")
    written = FakeCluster.of(prompt()).run("backup", "-o", str(missing))
    assert written.exit_code == 2
    assert written.stderr == f"Error: {missing}: cannot be written: No such file or directory.\n"
