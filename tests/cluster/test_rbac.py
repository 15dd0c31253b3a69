"""The operator's rights: enough for all it does, and for nothing else. Tried with its real ServiceAccount."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from devcluster import http
from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from devcluster.ports import LOOPBACK, free_port
from prompt_operator.core.pruning import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "system:serviceaccount:prompt-operator:prompt-operator"
KINDS = ("prompts", "promptversions", "experiments", "promptpolicies", "promptrollbacks")
TEAM = "team"
HOME = "prompt-operator"
"""Namespace of the operator itself, and the name of its Lease."""
READ = ("get", "list", "watch")
VERBS = (*READ, "create", "update", "patch", "delete", "deletecollection", "escalate", "bind", "impersonate", "restore")
MAY = {
    **{("promptops.dev", kind): READ for kind in KINDS},
    ("promptops.dev", "promptrollbacks"): (*READ, "create", "delete"),
    **{("promptops.dev", f"{kind}/status"): ("patch",) for kind in KINDS},
    ("", "configmaps"): (*READ, "create", "patch", "delete"),
    ("events.k8s.io", "events"): ("create", "get", "patch"),
    ("authentication.k8s.io", "tokenreviews"): ("create",),
    ("authorization.k8s.io", "subjectaccessreviews"): ("create",),
}
"""All the operator may do; whatever is not here, it may not."""
OTHERS = [
    *(("", name) for name in ("secrets", "pods", "pods/exec", "pods/log", "services", "namespaces", "nodes", "events")),
    *(("", name) for name in ("serviceaccounts", "serviceaccounts/token", "users", "groups", "persistentvolumes")),
    *(("rbac.authorization.k8s.io", name) for name in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")),
    *(("promptops.dev", f"{kind}/finalizers") for kind in KINDS),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("coordination.k8s.io", "leases"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("*", "*"),
]
NEW_VERSION = """
apiVersion: promptops.dev/v1alpha1
kind: PromptVersion
metadata: {name: greeting-1.1.0}
spec: {promptRef: {name: greeting}, version: 1.1.0, text: "Greet {{ name }}."}
"""
COMPANIONS = """
apiVersion: promptops.dev/v1alpha1
kind: PromptPolicy
metadata: {name: default}
spec: {rollback: {cooldown: 5m}}
---
apiVersion: promptops.dev/v1alpha1
kind: Experiment
metadata: {name: tone}
spec:
  promptRef: {name: greeting}
  type: ABTest
  primary: {metric: success_rate, direction: Increase}
  arms: [{name: control, version: 1.0.0, weight: 50}, {name: short, version: 1.1.0, weight: 50}]
"""
REQUEST = """
apiVersion: promptops.dev/v1alpha1
kind: PromptRollback
metadata: {name: please}
spec: {promptRef: {name: greeting}, fromVersion: 1.1.0, reason: answers are wrong, requestedBy: admin}
"""


OLD_RECORD = """
apiVersion: promptops.dev/v1alpha1
kind: PromptRollback
metadata: {name: old-%s}
spec: {promptRef: {name: greeting}, fromVersion: 1.1.0, trigger: Automatic, decision: Refused, guard: CoolingDown,
  decidedAt: "2026-01-01T00:00:00Z", reason: too early}
"""
NAMES = "{range .items[*]}{.metadata.name} {end}"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the plain installation, and an audit log in which only the operator acts by its account."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("rbac"), crds=REPO / "crds")
    try:
        plane.kubectl("apply", "--server-side", "--kustomize", str(REPO / "manifests"))
        plane.kubectl("create", "namespace", TEAM)
        plane.kubectl("create", "serviceaccount", "scraper", "--namespace", TEAM)
        reader = "--clusterrole=prompt-operator-metrics-reader"
        plane.kubectl("create", "clusterrolebinding", "scraper", reader, f"--serviceaccount={TEAM}:scraper")
        yield plane
    finally:
        plane.stop()


def wait_for(what: str, seen: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until it is so, and return what was seen."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        time.sleep(0.1)
    return found


def send(url: str, token: str = "", body: object = None, tls: ssl.SSLContext | None = None) -> str:
    """GET, or POST a body as JSON; OSError with the status when it is refused."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    handlers += [urllib.request.HTTPSHandler(context=tls)] if tls else []
    opener = urllib.request.build_opener(*handlers)
    with opener.open(urllib.request.Request(url, data, headers), timeout=60) as response:  # noqa: S310  our own
        return str(response.read().decode())


