"""`kubectl prompt doctor`: each failure mode, made for real on an installed API server, is found and named."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.cluster.installed import HOME, TEAM, install, plain_installation, working
from tests.faults.scene import failing, release_a_bad_one, roll_back, serve, time_passes

from devcluster.paths import REPO
from devcluster.ports import LOOPBACK, free_port
from prompt_operator.cli.doctor import findings
from prompt_operator.cli.doctor.remedies import OWN
from prompt_operator.cli.main import main
from prompt_operator.core.reasons import Objection, Reason
from prompt_operator.ports import CONFIG_MAP, PROMPT_POLICY, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.operating import Operated

    from devcluster.controlplane import ControlPlane

LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, as tests take parts of the installation away."""
    with plain_installation(tmp_path_factory.mktemp("doctor")) as plane:
        yield plane


async def policy_seen(operator: Operated) -> bool:
    """Tell whether the operator has looked at the policy; it takes its time, so that many changes are one write."""
    return "observedGeneration" in ((await operator.get(PROMPT_POLICY, "default")).get("status") or {})


async def examined(kubeconfig: Path, *words: str) -> tuple[int, dict[str, set[str]], str]:
    """Run doctor; return its exit status, what it found by place, and what it said on stderr."""
    given = ["doctor", "-o", "json", "-n", TEAM, "--kubeconfig", str(kubeconfig), *words]
    done = await asyncio.to_thread(CliRunner().invoke, main, given)
    found: dict[str, set[str]] = {}
    for each in json.loads(done.stdout or '{"found": []}')["found"]:
        assert each["remedy"]
        assert (REPO / "docs" / each["runbook"].partition("#")[0]).exists(), each
        found.setdefault(each["where"].removeprefix(f"{TEAM}/"), set()).add(each["found"])
    return done.exit_code, found, done.stderr


async def until_found(operator: Operated, kubeconfig: Path, wanted: dict[str, set[str]]) -> None:
    """Wait until doctor finds all of this."""
    last: dict[str, set[str]] = {}

    async def all_found() -> bool:
        nonlocal last
        status, last, _ = await examined(kubeconfig)
        return status != 0 and all(names <= last.get(where, set()) for where, names in wanted.items())

    try:
        await operator.until(all_found)
    except AssertionError:
        missing = {where: names - last.get(where, set()) for where, names in wanted.items()}
        raise AssertionError({where: names for where, names in missing.items() if names}) from None


async def test_nothing_is_wrong(installed: ControlPlane) -> None:
    """Installed as shipped, with an operator that works and says so itself: exit status 0."""
    async with working(installed) as (operator, url):
        await operator.tick()
        assert await examined(installed.kubeconfig, "--operator-url", url) == (0, {}, "")


async def test_faults_of_objects_are_named_where_they_are(installed: ControlPlane) -> None:
    """Ten prompts, each with a fault of its own."""
    async with working(installed) as (operator, _):
        for name, spec in FAULTS.items():
            await operator.version("1.0.0", prompt=name, **VERSIONS.get(name, {}))
            await operator.prompt("1.0.0", name=name, **spec)
        await operator.prompt("9.9.9", name="missing")
        await operator.policy("odd", customMetrics=[{"name": "drift", "unit": "Score", "value": "sum("}])
        foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foreign", "namespace": TEAM}}
        await operator.api.create(CONFIG_MAP, foreign)
        await operator.version("1.0.0", prompt="blocked")
        await operator.prompt("1.0.0", name="blocked", delivery={"configMapName": "foreign"})
        wanted = {f"Prompt/{name}": {NAMED[name]} for name in FAULTS}
        wanted |= {
            "Prompt/missing": {"VersionMissing"},
            "Prompt/blocked": {"ConfigMapConflict"},
            "PromptPolicy/odd": {"CustomMetricInvalid"},
            "PromptVersion/changed-1.0.0": {"HashMismatch"},
        }
        await until_found(operator, installed.kubeconfig, wanted)


