"""Builders of what the operator publishes, and a kubelet for one folder."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devcluster import atomicwriter
from prompt_client import wire

DEADLINE_SECONDS = 60.0


def entry(**members: Any) -> dict[str, Any]:
    """One entry of `versions` with the hash that belongs to it."""
    return {"hash": wire.content_hash(members), **members}


def document(versions: Mapping[str, Mapping[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A valid `prompt.json` with the given members replaced."""
    versions = {"1.0.0": entry(text="Hello {{ name }}.")} if versions is None else versions
    return {
        "apiVersion": wire.API_VERSION,
        "prompt": {"namespace": "prod", "name": "greeting"},
        "revision": 1,
        "mode": "Active",
        "active": next(iter(versions), None),
        "versions": versions,
        "allocation": None,
        "shadow": None,
        **changes,
    }


def files(prompt: Mapping[str, Any]) -> dict[str, bytes]:
    """The keys of the ConfigMap that belong to a `prompt.json`."""
    keys = {"prompt.json": json.dumps(prompt), "mode": prompt["mode"]}
    active = prompt["versions"].get(prompt["active"])
    if active and prompt["mode"] == "Active":
        keys |= {"prompt.txt": active.get("text", ""), "version": prompt["active"], "hash": active["hash"]}
    return {name: content.encode() for name, content in keys.items()}


class Kubelet:
    """Publishes ConfigMaps below one root as kubelet mounts them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, prompt: Mapping[str, Any], name: str = "greeting") -> None:
        """Publish a `prompt.json` and the keys that go with it."""
        self.publish_files(files(prompt), name)

    def publish_files(self, payload: Mapping[str, bytes], name: str = "greeting") -> None:
        """Publish the keys as they are."""
        atomicwriter.publish(self.root / name, payload)

    def publish_text(self, version: str, text: str, revision: int = 1) -> None:
        """Publish a prompt of one version."""
        self.publish(document({version: entry(text=text)}, revision=revision))


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll a condition until it holds; fail after a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:g} s: {what}"
        time.sleep(0.005)
