"""The API keeps the Kubernetes conventions, and each check of them can fail."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.api import conventions
from tests.api.conventions import CHECKS, STANDARD_CONDITION, Check, Schema

REPO = Path(__file__).parents[2]
CRDS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((REPO / "crds").glob("*.yaml"))}


def node(kind: str, **members: Any) -> Schema:
    """A field that keeps all conventions, but for `members`; a member that is None is left out."""
    kept: dict[str, Schema] = {
        "string": {"maxLength": 63},
        "integer": {"minimum": 0, "maximum": 9},
        "array": {"maxItems": 4, "x-kubernetes-list-type": "atomic", "items": {"type": "string", "maxLength": 9}},
    }
    merged = {"type": kind, "description": "What it is.", **kept.get(kind, {}), **members}
    return {key: value for key, value in merged.items() if value is not None}


def conditions(**members: Any) -> Schema:
    """A `conditions` field in the standard form, but for `members`."""
    properties = {name: node("string") for name in STANDARD_CONDITION}
    properties["lastTransitionTime"] = node("string", format="date-time")
    items = node("object", properties=properties, required=sorted(STANDARD_CONDITION - {"observedGeneration"}))
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return node("array", **keys, items={**items, **members})


def crd(spec: Mapping[str, Schema], *, status: Mapping[str, Schema | None] | None = None, **version: Any) -> Schema:
    """A small CRD with these fields in its spec; `status` adds fields to the usual ones, or takes them away."""
    observed = {"conditions": conditions(), "observedGeneration": node("integer"), **(status or {})}
    properties = {
        "spec": block(**(spec or {"text": node("string")})),
        "status": block(**{name: child for name, child in observed.items() if child}),
    }
    schema = {"properties": properties, "required": ["spec"]}
    only = {"schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}, **version}
    return {"spec": {"names": {"kind": "Prompt"}, "versions": [only]}}


def block(**properties: Schema) -> Schema:
    """An object with these fields."""
    return node("object", properties=properties)


def keyed() -> Schema:
    """A list-map by a name that may be absent."""
    merging = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    return node("array", **merging, items=block(name=node("string"), version=node("string")))


UNKNOWN_FIELDS = {"x-kubernetes-preserve-unknown-fields": True}
INT_OR_STRING = {"x-kubernetes-int-or-string": True, "description": "A port."}
TEXT = node("string")
SET = {"x-kubernetes-list-type": "set"}
NO_LIST_TYPE = {"x-kubernetes-list-type": None}
SILENT = {"x-kubernetes-validations": [{"rule": "self.a == self.b"}]}
SAID = {"x-kubernetes-validations": [{"rule": "self.a == self.b", "message": "a and b must be equal"}]}

PLANTED: tuple[tuple[Check, Schema], ...] = (
    (conventions.no_floats, crd({"share": node("number")})),
    (conventions.no_maps, crd({"labels": node("object", additionalProperties={"type": "string"})})),
    (conventions.no_maps, crd({"anything": node("object")})),
    (conventions.no_maps, crd({"raw": node("object", **UNKNOWN_FIELDS)})),
    (conventions.one_type, crd({"text": node("string", nullable=True)})),
    (conventions.one_type, crd({"port": INT_OR_STRING})),
    (conventions.bounded_strings, crd({"text": node("string", maxLength=None)})),
    (conventions.bounded_strings, crd({"texts": node("array", items={"type": "string"})})),
    (conventions.bounded_lists, crd({"texts": node("array", maxItems=None)})),
    (conventions.bounded_integers, crd({"count": node("integer", maximum=None)})),
    (conventions.merging_lists, crd({"texts": node("array", **NO_LIST_TYPE)})),
    (conventions.merging_lists, crd({"rules": keyed()})),
    (conventions.merging_lists, crd({"rules": node("array", **SET, items=block(name=TEXT, version=TEXT))})),
    (conventions.described, crd({"text": node("string", description=None)})),
    (conventions.described, crd({"text": node("string", description="No sentence")})),
    (conventions.described, crd({"text": node("string", description=f"{'Long ' * 40}.")})),
    (conventions.camel_case_enums, crd({"mode": node("string", enum=["Active", "fall-back"])})),
    (conventions.field_names, crd({"dry_run": TEXT})),
    (conventions.field_names, crd({"phase": TEXT})),
    (conventions.few_booleans, crd({"enabled": node("boolean")})),
    (conventions.references_end_in_ref, crd({"policy": block(name=TEXT)})),
    (conventions.references_end_in_ref, crd({"policyRef": TEXT})),
    (conventions.times_are_times, crd({"decidedAt": TEXT})),
    (conventions.times_are_times, crd({"moment": node("string", format="date-time")})),
    (conventions.standard_conditions, crd({}, status={"conditions": None})),
    (conventions.standard_conditions, crd({}, status={"conditions": node("array")})),
    (conventions.standard_conditions, crd({}, status={"conditions": conditions(properties={"type": TEXT})})),
    (conventions.standard_conditions, crd({}, status={"conditions": conditions(required=["type", "status"])})),
    (conventions.status_is_the_operators, crd({}, subresources={})),
    (conventions.status_is_the_operators, crd({}, status={"observedGeneration": None})),
    (
        conventions.optional_or_required,
        crd({"delivery": node("object", properties={"x": node("string", default="y")}, required=["x"])}),
    ),
    (conventions.merged_blocks_have_no_defaults, crd({"rollback": block(cooldown=node("string", default="15m"))})),
    (conventions.rules_explain_themselves, crd({"delivery": node("object", properties={"x": TEXT}, **SILENT)})),
)


@pytest.mark.parametrize("name", CRDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_every_kind_keeps_the_conventions(name: str, check: Check) -> None:
    """No field of any kind breaks a convention."""
    assert list(check(CRDS[name])) == []


@pytest.mark.parametrize(("check", "planted"), PLANTED, ids=[check.__name__ for check, _ in PLANTED])
def test_a_planted_violation_is_found(check: Check, planted: Schema) -> None:
    """The check finds what was planted, and no other check does: each one can fail, for its own reason."""
    assert [found.__name__ for found in CHECKS if list(found(planted))] == [check.__name__]


def test_a_sound_schema_passes() -> None:
    """The frame of the planted violations is itself without fault."""
    sound = crd({"policyRef": block(name=TEXT), "delivery": node("object", properties={"x": TEXT}, **SAID)})
    assert [message for check in CHECKS for message in check(sound)] == []


def test_each_check_has_a_planted_violation() -> None:
    """No check is without proof that it can fail."""
    assert {check for check, _ in PLANTED} == set(CHECKS)
