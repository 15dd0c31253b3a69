"""What the real API server accepts, what it refuses, and what people read when it does."""

import json
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.api.conventions import fields, nodes
from tests.cluster.manifest_cases import Case, cases, causes, manifest, merged, paths, refusals, removals, stream, table

from devcluster.cluster import Cluster
from prompt_operator.api import KINDS, crdgen
from prompt_operator.api.common import Resource

MODELS: dict[str, type[Resource]] = {model.__name__.lower(): model for model in KINDS}
SMALLEST = Path(__file__).parents[2] / "manifests" / "samples" / "smallest.yaml"
CHANGED = [*cases("changed"), *removals()]
each = partial(pytest.mark.parametrize, ids=lambda case: f"{case.kind}-{case.case[:40]}")


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[str]:
    """One namespace for all rows: no two of them have an object of the same name."""
    name = f"t-{secrets.token_hex(5)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def apply(cluster: Cluster, namespace: str, *flags: str, manifests: list[dict[str, Any]]) -> dict[str, str]:
    """Apply many manifests in one go; returns the refusals by object name."""
    arguments = ("apply", "--server-side", "--namespace", namespace, "--filename", "-", *flags)
    done = cluster.kubectl(*arguments, input=stream(manifests), check=False)
    found = refusals(done.stderr)
    assert done.stdout.count("serverside-applied") == len(manifests) - len(found), done.stderr
    return found


@pytest.fixture(scope="module")
def created(cluster: Cluster, shared: str) -> dict[str, str]:
    """What the server says of the rows `accepted` and `refused`, without keeping them."""
    rows = [manifest(case, case.spec) for case in [*cases("accepted"), *cases("refused")]]
    by_kind = {kind: [row for row in rows if row["kind"].lower() == kind] for kind in MODELS}
    said = {
        kind: apply(cluster, shared, "--dry-run=server", manifests=manifests) for kind, manifests in by_kind.items()
    }
    return {f"{kind}/{name}": text for kind, messages in said.items() for name, text in messages.items()}


@pytest.fixture(scope="module")
def updated(cluster: Cluster, shared: str) -> dict[str, str]:
    """What the server says of the rows `changed`: their first form is kept, the change is tried."""
    rows = [(case.kind, manifest(case, case.before), manifest(case, case.before, case.after)) for case in CHANGED]
    said: dict[str, str] = {}
    for kind in MODELS:
        assert apply(cluster, shared, manifests=[before for each_kind, before, _ in rows if each_kind == kind]) == {}
        after = [after for each_kind, _, after in rows if each_kind == kind]
        messages = apply(cluster, shared, "--dry-run=server", manifests=after)
        said |= {f"{kind}/{name}": text for name, text in messages.items()}
    return said


def key(case: Case, *changes: Any) -> str:
    """Where the refusal of a case is found."""
    return f"{case.kind}/{manifest(case, *changes)['metadata']['name']}"


@each("case", cases("accepted"))
def test_a_good_manifest_is_accepted(case: Case, created: dict[str, str]) -> None:
    """The server has no objection."""
    assert created.get(key(case, case.spec)) is None


@each("case", cases("refused"))
def test_a_bad_manifest_is_refused_with_a_reason(case: Case, created: dict[str, str]) -> None:
    """The server objects to one thing, the one that is wrong, and says what to do."""
    said = [f"{place}: {complaint}" for place, complaint in causes(created[key(case, case.spec)]).items()]
    assert len(said) == 1, said
    assert case.says in said[0]


@each("case", CHANGED)
def test_a_change_is_accepted_or_refused(case: Case, updated: dict[str, str]) -> None:
    """What is immutable stays, and the refusal names the field and the way to go instead."""
    refusal = updated.get(key(case, case.before, case.after), "")
    assert bool(refusal) == bool(case.says)
    assert case.says in refusal


@pytest.mark.parametrize("model", KINDS, ids=lambda model: str(model.__name__))
def test_each_rule_refuses_something(model: type[Resource]) -> None:
    """No CEL rule is without a manifest that it refuses, and so none can be lost unnoticed."""
    refusing = {case.says for case in [*cases("refused"), *CHANGED] if case.says}
    schema = crdgen.open_api(model)
    rules = [rule for _, node in [("", schema), *nodes(schema)] for rule in node.get("x-kubernetes-validations", ())]
    texts = {rule.get("message") or rule["messageExpression"].split("'")[1] for rule in rules}
    assert {text for text in texts if not any(says in text or text in says for says in refusing)} == set()


