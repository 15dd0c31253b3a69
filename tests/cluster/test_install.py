"""The plain installation on a real API server: it applies, its pod is admitted, nobody signs with another's name."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATOR = "system:serviceaccount:prompt-operator:prompt-operator"
TEAM = "team"
AT = "2026-01-02T03:04:05Z"
SIGNATURE = {"by": "alice", "reason": "checked"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, as the policy holds for the whole cluster; alice and bob may edit, carol restore."""
    folder = tmp_path_factory.mktemp("install")
    plane = ControlPlane.start(folder, audit=False, crds=REPO / "crds", tokens={"carol": ()})
    try:
        plane.kubectl("apply", "--server-side", "--kustomize", str(REPO / "manifests"))
        plane.kubectl("create", "namespace", TEAM)
        bind(plane, "edit", "alice", "bob")
        bind(plane, "prompt-operator-promptrollbacks-restore", "carol")
        wait_for_policy(plane)
        yield plane
    finally:
        plane.stop()


def bind(plane: ControlPlane, role: str, *users: str) -> None:
    """Give users a ClusterRole in the team's namespace."""
    named = [f"--user={user}" for user in users]
    plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", *named, "--namespace", TEAM)


def rollback(name: str, **spec: Any) -> str:
    """A manual request of alice, changed by what is given; None leaves a member out."""
    whole = {
        "promptRef": {"name": "greeting"},
        "fromVersion": "1.1.0",
        "reason": "answers are wrong",
        "requestedBy": "alice",
        **spec,
    }
    body = {key: value for key, value in whole.items() if value is not None}
    metadata = {"name": name, "namespace": TEAM}
    return json.dumps(
        {"apiVersion": "promptops.dev/v1alpha1", "kind": "PromptRollback", "metadata": metadata, "spec": body}
    )


def send(plane: ControlPlane, user: str, manifest: str, *, dry_run: bool = True) -> str:
    """Create it as this user; returns the refusal, empty when it was accepted."""
    flags = ("--dry-run=server",) if dry_run else ()
    config = plane.kubeconfig_for(user)
    return plane.kubectl("create", *flags, "--filename=-", input=manifest, check=False, kubeconfig=config).stderr


def sign(plane: ControlPlane, user: str, name: str, **spec: Any) -> str:
    """Merge into the spec of a PromptRollback as this user; returns the refusal."""
    config = plane.kubeconfig_for(user)
    patch = (
        "patch",
        "promptrollback",
        name,
        "--namespace",
        TEAM,
        "--type=merge",
        f"--patch={json.dumps({'spec': spec})}",
    )
    return plane.kubectl(*patch, check=False, kubeconfig=config).stderr


def wait_for_policy(plane: ControlPlane) -> None:
    """Wait until roles are aggregated and the policy is enforced: both follow a moment after the apply."""
    deadline = time.monotonic() + 60
    while "put your own name" not in (said := send(plane, "bob", rollback("probe"))):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


RECORD = {"trigger": "Automatic", "decision": "Executed", "decidedAt": AT, "toVersion": "1.0.0"}
MANUAL_RECORD = {"decision": "Executed", "decidedAt": AT, "toVersion": "1.0.0", "requestRef": {"name": "please"}}


@pytest.mark.parametrize(
    ("user", "spec", "says"),
    [
        ("bob", {}, "requestedBy is alice, but the request comes from bob: put your own name"),
        ("alice", {"release": {"by": "bob", "reason": "x"}}, "release.by is bob, but the request comes from alice"),
        ("alice", {"acknowledge": {"by": "bob", "reason": "x"}}, "acknowledge.by is bob, but the request comes from"),
        ("alice", {**RECORD, "requestedBy": None}, "trigger Automatic is for the operator: alice may create a request"),
        ("alice", MANUAL_RECORD, "decision is for the operator: alice may create a request without it"),
        ("carol", {}, "requestedBy is alice, but the request comes from carol"),
        (OPERATOR, {}, f"requestedBy is alice, but the request comes from {OPERATOR}"),
    ],
    ids=["requestedBy", "release", "acknowledge", "Automatic", "decision", "restorer-requests", "operator-requests"],
)
def test_a_forged_signature_is_refused(installed: ControlPlane, user: str, spec: dict[str, Any], says: str) -> None:
    """Names are those of the sender, records are the operator's, and the refusal says what would be right."""
    assert says in send(installed, user, rollback("forged", **spec))


