"""The wire contract `promptops.dev/wire/v1`: what the operator writes and this client reads.

The operator imports this module, never the reverse. It holds names, the canonical form of JSON, the content hash
of a version and the assignment of a unit to a bucket: everything both sides must compute to the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

API_VERSION: Final = "promptops.dev/wire/v1"

# Keys of the ConfigMap.
PROMPT_TEXT: Final = "prompt.txt"
MESSAGES_JSON: Final = "messages.json"
VERSION: Final = "version"
HASH: Final = "hash"
MODE: Final = "mode"
PROMPT_JSON: Final = "prompt.json"
FLAGS_JSON: Final = "flags.json"
KEYS: Final = (PROMPT_TEXT, MESSAGES_JSON, VERSION, HASH, MODE, PROMPT_JSON, FLAGS_JSON)

# Values of the key `mode`.
MODE_ACTIVE: Final = "Active"
MODE_FALLBACK: Final = "Fallback"

# Metadata of the ConfigMap.
CONTENT_HASH_ANNOTATION: Final = "promptops.dev/content-hash"
VERSION_ANNOTATION: Final = "promptops.dev/version"
REVISION_ANNOTATION: Final = "promptops.dev/revision"
PROMPT_LABEL: Final = "promptops.dev/prompt"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "prompt-operator"

MAX_BYTES: Final = 1_000_000
"""Rendered size of all keys together; the API server itself refuses a ConfigMap above 1 MiB (1,048,576 bytes)."""

HASH_DOMAIN: Final = "promptops.dev/hash/v1"
HASHED_MEMBERS: Final = ("text", "messages", "includes", "engine", "variables", "model", "outputSchema")
"""Members of a PromptVersion's spec that its content hash covers; an entry of `versions` carries the same ones."""

DEFAULTS: Final[Mapping[tuple[str, ...], object]] = {("engine",): "Simple"}
"""Path of a hashed member (`[]`: each element of a list) -> the value the API's schema gives it when it is absent.

`variables[].required` is not here: the schema has no default for it, absent means "unless there is a default".
"""

BUCKETS: Final = 10_000
SHARDS: Final = 32

_MAX_SAFE_INTEGER: Final = 2**53 - 1  # I-JSON, RFC 7493 section 2.2
_MAX_POSITIONAL_EXPONENT: Final = 21  # ECMA-262, Number::toString: 1e21 is the first number with an exponent
_MIN_POSITIONAL_EXPONENT: Final = -6


class CanonicalizationError(ValueError):
    """The value has no canonical form; the message gives the reason, never the value."""


def canonical_json(value: object) -> bytes:
    """Serialise `value` as RFC 8785 (JSON Canonicalization Scheme) prescribes.

    Mappings with string keys, lists, tuples, strings, booleans, None, floats and integers are accepted.

    Raises:
        CanonicalizationError: NaN, infinity, an integer beyond +-(2**53 - 1), a lone surrogate, a key that is not a
            string, or a type that JSON does not have.
    """
    try:
        return _serialise(value).encode()
    except UnicodeEncodeError:
        raise CanonicalizationError("a string holds a lone surrogate, which has no UTF-8 form") from None


def content_hash(spec: Mapping[str, Any]) -> str:
    """Return `sha256:<64 hex digits>` of what a PromptVersion's spec says to a model.

    Hashed bytes: the domain tag, one newline (0x0A), the canonical JSON of `HASHED_MEMBERS`. Canonical JSON holds no
    raw newline, so the two parts cannot be confused. Absent, null, empty (`[]`, `{}`) and default-valued members are
    left out at every depth, so that a default or an optional member added later changes no hash. Elements of a list
    are never left out, and an empty string is a value. The argument may also be an entry of `versions` on the wire.

    Raises:
        CanonicalizationError: see `canonical_json`.
    """
    members = _significant({name: spec.get(name) for name in HASHED_MEMBERS}, ())
    digest = hashlib.sha256(HASH_DOMAIN.encode() + b"\n" + canonical_json(members))
    return f"sha256:{digest.hexdigest()}"


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """MurmurHash3 x86 32-bit as an unsigned integer (Austin Appleby's reference, public domain).

    Uses the package `mmh3` when it is installed: the same result, in a tenth of the time.
    """
    return (_mmh3() or _murmur3_python)(data, seed)


def bucket(salt: str, unit: str) -> int:
    """Return the bucket, 0 to 9,999, of a unit under a salt: flagd's `fractional` v2 in basis points."""
    mmh3 = _mmh3()
    hashed = mmh3(_utf8(f"{salt}/{unit}"), 0) if mmh3 else _salted_murmur3_python(f"{salt}/", unit)
    return hashed * BUCKETS >> 32


def shard(unit: str) -> int:
    """Return the metrics shard, 0 to 31, of a unit; independent of every salt."""
    return murmur3_32(_utf8(f"{unit}#shard")) % SHARDS