@pytest.mark.parametrize("kind", MODELS)
def test_the_complete_example_has_every_field(kind: str) -> None:
    """No field of the API is left out of the round trip below."""
    complete = table(kind)["complete"]
    examples = [complete, {"spec": complete.get("alternatives", {})}]
    shown = {path.removesuffix("[]") for example in examples for path in paths(example)}
    wanted = {path.removesuffix("[]") for path, _ in fields(crdgen.definition_of(MODELS[kind]))}
    assert wanted - shown == set()


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_is_lost_on_the_way(kind: str, cluster: Cluster, shared: str) -> None:
    """What a model writes, the server stores whole; what the server returns, the model reads whole."""
    case = Case(kind, "complete")
    complete = table(kind)["complete"]
    wanted = manifest(case, complete["spec"])
    assert apply(cluster, shared, manifests=[wanted]) == {}
    status = {**wanted, "status": complete["status"]}
    assert apply(cluster, shared, "--subresource=status", "--field-manager=operator", manifests=[status]) == {}
    target = (kind, wanted["metadata"]["name"], "--namespace", shared)
    stored = json.loads(cluster.kubectl("get", *target, "--output=json").stdout)
    read = MODELS[kind].from_manifest(stored).model_dump(by_alias=True, exclude_none=True, mode="json")
    for part, sent in (("spec", wanted["spec"]), ("status", complete["status"])):
        assert stored[part] == sent
        assert read[part] == sent


def test_the_smallest_sample_is_all_there_is_to_write(cluster: Cluster, namespace: str) -> None:
    """The sample in the documents is accepted as it stands, without a warning."""
    done = cluster.kubectl("apply", "--server-side", "--namespace", namespace, "--filename", str(SMALLEST))
    assert done.stdout.count("serverside-applied") == 2
    assert done.stderr == ""


def test_misspelt_members_are_named(cluster: Cluster, shared: str) -> None:
    """Also without server-side apply, a member that does not exist is refused instead of dropped."""
    case = Case("prompt", "misspelt")
    arguments = ("create", "--dry-run=server", "--namespace", shared, "--filename", "-")
    done = cluster.kubectl(*arguments, input=stream([manifest(case, {"polcyRef": {"name": "x"}})]), check=False)
    assert 'unknown field "spec.polcyRef"' in done.stderr


def test_explain_reads_well(cluster: Cluster) -> None:
    """`kubectl explain` gives type, values and one sentence for each field of a block."""
    text = cluster.kubectl("explain", "prompt.spec.rollback").stdout
    assert "When automatic rollbacks are allowed. Fields given here win over the" in text
    lines = [line.rstrip() for line in text.splitlines()]
    start = lines.index("  auto\t<string>")
    assert lines[start + 1] == "  enum: Enabled, DryRun, Disabled"
    assert lines[start + 2] == "    Whether rules may roll back. DryRun decides and records but does not switch."
    named = [line.split("\t")[0].strip() for line in lines if "\t<" in line]
    expected = [
        "auto",
        "cooldown",
        "correlatedBreach",
        "globalRateLimit",
        "initialDelay",
        "maxPerDay",
        "recoveryWindow",
    ]
    assert named == expected


def cells(text: str) -> list[list[str]]:
    """The lines of kubectl's tables, each cut into its cells; ages are left out."""
    return [line.split()[:-1] for line in text.splitlines() if line.strip()]


def test_get_shows_what_matters(cluster: Cluster, namespace: str) -> None:
    """`kubectl get prm,prv` after a rollback: ready or not, active, desired and why, on lines of a terminal's width."""
    version = manifest(Case("promptversion", "greeting"))
    prompt = manifest(Case("prompt", "greeting"), {"version": "1.1.0"})
    assert apply(cluster, namespace, manifests=[version, prompt]) == {}
    example = {"status": merged(table("prompt")["complete"]["status"], {"activeVersion": "1.0.0"})}
    patch = ("--subresource=status", "--type=merge", "--patch")
    cluster.kubectl("patch", "prm", "greeting", "--namespace", namespace, *patch, json.dumps(example))
    cluster.kubectl(
        "patch", "prv", "greeting-1.0.0", "--namespace", namespace, *patch, '{"status": {"stage": "Active"}}'
    )
    shown = cluster.kubectl("get", "prm,prv", "--namespace", namespace).stdout
    assert cells(shown) == [
        ["NAME", "READY", "ACTIVE", "DESIRED", "REASON"],
        ["prompt.promptops.dev/greeting", "False", "1.0.0", "1.1.0", "RolledBack"],
        ["NAME", "PROMPT", "VERSION", "STAGE", "READY"],
        ["promptversion.promptops.dev/greeting-1.0.0", "greeting", "1.0.0", "Active"],
    ]
    assert max(map(len, shown.splitlines())) <= 100


def test_versions_are_found_without_a_list_of_all(cluster: Cluster, namespace: str) -> None:
    """Field selectors give the versions of one prompt, and the category gives all kinds."""
    objects = [manifest(Case("promptversion", name)) for name in ("greeting", "farewell")]
    assert apply(cluster, namespace, manifests=[*objects, manifest(Case("prompt", "greeting"))]) == {}
    only = ("--field-selector", "spec.promptRef.name=greeting,spec.version=1.0.0", "--output=name")
    found = cluster.kubectl("get", "promptversions", "--namespace", namespace, *only).stdout.split()
    assert found == ["promptversion.promptops.dev/greeting-1.0.0"]
    every = cluster.kubectl("get", "promptops", "--namespace", namespace, "--output=name").stdout.split()
    assert len(every) == 3
