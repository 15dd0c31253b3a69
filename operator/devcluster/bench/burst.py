"""Many prompts changed at once: how fast their ConfigMaps follow, against a bare client that writes the same ones."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime

from devcluster.bench import load
from devcluster.bench.api import Api
from devcluster.bench.audit import AuditLog
from devcluster.bench.places import places
from devcluster.errors import DevError
from devcluster.watch import Json

_PATIENCE = 600.0  # seconds
_BARE = "bench-bare"


def measure(api: Api, audit: AuditLog, operator: int, prompts: int) -> dict[str, float]:
    """Have the operator (by its process id) find version 1.1.0 asked for everywhere, and tell both rates per second.

    It stands still while the prompts are changed, so that all are changed at once and nobody shares its processor time.
    """
    with _standing_still(operator):
        api.apply_all(load.changes(places(prompts, load.SPREAD)))
        audit.mark()
        began = time.time()
    deadline = time.monotonic() + _PATIENCE
    while audit.writes()["patch configmaps"] < prompts:
        if time.monotonic() > deadline:
            raise DevError(f"Within {_PATIENCE:.0f} s not all of {prompts} ConfigMaps followed.")
        time.sleep(0.5)
    took = max(_instants(audit)) - began
    bare = _bare(api, prompts)
    return {
        "projected_per_s": round(prompts / took, 1),
        "bare_per_s": round(prompts / bare, 1),
        "share_percent": round(bare / took * 100, 1),
    }


@contextlib.contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _instants(audit: AuditLog) -> Iterator[float]:
    """Yield when each ConfigMap was written, in Unix seconds."""
    for event in audit.events():
        if event["objectRef"].get("resource") == "configmaps":
            yield datetime.fromisoformat(event["stageTimestamp"]).timestamp()


def _bare(api: Api, prompts: int) -> float:
    """Return the seconds in which the same ConfigMaps, already there, are changed under other names."""
    load.make_namespace(api, _BARE)
    served = [
        config_map
        for namespace in load.namespaces()
        for config_map in api.list(f"api/v1/namespaces/{namespace}/configmaps")
        if "prompt.json" in config_map.get("data", {})
    ][:prompts]
    api.apply_all(_copy(each, "before") for each in served)
    began = time.monotonic()
    api.apply_all(_copy(each, "after") for each in served)
    return time.monotonic() - began


def _copy(config_map: Json, version: str) -> tuple[str, Json]:
    name = config_map["metadata"]["name"]
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": _BARE},
        "data": {**config_map["data"], "version": version},
    }
    return f"api/v1/namespaces/{_BARE}/configmaps/{name}", manifest
