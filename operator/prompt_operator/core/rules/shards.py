"""Which namespaces, or parts of large ones, are asked about together, so that no answer of Prometheus is huge."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping

_WASTE = 2
"""So many times as many shards as are needed are packed afresh."""


def unit(namespace: str, prompt: str, watched: int, size: int) -> str:
    """Return what a prompt is packed with: its namespace, or a part of it where that has more than `size` prompts.

    The number of parts is a power of two, so that only half of the prompts change theirs when it doubles.
    """
    if watched <= size:
        return namespace
    parts = 1 << (-(-watched // size) - 1).bit_length()
    return f"{namespace}/{crc32(prompt.encode()) % parts}"


def pack(watched: Mapping[str, int], before: Mapping[str, int], size: int) -> dict[str, int]:
    """Return the shard of each unit: together at most `size` prompts, or a single unit that has more.

    A unit keeps its shard as long as that is not over-full: what moves has to be asked for at once. Small ones
    move before large ones. Only when units went away until most shards are half empty, all are packed afresh.

    Args:
        watched: Unit -> number of prompts, at least one.
        before: Unit -> shard, from the last time.
        size: Prompts in a shard, at least one.
    """
    kept = _kept(watched, before, size)
    needed = -(-sum(watched.values()) // size)
    if len(set(kept.values())) > _WASTE * needed:
        kept = {}
    load = Counter[int]()
    for each, shard in kept.items():
        load[shard] += watched[each]
    for each in _largest_first(watched.keys() - kept.keys(), watched):
        shard = _with_room(load, size - watched[each])
        kept[each] = shard
        load[shard] += watched[each]
    return kept


def _kept(watched: Mapping[str, int], before: Mapping[str, int], size: int) -> dict[str, int]:
    """Return the units that stay where they are: of each shard as many as fit, the largest first."""
    members = defaultdict[int, list[str]](list)
    for each in watched.keys() & before.keys():
        members[before[each]].append(each)
    kept = {}
    for shard, together in members.items():
        room = size
        for each in _largest_first(together, watched):
            if watched[each] <= room or room == size:
                kept[each] = shard
                room -= watched[each]
    return kept


def _largest_first(units: set[str] | list[str], watched: Mapping[str, int]) -> list[str]:
    return sorted(units, key=lambda each: (-watched[each], each))


def _with_room(load: Mapping[int, int], most: int) -> int:
    """Return the first shard that holds at most this many, else the lowest number that is free."""
    for shard in sorted(load):
        if load[shard] <= most:
            return shard
    return next(number for number in range(len(load) + 1) if number not in load)
