"""What `lint` finds: what would be refused, what the operator could not use, and what has no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from prompt_client import wire
from prompt_operator.api.common import API_VERSION, ObjectName
from prompt_operator.cli.lint import rules
from prompt_operator.cli.lint.finding import ERROR, WARNING, Finding
from prompt_operator.cli.manifests import schema
from prompt_operator.cli.manifests.documents import ours
from prompt_operator.cli.manifests.places import position
from prompt_operator.core import unimplemented
from prompt_operator.core.projection import Owner, Served, entry_of, render, size
from prompt_operator.core.rules.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prompt_operator.cli.manifests.documents import Document
    from prompt_operator.cli.manifests.places import Position

_IDLE = {
    "Prompt": unimplemented.PROMPT,
    "PromptVersion": unimplemented.PROMPT_VERSION,
    "PromptPolicy": unimplemented.PROMPT_POLICY,
    "Experiment": unimplemented.EXPERIMENT,
}
_NAMED = ("metadata", "name")
_LONGEST_REVISION = 2**53 - 1
_NAME: TypeAdapter[str] = TypeAdapter(ObjectName)


def findings(documents: Iterable[Document]) -> list[Finding]:
    """Return all findings: object by object as they stand in the files, then those across objects."""
    looked_at = [document for document in documents if ours(document)]
    alone = [finding for document in looked_at for finding in sorted(_alone(document, looked_at), key=_position)]
    return alone + list(_repeated(looked_at)) + list(_missing_versions(looked_at))


def _position(finding: Finding) -> Position:
    return finding.position


# --- one object


def _alone(document: Document, documents: list[Document]) -> Iterator[Finding]:
    stranger = _stranger(document)
    if stranger:
        yield Finding(document, ERROR, *stranger)
        return
    found = [*schema.problems(document.manifest), *_bad_name(document)]
    if not found and document.kind == "PromptVersion":
        found += _bad_content(document)
    found += rules.bad_metrics(document)
    yield from (Finding(document, ERROR, path, message) for path, message in found)
    policy = rules.policy_of(document, documents)
    yield from rules.bad_rules(document, policy)
    yield from (Finding(document, WARNING, *problem) for problem in rules.futile_rules(document, policy))
    idle = unimplemented.not_implemented(document.spec, _IDLE.get(document.kind, ()))
    if idle is not None:
        yield Finding(document, WARNING, "", idle.message)


def _stranger(document: Document) -> schema.Problem | None:
    """Say what is wrong with the type itself; nothing else can be checked then."""
    if document.kind not in schema.MODELS:
        return "kind", f"unknown kind '{document.kind}', {did_you_mean(document.kind, schema.MODELS)}"
    if document.manifest["apiVersion"] != API_VERSION:
        return "apiVersion", f"unknown version {document.manifest['apiVersion']}: use {API_VERSION}"
    return None


def _bad_name(document: Document) -> Iterator[schema.Problem]:
    try:
        _NAME.validate_python(document.name or "a")  # a missing one is the schema's business
    except ValidationError:
        yield "metadata.name", "must be lower case letters, digits, '-' and '.', with a letter or digit at both ends"


def _bad_content(document: Document) -> Iterator[schema.Problem]:
    """Yield what the operator would say of a version that the API server accepts."""
    spec = schema.without_nulls(document.spec)
    entry = entry_of(spec)
    if spec.get("contentHash") not in {None, entry["hash"]}:
        yield "spec.contentHash", f"does not fit the content, whose hash is {entry['hash']}"
    if _bytes(document, entry) > wire.MAX_BYTES:
        yield "spec", f"takes {_bytes(document, entry)} bytes in its ConfigMap, at most {wire.MAX_BYTES} are allowed"


def _bytes(document: Document, entry: Mapping[str, Any]) -> int:
    """Return what the version takes when it is projected."""
    name = document.spec["promptRef"]["name"]
    served = Served(document.spec["version"], entry["hash"], wire.MODE_ACTIVE, _LONGEST_REVISION)
    return size(render(Owner(document.namespace, name, ""), f"prompt-{name}", served, entry))


# --- several objects


def _repeated(documents: Iterable[Document]) -> Iterator[Finding]:
    first: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        if not document.name:
            continue
        other = first.setdefault((document.kind, document.namespace, document.name), document)
        if other is not document:
            place = f"{other.file}:{position(other.root, ('metadata', 'name'))}"
            yield Finding(document, ERROR, "metadata.name", f"{document.kind} {document.name} is also in {place}")


def _missing_versions(documents: Iterable[Document]) -> Iterator[Finding]:
    documents = tuple(documents)
    there = {(document.namespace, document.name) for document in documents if document.kind == "PromptVersion"}
    for document in documents:
        version = document.spec.get("version")
        wanted = f"{document.name}-{version}"
        if document.kind == "Prompt" and version and (document.namespace, wanted) not in there:
            yield Finding(document, WARNING, "spec.version", f"PromptVersion {wanted} is not among these files")
