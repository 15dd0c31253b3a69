"""Fields that are accepted but without effect are named in a condition; the list only shrinks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_operator.api.experiment import ExperimentSpec
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.api.promptversion import PromptVersionSpec
from prompt_operator.core import unimplemented
from prompt_operator.core.unimplemented import not_implemented

KNOWN = json.loads(Path(__file__).with_name("not_implemented.json").read_text())
"""Kind -> fields without effect when the first release was made. Take out what works now; add nothing."""
NOW = {
    "Prompt": unimplemented.PROMPT,
    "PromptVersion": unimplemented.PROMPT_VERSION,
    "PromptPolicy": unimplemented.PROMPT_POLICY,
    "Experiment": unimplemented.EXPERIMENT,
}
MODELS: dict[str, Any] = {
    "Prompt": PromptSpec, "PromptVersion": PromptVersionSpec, "PromptPolicy": PromptPolicySpec,
    "Experiment": ExperimentSpec,
}  # fmt: skip


@pytest.mark.parametrize("kind", KNOWN)
def test_the_list_only_shrinks(kind: str) -> None:
    """No field is added to those without effect."""
    assert set(NOW[kind]) <= set(KNOWN[kind])


@pytest.mark.parametrize("kind", KNOWN)
def test_what_works_now_is_taken_off_the_frozen_list(kind: str) -> None:
    """Otherwise it could silently come back."""
    assert set(KNOWN[kind]) <= set(NOW[kind])


def _schema(model: Any, path: str) -> Any:
    schema = model.model_json_schema(by_alias=True)
    node: Any = schema
    for part in path.split("."):
        for option in (node, *node.get("anyOf", ())):
            target = schema["$defs"][option["$ref"].rpartition("/")[2]] if "$ref" in option else option
            if part in target.get("properties", {}):
                node = target["properties"][part]
                break
        else:
            return None
    return node


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in NOW.items() for path in paths])
def test_each_is_a_field_of_the_api(kind: str, path: str) -> None:
    """A name that no spec has would never be said to anybody."""
    assert _schema(MODELS[kind], path) is not None


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in NOW.items() for path in paths])
def test_each_is_named_when_it_is_given(kind: str, path: str) -> None:
    """The condition NotImplemented names the field by its path, and is absent without it."""
    spec: Any = "given"
    for part in reversed(path.split(".")):
        spec = {part: spec}
    condition = not_implemented(spec, NOW[kind])
    assert condition is not None
    assert (condition.type, condition.status, condition.reason) == ("NotImplemented", "True", "NotImplemented")
    assert f"spec.{path}" in condition.message
    assert not_implemented({"version": "1.0.0"}, NOW[kind]) is None


@pytest.mark.parametrize("empty", [None, [], {}], ids=["null", "list", "object"])
def test_an_empty_value_is_not_given(empty: object) -> None:
    """Nothing is asked for by an empty block."""
    assert not_implemented({"budgets": empty}, unimplemented.PROMPT_POLICY) is None
