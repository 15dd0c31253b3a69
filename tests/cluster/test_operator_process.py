"""The program itself, as a person or a pod starts it: settings, health, who may read what, how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.cluster.program import DEADLINE, RUN, Program, run, until

from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from devcluster.ports import LOOPBACK
from prompt_operator.settings import FILE_ONLY, Settings, flag, variable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.conftest import Kubectl

    from devcluster.cluster import Cluster

SECRET = "Zanzibar-4711"


@pytest.fixture
def program(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Program]:
    """The operator for the test's namespace, at debug level, ready."""
    arguments = ("--namespace", namespace, "--log-level", "debug")
    with Program(tmp_path, control_plane.kubeconfig, arguments) as one:
        one.until("/readyz", 200)
        yield one


def manifests(version: str = "1.0.0") -> str:
    """Return the smallest pair, as in the contract, with a word that must not be logged."""
    text = {"promptRef": {"name": "greeting"}, "version": version, "text": f"{SECRET}: greet {{{{ name }}}}."}
    group = "promptops.dev/v1alpha1"
    objects = [
        {"apiVersion": group, "kind": "PromptVersion", "metadata": {"name": f"greeting-{version}"}, "spec": text},
        {"apiVersion": group, "kind": "Prompt", "metadata": {"name": "greeting"}, "spec": {"version": version}},
    ]
    return "\n---\n".join(map(json.dumps, objects))


# --- settings


def test_help_names_every_setting() -> None:
    """Flag and environment variable of each that has them, and the two variables known from elsewhere."""
    done = run(RUN, "--help")
    assert done.returncode == 0
    for name in Settings.model_fields:
        if name not in {"mode_pinned", *FILE_ONLY}:
            assert flag(name) in done.stdout
            assert variable(name) in done.stdout.replace("\n", "").replace(" ", "")
    assert {"PROMETHEUS_URL", "PROMPTS_ENABLED=false"} <= set(done.stdout.replace("]", " ").replace(";", " ").split())


def test_a_wrong_setting_is_one_sentence() -> None:
    """The flag, its value and what would be right, status 2, no traceback."""
    done = run(RUN, "--tick", "15")
    assert done.returncode == 2
    assert "--tick" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_profile_is_one_sentence(tmp_path: Path) -> None:
    """The file, the field and the cause, before anything is asked of a cluster; status 2, no traceback."""
    (tmp_path / "own.yaml").write_text("{name: own, extends: native, quantities: {eror: {counter: a}}}")
    done = run(RUN, "--profiles-dir", str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"Error: --profiles-dir: {tmp_path}/own.yaml: quantities.eror: ")


def test_without_a_cluster_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    """No kubeconfig, no pod: what was looked for and what to do."""
    done = run(RUN, HOME=str(tmp_path))
    assert done.returncode == 1
    assert "kubeconfig" in done.stderr.lower()
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path is in the sentence."""
    done = run(RUN, "--kubeconfig", str(tmp_path / "nowhere"), HOME=str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "nowhere") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_sentence(cluster: Cluster, namespace: str) -> None:
    """Which address, and which settings choose another."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        address = f"{LOOPBACK}:{taken.getsockname()[1]}"
        done = run(
            *(RUN, "--namespace", namespace, "--health-address", address, "--metrics-address", address),
            KUBECONFIG=str(cluster.kubeconfig),
        )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert address in line
    assert "--health-address" in line


# --- its life


def test_apply_to_configmap_to_the_end(program: Program, kubectl: Kubectl) -> None:
    """From kubectl apply to the ConfigMap; SIGTERM ends it in order with status 0, and the ConfigMap stays."""
    kubectl("apply", "--server-side", "--filename=-", stdin=manifests())
    kubectl("wait", "--for=condition=Ready", "prompt/greeting", "--timeout=60s")
    assert kubectl("get", "configmap", "prompt-greeting", "--output=jsonpath={.data.version}") == "1.0.0"
    health = until(lambda: json.loads(program.get("/healthz")[1]), lambda seen: seen["prompts"]["serving"] == 1)
    assert health["prompts"]["total"] == 1
    assert {each["name"]: each["connected"] for each in health["dependencies"]} == {"store": True}
    assert program.end() == 0
    assert kubectl("get", "configmap", "prompt-greeting", "--output=jsonpath={.data.version}") == "1.0.0"


