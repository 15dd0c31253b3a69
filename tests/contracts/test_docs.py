"""The documents are true: links lead somewhere, manifests are valid, commands name what exists, lists are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
import yaml

from devcluster import generated
from prompt_client import metrics
from prompt_operator.api import KINDS, crdgen
from prompt_operator.core import unimplemented
from prompt_operator.core.reasons import Objection, Reason
from prompt_operator.settings import FILE_ONLY, Settings, flag, resolve, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), REPO / "README.md"])
SCHEMAS = {model.definition.kind: crdgen.open_api(model) for model in KINDS}
OURS = {
    name: model.definition.kind
    for model in KINDS
    for name in (model.definition.plural, model.definition.kind.lower(), model.definition.short)
}
OTHERS = {
    "configmap",
    "pods",
    "crd",
    "deployment",
    "clusterrolebinding",
    "promptops",
    "prometheusrules",
    "prometheusrule",
}
WITH_RESOURCE = {"get", "describe", "patch", "delete", "annotate", "wait"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))


def text_of(name: str) -> str:
    """A page under docs/."""
    return (DOCS / name).read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What `#...` may name in a page, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file of the checkout, and a heading in it."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pages
def test_manifests_are_valid(page: Path) -> None:
    """Every manifest of ours in a page is read by the model, and has no field that the schema does not know."""
    for block in blocks(page, "yaml"):
        for document in yaml.safe_load_all(block):
            if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith("promptops.dev/"):
                model = next(model for model in KINDS if model.definition.kind == document["kind"])
                model.from_manifest(document)
                assert list(unknown(document["spec"], SCHEMAS[document["kind"]]["properties"]["spec"])) == []


def unknown(node: Any, schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Paths in a manifest that its schema does not have."""
    if isinstance(node, dict):
        for key, value in node.items():
            child = schema.get("properties", {}).get(key)
            if child is None:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, child, f"{path}.{key}")
    elif isinstance(node, list):
        for value in node:
            yield from unknown(value, schema["items"], f"{path}[]")