@pytest.mark.parametrize(
    ("user", "spec"),
    [
        ("alice", {}),
        (OPERATOR, {**RECORD, "requestedBy": None}),
        (OPERATOR, MANUAL_RECORD),
        ("carol", {**RECORD, "release": SIGNATURE, "acknowledge": SIGNATURE}),
        ("carol", MANUAL_RECORD),
    ],
    ids=["request", "operator-automatic", "operator-manual", "restored-automatic", "restored-manual"],
)
def test_an_honest_one_is_accepted(installed: ControlPlane, user: str, spec: dict[str, Any]) -> None:
    """One's own request, the operator's records with other people's names in them, and a backup put back."""
    assert send(installed, user, rollback("honest", **spec)) == ""


def test_a_record_is_released_by_whoever_signs(installed: ControlPlane) -> None:
    """A person may release and acknowledge the operator's record with their own name, and another's stays valid."""
    record = rollback("record", **RECORD, requestedBy=None)
    assert send(installed, OPERATOR, record, dry_run=False) == ""
    assert "release.by is bob" in sign(installed, "alice", "record", release={"by": "bob", "reason": "x"})
    assert "acknowledge.by is bob" in sign(installed, "alice", "record", acknowledge={"by": "bob", "reason": "x"})
    assert sign(installed, "alice", "record", release=SIGNATURE) == ""
    assert sign(installed, "bob", "record", acknowledge={"by": "bob", "reason": "I take it"}) == ""


def test_people_get_rights_by_the_clusters_own_roles(installed: ControlPlane) -> None:
    """An editor writes every kind and no status, and removes no rollback record; `restore` is not implied."""

    def may(verb: str, resource: str, *flags: str) -> bool:
        asked = ("auth", "can-i", verb, f"{resource}.promptops.dev", "--namespace", TEAM, "--as=alice", *flags)
        return installed.kubectl(*asked, check=False).stdout.strip() == "yes"

    kinds = ("prompts", "promptversions", "experiments", "promptpolicies", "promptrollbacks")
    assert all(may(verb, kind) for verb in ("get", "create", "patch") for kind in kinds)
    assert may("delete", "prompts")
    assert not any(may(verb, "promptrollbacks") for verb in ("delete", "restore"))
    assert not may("patch", "prompts", "--subresource=status")


def test_the_policy_has_no_doubtful_expression(installed: ControlPlane) -> None:
    """The server's type check, made against the CRD's schema, warns of nothing."""
    deadline = time.monotonic() + 60
    status: dict[str, Any] = {}
    while "typeChecking" not in status:
        assert time.monotonic() < deadline, status
        shown = installed.kubectl("get", "validatingadmissionpolicy", "prompt-operator-signatures", "--output=json")
        status = json.loads(shown.stdout).get("status", {})
    assert status["typeChecking"] == {}


def test_the_pod_is_admitted_where_restricted_is_enforced(installed: ControlPlane) -> None:
    """The deployment's pod passes the strictest pod security standard; the same pod as root does not."""
    deployment = json.loads(
        installed.kubectl("get", "deployment", "prompt-operator", "--namespace=prompt-operator", "--output=json").stdout
    )
    spec = deployment["spec"]["template"]["spec"]
    assert create_pod(installed, spec) == ""
    spec["securityContext"]["runAsNonRoot"] = False
    assert "violates PodSecurity" in create_pod(installed, spec)


def create_pod(plane: ControlPlane, spec: dict[str, Any]) -> str:
    """Try a pod in the operator's namespace; returns the refusal."""
    metadata = {"name": "probe", "namespace": "prompt-operator"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return plane.kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(pod), check=False).stderr