class Run:
    """One `prompt-operator run` with the token of a ServiceAccount."""

    def __init__(self, plane: ControlPlane, folder: Path, *flags: str, account: str = ACCOUNT) -> None:
        self.plane, self.log, self._flags, self._account = plane, folder / "operator.log", flags, account
        self.address = f"{LOOPBACK}:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self.plane.kubeconfig_for(self._account)
        addresses = [f"--health-address={self.address}", f"--metrics-address={self.address}"]
        environment = {**os.environ, "PYTHONPATH": str(REPO / "operator"), "KUBECONFIG": str(config)}
        environment.pop("PROMETHEUS_URL", None)
        command = [sys.executable, "-m", "prompt_operator", "run", *addresses, *self._flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        wait_for("readiness", lambda: http.answers(f"http://{self.address}/readyz"))
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def metrics(self, user: str) -> str:
        """Scrape as this user; OSError when refused."""
        config = json.loads(self.plane.kubeconfig_for(user).read_text("utf-8"))
        token = config["users"][0]["user"]["token"]
        return send(f"http://{self.address}/metrics", token)


@pytest.fixture(scope="module")
def run(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that has done each kind of thing the operator does."""
    folder = tmp_path_factory.mktemp("run")
    with Run(plane, folder, f"--lease={HOME}/{HOME}") as run:
        apply(plane, (REPO / "manifests" / "samples" / "smallest.yaml").read_text("utf-8"))
        kubectl(plane, "wait", "--for=condition=Ready", "prompt/greeting", "--timeout=60s")
        apply(plane, NEW_VERSION + "---" + COMPANIONS)
        kubectl(plane, "patch", "prompt", "greeting", "--type=merge", '--patch={"spec":{"version":"1.1.0"}}')
        wait_for("1.1.0 in the ConfigMap", lambda: served(plane) == "1.1.0")
        for _ in range(2):
            tamper(plane)
        make_immutable(plane)
        apply(plane, REQUEST)
        wait_for("1.0.0 in the ConfigMap", lambda: served(plane) == "1.0.0")
        wait_for("the record's answer", lambda: shown(plane, "promptrollback/please", "{.status.record}"))
        wait_for("the policy's status", lambda: shown(plane, "promptpolicy/default", "{.status.prompts}") == "1")
        apply(plane, "---".join(OLD_RECORD % number for number in range(KEPT + 1)))
        wait_for("the oldest record's end", lambda: "old-0 " not in shown(plane, "promptrollbacks", NAMES) + " ")
        wait_for("a series of Events", lambda: "2" in shown(plane, "events.events.k8s.io", "{.items[*].series.count}"))
        yield run


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    """Run kubectl as the administrator in the team's namespace."""
    return plane.kubectl(*arguments, "--namespace", TEAM).stdout


def apply(plane: ControlPlane, manifests: str) -> None:
    """Apply as the administrator."""
    plane.kubectl("apply", "--server-side", "--namespace", TEAM, "--filename=-", input=manifests)


def shown(plane: ControlPlane, target: str, path: str) -> str:
    """One value of an object or a list."""
    return kubectl(plane, "get", target, f"--output=jsonpath={path}")


def served(plane: ControlPlane) -> str:
    """The version in the ConfigMap."""
    return shown(plane, "configmap/prompt-greeting", "{.data.version}")


def tamper(plane: ControlPlane) -> None:
    """Add a key and change another, and wait until both are put back."""
    patch = json.dumps({"data": {"extra": "mine", "version": "9.9.9"}})
    kubectl(plane, "patch", "configmap", "prompt-greeting", "--type=merge", f"--patch={patch}")
    read = "{.data.version}{.data.extra}"
    wait_for("the ConfigMap put back", lambda: shown(plane, "configmap/prompt-greeting", read) == "1.1.0")


def make_immutable(plane: ControlPlane) -> None:
    """Make the ConfigMap immutable: the operator deletes it and makes another."""
    kubectl(plane, "patch", "configmap", "prompt-greeting", "--type=merge", '--patch={"immutable":true}')
    target = (
        "get",
        "configmap",
        "prompt-greeting",
        "--ignore-not-found",
        "--output=jsonpath={.immutable}{.data.version}",
    )
    wait_for("another ConfigMap", lambda: kubectl(plane, *target) == "1.1.0")


def granted(*files: str) -> set[tuple[str, str, str]]:
    """What the operator's own roles in these manifests grant: (group, resource, verb)."""
    documents = [d for file in files for d in yaml.safe_load_all((REPO / "manifests" / file).read_text("utf-8"))]
    rules = [rule for d in documents for rule in d.get("rules", ()) if "resources" in rule]
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def written(plane: ControlPlane) -> set[tuple[str, str, str]]:
    """Each kind of write the operator's account made, by the audit log."""
    lines = [json.loads(line) for line in plane.audit_log.read_text("utf-8").splitlines()]
    mine = [line for line in lines if line["user"]["username"] == ACCOUNT and "objectRef" in line]
    return {(of.get("apiGroup", ""), resource(of), line["verb"]) for line in mine if (of := line["objectRef"])}


def resource(of: dict[str, str]) -> str:
    """`prompts/status` or `prompts`."""
    return "/".join(filter(None, (of["resource"], of.get("subresource"))))


def test_the_rights_suffice_for_a_whole_run(run: Run) -> None:
    """Projection, healing, replacing, a rollback, all statuses, Events and reviews: no answer was 403."""
    families = text_string_to_metric_families(run.metrics(f"system:serviceaccount:{TEAM}:scraper"))
    samples = [sample for family in families for sample in family.samples]
    codes = {sample.labels["code"] for sample in samples if sample.name == "prompt_operator_api_requests_total"}
    refused = [
        s for s in samples if s.name == "prompt_operator_events_dropped_total" and s.labels["reason"] == "refused"
    ]
    assert codes >= {"200", "201"}
    assert "403" not in codes
    assert refused == []
    assert "orbidden" not in run.log.read_text("utf-8")


def test_metrics_are_for_those_who_may_read_them(run: Run) -> None:
    """A token without the role metrics-reader is refused, and so is none at all."""
    with pytest.raises(OSError, match="403"):
        run.metrics(ACCOUNT)
    with pytest.raises(OSError, match="401"):
        send(f"http://{run.address}/metrics")


def test_each_right_to_write_is_used(run: Run) -> None:
    """The audit log shows the same verbs that the roles grant, so none is left over from what the operator once did."""
    run.metrics(f"system:serviceaccount:{TEAM}:scraper")
    writes = {right for right in granted("rbac.yaml", "lease.yaml") if right[2] not in READ}
    by_apply = {("", "configmaps", "create")}  # an apply that creates needs it, and is logged as a patch
    assert written(run.plane) | by_apply == writes


def test_the_account_may_do_nothing_else(plane: ControlPlane) -> None:
    """Every verb on every kind it could misuse, asked of the API server: allowed is what the table says, no more."""
    asked = [(*target, verb) for target in [*MAY, *OTHERS] for verb in VERBS]
    tls = ssl.create_default_context(cafile=str(plane.ca_file))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda ask: allowed(plane, tls, *ask), asked))
    wanted = {(*target, verb) for target, verbs in MAY.items() for verb in verbs}
    assert {ask for ask, yes in zip(asked, answers, strict=True) if yes} == wanted


