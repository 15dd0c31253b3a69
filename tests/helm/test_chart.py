"""The chart: what it renders is the plain installation, and the real helm installs, upgrades and removes it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from devcluster import tools
from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.api import KINDS
from prompt_operator.settings import Settings, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Template = Callable[..., list[dict[str, Any]]]

CHART = REPO / "helm" / "prompt-operator"
RELEASE = ("prompt-operator", str(CHART), "--namespace=prompt-operator")
OFFLINE = "--kube-version=1.36.0"  # what `helm template` takes the place of a server for
HELMS_OWN = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}


def run_helm(folder: Path, *arguments: str, kubeconfig: Path | None = None, check: bool = True) -> str:
    """Run the real helm with its own folders; returns what it printed, errors included."""
    homes = {name: str(folder / name.lower()) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    environment = {**os.environ, **homes, "KUBECONFIG": str(kubeconfig or folder / "none")}
    command = [str(tools.ensure("helm") / "helm"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stderr
        return done.stdout
    return done.stderr


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """Render the chart without a cluster."""

    def render(*flags: str) -> list[dict[str, Any]]:
        text = run_helm(tmp_path, "template", *RELEASE, OFFLINE, *flags)
        return [document for document in yaml.safe_load_all(text) if document]

    return render


def plain(node: Any) -> Any:
    """A manifest without what helm and the chart add to every object."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if key not in HELMS_OWN}
    return [plain(value) for value in node] if isinstance(node, list) else node


