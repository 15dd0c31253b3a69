"""`doctor` on a cluster in memory; tests/cluster/test_doctor.py makes each fault for real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.cli.cluster import FakeCluster, at, prompt, rolled_back

from devcluster.paths import REPO
from prompt_operator.cli.doctor import snapshot
from prompt_operator.ports import Forbidden, Retry, Unavailable

if TYPE_CHECKING:
    from prompt_operator.cli.doctor.snapshot import Snapshot
    from prompt_operator.ports import Kind, Manifest

HOME = "prompt-operator"


def of_the_system(kind: str, name: str, namespace: str = "", **rest: Any) -> Manifest:
    """Return an object that the installation brings."""
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"}, **rest}


DEFINITIONS = [
    definition | {"metadata": definition["metadata"] | {"namespace": ""}}
    for file in sorted((REPO / "crds").glob("*.yaml"))
    if (definition := yaml.safe_load(file.read_text("utf-8")))
]
LEASE = of_the_system(
    "Lease", HOME, HOME, spec={"holderIdentity": "one", "renewTime": at(10), "leaseDurationSeconds": 15}
)
SETTINGS = of_the_system(
    "ConfigMap", f"{HOME}-settings", HOME, data={"settings.yaml": f"lease: {HOME}/{HOME}\nmode: Active\n"}
)
BINDING = of_the_system("ValidatingAdmissionPolicyBinding", f"{HOME}-signatures")
INSTALLED = (*DEFINITIONS, LEASE, SETTINGS, BINDING)


def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operator say itself that it is fine."""

    async def fine(seen: Snapshot, _: str) -> None:
        seen.answered = True

    monkeypatch.setattr(snapshot, "_health", fine)


def test_nothing_is_wrong() -> None:
    """One line, exit status 0; that the operator was not asked is a remark."""
    done = FakeCluster.of(*INSTALLED, prompt()).run("doctor")
    assert (done.exit_code, done.stdout) == (0, "Nothing wrong; 1 prompt of namespace shop looked at.\n")
    assert done.stderr.startswith("Not asked: the operator itself (--operator-url)")


def test_one_rollback_is_one_finding() -> None:
    """Ready (RolledBack) and Stalled (VersionHeld) tell the same; the finding says both, and how to lift the hold."""
    done = FakeCluster.of(*INSTALLED, rolled_back()).run("doctor", "-o", "json")
    (found,) = json.loads(done.stdout)["found"]
    assert (done.exit_code, found["found"], found["where"]) == (1, "RolledBack", "shop/Prompt/greeting")
    assert "1.0.0 is active instead of 2.0.0: 2.0.0 was rolled back and stays out" in found["message"]
    assert found["remedy"].startswith("release a corrected version, or lift the hold: kubectl prompt explain greeting")


def test_what_stalls_beside_a_rollback_is_told_apart() -> None:
    """Only the same words are the same thing."""
    whole = rolled_back()
    stalled = next(each for each in whole["status"]["conditions"] if each["type"] == "Stalled")
    stalled |= {"reason": "RuleInvalid", "message": "rule mine: column 1: unknown metric"}
    done = FakeCluster.of(*INSTALLED, whole).run("doctor")
    assert "RolledBack: shop/Prompt/greeting" in done.stdout
    assert "RuleInvalid: shop/Prompt/greeting" in done.stdout


def test_an_operator_that_is_not_installed_may_be_elsewhere_or_outside() -> None:
    """Both ways to go on are told; nothing is known of it, so the exit status is 2."""
    done = FakeCluster.of(*DEFINITIONS, prompt()).run("doctor", "--operator", "tools/blue")
    assert (done.exit_code, done.stdout) == (
        2,
        "Nothing wrong in what could be seen; 1 prompt of namespace shop looked at.\n",
    )
    assert done.stderr == (
        "Not looked at: the operator: there is none installed as tools/blue. Is it elsewhere in the cluster, say "
        "where: --operator; does it run outside, as on your machine, ask it: --operator-url\n"
    )


def test_an_operator_outside_the_cluster_says_itself_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local run has no Lease, settings or account in the cluster: nothing is missing, --operator would not help."""
    answering(monkeypatch)
    done = FakeCluster.of(*DEFINITIONS, prompt()).run("doctor", "--operator-url", "http://127.0.0.1:8080")
    assert (done.exit_code, done.stdout) == (0, "Nothing wrong; 1 prompt of namespace shop looked at.\n")
    assert done.stderr == (
        "Not looked at: rights and settings of the operator: none is installed as prompt-operator/prompt-operator.\n"
    )


class Closed(FakeCluster):
    """A cluster in which one may see nothing but the prompts."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Refuse."""
        raise Forbidden(f"GET {kind.kind} {namespace}/{name}: 403 Forbidden: no")

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Refuse."""
        raise Forbidden(f"POST {kind.kind} {body}: 403 Forbidden: no")


def test_what_one_may_not_see_is_told_in_one_line() -> None:
    """Most people see the prompts of their namespace and no more; nothing of the rest is called fine."""
    cluster = Closed()
    cluster.put(prompt())
    done = cluster.run("doctor")
    assert done.exit_code == 2
    assert done.stdout == "Nothing wrong in what could be seen; 1 prompt of namespace shop looked at.\n"
    (line,) = [line for line in done.stderr.splitlines() if "right to see" in line]
    assert line.startswith("Not looked at: CustomResourceDefinitions, ConfigMap prompt-operator-settings, ")
    assert line.endswith("ValidatingAdmissionPolicyBinding prompt-operator-signatures: you have no right to see this")
    told = json.loads(cluster.run("doctor", "-o", "json").stdout)["notLookedAt"]
    assert "Lease prompt-operator: you have no right to see this" in told


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (Unavailable("GET: connection refused"), "The API server does not answer"),
        (Retry("GET Prompt: 401 Unauthorized: Unauthorized"), "The API server does not know you: log in again"),
    ],
)
def test_without_an_api_server_there_is_one_sentence(failing: Exception, said: str) -> None:
    """Not one for each thing that would have been looked at, after a timeout each."""
    done = FakeCluster(failing=failing).run("doctor")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {said}")
    assert len(done.stderr.splitlines()) == 1
