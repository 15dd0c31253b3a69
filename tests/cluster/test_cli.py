"""`kubectl prompt` against the real API server and a running operator."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.cluster.operating import Operated, operated

from prompt_operator.cli.main import main
from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from devcluster.cluster import Cluster
    from devcluster.controlplane import ControlPlane

    Run = Callable[..., Coroutine[object, object, Result]]

BAD = (200.0, 120.0)
EXPLORED = {
    "path": "root > B",
    "decisions": [{"depth": 1, "selected": "B", "potentialIssue": "may forget the JSON when it is sorry"}],
}


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator that has served 1.0.0 and serves 1.1.0."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback={"initialDelay": "0s", "recoveryWindow": "5m"})
        await one.version("1.0.0")
        await one.version("1.1.0", exploration=EXPLORED)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await one.prompt("1.1.0")
        await one.until_served("1.1.0")
        yield one


@pytest.fixture
def run(cluster: Cluster, namespace: str) -> Run:
    """Run the command as the administrator, or with another kubeconfig."""

    async def invoke(*args: str, kubeconfig: Path = cluster.kubeconfig) -> Result:
        # The command has an event loop of its own, so it runs beside the test's.
        words = [*args, "--kubeconfig", str(kubeconfig), "-n", namespace]
        return await asyncio.to_thread(CliRunner().invoke, main, words)

    return invoke


async def rolled_back(operator: Operated) -> str:
    """Let 1.1.0 fail and be rolled back; return the name of the record."""
    operator.metrics.traffic = {("greeting", "1.1.0"): BAD}
    await operator.tick()
    await operator.until_served("1.0.0")
    (record,) = await operator.until(lambda: operator.records("Executed"))
    return str(record["metadata"]["name"])


async def test_a_rollback_is_asked_for_executed_and_answered(operator: Operated, run: Run) -> None:
    """The request is in the user's name as the server knows it; the answer says how to release what was left."""
    done = await run("rollback", "greeting", "--reason", "odd answers", "--timeout", "60s")
    assert done.exit_code == 0, done.output
    (record,) = await operator.records("Executed")
    name = record["metadata"]["name"]
    flags = f"-n {operator.namespace} --kubeconfig {operator.settings.kubeconfig}"
    assert done.stdout == (
        "greeting was rolled back from 1.1.0 to 1.0.0.\n"
        "1.1.0 is held: nothing activates it again until "
        f'kubectl prompt release {name} --reason "…" {flags}\n'
    )
    await operator.until_served("1.0.0")
    assert record["spec"]["requestedBy"] == "admin"
    request = await operator.get(PROMPT_ROLLBACK, record["spec"]["requestRef"]["name"])
    assert {entry["manager"] for entry in request["metadata"]["managedFields"]} >= {"kubectl-prompt"}


async def test_a_rollback_to_a_version_that_is_not_there_is_refused(operator: Operated, run: Run) -> None:
    """The operator's refusal becomes exit status 1 with its guard; nothing changes."""
    done = await run("rollback", "greeting", "--reason", "odd", "--to", "0.9.0", "--timeout", "60s")
    assert done.exit_code == 1
    assert "from 1.1.0 was refused: TargetUnhealthy: 0.9.0 does not exist." in done.stderr
    assert await operator.served() == "1.1.0"


async def test_a_rollback_without_an_operator_is_not_answered(operator: Operated, run: Run) -> None:
    """Nobody answers in time: the request stays, and explain names it."""
    await operator.stop()
    done = await run("rollback", "greeting", "--reason", "odd", "--timeout", "0")
    assert done.exit_code == 1
    assert "has not answered PromptRollback greeting-request-" in done.stderr
    assert "is not answered yet." in (await run("explain", "greeting")).stdout


@pytest.mark.parametrize("by", ["prompt", "record"])
async def test_release_activates_the_rejected_version_again(operator: Operated, run: Run, by: str) -> None:
    """Named by its record or by the prompt, the hold is lifted with a signature and the desired version comes back."""
    record = await rolled_back(operator)
    operator.metrics.traffic = {}
    done = await run("release", record if by == "record" else "greeting", "--reason", "the provider was down")
    assert done.stdout == "1.1.0 of greeting is released: it may be activated again.\n", done.output
    await operator.until_served("1.1.0")
    signature = (await operator.get(PROMPT_ROLLBACK, record))["spec"]["release"]
    assert signature == {"by": "admin", "reason": "the provider was down"}
    again = await run("release", record, "--reason", "twice")
    assert again.exit_code == 1
    assert "admin did that already (the provider was down)" in again.stderr


async def test_retry_activates_the_rejected_version_again(operator: Operated, run: Run) -> None:
    """The annotation lifts every hold at once."""
    await rolled_back(operator)
    operator.metrics.traffic = {}

    async def lifted() -> bool:
        # Times in the API have whole seconds: a retry within the second of the rollback is not later than it.
        await run("retry", "greeting")
        return await operator.served() == "1.1.0"

    assert await operator.until(lifted)
    assert "is held, nothing was changed" in (await run("retry", "greeting")).stderr


