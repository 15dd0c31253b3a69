"""`lint` on anything that YAML can hold: always findings, never a traceback."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.documented import documented
from tests.cluster.manifest_cases import cases, manifest

from prompt_operator.cli.lint.findings import findings
from prompt_operator.cli.manifests.schema import problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

GOOD = [manifest(case, case.spec) for case in cases("accepted")]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner))


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in a manifest."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in children:
        yield (*path, step)
        yield from places(child, (*path, step))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_judged(data: st.DataObject) -> None:
    """One value of a good manifest becomes something else: the result is text, whatever it is."""
    broken = copy.deepcopy(data.draw(st.sampled_from(GOOD)))
    *parents, last = data.draw(st.sampled_from([place for place in places(broken) if place != ("apiVersion",)]))
    node = broken
    for step in parents:
        node = node[step]
    node[last] = data.draw(VALUES)
    assert all(map(str, findings([documented(broken)])))


def test_rules_are_not_run_over_values_of_another_type(caplog: pytest.LogCaptureFixture) -> None:
    """The interpreter would complain in its log; the type is what is wrong."""
    case = next(case for case in cases("accepted") if case.case == "canary")
    spoilt = manifest(case, case.spec, {"rollout": {"steps": [{"weight": "5"}, {"weight": 25}]}})
    with caplog.at_level(logging.DEBUG):
        found = problems(spoilt)
    assert found == [("spec.rollout.steps[0].weight", "should be a valid integer")]
    assert not caplog.records


def test_a_null_is_as_if_it_were_not_there() -> None:
    """As to the API server: an optional member may be null, a required one is missing."""
    case = next(case for case in cases("accepted") if case.kind == "prompt")
    whole = manifest(case, case.spec)
    assert problems(whole | {"spec": whole["spec"] | {"suspend": None, "rules": None}}) == []
    assert problems(whole | {"spec": {"version": None}}) == [("spec.version", "is required")]