FAULTS: dict[str, dict[str, Any]] = {
    "changed": {},
    "draft": {},
    "orphan": {"policyRef": {"name": "nowhere"}},
    "ruled": {"rules": [{"name": "mine", "condition": "error_rate > 5"}]},
    "unsourced": {"metrics": {"source": "nowhere"}},
    "unprofiled": {"metrics": {"profile": "nowhere"}},
    "asleep": {"suspend": True},
    "off": {"mode": "Fallback"},
}
VERSIONS: dict[str, dict[str, Any]] = {"changed": {"contentHash": f"sha256:{'0' * 64}"}, "draft": {"stage": "Draft"}}
NAMED = {
    "changed": "HashMismatch", "draft": "VersionDraft", "orphan": "PolicyNotFound", "ruled": "RuleInvalid",
    "unsourced": "MetricsSourceNotFound", "unprofiled": "MetricsProfileNotFound", "asleep": "Suspended",
    "off": "Fallback",
}  # fmt: skip


async def test_rollbacks_and_metrics_are_named(installed: ControlPlane) -> None:
    """A held version is desired; then the daily limit is reached; then clock, metrics and recordings fail."""
    kubeconfig = installed.kubeconfig
    async with working(installed) as (operator, _):
        for version in ("1.1.0", "1.2.0"):
            await operator.version(version)
        await release_a_bad_one(operator)
        await roll_back(operator)
        await until_found(operator, kubeconfig, {"Prompt/greeting": {"RolledBack"}})
        operator.metrics.traffic = failing("1.2.0")
        await serve(operator, "1.2.0")
        await operator.tick()
        await until_found(operator, kubeconfig, {"Prompt/greeting": {"ManualInterventionRequired"}})
        operator.set_skew(60.0)
        await operator.tick()
        await until_found(operator, kubeconfig, {"Prompt/greeting": {"ClockSkew"}})


async def test_a_rollback_that_did_not_help_is_named(installed: ControlPlane) -> None:
    """The restored version fails as well: the cause is elsewhere."""
    async with working(installed) as (operator, _):
        await operator.version("1.1.0")
        await release_a_bad_one(operator)
        await roll_back(operator)
        operator.metrics.traffic = failing("1.0.0")
        await time_passes(operator, 6)
        await until_found(operator, installed.kubeconfig, {"Prompt/greeting": {"NotRecovered", "TargetUnhealthy"}})


