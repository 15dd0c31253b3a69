"""The sink in the cluster: ConfigMaps of at most 500 KiB, each made immutable when it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_operator.core.audit.chain import lines_of
from prompt_operator.ports import CONFIG_MAP, Conflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from prompt_operator.ports import Cluster, Manifest

MANAGER = "prompt-operator-audit"
LABEL = "promptops.dev/audit-trail"
"""Its value is the name all segments of a trail begin with."""
KEY = "entries.jsonl"
LIMIT = 500 * 1024
"""Bytes of a segment; the API server's limit is 1 MiB for the object."""
READ_BACK = 8
"""Segments that are read at the start: 4 MiB, some thousand entries."""


class SegmentSink:
    """Lines in ConfigMaps `NAME-000001`, `NAME-000002`, …, which no Prompt owns and nothing removes.

    The last one is written to, fenced by its resourceVersion, so that a second writer cannot overwrite it. When the
    answer to a write was lost it is read again, and what it holds already is not written a second time.
    """

    kind = "configMap"

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._last: Manifest | None = None
        self._known = False

    async def read_back(self) -> Sequence[bytes]:
        """Return the lines of the last segments, oldest first."""
        found = [line async for _, lines in self.segments(READ_BACK) for line in lines]
        self._known = True
        return found

    async def segments(self, last: int | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
        """Yield name and lines of each of so many last segments, oldest first; None for all."""
        for name in (await self._names())[-(last or 0) :]:
            self._last = await self._cluster.get(CONFIG_MAP, self._namespace, name)
            yield name, list(lines_of(_text(self._last)))

    async def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines into the last segment; begin a new one where it is full."""
        rest = list(lines)
        if not self._known:
            held = set(await self.read_back())
            rest = [line for line in rest if line not in held]
        self._known = False  # until the answer is here
        while rest:
            text, rest = _filled(self._open_text(), rest)
            self._last = await self._write(text, seal=bool(rest))
        self._known = True

    async def close(self) -> None:
        """There is nothing to close: the last segment stays open for the next writer."""

    def _open_text(self) -> bytes:
        """Return what stands in the segment that can still be written; empty where a new one must begin."""
        return b"" if self._last is None or self._last.get("immutable") else _text(self._last)

    async def _write(self, text: bytes, *, seal: bool) -> Manifest:
        last = self._last
        if last is None or last.get("immutable"):
            name = f"{self._name}-{_number(last) + 1:06d}"
            created = await self._cluster.create(CONFIG_MAP, self._segment({"name": name}, text, seal=seal))
            if created is None:
                raise Conflict(f"ConfigMap {name} was made by somebody else meanwhile")
            return created
        fence = {key: last["metadata"][key] for key in ("name", "uid", "resourceVersion")}
        return await self._cluster.apply(CONFIG_MAP, self._segment(fence, text, seal=seal), manager=MANAGER)

    def _segment(self, metadata: dict[str, Any], text: bytes, *, seal: bool) -> Manifest:
        labels = {LABEL: self._name, "app.kubernetes.io/part-of": "prompt-operator"}
        return {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.kind,
            "metadata": {**metadata, "namespace": self._namespace, "labels": labels},
            "data": {KEY: text.decode()},
            **({"immutable": True} if seal else {}),
        }

    async def _names(self) -> list[str]:
        """Return the names of all segments, in their order; the numbers have equal length for a million of them."""
        listed = self._cluster.list(
            CONFIG_MAP, namespace=self._namespace, labels=f"{LABEL}={self._name}", metadata_only=True
        )
        return sorted([each["metadata"]["name"] async for each in listed])


def _filled(text: bytes, lines: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Add as many lines as a segment has room for; an empty one takes at least one. Return the text and the rest."""
    taken = 0
    for line in lines:
        if text and len(text) + len(line) + 1 > LIMIT:
            break
        text += line + b"\n"
        taken += 1
    return text, lines[taken:]


def _text(segment: Manifest) -> bytes:
    return str((segment.get("data") or {}).get(KEY, "")).encode()


def _number(segment: Manifest | None) -> int:
    return int(segment["metadata"]["name"].rpartition("-")[2]) if segment else 0
