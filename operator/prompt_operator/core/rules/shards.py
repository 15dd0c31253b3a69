"""Which namespaces are asked about together, so that no answer of Prometheus is huge."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WASTE = 2
"""So many times as many shards as are needed are packed afresh."""


def pack(watched: Mapping[str, int], before: Mapping[str, int], size: int) -> dict[str, int]:
    """Return the shard of each namespace: together at most `size` prompts, or a single namespace that has more.

    A namespace keeps its shard as long as that is not over-full: what moves has to be asked for at once. Small ones
    move before large ones. Only when namespaces went away until most shards are half empty, all are packed afresh.

    Args:
        watched: Namespace -> number of prompts, at least one.
        before: Namespace -> shard, from the last time.
        size: Prompts in a shard, at least one.
    """
    kept = _kept(watched, before, size)
    needed = -(-sum(watched.values()) // size)
    if len(set(kept.values())) > _WASTE * needed:
        kept = {}
    load = Counter[int]()
    for namespace, shard in kept.items():
        load[shard] += watched[namespace]
    for namespace in _largest_first(watched.keys() - kept.keys(), watched):
        shard = _with_room(load, size - watched[namespace])
        kept[namespace] = shard
        load[shard] += watched[namespace]
    return kept


def _kept(watched: Mapping[str, int], before: Mapping[str, int], size: int) -> dict[str, int]:
    """Return the namespaces that stay where they are: of each shard as many as fit, the largest first."""
    members = defaultdict[int, list[str]](list)
    for namespace in watched.keys() & before.keys():
        members[before[namespace]].append(namespace)
    kept = {}
    for shard, together in members.items():
        room = size
        for namespace in _largest_first(together, watched):
            if watched[namespace] <= room or room == size:
                kept[namespace] = shard
                room -= watched[namespace]
    return kept


def _largest_first(namespaces: set[str] | list[str], watched: Mapping[str, int]) -> list[str]:
    return sorted(namespaces, key=lambda namespace: (-watched[namespace], namespace))


def _with_room(load: Mapping[int, int], most: int) -> int:
    """Return the first shard that holds at most this many, else the lowest number that is free."""
    for shard in sorted(load):
        if load[shard] <= most:
            return shard
    return next(number for number in range(len(load) + 1) if number not in load)