def test_the_log_is_json_and_holds_no_prompt_text(program: Program, kubectl: Kubectl) -> None:
    """Every line at debug level parses; a refused write, a rejected object and a change are among them."""
    kubectl("apply", "--server-side", "--filename=-", stdin=manifests())
    kubectl("wait", "--for=condition=Ready", "prompt/greeting", "--timeout=60s")
    kubectl(
        "patch", "configmap", "prompt-greeting", "--type=merge", "--patch", '{"data": {"prompt.txt": "Zanzibar-4711!"}}'
    )
    kubectl("apply", "--server-side", "--filename=-", stdin=manifests("1.1.0"))
    kubectl("wait", "--for=jsonpath={.status.activeVersion}=1.1.0", "prompt/greeting", "--timeout=60s")
    assert program.end() == 0
    lines = [json.loads(line) for line in program.log.read_text("utf-8").splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert SECRET not in program.log.read_text("utf-8")
    assert not [line for line in lines if line["level"] in {"error", "critical"}]


def test_metrics_and_diagnostics_are_for_those_who_may(program: Program, control_plane: ControlPlane) -> None:
    """No token or a wrong one: 401; a user without the right: 403; the administrator: 200. Health is open."""
    for path in ("/metrics", "/diagnostics"):
        assert program.get(path)[0] == 401
        assert program.get(path, "nonsense")[0] == 401
        assert program.get(path, control_plane.users["alice"].token)[0] == 403
        assert program.get(path, control_plane.admin_token)[0] == 200
    assert program.get("/healthz")[0] == 200
    metrics = program.get("/metrics", control_plane.admin_token)[1]
    assert "prompt_operator_reconcile_total" in metrics
    assert "workqueue_depth" in metrics
    diagnostics = json.loads(program.get("/diagnostics", control_plane.admin_token)[1])
    assert {"prompts", "queue"} <= diagnostics.keys()


def test_deep_health_names_what_is_missing(program: Program) -> None:
    """Without Prometheus no rule can be judged: said, with the flag that mends it."""
    status, body = program.get("/health/deep")
    checks = json.loads(body)["checks"]
    assert status == 503
    assert checks["store"]["ok"]
    assert "--prometheus-url" in checks["prometheus"]["message"]


def test_prompts_enabled_false_starts_in_fallback(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, kubectl: Kubectl
) -> None:
    """The variable reaches the program, and every projection says so."""
    kubectl("apply", "--server-side", "--filename=-", stdin=manifests())
    arguments = ("--namespace", namespace)
    with Program(tmp_path, control_plane.kubeconfig, arguments, {"PROMPTS_ENABLED": "false"}) as one:
        one.until("/readyz", 200)
        mode = ("get", "configmap", "prompt-greeting", "--ignore-not-found", "--output=jsonpath={.data.mode}")
        until(lambda: kubectl(*mode), lambda seen: seen == "Fallback")


def test_it_is_not_ready_before_the_kinds_exist_and_recovers_when_they_do(tmp_path: Path) -> None:
    """CRDs are missing: 503 with the reason and the remedy, health is 200 all the while; applied, all goes on."""
    with contextlib.ExitStack() as stack:
        plane = ControlPlane.start(tmp_path / "plane", audit=False)
        stack.callback(plane.stop)
        one = stack.enter_context(Program(tmp_path, plane.kubeconfig))
        reason = until(lambda: reason_of(one), lambda seen: "crds/" in seen)
        assert reason.startswith("store_unavailable")
        assert one.get("/healthz")[0] == 200
        plane.apply_crds(REPO / "crds")
        one.until("/readyz", 200)
        plane.kubectl("apply", "--server-side", "--filename=-", input=manifests())
        plane.kubectl("wait", "--for=condition=Ready", "prompt/greeting", "--timeout=60s")
        assert one.end() == 0


def test_it_ends_when_a_kind_is_taken_away(tmp_path: Path) -> None:
    """Nothing tells any more what changes: it gives the Lease back and ends with status 1 and a sentence."""
    with contextlib.ExitStack() as stack:
        plane = ControlPlane.start(tmp_path / "plane", audit=False, crds=REPO / "crds")
        stack.callback(plane.stop)
        one = stack.enter_context(Program(tmp_path, plane.kubeconfig, ("--lease", "default/operator")))
        one.until("/readyz", 200)
        holder = ("get", "lease", "operator", "--output=jsonpath={.spec.holderIdentity}", "--ignore-not-found")
        until(lambda: plane.kubectl(*holder).stdout, bool)
        plane.kubectl("delete", "crd", "experiments.promptops.dev")
        assert one.process is not None
        assert one.process.wait(DEADLINE) == 1
        assert one.log.read_text().strip().splitlines()[-1].startswith("Error: watching failed: 404")
        assert plane.kubectl(*holder).stdout == ""


def reason_of(program: Program) -> str:
    """Return why the program is not ready."""
    return str(json.loads(program.until("/readyz", 503))["reason"])
