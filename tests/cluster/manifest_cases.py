"""The table of good and bad manifests in tests/cluster/manifests, as objects and as manifests."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Manifest = dict[str, Any]
Group = Literal["accepted", "refused", "changed"]

FOLDER = Path(__file__).parent / "manifests"
NOT_REMOVABLE = {"promptRef", "version", "fromVersion", "trigger", "stage", "release", "acknowledge"}
KINDS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
_REPEAT = re.compile(r"\{\{ (\d+) x (.) \}\}")
_REFUSAL = re.compile(
    r'^Error from server(?: \(Invalid\): \S+ "(?P<name>[^"]+)" is invalid: |'
    r": failed to create typed patch object \([^/]+/(?P<other>[^;]+);[^)]*\): )",
    re.MULTILINE,
)
_UNCHECKED = re.compile(r", <nil>: Invalid value: null: some validation rules were not checked[^]]*")
_WHOLE = re.compile(r"^\[(.*)\]$", re.DOTALL)
_NEXT = re.compile(r", (?=(?:spec\b|<nil>)[^,]*: [A-Z])")


@dataclass(frozen=True)
class Case:
    """One row: `spec` is merged into the smallest one; `after` into that, for an update; `says` is in the refusal."""

    kind: str
    case: str
    says: str = ""
    name: str = ""
    spec: Mapping[str, Any] | None = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


@cache
def table(kind: str) -> dict[str, Any]:
    """The file of a kind, with `{{ 64 x a }}` written out."""
    written_out: dict[str, Any] = _expand(yaml.safe_load((FOLDER / f"{kind}.yaml").read_text("utf-8")))
    return written_out


def cases(group: Group) -> list[Case]:
    """All rows of one group, over all kinds."""
    return [Case(kind, **row) for kind in KINDS for row in table(kind)[group]]


def removals() -> list[Case]:
    """For each optional member of an immutable spec: an object that has it, and an update without it."""
    wholes = {kind: table(kind)["complete"]["spec"] for kind in ("promptversion", "promptrollback")}
    return [
        Case(
            kind,
            f"without-{name.lower()}",
            says=f"{name} cannot be changed: create a new",
            before={key: value for key, value in whole.items() if key != "promptRef"},
            after={name: None},
        )
        for kind, whole in wholes.items()
        for name in sorted(whole.keys() - NOT_REMOVABLE)
    ]


def manifest(case: Case, *changes: Mapping[str, Any] | None) -> Manifest:
    """The object of a case with `changes` merged into the smallest spec, one after the other."""
    content = table(case.kind)
    whole: Manifest = {"spec": {"promptRef": {"name": case.case}} if case.kind == "promptversion" else {}}
    for change in (content["spec"], *changes):
        whole = merged(whole, {"spec": change})
    spec = whole.get("spec", {})
    versioned = case.kind == "promptversion" and not case.name
    name = f"{spec['promptRef']['name']}-{spec['version']}" if versioned else case.name or case.case
    return {"apiVersion": "promptops.dev/v1alpha1", "kind": content["kind"], "metadata": {"name": name}, **whole}


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> Manifest:
    """RFC 7386: members of `patch` win, null takes a member away."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def stream(manifests: Iterable[Manifest]) -> str:
    """Several manifests for one run of kubectl; as JSON, since YAML writers disagree on strings such as 1e-3."""
    return "\n---\n".join(json.dumps(one) for one in manifests)


def refusals(stderr: str) -> dict[str, str]:
    """Object name to what the server said of it, from one run of kubectl over many objects."""
    found = list(_REFUSAL.finditer(stderr))
    ends = [match.start() for match in found[1:]] + [len(stderr)]
    return {
        match["name"] or match["other"]: stderr[match.end() : end].strip()
        for match, end in zip(found, ends, strict=False)
    }


def causes(refusal: str) -> dict[str, str]:
    """Field to complaints, from one refusal; the server's remark that it did not look further is left out."""
    found: dict[str, str] = {}
    for cause in _NEXT.split(_UNCHECKED.sub("", _WHOLE.sub(r"\1", refusal))):
        place, _, complaint = cause.partition(": ")
        found[place] = f"{found[place]}; {complaint}" if place in found else complaint
    return found


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Each member in a manifest as `spec.rules[].name`."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield f"{path}.{key}"
            yield from paths(child, f"{path}.{key}")
    elif isinstance(value, list):
        for child in value:
            yield from paths(child, f"{path}[]")


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expand(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_expand(child) for child in value]
    return _REPEAT.sub(lambda m: m[2] * int(m[1]), value) if isinstance(value, str) else value