def test_the_image_name_is_set_in_one_place(installed: ControlPlane) -> None:
    """No image is published: kustomization.yaml names the one that the deployment gets."""
    wanted = yaml.safe_load((REPO / "manifests" / "kustomization.yaml").read_text("utf-8"))["images"][0]
    path = "--output=jsonpath={.spec.template.spec.containers[*].image}"
    shown = installed.kubectl("get", "deployment", "prompt-operator", "--namespace=prompt-operator", path).stdout
    assert shown == f"{wanted['newName']}:{wanted['newTag']}"


def copied(dockerfile: Path) -> list[str]:
    """What the Dockerfile takes from the checkout."""
    lines = [line.split() for line in dockerfile.read_text("utf-8").splitlines()]
    return [source for words in lines if words[:1] == ["COPY"] and "--from" not in words[1] for source in words[1:-1]]


def test_the_image_takes_files_that_exist() -> None:
    """Each COPY names something of this checkout, so that a moved file cannot break the image unnoticed."""
    sources = copied(REPO / "operator" / "Dockerfile")
    assert "operator/locks/" in sources
    assert [source for source in sources if not (REPO / source).exists()] == []


NAMES = {"NAME-VERSION": "greeting-1.0.0", "NAME": "greeting", "VERSION": "1.0.0", "POLICY": "default"}
NAMES |= {"RECORD": "ledger", "YOU": "admin", "WHY": "checked"}
EXAMPLES = """
apiVersion: promptops.dev/v1alpha1
kind: PromptPolicy
metadata: {name: default}
spec: {}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prompt-greeting}
data: {mode: Active}
"""
PROMETHEUS_RULES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PrometheusRule, listKind: PrometheusRuleList, plural: prometheusrules, singular: prometheusrule}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""  # what the Prometheus Operator brings


def runbook_commands() -> list[list[str]]:
    """Each command of the runbooks once, with names filled in; without those that need a running pod."""
    pages = [page.read_text("utf-8") for page in sorted((REPO / "docs" / "runbooks").glob("*.md"))]
    lines = {line for page in pages for line in re.findall(r"^kubectl .*$", page, re.MULTILINE)}
    lines = {line for line in lines if "--raw" not in line and not line.startswith("kubectl logs")}
    return [shlex.split(filled(line))[1:] for line in sorted(lines)]


def filled(line: str) -> str:
    """A command about objects that exist."""
    line = re.sub(r"\$\(date [^)]*\)", AT, line)
    return re.sub(rf"\b({'|'.join(NAMES)})\b(?!:)", lambda found: NAMES[found[0]], line)


def test_the_commands_of_the_runbooks_work(
    installed: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is accepted by the real kubectl and the real server; those that change something only as a rehearsal."""
    smallest = (REPO / "manifests" / "samples" / "smallest.yaml").read_text("utf-8")
    record = rollback("ledger", **RECORD, requestedBy=None, fromVersion="1.1.0")
    for manifests in (smallest, EXAMPLES, PROMETHEUS_RULES, record):
        installed.kubectl("apply", "--server-side", "--namespace", TEAM, "--filename=-", input=manifests)
    (tmp_path / "default.yaml").write_text(EXAMPLES, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # for kubectl-prompt
    failed = {}
    commands = runbook_commands()
    for words in commands:
        done = installed.kubectl(*words, *flags(words), check=False)
        if done.returncode != 0 and "can-i" not in words:
            failed[" ".join(words)] = done.stderr
    assert failed == {}
    assert len(commands) > 30


def flags(words: list[str]) -> list[str]:
    """What a command needs beside its words: a rehearsal of what it would change, and the namespace."""
    rehearsed = ["--dry-run=server"] if words[0] in {"patch", "annotate"} else []
    placed = any(word.startswith("--namespace") for word in words) or words[:2] == ["prompt", "lint"]
    return rehearsed if placed else [*rehearsed, "--namespace", TEAM]
