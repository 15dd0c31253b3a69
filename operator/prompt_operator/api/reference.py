"""Models to the API reference, a page of Markdown: one section per kind, one table row per field.

Descriptions, bounds and defaults come from the same schema as the CRDs.
"""

from collections.abc import Iterable, Iterator, Sequence

from prompt_operator.api import KINDS
from prompt_operator.api.common import API_VERSION, Resource
from prompt_operator.api.crdgen import Schema, open_api

HEADER = f"""# API reference

<!-- Generated from the models in operator/prompt_operator/api; change those, then run: ./operator/dev generate -->

All kinds are `{API_VERSION}` and namespaced; `kubectl get promptops` lists them all. A field of a list is written
`list[].field`. The same text is in the cluster: `kubectl explain prompt.spec.rollback`. A field that this release
accepts without acting on it is named by the condition [NotImplemented](../runbooks/NotImplemented.md).
"""
_COLUMNS = ("field", "type", "what it means")
_SHOWN = {"minimum": ">= {}", "maximum": "<= {}", "maxLength": "at most {} characters", "maxItems": "at most {} items"}


def render() -> str:
    """The whole page, byte-stable: kinds and fields in the order of the models."""
    contents = "".join(f"- [{model.definition.kind}](#{model.definition.kind.lower()})\n" for model in KINDS)
    return "\n".join([HEADER, contents, *(_kind(model) for model in KINDS)])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; what would end a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _kind(model: type[Resource]) -> str:
    about, schema = model.definition, open_api(model)
    properties = schema["properties"]
    names = f"`{about.plural}`, short `{about.short}`."
    fields = [f"`{path}`" for path in about.selectable]
    selectors = f" Field selectors: {', '.join(fields)}." if fields else ""
    head = f"## {about.kind}\n\n{schema['description']}\n\n{names}{selectors}\n"
    parts = [_part(part, properties[part]) for part in ("spec", "status")]
    return "\n".join([head, *parts])


def _part(name: str, schema: Schema) -> str:
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", ()) if "message" in rule]
    listed = "\nChecked by the API server:\n\n" + "".join(f"- {rule}\n" for rule in rules) if rules else ""
    return f"### {name}\n\n{table(_COLUMNS, _rows(schema, name))}{listed}"


def _rows(schema: Schema, path: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield f"`{here}`", _type(child), _meaning(child, required=name in required)
        inner, suffix = (child["items"], "[]") if child.get("type") == "array" else (child, "")
        if child.get("type") == "array" and name == "conditions":
            continue  # the standard form, the same everywhere
        yield from _rows(inner, here + suffix)


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema.get("format") or schema["type"])


def _meaning(schema: Schema, *, required: bool) -> str:
    facts = ["**Required.**"] if required else []
    facts += [str(schema.get("description", ""))]
    facts += [f"Default: `{schema['default']}`."] if "default" in schema else []
    bounds = [form.format(schema[key]) for key, form in _SHOWN.items() if key in schema]
    facts += [f"({', '.join(bounds)})"] if bounds else []
    return " ".join(filter(None, facts)).replace("\n", " ").replace("<", "&lt;")
