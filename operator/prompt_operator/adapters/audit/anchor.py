"""The anchor: a ConfigMap that keeps the head of each writer's chain, apart from the trail itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.audit.held import anchor_data, anchors_of
from prompt_operator.ports import CONFIG_MAP, NotFound

if TYPE_CHECKING:
    from prompt_operator.core.audit.held import Anchored
    from prompt_operator.ports import Cluster

MANAGER = "prompt-operator-audit-anchor"
_KEPT = 16
"""Writers whose heads stay; that of an older one is named by the takeover after it."""


class Anchor:
    """One ConfigMap, written under a field manager of its own, so that whoever guards it can tell who changed it."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._others: tuple[Anchored, ...] | None = None

    async def read(self) -> tuple[Anchored, ...]:
        """Return the anchors, oldest first; none before the first one was written."""
        try:
            manifest = await self._cluster.get(CONFIG_MAP, self._namespace, self._name)
        except NotFound:
            manifest = {}
        self._others = anchors_of(manifest.get("data") or {})
        return self._others

    async def write(self, head: Anchored) -> None:
        """Keep a head beside those of the writers before."""
        known = await self.read() if self._others is None else self._others
        others = [each for each in known if each.head.writer != head.head.writer][1 - _KEPT :]
        body = {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.kind,
            "metadata": {
                "namespace": self._namespace,
                "name": self._name,
                "labels": {"app.kubernetes.io/part-of": "prompt-operator"},
            },
            "data": anchor_data([*others, head]),
        }
        await self._cluster.apply(CONFIG_MAP, body, manager=MANAGER)
