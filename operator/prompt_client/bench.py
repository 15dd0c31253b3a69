"""The client's two figures in CONTRACT section 9, for `./operator/dev bench`."""

from __future__ import annotations

import json
import tempfile
import timeit
from pathlib import Path

from prompt_client import wire
from prompt_client.client import Client


def microseconds(rounds: int = 20_000) -> dict[str, float]:
    """Return microseconds per call of a warm `get` and of an `assignment` with two UUIDs; the best of five runs."""
    identifier = "0d9f4c1e-6a55-4b0e-9d8e-5c1f2f3a7b10"
    with tempfile.TemporaryDirectory() as root, Client(root, reload="off") as client:
        _publish(Path(root))
        client.get("greeting")
        calls = {"get": lambda: client.get("greeting"), "assignment": lambda: wire.bucket(identifier, identifier)}
        return {name: min(timeit.repeat(call, repeat=5, number=rounds)) / rounds * 1e6 for name, call in calls.items()}


def _publish(root: Path) -> None:
    content = {"text": "Hello."}
    document = {
        "apiVersion": wire.API_VERSION,
        "prompt": {"namespace": "bench", "name": "greeting"},
        "revision": 1,
        "mode": wire.MODE_ACTIVE,
        "active": "1.0.0",
        "versions": {"1.0.0": {"hash": wire.content_hash(content), **content}},
    }
    (root / "greeting").mkdir()
    (root / "greeting" / wire.PROMPT_JSON).write_text(json.dumps(document))
