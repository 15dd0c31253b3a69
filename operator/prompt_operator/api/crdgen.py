"""Models to CustomResourceDefinitions: `python -m prompt_operator.api.crdgen [--check] [--out DIR]`.

An own transformer, as kube-custom-resource brings its own base model and knows no selectable fields.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from prompt_operator.api import KINDS
from prompt_operator.api.common import GROUP, VERSION, Column, Definition, Resource

HEADER = "# Generated from the models in prompt_operator/api; change those, then run: ./operator/dev generate\n"
LABELS = {"app.kubernetes.io/part-of": "prompt-operator"}
TYPE_META = {
    "apiVersion": {"type": "string", "description": f"Version of this schema: {GROUP}/{VERSION}."},
    "metadata": {"type": "object"},
}

Schema = dict[str, Any]


def structural(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Turn pydantic's JSON Schema into a structural one: references inlined, no titles, no null.

    The text of a field wins over the docstring of the model it refers to.
    """
    merged = {**_target(node, definitions), **node}
    kept = {key: value for key, value in merged.items() if key not in {"$ref", "$defs", "anyOf", "title", "const"}}
    if kept.get("default", ...) is None or kept.get("default") == []:
        del kept["default"]
    if "properties" in kept:
        kept["properties"] = {name: structural(child, definitions) for name, child in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = structural(kept["items"], definitions)
    return kept


def _target(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """What `node` stands for: the model it refers to, or the one alternative to null."""
    if "$ref" in node:
        return definitions[node["$ref"].removeprefix("#/$defs/")]
    alternatives = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    if not alternatives:
        return {}
    (only,) = alternatives  # a union of two types cannot be structural
    return {**_target(only, definitions), **only}


def quiet(node: Schema) -> Schema:
    """Without the rules that explain refusals to people: only the operator writes `status`, and often."""
    kept = {key: value for key, value in node.items() if key != "x-kubernetes-validations"}
    if "properties" in kept:
        kept["properties"] = {name: quiet(child) for name, child in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = quiet(kept["items"])
    return kept


def open_api(model: type[Resource]) -> Schema:
    """The schema of a whole manifest; `metadata` is the API server's business."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    schema = structural(raw, raw.get("$defs", {}))
    own = {"spec": schema["properties"]["spec"], "status": quiet(schema["properties"]["status"])}
    kind = {"type": "string", "description": f"Always {model.definition.kind}."}
    return {**schema, "properties": {**TYPE_META, "kind": kind, **own}, "required": ["spec"]}


def column(entry: Column) -> Schema:
    """One of `additionalPrinterColumns`; wide ones have a priority above 0."""
    shown = {"name": entry.name, "type": entry.type, "jsonPath": entry.path, "description": entry.description}
    return shown | ({"priority": 1} if entry.wide else {})


def names(definition: Definition) -> Schema:
    """`spec.names`."""
    return {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": definition.plural,
        "singular": definition.kind.lower(),
        "shortNames": [definition.short],
        "categories": ["promptops"],
    }


def definition_of(model: type[Resource]) -> Schema:
    """The whole CustomResourceDefinition of one kind."""
    about = model.definition
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": open_api(model)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column(entry) for entry in about.columns],
    }
    if about.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in about.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": about.crd_name, "labels": LABELS},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names(about), "versions": [version]},
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes equal parts out in full: anchors would hide them from readers and diffs."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def render() -> dict[str, str]:
    """File name to YAML text, byte-stable: members sorted, lists in the order of the models."""
    return {
        f"{GROUP}_{model.definition.plural}.yaml": HEADER
        + yaml.dump(definition_of(model), Dumper=_PlainDumper, width=110, allow_unicode=True)
        for model in KINDS
    }


def stale(folder: Path) -> list[str]:
    """Names of files that differ from what the models say, left-over ones included."""
    wanted = render()
    present = {path.name: path.read_text("utf-8") for path in folder.glob("*.yaml")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write(folder: Path) -> None:
    """Make `folder` hold the generated files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render().items():
        (folder / name).write_text(text, "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` name those that are out of date; returns the exit status."""
    parser = argparse.ArgumentParser(prog="crdgen", description="Write the CRDs from the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    parser.add_argument("--out", type=Path, default=Path("crds"), help="folder of the CRDs (default: ./crds)")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.out)
        return 0
    outdated = stale(options.out)
    for name in outdated:
        sys.stderr.write(f"{options.out / name} differs from the models; run: ./operator/dev generate\n")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
