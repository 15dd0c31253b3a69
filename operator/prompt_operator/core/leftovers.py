"""What a status holds beyond what we applied: fields that another manager left behind, as a restored backup does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def leftovers(found: Any, wanted: Any, pointer: str = "/status") -> Iterator[str]:
    """Yield the JSON pointers of all that `found` has and `wanted` has not, so that they can be removed in this order.

    Args:
        found: as the API server returned it after our apply.
        wanted: what we applied; what it names is in `found` as well.
        pointer: where both stand.
    """
    if found == wanted:
        return  # mostly; and always for a list that is applied as a whole
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key, value in found.items():
            below = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in wanted:
                yield from leftovers(value, wanted[key], below)
            else:
                yield below
    elif isinstance(found, list) and isinstance(wanted, list):
        for position in reversed(range(len(found))):  # removing an item moves those behind it: the last one first
            item = found[position]
            counterpart = next((each for each in wanted if _same(each, item)), None)
            if counterpart is None:
                yield f"{pointer}/{position}"
            else:
                yield from leftovers(item, counterpart, f"{pointer}/{position}")


_KEYS = ("type", "id", "name", "metric", "verb", "version")
"""The fields by which the items of our lists are told apart."""


def _same(one: Any, other: Any) -> bool:
    """Tell whether two items of a list are the same one, by its key; items without a key are compared whole."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next((key for key in _KEYS if key in other), None)
        if key is not None:
            return bool(one.get(key) == other[key])
    return bool(one == other)
