"""From a person's request to the ConfigMap of the version before, and from the decision to it; rollback by rollback."""

import threading
import time
from dataclasses import dataclass, field

from devcluster.bench import load
from devcluster.bench.api import GROUP, Api
from devcluster.cluster import Cluster
from devcluster.errors import DevError
from devcluster.watch import Json, ObjectWatch

_PATIENCE = 30.0  # seconds for one switch
_PROMPT = "returning"


@dataclass
class Switches:
    """When a prompt's status and its ConfigMap first told of each version, on watches of both."""

    news: threading.Condition = field(default_factory=threading.Condition)
    decided: tuple[str, float] = ("", 0.0)
    """Active version of the status, and the monotonic instant at which it was seen."""
    switched: tuple[str, float] = ("", 0.0)
    """The same of the ConfigMap."""

    def prompt(self, prompt: Json | None) -> None:
        """Take in the Prompt."""
        with self.news:
            self.decided = _changed(self.decided, ((prompt or {}).get("status") or {}).get("activeVersion", ""))
            self.news.notify_all()

    def config_map(self, config_map: Json | None) -> None:
        """Take in the ConfigMap."""
        with self.news:
            self.switched = _changed(self.switched, ((config_map or {}).get("data") or {}).get("version", ""))
            self.news.notify_all()

    def wait(self, version: str) -> None:
        """Wait until both tell of a version."""
        with self.news:
            if not self.news.wait_for(lambda: self.decided[0] == self.switched[0] == version, _PATIENCE):
                raise DevError(f"Version {version} was not active and served within {_PATIENCE:.0f} seconds.")


def _changed(before: tuple[str, float], version: str) -> tuple[str, float]:
    return before if before[0] == version else (version, time.monotonic())


def measure(cluster: Cluster, api: Api, namespace: str, count: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds from request to ConfigMap, and those from decision to ConfigMap.

    Each rollback leaves a version of its own, since what was rolled back is held.
    """
    api.create(*load.version(namespace, _PROMPT, 0))
    seen = Switches()
    access = cluster.url, cluster.ca_file, cluster.admin_token
    prompts, config_maps = f"/{GROUP}/namespaces/{namespace}/prompts", f"/api/v1/namespaces/{namespace}/configmaps"
    watches = (
        ObjectWatch(*access, prompts, _PROMPT, seen.prompt),
        ObjectWatch(*access, config_maps, f"prompt-{_PROMPT}", seen.config_map),
    )
    for watch in watches:
        watch.start()
    try:
        _serve(api, namespace, 0, seen)
        times = [_one(api, namespace, number, seen) for number in range(1, count + 1)]
    finally:
        for watch in watches:
            watch.stop()
    return [asked for asked, _ in times], [decided for _, decided in times]


def _serve(api: Api, namespace: str, number: int, seen: Switches) -> None:
    path = f"{GROUP}/namespaces/{namespace}/prompts/{_PROMPT}"
    api.apply(path, load.prompt(namespace, _PROMPT, number))
    seen.wait(f"1.{number}.0")


def _one(api: Api, namespace: str, number: int, seen: Switches) -> tuple[float, float]:
    api.create(*load.version(namespace, _PROMPT, number))
    _serve(api, namespace, number, seen)
    began = time.monotonic()
    api.create(*load.request(namespace, _PROMPT, number))
    seen.wait("1.0.0")
    switched = seen.switched[1]
    return (switched - began) * 1000, max(switched - seen.decided[1], 0.0) * 1000
