"""The specs of the versions seen last, by the hash of their content: whoever applies a version activates it next.

The store keeps only digests. With its text here, a version is served without a request for it, which is one of the two
between the change of a Prompt and its ConfigMap. The hash, which the store knows, tells that it is the right text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_client import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOM = 2**20
"""Characters of all contents together: a few hundred versions of the usual size."""


class Texts:
    """A bounded memory; what was kept or found last stays longest.

    Args:
        room: how many characters it holds.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._free = room
        self._kept: dict[str, tuple[Mapping[str, Any], int]] = {}

    def keep(self, content_hash: str, spec: Mapping[str, Any]) -> None:
        """Remember the spec of a PromptVersion under the hash of its content, and forget the oldest."""
        self._drop(content_hash)
        length = sum(len(str(spec.get(member, ""))) for member in wire.HASHED_MEMBERS)
        self._kept[content_hash] = spec, length
        self._free -= length
        while self._free < 0:
            self._drop(next(iter(self._kept)))

    def find(self, content_hash: str) -> Mapping[str, Any] | None:
        """Return the spec of a version with this content; None when it has to be read."""
        found = self._kept.pop(content_hash, None)
        if found is None:
            return None
        self._kept[content_hash] = found
        return found[0]

    def _drop(self, content_hash: str) -> None:
        _, length = self._kept.pop(content_hash, ({}, 0))
        self._free += length
