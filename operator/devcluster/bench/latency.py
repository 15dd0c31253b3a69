"""From the apply of a Prompt to its new ConfigMap on a watch, change by change."""

import statistics
import threading
import time
from collections.abc import Sequence

from devcluster.bench import load
from devcluster.bench.api import GROUP, Api
from devcluster.cluster import Cluster
from devcluster.errors import DevError
from devcluster.watch import Json, ObjectWatch

_PAUSE = 0.1  # seconds before a change, so that none waits for the status that the one before brings with it
_PATIENCE = 30.0  # seconds for one change


class Stopwatch:
    """Changes one prompt's version to and fro, and waits for each to be seen on a watch of its ConfigMap."""

    def __init__(self, cluster: Cluster, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._prompt = f"{GROUP}/namespaces/{namespace}/prompts/changing"
        self._news = threading.Condition()
        self._version, self._at = "", 0.0
        collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._watch = ObjectWatch(
            cluster.url, cluster.ca_file, cluster.admin_token, collection, "prompt-changing", self._seen
        )
        for number in (0, 1):
            api.create(*load.version(namespace, "changing", number))

    def measure(self, changes: int) -> list[float]:
        """Return the milliseconds of each change; one after the other, the first two are not counted."""
        self._watch.start()
        try:
            times = [self._change(number % 2) for number in range(changes + 2)]
        finally:
            self._watch.stop()
        return times[2:]

    def _change(self, number: int) -> float:
        time.sleep(_PAUSE)
        began = time.monotonic()
        self._api.apply(self._prompt, load.prompt(self._namespace, "changing", number))
        wanted = f"1.{number}.0"
        with self._news:
            if not self._news.wait_for(lambda: self._version == wanted, _PATIENCE):
                raise DevError(f"The ConfigMap did not change within {_PATIENCE:.0f} seconds.")
            return (self._at - began) * 1000

    def _seen(self, config_map: Json | None) -> None:
        now = time.monotonic()
        with self._news:
            self._version, self._at = ((config_map or {}).get("data") or {}).get("version", ""), now
            self._news.notify_all()


def summary(times: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest, in milliseconds."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "p50": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(times), 1),
    }