def _serialise(value: object) -> str:  # noqa: PLR0911 - one line for each type of JSON
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quote(value)
        case int():
            return _integer(value)
        case float():
            return _number(value)
        case list() | tuple():
            return f"[{','.join(map(_serialise, value))}]"
        case Mapping():
            return _object(value)
        case _:
            raise CanonicalizationError(f"JSON has no type for {type(value).__name__}")


def _object(members: Mapping[Any, object]) -> str:
    if not all(isinstance(name, str) for name in members):
        raise CanonicalizationError("a member name is not a string")
    # Big-endian UTF-16 compares like its code units, which differs from code points beyond U+FFFF.
    names = sorted(members, key=lambda name: name.encode("utf-16-be"))
    return f"{{{','.join(f'{_quote(name)}:{_serialise(members[name])}' for name in names)}}}"


_quote: Callable[[str], str] = json.JSONEncoder(ensure_ascii=False).encode
"""Escapes exactly what section 3.2.2.2 of the RFC lists, in lower-case hexadecimal."""


def _integer(value: int) -> str:
    if abs(value) > _MAX_SAFE_INTEGER:
        raise CanonicalizationError("an integer beyond 2**53 - 1 is not portable JSON; write it as a string")
    return int.__repr__(value)


def _number(value: float) -> str:
    """Format as ECMA-262's Number::toString; Python's repr gives the same shortest digits in another layout."""
    if not math.isfinite(value):
        raise CanonicalizationError("NaN and infinity are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, point = _decimal(abs(value))
    return sign + _layout(digits, point)


def _decimal(value: float) -> tuple[str, int]:
    """Return the significant digits and where the point stands: value = 0.digits * 10**point."""
    mantissa, _, exponent = float.__repr__(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - leading_zeros + int(exponent or 0)


def _layout(digits: str, point: int) -> str:
    if len(digits) <= point <= _MAX_POSITIONAL_EXPONENT:
        return digits.ljust(point, "0")
    if 0 < point <= _MAX_POSITIONAL_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _MIN_POSITIONAL_EXPONENT < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _significant(value: object, path: tuple[str, ...]) -> object:
    """Return `value` without members that say nothing: null, empty or equal to their default."""
    if isinstance(value, list | tuple):
        return [_significant(item, (*path, "[]")) for item in value]
    if not isinstance(value, Mapping):
        return value
    pruned = {name: _significant(item, (*path, name)) for name, item in value.items()}
    return {name: item for name, item in pruned.items() if not _silent(item, (*path, name))}


def _silent(value: object, path: tuple[str, ...]) -> bool:
    if value is None or value in ([], {}):
        return True
    default = DEFAULTS.get(path)
    return type(value) is type(default) and value == default  # the types too: 0 == False


def _utf8(text: str) -> bytes:
    # An identifier may come from anywhere; a malformed one gets a stable bucket instead of an exception.
    return text.encode("utf-8", "surrogatepass")


@functools.cache
def _mmh3() -> Callable[[bytes, int], int] | None:
    try:
        mmh3 = importlib.import_module("mmh3")  # optional, and not loaded before it is needed
    except ImportError:
        return None
    return functools.partial(mmh3.hash, signed=False)


_MASK: Final = 0xFFFFFFFF
_C1: Final = 0xCC9E2D51
_C2: Final = 0x1B873593


def _murmur3_python(data: bytes, seed: int) -> int:
    return _finish(_mix(seed & _MASK, data), data, len(data))


def _salted_murmur3_python(salt: str, unit: str) -> int:
    """Hash `salt + unit`; the salt, which an experiment keeps, is mixed once."""
    state, rest, mixed = _salted(salt)
    data = rest + _utf8(unit)
    return _finish(_mix(state, data), data, mixed + len(data))


@functools.lru_cache(maxsize=256)
def _salted(salt: str) -> tuple[int, bytes, int]:
    """Return the state after the salt's whole blocks, the bytes left over, and how many bytes were mixed."""
    data = _utf8(salt)
    mixed = len(data) // 4 * 4
    return _mix(0, data), data[mixed:], mixed


def _mix(h: int, data: bytes) -> int:
    # One line of arithmetic for each step of the reference; a mask is left out where the next step masks anyway.
    for block in struct.unpack_from(f"<{len(data) // 4}I", data):
        k = block * _C1 & _MASK
        h ^= (k << 15 | k >> 17) * _C2 & _MASK
        h = ((h << 13 | h >> 19) * 5 + 0xE6546B64) & _MASK
    return h


def _finish(h: int, data: bytes, length: int) -> int:
    k = int.from_bytes(data[len(data) // 4 * 4 :], "little") * _C1 & _MASK
    h ^= (k << 15 | k >> 17) * _C2 & _MASK
    return _finalise(h ^ length)


def _finalise(h: int) -> int:
    h = (h ^ h >> 16) * 0x85EBCA6B & _MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & _MASK
    return h ^ h >> 16