def commands(page: Path) -> Iterator[list[str]]:
    """Each kubectl command of a page, in blocks and within lines, without the word kubectl."""
    text = page.read_text("utf-8")
    inline = re.findall(r"`(kubectl [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in [*(line for block in blocks(page, "sh") for line in block.splitlines()), *inline]:
        if line.startswith("kubectl ") and not line.startswith("kubectl prompt"):
            yield shlex.split(line)[1:]


@pages
def test_commands_name_what_exists(page: Path) -> None:
    """Each command names resources that exist, selectors the CRDs offer, and paths that objects have."""
    for words in commands(page):
        positional = [word for word in words[1:] if not word.startswith("-")]
        if words[0] not in WITH_RESOURCE or not positional or "--raw" in words:
            continue
        named = [name.partition("/")[0] for name in positional[0].split(",")]
        assert [name for name in named if name not in OTHERS and name not in OURS] == [], words
        kind = OURS.get(named[0], "")
        assert [path for path in chosen(words) if kind and not known(path, SCHEMAS[kind])] == [], words
        assert [path for path in selected(words) if path not in selectable(kind)] == [], words


def chosen(words: list[str]) -> list[str]:
    """Paths that the command prints, such as status.held."""
    joined = " ".join(words)
    return re.findall(r"[:{]\.(?:items\[\*\]\.)?((?:spec|status)[\w.]*)", joined)


def known(path: str, schema: dict[str, Any]) -> bool:
    """Whether an object has the path."""
    for part in path.split("."):
        schema = schema.get("properties", {}).get(part)
        if schema is None:
            return False
    return True


def selected(words: list[str]) -> list[str]:
    """Fields the command selects by."""
    after = [words[at + 1] for at, word in enumerate(words) if word == "--field-selector"]
    return [f".{clause.partition('=')[0]}" for value in after for clause in value.split(",")]


def selectable(kind: str) -> tuple[str, ...]:
    """Field selectors of a kind."""
    return next((model.definition.selectable for model in KINDS if model.definition.kind == kind), ())


def test_each_reason_has_its_page() -> None:
    """A reason that people read in status leads to a runbook of that name, and no page is of a reason that is gone."""
    wanted = {str(value) for value in (*Reason, *Objection)}
    assert {page.stem for page in (DOCS / "runbooks").glob("*.md")} - {"README"} == wanted
    index = set(re.findall(r"\]\((\w+)\.md\)", text_of("runbooks/README.md")))
    assert index == wanted


@pytest.mark.parametrize("reason", sorted({str(value) for value in (*Reason, *Objection)}))
def test_a_runbook_says_what_where_and_what_to_do(reason: str) -> None:
    """Each page is short and has the same parts: where it shows, how to check with kubectl, what to do."""
    page = text_of(f"runbooks/{reason}.md")
    assert page.startswith(f"# {reason}\n")
    assert all(f"\n{part}" in page for part in ("Where it shows: ", "Check:", "What to do:"))
    check = page.partition("\nCheck:\n")[2].partition("\nWhat to do:\n")[0]
    assert re.findall(r"^kubectl (\w+)", check, re.MULTILINE)
    assert not {"patch", "annotate", "delete"} & set(re.findall(r"^kubectl (\w+)", check, re.MULTILINE)), "looks only"
    assert len(page.splitlines()) <= 35


def test_the_guards_are_told_in_their_order() -> None:
    """The concepts list the guards in the order in which they are asked."""
    section = text_of("concepts.md").partition("## Rollback")[2].partition("\n## ")[0]
    assert re.findall(r"\[(\w+)\]\(runbooks/", section) == [str(objection) for objection in Objection]


def test_each_setting_is_documented() -> None:
    """Flag, variable and name in the file of each; and the example file is one that the operator reads."""
    page = text_of("reference/settings.md")
    for name, field in Settings.model_fields.items():
        if not field.exclude:
            outside = () if name in FILE_ONLY else (flag(name), variable(name))
            assert all(f"`{word}`" in page for word in (*outside, field.alias)), name


def test_the_example_of_a_settings_file_loads(tmp_path: Path) -> None:
    """What the page shows can be copied."""
    (example,) = blocks(DOCS / "reference" / "settings.md", "yaml")
    (tmp_path / "settings.yaml").write_text(example, "utf-8")
    assert resolve({"config": str(tmp_path / "settings.yaml")}, {}).namespaces == ("team-a", "team-b")


def test_each_metric_is_documented() -> None:
    """What applications export is named with its labels."""
    page = text_of("reference/metrics.md")
    registry = prometheus_client.CollectorRegistry()
    metrics.metrics_on(registry)
    exported = {family.name for family in registry.collect()}
    documented = {name.removesuffix("_total") for name in re.findall(r"^\| `(llm_prompt_\w+)`", page, re.MULTILINE)}
    assert documented == exported


def test_what_is_not_there_yet_is_said() -> None:
    """Each field that is accepted without effect stands on the page that people read before they count on it."""
    section = text_of("failure-modes.md").partition("## Not there yet")[2]
    fields = {*unimplemented.PROMPT, *unimplemented.PROMPT_VERSION, *unimplemented.PROMPT_POLICY}
    fields |= {*unimplemented.EXPERIMENT}
    assert [field for field in sorted(fields) if f"`{field}`" not in section] == []


def test_the_table_of_the_architecture_names_files_that_exist() -> None:
    """Concern, module, test: each path leads to something."""
    table = text_of("architecture.md").partition("## Where to look")[2]
    roots = (REPO, REPO / "operator", REPO / "operator" / "prompt_operator")
    paths = [path for path in re.findall(r"`([\w./-]+)`", table) if path.endswith((".py", "/", ".yaml"))]
    assert len(paths) > 40
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


def test_every_page_is_in_the_index() -> None:
    """Whoever starts at docs/README.md or at an index it names finds each page."""
    indexes = [DOCS / "README.md", DOCS / "runbooks" / "README.md", DOCS / "decisions" / "README.md"]
    linked = {
        (index.parent / name).resolve()
        for index in indexes
        for name in re.findall(r"\]\(([^)#:]+\.md)", index.read_text("utf-8"))
    }
    assert {page for page in DOCS.rglob("*.md") if page not in indexes} - linked == set()


def test_generated_files_are_up_to_date() -> None:
    """CRDs, the chart's copies of them, the API reference and the tables in pages are what the code says."""
    assert generated.stale(REPO) == []


def test_the_charts_crds_are_copies() -> None:
    """Byte for byte, so that both ways of installing give the same API."""
    chart = REPO / "helm" / "prompt-operator" / "files" / "crds"
    copies = {path.name: path.read_bytes() for path in chart.iterdir()}
    assert copies == {path.name: path.read_bytes() for path in (REPO / "crds").iterdir()}


def test_a_page_that_lost_its_marks_is_not_overwritten() -> None:
    """The generator fills between two marks, and stops where one is missing."""
    page = f"by hand\n{generated.BEGIN}old\n{generated.END}by hand too\n"
    assert generated.fill(page, "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="lost the marks"):
        generated.fill(page.replace(generated.END, ""), "new\n")
