"""Packing namespaces into shards."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.rules.shards import pack, unit

SIZE = 10
watched = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 15), max_size=10)


@given(watched, watched)
def test_no_shard_is_over_full(first: dict[str, int], then: dict[str, int]) -> None:
    """Whatever comes, grows and goes: every namespace has a shard, and only one that is alone may be over the size."""
    packed = pack(then, pack(first, {}, SIZE), SIZE)
    assert packed.keys() == then.keys()
    members, load = Counter(packed.values()), Counter[int]()
    for namespace, shard in packed.items():
        load[shard] += then[namespace]
    assert all(load[shard] <= SIZE or members[shard] == 1 for shard in load)


@given(watched, watched)
def test_there_are_never_many_more_shards_than_needed(first: dict[str, int], then: dict[str, int]) -> None:
    """Shards that lost most of their namespaces are given up: at most about twice as many as full ones would be."""
    packed = pack(then, pack(first, {}, SIZE), SIZE)
    needed = -(-sum(then.values()) // SIZE)
    assert len(set(packed.values())) <= 2 * needed + 1


@given(watched)
def test_nothing_moves_without_need(counts: dict[str, int]) -> None:
    """The same namespaces stay where they are, also when each has a prompt less."""
    before = pack(counts, {}, SIZE)
    assert pack(counts, before, SIZE) == before
    fewer = {namespace: max(count - 1, 1) for namespace, count in counts.items()}
    if len(set(before.values())) <= 2 * -(-sum(fewer.values()) // SIZE):
        assert pack(fewer, before, SIZE) == before


def test_a_namespace_that_is_too_large_is_alone() -> None:
    """It has a shard of its own, and the others share one beside it."""
    packed = pack({"large": 25, "a": 3, "b": 4}, {}, SIZE)
    assert packed["a"] == packed["b"] != packed["large"]


def test_of_an_over_full_shard_the_smallest_moves() -> None:
    """The largest keep their shard: the least has to be asked for anew."""
    before = pack({"a": 5, "b": 4, "c": 1}, {}, SIZE)
    assert len(set(before.values())) == 1
    after = pack({"a": 5, "b": 5, "c": 1}, before, SIZE)
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    assert after["c"] != before["c"]


def test_a_namespace_is_packed_as_one_until_it_has_too_many_prompts() -> None:
    """Beyond the size its prompts spread over parts of about equal load, none of them far over the size."""
    assert unit("shop", "bot", SIZE, SIZE) == "shop"
    parts = Counter(unit("shop", f"bot-{number}", 10_000, 500) for number in range(10_000))
    assert len(parts) == 32
    assert max(parts.values()) < 500


def test_most_prompts_keep_their_part_when_a_namespace_grows() -> None:
    """When the number of parts doubles, a prompt stays in its part or moves to the new one that goes with it."""
    for number in range(100):
        before, after = (int(unit("shop", f"bot-{number}", count, SIZE).partition("/")[2]) for count in (40, 41))
        assert after % 4 == before