def test_only_its_own_lease(plane: ControlPlane) -> None:
    """In its own namespace it may create Leases and read and renew the one of its name: no other, nowhere else."""
    tls = ssl.create_default_context(cafile=str(plane.ca_file))
    lease = ("coordination.k8s.io", "leases")
    verbs = {verb for verb in VERBS if allowed(plane, tls, *lease, verb, namespace=HOME, named=HOME)}
    assert verbs == {"create", "get", "update"}
    others = {verb for verb in VERBS if allowed(plane, tls, *lease, verb, namespace=HOME, named="other")}
    assert others == {"create"}


def allowed(
    plane: ControlPlane,
    tls: ssl.SSLContext,
    group: str,
    name: str,
    verb: str,
    *,
    namespace: str = TEAM,
    named: str = "",
) -> bool:
    """Ask SubjectAccessReview about the account, with the groups that its token carries."""
    kind, _, subresource = name.partition("/")
    attributes = {
        "namespace": namespace, "group": group, "resource": kind, "subresource": subresource, "verb": verb,
        "name": named,
    }  # fmt: skip
    groups = ["system:serviceaccounts", "system:serviceaccounts:prompt-operator", "system:authenticated"]
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "groups": groups, "resourceAttributes": attributes},
    }
    url = f"{plane.url}/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(json.loads(send(url, plane.admin_token, body, tls))["status"]["allowed"])


def test_one_namespace_needs_the_same_rights() -> None:
    """The Role for one namespace grants what the ClusterRole grants, but for the reviews, which have no namespace."""
    reviews = {("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews")}
    cluster = {right for right in granted("rbac.yaml") if right[:2] not in reviews}
    assert granted("namespaced/role.yaml") == cluster


def test_one_namespace_suffices(plane: ControlPlane, tmp_path: Path) -> None:
    """With the Role alone, in one namespace alone, the operator does its work there and asks for nothing beyond it."""
    only, account = "only-here", "system:serviceaccount:prompt-operator:narrow"
    plane.kubectl("create", "namespace", only)
    plane.kubectl("create", "serviceaccount", "narrow", "--namespace=prompt-operator")
    role = (REPO / "manifests" / "namespaced" / "role.yaml").read_text("utf-8")
    role = role.replace("kind: ServiceAccount\n  name: prompt-operator", "kind: ServiceAccount\n  name: narrow")
    plane.kubectl("apply", "--server-side", "--namespace", only, "--filename=-", input=role)
    with Run(plane, tmp_path, f"--namespace={only}", "--metrics-auth=None", account=account) as run:
        sample = str(REPO / "manifests" / "samples" / "smallest.yaml")
        plane.kubectl("apply", "--server-side", "--namespace", only, "--filename", sample)
        plane.kubectl("wait", "--for=condition=Ready", "prompt/greeting", "--namespace", only, "--timeout=60s")
        assert 'code="403"' not in send(f"http://{run.address}/metrics")
        assert "orbidden" not in run.log.read_text("utf-8")


def test_no_rule_has_a_wildcard() -> None:
    """No role, the people's included, says `*`, names secrets, or lets its owner gain more rights."""
    rights = granted("rbac.yaml", "namespaced/role.yaml", "roles-for-people.yaml")
    words = {word for right in rights for word in right}
    assert words & {"*", "secrets", "escalate", "bind", "impersonate"} == set()