async def test_ack_is_signed_beside_a_release(operator: Operated, run: Run) -> None:
    """Both signatures stand: the second write does not take the first one away."""
    record = await rolled_back(operator)
    assert (await run("ack", record, "--reason", "looking")).stdout == f"{record} is acknowledged.\n"
    assert (await run("release", record, "--reason", "fine again")).exit_code == 0
    spec = (await operator.get(PROMPT_ROLLBACK, record))["spec"]
    assert (spec["acknowledge"]["by"], spec["release"]["reason"]) == ("admin", "fine again")


async def test_suspend_keeps_what_is_served_until_resume(operator: Operated, run: Run) -> None:
    """While it is suspended a new desired version waits; resume activates it and takes the reason away."""
    suspended = await run("suspend", "greeting", "--reason", "load test")
    assert suspended.stdout.startswith("greeting is suspended")
    assert "(its spec was written by kubectl)" in suspended.stderr
    await operator.api.json_patch(
        PROMPT, operator.namespace, "greeting", [{"op": "replace", "path": "/spec/version", "value": "1.0.0"}]
    )
    await operator.until(lambda: _reason_is(operator, "Suspended"))
    assert await operator.served() == "1.1.0"
    assert "It is suspended (load test): nothing automatic happens." in (await run("explain", "greeting")).stdout
    assert (await run("resume", "greeting")).exit_code == 0
    await operator.until_served("1.0.0")
    annotations = (await operator.get(PROMPT, "greeting"))["metadata"].get("annotations", {})
    assert "promptops.dev/suspendReason" not in annotations


async def _reason_is(operator: Operated, reason: str) -> bool:
    return bool((await operator.condition("Ready")).get("reason") == reason)


async def test_fallback_and_enable_are_visible_in_the_config_map(operator: Operated, run: Run) -> None:
    """Applications are told by the key `mode`, both ways."""

    async def mode() -> str:
        return str(((await operator.config_map()) or {})["data"]["mode"])

    assert (await run("fallback", "greeting")).exit_code == 0
    await operator.until(lambda: _is(mode, "Fallback"))
    assert (await run("enable", "greeting")).exit_code == 0
    await operator.until(lambda: _is(mode, "Active"))


async def _is(what: Callable[[], Coroutine[object, object, str]], wanted: str) -> bool:
    return await what() == wanted


async def test_review_sets_the_time_of_the_review(operator: Operated, run: Run) -> None:
    """On a prompt without annotations as well."""
    done = await run("review", "greeting")
    stamp = (await operator.get(PROMPT, "greeting"))["metadata"]["annotations"]["promptops.dev/reviewedAt"]
    assert done.stdout == f"greeting is reviewed (promptops.dev/reviewedAt={stamp}).\n"


async def test_explain_after_an_automatic_rollback(operator: Operated, run: Run) -> None:
    """What happened, on which evidence, what the author foresaw, and the command that lifts the hold."""
    record = await rolled_back(operator)
    told = (await run("explain", "greeting")).stdout
    assert "1.0.0 is active, for" in told
    assert "but spec.version asks for 1.1.0." in told
    assert "1.1.0 -> 1.0.0, an automatic rollback by rule critical-error-rate." in told
    assert "Because critical-error-rate: error_rate 60.0% (120 of 200 in 5m; at least" in told
    assert "foreseen: may forget the JSON when it is sorry" in told
    assert f"lift it with: kubectl prompt release {record} -n {operator.namespace} " in told


@pytest.mark.usefixtures("operator")
async def test_get_history_and_diff_tell_of_both_versions(run: Run) -> None:
    """The three that only read, on objects as the server returns them."""
    shown = (await run("get")).stdout.splitlines()
    assert shown[1].split()[:5] == ["greeting", "1.1.0", "1.1.0", "True", "Active"]
    assert (await run("get", "greeting", "--text")).stdout == "Text of 1.1.0: greet {{ name }}.\n"
    entries = (await run("history", "greeting")).stdout.splitlines()[1:]
    assert [line.split()[0] for line in entries] == ["1.1.0", "1.0.0"]
    assert "+Text of 1.1.0: greet {{ name }}." in (await run("diff", "greeting", "1.0.0")).stdout.splitlines()


async def test_a_user_without_rights_is_told_so(operator: Operated, run: Run, control_plane: ControlPlane) -> None:
    """403 becomes one sentence with the server's own words, for reading and for writing."""
    alice = control_plane.kubeconfig_for("alice")
    for words in (("get",), ("suspend", "greeting"), ("explain", "greeting")):
        done = await run(*words, kubeconfig=alice)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: You may not do this: prompts.promptops.dev ")
        assert 'User "alice" cannot ' in done.stderr
    assert await operator.served() == "1.1.0"


def test_kubectl_finds_it_as_a_plugin(cluster: Cluster, namespace: str) -> None:
    """With `kubectl-prompt` on PATH, the real kubectl runs it as `kubectl prompt`."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # where pip put it
        "KUBECONFIG": str(cluster.kubeconfig),
    }
    command = [str(cluster.bin_dir / "kubectl"), "prompt", "get", "--namespace", namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"There are no prompts in namespace {namespace}.\n")


async def test_a_cluster_without_the_crds_is_told_in_one_sentence(
    control_plane: ControlPlane, run: Run, tmp_path: Path
) -> None:
    """The server knows no such kind: say what to install."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        control_plane.kubeconfig.read_text().replace(control_plane.url, f"{control_plane.url}/nowhere")
    )
    done = await run("get", kubeconfig=kubeconfig)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The cluster does not know this kind: install the CRDs")
