"""The Kubernetes API conventions as checks over CRD YAML; each check names what is wrong, by path."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Schema = dict[str, Any]
Check = Callable[[Schema], Iterable[str]]

STANDARD_CONDITION = {"type", "status", "observedGeneration", "lastTransitionTime", "reason", "message"}
BOOLEANS = {"suspend", "required", "backfill", "alive"}  # each a plain yes or no for good
MERGED_BLOCKS = {"rollback", "evidence", "metrics", "escalation"}
_CAMEL = re.compile(r"^[A-Z][A-Za-z0-9]*$")
_LOWER_CAMEL = re.compile(r"^[a-z][A-Za-z0-9]*$")
_DURATION = re.compile(r"^[1-9][0-9]*[smhd]$")
_TIME_NAME = re.compile(r"^(at|since|[a-z]\w*(At|Time|Timestamp))$")


def schema_of(crd: Schema) -> Schema:
    """The schema of the one version we serve."""
    (version,) = crd["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each field below `schema` with its path; items of a list are `path[]`."""
    for name, child in schema.get("properties", {}).items():
        yield from _with_children(child, f"{path}.{name}")
    if "items" in schema:
        yield from _with_children(schema["items"], f"{path}[]")


def _with_children(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, node
    yield from nodes(node, path)


def fields(crd: Schema) -> Iterator[tuple[str, Schema]]:
    """All that we define: everything below spec and status, and these two."""
    properties = schema_of(crd)["properties"]
    own = {name: properties[name] for name in ("spec", "status") if name in properties}
    return nodes({"properties": own})


def _name(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def no_floats(crd: Schema) -> Iterator[str]:
    """Floats do not survive a round trip: fractions are strings."""
    return (f"{path}: a number may be a float" for path, node in fields(crd) if node.get("type") == "number")


def no_maps(crd: Schema) -> Iterator[str]:
    """Lists of named objects instead of maps, and no free-form objects."""
    for path, node in fields(crd):
        if "additionalProperties" in node or "x-kubernetes-preserve-unknown-fields" in node:
            yield f"{path}: a map"
        elif node.get("type") == "object" and not node.get("properties"):
            yield f"{path}: an object without fields"


def one_type(crd: Schema) -> Iterator[str]:
    """Each field has one type; absent is the only way to say nothing."""
    for path, node in fields(crd):
        if node.get("nullable") or node.get("x-kubernetes-int-or-string") or "type" not in node:
            yield f"{path}: nullable, or of more than one type"


def bounded_strings(crd: Schema) -> Iterator[str]:
    """An unbounded string makes CEL rules too costly and objects too large."""
    for path, node in fields(crd):
        if node.get("type") == "string" and not ({"maxLength", "enum"} & node.keys() or node.get("format")):
            yield f"{path}: a string without maxLength"


def bounded_lists(crd: Schema) -> Iterator[str]:
    """The same for lists."""
    return (
        f"{path}: a list without maxItems"
        for path, node in fields(crd)
        if node.get("type") == "array" and "maxItems" not in node
    )


def bounded_integers(crd: Schema) -> Iterator[str]:
    """Integers say their range."""
    return (
        f"{path}: an integer without minimum and maximum"
        for path, node in fields(crd)
        if node.get("type") == "integer" and not {"minimum", "maximum"} <= node.keys()
    )


def merging_lists(crd: Schema) -> Iterator[str]:
    """Server-side apply must know how to merge each list; keys of a map are always there."""
    for path, node in fields(crd):
        if node.get("type") != "array":
            continue
        kind, items = node.get("x-kubernetes-list-type"), node["items"]
        if kind not in {"map", "set", "atomic"}:
            yield f"{path}: no list type"
        if kind == "map" and not set(node["x-kubernetes-list-map-keys"]) <= set(items.get("required", ())):
            yield f"{path}: a key that may be absent"
        if kind == "set" and items.get("type") == "object":
            yield f"{path}: a set of objects"


def described(crd: Schema) -> Iterator[str]:
    """`kubectl explain` shows a sentence for each field, short enough to be read."""
    for path, node in fields(crd):
        text = node.get("description", "")
        if not path.endswith("[]") and not (text.endswith(".") and len(text) <= 160):
            yield f"{path}: no description of one or two short sentences"


def camel_case_enums(crd: Schema) -> Iterator[str]:
    """Values are CamelCase words; only windows of time are durations."""
    for path, node in fields(crd):
        wrong = [v for v in node.get("enum", ()) if not (_CAMEL.match(v) or _DURATION.match(v))]
        if wrong:
            yield f"{path}: {wrong} not CamelCase"


def field_names(crd: Schema) -> Iterator[str]:
    """Names are camelCase; `phase` is a state machine in disguise."""
    for path, _ in fields(crd):
        name = _name(path).removesuffix("[]")
        if not _LOWER_CAMEL.match(name) or name == "phase":
            yield f"{path}: not a field name"


def few_booleans(crd: Schema) -> Iterator[str]:
    """A boolean cannot get a third value later: each one is a decision."""
    return (
        f"{path}: a boolean that nobody decided on"
        for path, node in fields(crd)
        if node.get("type") == "boolean" and _name(path) not in BOOLEANS
    )


def references_end_in_ref(crd: Schema) -> Iterator[str]:
    """An object that is only a name refers to another object and says so; nothing else does."""
    for path, node in fields(crd):
        reference = set(node.get("properties", ())) in ({"name"}, {"name", "uid"})
        if reference != path.endswith("Ref"):
            yield f"{path}: a reference is an object with a name, and its own name ends in Ref"


def times_are_times(crd: Schema) -> Iterator[str]:
    """What is named like a time is one, and the other way round."""
    for path, node in fields(crd):
        if node.get("type") == "string" and bool(_TIME_NAME.match(_name(path))) != (node.get("format") == "date-time"):
            yield f"{path}: named like a time, or a time by another name"


def standard_conditions(crd: Schema) -> Iterator[str]:
    """Conditions have the standard form in every kind."""
    node = schema_of(crd)["properties"]["status"]["properties"].get("conditions", {})
    if node.get("x-kubernetes-list-map-keys") != ["type"]:
        yield ".status.conditions: no list-map by type"
        return
    if set(node["items"]["properties"]) != STANDARD_CONDITION:
        yield ".status.conditions[]: other fields than the standard ones"
    if set(node["items"]["required"]) != STANDARD_CONDITION - {"observedGeneration"}:
        yield ".status.conditions[]: required fields missing"


def status_is_the_operators(crd: Schema) -> Iterator[str]:
    """A subresource, optional, and always with the generation it belongs to."""
    (version,) = crd["spec"]["versions"]
    schema = schema_of(crd)
    if "status" not in version.get("subresources", {}) or "status" in schema.get("required", ()):
        yield ".status: no subresource, or required"
    if "observedGeneration" not in schema["properties"]["status"]["properties"]:
        yield ".status: without observedGeneration"


def optional_or_required(crd: Schema) -> Iterator[str]:
    """A field with a default is never required: the server fills it in."""
    for path, node in fields(crd):
        defaulted = {name for name, child in node.get("properties", {}).items() if "default" in child}
        for name in sorted(defaulted & set(node.get("required", ()))):
            yield f"{path}.{name}: required in spite of a default"


def merged_blocks_have_no_defaults(crd: Schema) -> Iterator[str]:
    """Policy and prompt merge field by field; a default would pretend that somebody said something."""
    for path, node in fields(crd):
        block = path.split(".")[2] if path.count(".") > 2 else ""
        shared = crd["spec"]["names"]["kind"] in {"Prompt", "PromptPolicy"} and path.startswith(".spec.")
        if shared and "default" in node and block in MERGED_BLOCKS | {"rules"}:
            yield f"{path}: a default in a block that is merged"


def rules_explain_themselves(crd: Schema) -> Iterator[str]:
    """A refusal without a message shows the CEL source to the user."""
    for path, node in [("", schema_of(crd)), *fields(crd)]:
        for rule in node.get("x-kubernetes-validations", ()):
            if not rule.keys() & {"message", "messageExpression"}:
                yield f"{path}: the rule {rule['rule']} has no message"


CHECKS: tuple[Check, ...] = (
    no_floats,
    no_maps,
    one_type,
    bounded_strings,
    bounded_lists,
    bounded_integers,
    merging_lists,
    described,
    camel_case_enums,
    field_names,
    few_booleans,
    references_end_in_ref,
    times_are_times,
    standard_conditions,
    status_is_the_operators,
    optional_or_required,
    merged_blocks_have_no_defaults,
    rules_explain_themselves,
)