async def test_what_is_not_known_is_no_fault_and_not_fine(
    installed: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without traffic: exit status 2 and a remedy; without the recording rules of a long window: 1."""
    monkeypatch.setattr(findings, "_GRACE", timedelta(days=-1))
    async with working(installed) as (operator, url):
        await operator.tick()
        unseen = {"Prompt/greeting": {"NotSeenYet", "NoEvidence"}}
        assert (await examined(installed.kubeconfig, "--operator-url", url))[:2] == (2, unseen)
        operator.metrics.recorded = False
        await operator.prompt("1.0.0", rules=[{"name": "week", "condition": "error_rate > 5%", "window": "7d"}])
        await operator.settle()
        for minutes in (3, 6, 6):
            await time_passes(operator, minutes)
        status, found, _ = await examined(installed.kubeconfig)
        assert (status, found) == (1, {"Prompt/greeting": {*unseen["Prompt/greeting"], "RecordingRulesMissing"}})


async def test_what_the_operator_says_itself(installed: ControlPlane) -> None:
    """Prometheus is unreachable for it; and where nobody answers, that is named, too."""
    async with working(installed) as (operator, url):
        operator.metrics.failing = "connection refused"
        await operator.tick()
        status, found, _ = await examined(installed.kubeconfig, "--operator-url", url)
        assert (status, found["operator"]) == (1, {"PrometheusUnreachable"})
        _, found, _ = await examined(installed.kubeconfig, "--operator-url", f"http://{LOOPBACK}:{free_port()}")
        assert found["operator"] == {"OperatorDown"}


async def test_an_operator_that_is_down(installed: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Lease, what it would put back, what it would answer; and a clock that is ahead."""
    monkeypatch.setattr(findings, "_UNANSWERED", timedelta())
    async with working(installed) as (operator, _):
        await operator.until(lambda: policy_seen(operator))
        await operator.stop()
        status, found, _ = await examined(installed.kubeconfig)
        assert (status, found) == (1, {"operator": {"OperatorDown"}})
        edit = [{"op": "replace", "path": "/data/prompt.txt", "value": "Evil."}]
        await operator.api.json_patch(CONFIG_MAP, TEAM, "prompt-greeting", edit)
        words = ("rollback", "greeting", "--reason", "odd", "--timeout", "0", "-n", TEAM)
        kubeconfig = ("--kubeconfig", str(installed.kubeconfig))
        await asyncio.to_thread(CliRunner().invoke, main, [*words, *kubeconfig])
        await operator.prompt("1.0.0", owner={"team": "shop"})
        _, found, _ = await examined(installed.kubeconfig)
        names = set[str]().union(*found.values())
        assert names == {"OperatorDown", "ConfigMapEdited", "RequestUnanswered", "NotLookedAt"}
        installed.kubectl("delete", "configmap", "prompt-greeting", "-n", TEAM)
        assert "ConfigMapMissing" in (await examined(installed.kubeconfig))[1]["Prompt/greeting"]
        later = f"{operator.clock.now() + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.000000Z}"
        lease = [
            {"op": "add", "path": "/spec/renewTime", "value": later},
            {"op": "add", "path": "/spec/holderIdentity", "value": "one"},
        ]
        await operator.api.json_patch(LEASE, HOME, HOME, lease)
        assert "ClockSkew" in (await examined(installed.kubeconfig))[1]["operator"]
        installed.kubectl("delete", "lease", HOME, "-n", HOME)
        assert "OperatorDown" in (await examined(installed.kubeconfig))[1]["operator"]


async def test_an_installation_that_is_not_whole(installed: ControlPlane) -> None:
    """Rights, admission, settings and definitions, each taken away and found."""
    plane = installed
    async with working(installed) as (operator, url):
        flags = ("--operator-url", url)
        plane.kubectl("delete", "clusterrolebinding", HOME)
        plane.kubectl("delete", "validatingadmissionpolicybinding", "prompt-operator-signatures")
        settings = json.dumps({"data": {"settings.yaml": "mode: Frozen\n"}})
        plane.kubectl("patch", "configmap", f"{HOME}-settings", "-n", HOME, "--type=merge", f"--patch={settings}")
        _, found, _ = await examined(plane.kubeconfig, *flags)
        assert found == {"operator": {"RightsMissing", "OperatorFrozen"}, "cluster": {"AdmissionOff"}}
        await operator.stop()  # the 404 of a definition that goes would end it
        install(plane)
        path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/retention"
        plane.kubectl(
            "patch", "crd", "prompts.promptops.dev", "--type=json", f'--patch=[{{"op":"remove","path":"{path}"}}]'
        )
        assert "CrdOlder" in (await examined(plane.kubeconfig))[1]["cluster"]
        plane.kubectl("delete", "crd", "experiments.promptops.dev")
        assert "CrdMissing" in (await examined(plane.kubeconfig))[1]["cluster"]
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPO / "crds"))


async def test_who_cannot_look_is_told_so(installed: ControlPlane, tmp_path: Path) -> None:
    """Without rights, and without a server: exit status 2, since nothing is known to be fine."""
    status, found, said = await examined(installed.kubeconfig_for("alice"))
    assert (status, found) == (2, {})
    assert "notLookedAt" not in said
    nowhere = tmp_path / "kubeconfig"
    assert (await examined(nowhere))[0] == 2


def test_each_remedy_is_one_of_a_name_that_exists() -> None:
    """Names of doctor's own and of the closed vocabulary, never both."""
    assert not OWN.keys() & {str(value) for value in (*Reason, *Objection)}
