"""The content hash and the assignment: values that must never change once published."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_client import wire

FULL: dict[str, Any] = {
    "messages": [{"role": "System", "content": "Be brief."}, {"role": "User", "content": "{{ question }}"}],
    "engine": "Jinja2",
    "variables": [{"name": "question", "required": True, "maxLength": 2000}],
    "model": {"provider": "openai", "name": "gpt", "temperature": "0.2", "maxTokens": 400, "stop": ["END"]},
    "outputSchema": '{"type":"object"}',
    "includes": [{"promptRef": {"name": "tone"}, "version": "1.0.0"}],
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"text": "Greet {{ name }} in one sentence."},
            "6a693bdd62c9a982dbb0b7c1903886b399a9cbbf91bb31e4e2996d9e3f4ee2b7",
        ),
        ({"text": "Grüße 😀"}, "1c98e4cc78e40f5b81f9f979221705d4649b8bc235a27f3475b7d1449867f390"),
        (FULL, "0f9c29d5252e6666ae719a552d1c6565155d5633ae90f154c9327b2d1c8cea75"),
    ],
)
def test_published_hashes_never_change(spec: dict[str, Any], expected: str) -> None:
    """Hashes are kept in status and in records for years: these are pinned to the digit."""
    assert wire.content_hash(spec) == f"sha256:{expected}"


def test_the_framing_is_tag_newline_canonical_json() -> None:
    """The hashed bytes are as documented, so that anyone can recompute them with sha256sum."""
    import hashlib

    framed = b'promptops.dev/hash/v1\n{"text":"Hello."}'
    assert wire.content_hash({"text": "Hello."}) == f"sha256:{hashlib.sha256(framed).hexdigest()}"


@pytest.mark.parametrize(
    "said_explicitly",
    [
        {"engine": "Simple"},
        {"variables": []},
        {"model": {}},
        {"model": {"stop": [], "extra": []}},
        {"model": None, "outputSchema": None, "messages": None},
        {"includes": []},
    ],
)
def test_default_valued_and_empty_members_equal_absent_ones(said_explicitly: dict[str, Any]) -> None:
    """A default or an optional member added to the API later changes no hash."""
    assert wire.content_hash({"text": "Hello.", **said_explicitly}) == wire.content_hash({"text": "Hello."})


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Hello!"},
        {"engine": "Plain"},
        {"variables": [{"name": "a"}]},
        {"model": {"name": "gpt"}},
        {"outputSchema": "{}"},
        {"includes": [{"promptRef": {"name": "tone"}, "version": "1.0.0"}]},
    ],
)
def test_every_covered_member_changes_the_hash(change: dict[str, Any]) -> None:
    """Nothing that reaches a model can change without the hash changing."""
    assert wire.content_hash({"text": "Hello.", **change}) != wire.content_hash({"text": "Hello."})


@pytest.mark.parametrize("name", ["stage", "createdBy", "message", "source", "version", "exploration", "hash"])
def test_members_that_reach_no_model_are_not_covered(name: str) -> None:
    """Notes about a version, and the hash in its wire entry, leave the hash alone."""
    assert wire.content_hash({"text": "Hello.", name: "x"}) == wire.content_hash({"text": "Hello."})


def test_an_empty_default_of_a_variable_is_a_value() -> None:
    """`default: ""` makes a variable optional, so it is not the same as no default."""
    with_default = {"text": "{{ a }}", "variables": [{"name": "a", "default": ""}]}
    assert wire.content_hash(with_default) != wire.content_hash({"text": "{{ a }}", "variables": [{"name": "a"}]})


def test_a_default_counts_only_at_its_own_path() -> None:
    """`Simple` is left out as the engine of the version, not where another member has that name and value."""
    assert wire.content_hash({"text": "a", "model": {"engine": "Simple"}}) != wire.content_hash({"text": "a"})


# The reference implementation's well-known results (SMHasher, as quoted by most ports).
MURMUR3 = [
    (b"", 0, 0),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"!Ce\x87", 0, 0xF55B516B),
    (b"!Ce\x87", 0x5082EDEE, 0x2362F9DE),
    (b"!Ce", 0, 0x7E4A8634),
    (b"!C", 0, 0xA0F7B07A),
    (b"!", 0, 0x72661CF4),
    (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    (b"\x00\x00\x00", 0, 0x85F0B427),
    (b"aaaa", 0x9747B28C, 0x5A97808A),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    # flagd's test bed for `fractional`
    (b"fractional-flagjack", 0, 2682799072),
    (b"fractional-flagqueen", 0, 4278517551),
]


@pytest.mark.parametrize(("data", "seed", "expected"), MURMUR3)
def test_published_vectors_of_murmur3(data: bytes, seed: int, expected: int) -> None:
    """The pure Python murmur3 gives the published results, for every length of the tail."""
    assert wire._murmur3_python(data, seed) == expected
    assert wire.murmur3_32(data, seed) == expected


def test_mmh3_is_used_unsigned_when_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package mmh3 the hash is asked for as an unsigned number; a signed one would move every user."""
    asked: list[tuple[bytes, int, bool]] = []

    def mmh3_hash(data: bytes, seed: int, *, signed: bool) -> int:
        asked.append((data, seed, signed))
        return 7

    monkeypatch.setitem(sys.modules, "mmh3", SimpleNamespace(hash=mmh3_hash))
    wire._mmh3.cache_clear()
    try:
        assert wire.murmur3_32(b"a", 5) == 7
        assert wire.bucket("s", "u") == 0
    finally:
        wire._mmh3.cache_clear()
    assert asked == [(b"a", 5, False), (b"s/u", 0, False)]


@pytest.mark.parametrize(
    ("salt", "unit", "expected"), [("exp-1", "user-1", 4153), ("exp-1", "user-2", 1487), ("", "ü", 8063)]
)
def test_published_buckets_never_change(salt: str, unit: str, expected: int) -> None:
    """A user stays in the same arm over releases: these are pinned."""
    assert wire.bucket(salt, unit) == expected


_IDENTIFIERS = st.text(st.characters(codec=None))  # lone surrogates too: an identifier may come from anywhere


@settings(deadline=None)
@given(_IDENTIFIERS, _IDENTIFIERS)
def test_buckets_and_shards_are_those_of_the_whole_identifier(salt: str, unit: str) -> None:
    """Any identifier, even a malformed one, has the bucket of the whole `salt/unit`, and a shard below 32."""
    whole = f"{salt}/{unit}".encode("utf-8", "surrogatepass")
    assert wire.bucket(salt, unit) == wire.murmur3_32(whole) * 10_000 >> 32 < 10_000
    assert 0 <= wire.shard(unit) < 32


def test_buckets_are_even_and_independent_of_shards() -> None:
    """A tenth of the buckets gets about a tenth of the users, in each half of the shards."""
    users = [f"user-{number}" for number in range(600)]
    low = [user for user in users if wire.bucket("salt", user) < 1_000]
    assert 30 <= len(low) <= 90
    assert 0.3 <= sum(wire.shard(user) < 16 for user in low) / len(low) <= 0.7
