"""Stands in for kubelet, which the local control plane does not have: keeps a folder equal to a ConfigMap."""

import base64
import threading
import time
from pathlib import Path

from devcluster.atomicwriter import publish
from devcluster.cluster import Cluster
from devcluster.watch import Json, ObjectWatch


class MountEmulator:
    """Publishes one ConfigMap into `folder` as kubelet mounts it.

    As with kubelet, a ConfigMap that is absent at first gives an empty folder, and one that is deleted later leaves
    the last content in place. `propagation` is the delay in seconds between a change and its publication; changes
    within it are published together, as the latest state.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, folder: Path, *, propagation: float = 0.0) -> None:
        self.folder = folder
        self.propagation = propagation
        self._news = threading.Condition()
        self._latest: Json | None = None
        self._due: float | None = None  # monotonic time at which the latest state is to be published
        self._published: str | None = None
        self._stopping = False
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.watch = ObjectWatch(cluster.url, cluster.ca_file, cluster.admin_token, path, name, self._changed)
        self._publisher = threading.Thread(target=self._run, name=f"mount-{name}", daemon=True)

    def start(self) -> "MountEmulator":
        """Make the folder and begin to follow the ConfigMap."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._publisher.start()
        self.watch.start()
        return self

    def stop(self) -> None:
        """End the watch and the threads; the folder stays as it is."""
        self.watch.stop()
        with self._news:
            self._stopping = True
            self._news.notify_all()
        self._publisher.join(10)

    @property
    def published(self) -> str | None:
        """The resourceVersion whose content the folder has, None before the first."""
        with self._news:
            return self._published

    def wait_published(self, resource_version: str, timeout: float = 60.0) -> bool:
        """Wait until the folder has this resourceVersion or a later one; False after `timeout` seconds without."""
        wanted = int(resource_version)
        with self._news:
            return self._news.wait_for(lambda: self._published is not None and int(self._published) >= wanted, timeout)

    def _changed(self, config_map: Json | None) -> None:
        with self._news:
            if config_map is None:
                self._latest = None  # deleted: what is mounted stays
                return
            self._latest = config_map
            if self._due is None:
                self._due = time.monotonic() + self.propagation
            self._news.notify_all()

    def _run(self) -> None:
        while (config_map := self._next()) is not None:
            publish(self.folder, payload(config_map))
            with self._news:
                self._published = config_map["metadata"]["resourceVersion"]
                self._news.notify_all()

    def _next(self) -> Json | None:
        """Wait for a state that is due; None when stopped."""
        with self._news:
            while not self._stopping:
                left = None if self._due is None else self._due - time.monotonic()
                if left is not None and left <= 0:
                    self._due = None
                    if self._latest is not None:
                        return self._latest
                    continue
                self._news.wait(left)
        return None


def payload(config_map: Json) -> dict[str, bytes]:
    """The files of a ConfigMap: `data` as UTF-8, `binaryData` decoded."""
    text = {name: value.encode() for name, value in (config_map.get("data") or {}).items()}
    return text | {name: base64.b64decode(value) for name, value in (config_map.get("binaryData") or {}).items()}