def by_name(manifests: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Manifests by kind and name."""
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def installed_plainly() -> dict[tuple[str, str], dict[str, Any]]:
    """What `kubectl apply -k manifests` sends, but for the namespace."""
    kubectl = tools.ensure("kubernetes") / "kubectl"
    command = [str(kubectl), "kustomize", str(REPO / "manifests")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return by_name([document for document in yaml.safe_load_all(text) if document["kind"] != "Namespace"])


def settled(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what differs on purpose: the pod's annotations, and comments in the settings file."""
    if manifest["kind"] == "Deployment":
        manifest["spec"]["template"]["metadata"].pop("annotations", None)
    if manifest["kind"] == "ConfigMap":
        manifest["data"] = {name: yaml.safe_load(text) for name, text in manifest["data"].items()}
    return manifest


def test_the_chart_is_the_plain_installation(template: Template) -> None:
    """With its defaults it renders the same rights, pod, service, network and admission policy as manifests/."""
    rendered = by_name(template("--set=crds.install=false"))
    wanted = installed_plainly()
    assert rendered.keys() == wanted.keys()
    for name, manifest in wanted.items():
        assert settled(plain(rendered[name])) == settled(plain(manifest)), name


def test_the_chart_brings_the_crds(template: Template) -> None:
    """They are those in crds/, kept when the release goes, unless told otherwise."""
    committed = by_name([yaml.safe_load(path.read_text("utf-8")) for path in (REPO / "crds").glob("*.yaml")])
    kept = by_name(template("--show-only=templates/crds.yaml"))
    for manifest in kept.values():
        assert manifest["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert kept == committed
    assert by_name(template("--show-only=templates/crds.yaml", "--set=crds.keep=false")) == committed
    assert len(committed) == len(KINDS)


def test_a_namespace_instead_of_the_cluster(template: Template) -> None:
    """With watchNamespaces the operator gets Roles there, none over the cluster's objects, and looks nowhere else."""
    manifests = by_name(template("--set=watchNamespaces={team-a,team-b}", "--set=rbac.people=false"))
    cluster = {name for kind, name in manifests if kind == "ClusterRole"}
    assert cluster == {"prompt-operator-reviews"}
    role = yaml.safe_load_all((REPO / "manifests" / "namespaced" / "role.yaml").read_text("utf-8"))
    assert manifests["Role", "prompt-operator"]["rules"] == next(role)["rules"]
    shown = template("--set=watchNamespaces={team-a,team-b}", "--show-only=templates/rbac.yaml")
    assert [m["metadata"]["namespace"] for m in shown if m["kind"] == "RoleBinding"] == ["team-a", "team-b"]
    settings = manifests["ConfigMap", "prompt-operator-settings"]["data"]["settings.yaml"]
    assert yaml.safe_load(settings)["namespaces"] == ["team-a", "team-b"]


def test_the_policy_trusts_the_releases_own_account(template: Template) -> None:
    """Under another name the admission policy names the account that the pod runs with."""
    flags = ("--set=serviceAccount.name=prompts", "--show-only=templates/admission.yaml")
    policy = by_name(template(*flags))["ValidatingAdmissionPolicy", "prompt-operator-signatures"]
    assert "'system:serviceaccount:prompt-operator:prompts'" in json.dumps(policy)


def test_a_service_monitor_where_prometheus_operator_is(template: Template) -> None:
    """It is left out where its kind is unknown."""
    monitor = ("ServiceMonitor", "prompt-operator")
    assert monitor not in by_name(template("--set=metrics.serviceMonitor.enabled=true"))
    known = template("--set=metrics.serviceMonitor.enabled=true", "--api-versions=monitoring.coreos.com/v1")
    assert monitor in by_name(known)


def test_the_recording_rules_are_the_plain_ones_and_only_where_they_are_known(template: Template) -> None:
    """Without the CRD there is none; with it, the PrometheusRule holds what the plain file holds, and the labels."""
    assert not [one for one in template() if one["kind"] == "PrometheusRule"]
    flags = ("--api-versions=monitoring.coreos.com/v1", "--set=metrics.recordingRules.labels.release=stack")
    (rule,) = [one for one in template(*flags) if one["kind"] == "PrometheusRule"]
    shipped = REPO / "manifests" / "recording-rules" / "native.rules.yaml"
    assert rule["spec"] == yaml.safe_load(shipped.read_text("utf-8"))
    assert rule["metadata"]["labels"]["release"] == "stack"


def test_without_a_lease_there_is_no_right_to_one(template: Template) -> None:
    """Election switched off: no Role for it, and an empty setting; another name is the one that the Role names."""
    off = by_name(template("--set=settings.lease="))
    assert not {name for _, name in off if name.endswith("-lease")}
    named = by_name(template("--set=settings.lease=other", "--set=replicas=2"))
    assert named["Role", "prompt-operator-lease"]["rules"][1]["resourceNames"] == ["other"]
    assert named["Deployment", "prompt-operator"]["spec"]["replicas"] == 2


def test_a_profile_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A mistyped profile is named instead of recording nothing."""
    flags = ("--api-versions=monitoring.coreos.com/v1", "--set=metrics.recordingRules.profiles={nativ}")
    said = run_helm(tmp_path, "template", *RELEASE, OFFLINE, *flags, check=False)
    assert 'there is no profile "nativ"' in said


def test_profiles_of_ones_own_are_mounted_where_the_operator_reads_them(template: Template, tmp_path: Path) -> None:
    """Each is a file of a ConfigMap under its name; without any there is neither ConfigMap nor setting."""
    assert ("ConfigMap", "prompt-operator-profiles") not in by_name(template())
    shown = by_name(template("--set=profiles.own.extends=native", "--set=profiles.own.quantities.cost=null"))
    for name, text in shown["ConfigMap", "prompt-operator-profiles"]["data"].items():
        (tmp_path / name).write_text(text, "utf-8")
    assert load_profiles(tmp_path)["own"].identity == load_profiles()["native"].identity
    pod = shown["Deployment", "prompt-operator"]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    settings = yaml.safe_load(shown["ConfigMap", "prompt-operator-settings"]["data"]["settings.yaml"])
    assert mounts["profiles"] == settings["profilesDir"]
    assert {"name": "profiles", "configMap": {"name": "prompt-operator-profiles"}} in pod["volumes"]


def test_the_settings_file_is_one_the_operator_reads(template: Template, tmp_path: Path) -> None:
    """What the chart writes loads; and the schema knows each setting that is not the chart's own business."""
    flags = ("--set=settings.tick=30s", "--set=settings.metricsAuth=None", "--set=watchNamespaces={team-a}")
    text = by_name(template(*flags))["ConfigMap", "prompt-operator-settings"]["data"]["settings.yaml"]
    (tmp_path / "settings.yaml").write_text(text, "utf-8")
    settings = resolve({"config": str(tmp_path / "settings.yaml")}, {})
    assert (settings.tick.total_seconds(), settings.metrics_auth, settings.namespaces) == (30, "None", ("team-a",))
    offered = json.loads((CHART / "values.schema.json").read_text("utf-8"))["properties"]["settings"]["properties"]
    own = {
        "namespaces",
        "healthAddress",
        "metricsAddress",
        "kubeconfig",
        "context",
        "config",
        "modePinned",
        "profilesDir",
    }
    assert offered.keys() == {field.alias for field in Settings.model_fields.values()} - own


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--set=replicas=0", "replicas"),
        ("--set=replicas=2,settings.lease=", "replicas above 1 need settings/lease"),
        ("--set=settings.prometheusURL=http://x", "prometheusURL"),
        ("--set=settings.mode=Off", "settings/mode"),
        ("--set=image.repository=", "image/repository"),
        ("--set=networkPolicy.prometheusPorts={a}", "networkPolicy/prometheusPorts"),
    ],
)
def test_a_wrong_value_is_refused(flag: str, says: str, tmp_path: Path) -> None:
    """A misspelt or impossible value stops helm with its name."""
    refusal = run_helm(tmp_path, "template", *RELEASE, OFFLINE, flag, check=False)
    assert says in refusal.replace(".", "/")


