"""What a status holds beyond what we applied."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.leftovers import leftovers

OURS: dict[str, Any] = {
    "activeVersion": "1.0.0",
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Healthy", "status": "True"}],
    "history": [{"version": "1.0.0"}],
}


def removed(found: dict[str, Any], pointers: list[str]) -> dict[str, Any]:
    """Remove what the pointers name, one after the other, as a JSON Patch does."""
    found = copy.deepcopy(found)
    for pointer in pointers:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[2:]]
        at: Any = found
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        del at[int(last) if isinstance(at, list) else last]
    return found


def test_our_own_status_has_none() -> None:
    """Nothing to remove, so no second write."""
    assert list(leftovers(OURS, OURS)) == []


@pytest.mark.parametrize(
    ("found", "pointers"),
    [
        ({**OURS, "previousVersion": "0.9.0"}, ["/status/previousVersion"]),
        ({**OURS, "odd/na~me": 1}, ["/status/odd~1na~0me"]),
        ({**OURS, "conditions": [{"type": "Odd"}, *OURS["conditions"], {"type": "Other"}]},
         ["/status/conditions/3", "/status/conditions/0"]),
        ({**OURS, "conditions": [{**OURS["conditions"][0], "note": "x"}, OURS["conditions"][1]]},
         ["/status/conditions/0/note"]),
    ],
)  # fmt: skip
def test_what_another_manager_left_is_named(found: dict[str, Any], pointers: list[str]) -> None:
    """Fields, items of lists and fields of items; removing them in this order gives what we applied."""
    assert list(leftovers(found, OURS)) == pointers
    assert removed(found, pointers) == OURS


STATUSES = st.dictionaries(
    st.sampled_from(["a", "b", "c/d"]),
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("xy~"), inner)),
)


@given(STATUSES, STATUSES)
def test_removing_them_leaves_what_was_applied(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Whatever another manager wrote: merged with ours and cleaned, ours is left."""
    merged = _merged(theirs, ours)
    assert removed(merged, list(leftovers(merged, ours))) == ours


def _merged(theirs: Any, ours: Any) -> Any:
    """Merge as server-side apply does, by force."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return ours
    return theirs | {key: _merged(theirs.get(key), value) for key, value in ours.items()}
