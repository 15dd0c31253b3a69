"""`kubectl prompt rehash`: what it shows, what it writes, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.cluster import HASHES, FakeCluster, prompt, version

from prompt_client import wire

if TYPE_CHECKING:
    from prompt_operator.ports import Manifest

WORDS = ("rehash", "greeting", "1.0.0", "--reason", "typo in the mail address")
ANNOTATIONS = "/metadata/annotations"


def changed(known: str = HASHES["1.0.0"], **spec: Any) -> Manifest:
    """Return a version whose status knows another hash than its content has; an empty one: none yet."""
    return {**version(**spec), "status": {"contentHash": known} if known else {}}


def present() -> str:
    """Return the hash of the content as it is."""
    return wire.content_hash(version()["spec"])


def test_the_present_hash_is_accepted() -> None:
    """Both hashes are shown, and one guarded patch sets the hash with who and why."""
    cluster = FakeCluster.of(prompt(), changed())
    done = cluster.run(*WORDS)
    assert done.exit_code == 0, done.output
    assert f"known:   {HASHES['1.0.0']}\npresent: {present()}\n" in done.stdout
    ((_, name, operations),) = cluster.patches
    assert name == "greeting-1.0.0"
    assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}
    written = {each["path"]: each["value"] for each in operations if each["path"].startswith(f"{ANNOTATIONS}/")}
    assert written == {
        f"{ANNOTATIONS}/promptops.dev~1accepted-hash": present(),
        f"{ANNOTATIONS}/promptops.dev~1accepted-reason": "ada: typo in the mail address",
    }


@pytest.mark.parametrize("known", ["", present()], ids=["not seen yet", "seen as it is now"])
def test_a_version_made_anew_is_compared_with_what_was_served(known: str) -> None:
    """Deleted and created again its status knows nothing else: the Prompt still knows the hash."""
    done = FakeCluster.of(prompt(), changed(known)).run(*WORDS)
    assert f"known:   {HASHES['1.0.0']}\n" in done.stdout


@pytest.mark.parametrize("objects", [[changed(present())], [changed("")]], ids=["as first seen", "never seen"])
def test_what_is_right_already_is_left_alone(objects: list[Manifest]) -> None:
    """Without a mismatch nothing is written, and that is no failure."""
    cluster = FakeCluster.of(*objects)
    done = cluster.run(*WORDS)
    assert (done.exit_code, cluster.patches) == (0, [])
    assert "has the hash it should have" in done.stderr


@pytest.mark.parametrize(
    ("found", "more", "said"),
    [
        (changed(), ("--hash", HASHES["2.0.0"]), f"not {HASHES['2.0.0']}: look at the content again."),
        (changed(contentHash=HASHES["2.0.0"]), (), "spec cannot be changed: release the content under a new version."),
        (changed(variables=[{"name": "x", "default": 2**70}]), (), "has no canonical form"),
    ],
    ids=["another hash by now", "declared otherwise", "no canonical form"],
)
def test_what_cannot_be_accepted_is_refused(found: Manifest, more: tuple[str, ...], said: str) -> None:
    """Nothing is written, and the sentence says what to do instead."""
    cluster = FakeCluster.of(prompt(), found)
    done = cluster.run(*WORDS, *more)
    assert (done.exit_code, cluster.patches) == (1, [])
    assert said in done.stderr