def test_lint(tmp_path: Path) -> None:
    """Helm's own checks have nothing to say."""
    assert "0 chart(s) failed" in run_helm(tmp_path, "lint", "--strict", str(CHART), OFFLINE)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An empty control plane: helm brings the CRDs."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("helm"), audit=False)
    yield plane
    plane.stop()


def test_install_upgrade_uninstall(plane: ControlPlane, tmp_path: Path) -> None:
    """A release comes, changes and goes; the CRDs and the prompts in them stay, and can be taken over again."""

    def helm(*arguments: str) -> str:
        return run_helm(tmp_path, *arguments, kubeconfig=plane.kubeconfig)

    plane.kubectl("create", "namespace", "prompt-operator")
    plane.kubectl("label", "namespace", "prompt-operator", "pod-security.kubernetes.io/enforce=restricted")
    said = helm("install", *RELEASE)
    assert "No image is published yet" in said
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
    sample = str(REPO / "manifests" / "samples" / "smallest.yaml")
    plane.kubectl("apply", "--server-side", "--namespace=default", "--filename", sample)
    assert pod_refusal(plane) == ""
    helm("upgrade", *RELEASE, "--set=settings.prometheusUrl=http://prometheus:9090", "--set=admission.enabled=false")
    policies = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    assert plane.kubectl("get", policies, "--output=name").stdout == ""
    target = ("configmap", "prompt-operator-settings", "--namespace=prompt-operator", "--output=jsonpath={.data}")
    assert "http://prometheus:9090" in plane.kubectl("get", *target).stdout
    helm("uninstall", "prompt-operator", "--namespace=prompt-operator", "--wait")
    left = plane.kubectl("get", "deployments,serviceaccounts", "--namespace=prompt-operator", "--output=name").stdout
    assert left.split() == ["serviceaccount/default"]
    assert plane.kubectl("get", "clusterroles", "--selector=app.kubernetes.io/part-of=prompt-operator").stdout == ""
    assert plane.kubectl("get", "prompts", "--namespace=default", "--output=name").stdout.strip() != ""
    helm("install", *RELEASE)


def pod_refusal(plane: ControlPlane) -> str:
    """What the server says of the deployment's pod where the restricted standard is enforced; empty when admitted."""
    target = ("deployment", "prompt-operator", "--namespace=prompt-operator", "--output=json")
    template = json.loads(plane.kubectl("get", *target).stdout)["spec"]["template"]
    metadata = {"name": "probe", "namespace": "prompt-operator"}
    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return plane.kubectl("create", "--dry-run=server", "--filename=-", input=pod, check=False).stderr


def test_credentials_are_mounted_where_sources_name_them(template: Template) -> None:
    """Secrets and ConfigMaps as files of the pod; the operator gets no right to read Secrets."""
    values = [{"name": "mimir", "secret": "mimir-credentials"}, {"name": "ca", "configMap": "prometheus-ca"}]
    token = "/etc/prompt-operator-credentials/mimir/token"
    sources = [{"name": "mimir", "url": "https://mimir.example.com", "bearerTokenFile": token, "queryLag": "30s"}]
    documents = template(
        f"--set-json=credentials={json.dumps(values)}", f"--set-json=settings.sources={json.dumps(sources)}"
    )
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["credentials-mimir"]["secret"] == {"secretName": "mimir-credentials"}
    assert volumes["credentials-ca"]["configMap"] == {"name": "prometheus-ca"}
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/etc/prompt-operator-credentials/mimir"]["readOnly"]
    (settings,) = (each["data"]["settings.yaml"] for each in documents if "settings.yaml" in each.get("data", {}))
    assert yaml.safe_load(settings)["sources"] == sources
    roles = [each for each in documents if each["kind"] in {"Role", "ClusterRole"}]
    assert not [role for role in roles for rule in role.get("rules") or () if "secrets" in rule.get("resources", ())]
