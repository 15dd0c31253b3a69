"""`kubectl prompt explain` after a real rollback, as docs/explain-after-rollback.txt shows it."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from tests.cluster.looking import delete
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, BAD, GOOD, ONE_RULE, outcome_of, roll_back, serve, time_passes

from devcluster.paths import REPO
from prompt_operator.cli.main import main
from prompt_operator.ports import PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.operating import Operated

    from devcluster.cluster import Cluster
    from devcluster.controlplane import ControlPlane

SHOWN = REPO / "docs" / "explain-after-rollback.txt"
ROOT = {
    "depth": 0,
    "selected": "chain-of-thought",
    "alternatives": [{"name": "few-shot", "score": "7.3"}],
    "rationale": "Complaints need several steps.",
}
VERSIONS: dict[str, dict[str, Any]] = {
    "1.0.0": {
        "text": 'Answer with one JSON object.\nGreet {{ name }} in "answer".',
        "exploration": {"path": "root > A > A.1", "decisions": [ROOT, {"depth": 1, "selected": "fixed-structure"}]},
    },
    "1.1.0": {
        "text": "Answer with one JSON object.\nGreet {{ name }} warmly, in plain text after a complaint.",
        "message": "A warmer tone where something went wrong.",
        "exploration": {
            "path": "root > A > A.2",
            "techniques": ["chain-of-thought", "adaptive"],
            "complexity": "medium",
            "decisions": [
                ROOT,
                {
                    "depth": 1,
                    "selected": "complexity-adaptive",
                    "alternatives": [{"name": "fixed-structure", "score": "7.6"}],
                    "rationale": "Some guests complain.",
                    "potentialIssue": "may forget the JSON when it is sorry",
                },
            ],
        },
    },
}


@pytest.fixture
async def operator(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator that has rolled 1.1.0 back."""
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for version, spec in VERSIONS.items():
            await one.version(version, **spec)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await serve(one, "1.1.0")
        one.clock.offset += timedelta(minutes=3)
        one.metrics.traffic = {("greeting", "1.1.0"): BAD}
        await roll_back(one)
        yield one


async def explained(operator: Operated, kubeconfig: Path, *words: str) -> Result:
    """Run `explain`."""
    return await ran(operator, kubeconfig, "explain", "greeting", *words)


async def ran(operator: Operated, kubeconfig: Path, *words: str) -> Result:
    """Run a command; it has an event loop of its own, so it runs beside the test's."""
    given = [*words, "-n", operator.namespace, "--kubeconfig", str(kubeconfig)]
    return await asyncio.to_thread(CliRunner().invoke, main, given)


def without_times(told: str, namespace: str) -> str:
    """Leave out what differs from run to run."""
    told = re.sub(r"greeting-\d{8}t\d{6}z-[0-9a-f]{8}", "greeting-<time>-<id>", told)
    told = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", told)
    told = re.sub(r" --kubeconfig \S+", "", told).replace(namespace, "shop")
    told = re.sub(r"(active, for|was active for|measurement was) (?:\d+[dhms])+", r"\1 <n>", told)
    return re.sub(r"old; \w+ may pass", "old; <n> may pass", told)


async def test_a_rollback_is_told_as_the_docs_show_it(operator: Operated, cluster: Cluster) -> None:
    """Timeline, numbers, guards, the difference, the explorations, what is held, what to do; to the letter."""
    operator.metrics.traffic["greeting", "1.0.0"] = GOOD
    (record,) = await operator.records("Executed")
    await time_passes(operator, 6)

    async def judged() -> bool:
        return await outcome_of(operator, record) == "Recovered"

    await operator.until(judged)
    done = await explained(operator, cluster.kubeconfig)
    assert done.exit_code == 0, done.output
    assert without_times(done.stdout, operator.namespace) == SHOWN.read_text("utf-8")


async def test_who_may_not_read_versions_is_told_the_rest(
    operator: Operated, cluster: Cluster, control_plane: ControlPlane
) -> None:
    """Their texts and explorations are missing, and it is said why; nothing of them is told."""
    namespace = operator.namespace
    verbs = ("--verb=get,list", "--resource=prompts.promptops.dev,promptrollbacks.promptops.dev")
    cluster.kubectl("create", "role", "looks", *verbs, "-n", namespace)
    cluster.kubectl("create", "rolebinding", "looks", "--role=looks", "--user=alice", "-n", namespace)
    done = await explained(operator, control_plane.kubeconfig_for("alice"))
    assert done.exit_code == 0, done.output
    assert "Not known: You may not do this: promptversions.promptops.dev" in done.stdout
    assert "1.1.0 was rolled back to 1.0.0, by rule critical-error-rate" in done.stdout
    assert "warmly" not in done.stdout


async def test_a_version_that_was_made_anew_or_is_gone_is_said(operator: Operated, cluster: Cluster) -> None:
    """What is there now is not what was rolled back; and without it there is nothing to compare."""
    await delete(operator, PROMPT_VERSION, "greeting-1.1.0")
    told = (await explained(operator, cluster.kubeconfig)).stdout
    assert "Not known: PromptVersion greeting-1.1.0 is gone." in told
    await operator.version("1.1.0", text="Other.")
    told = (await explained(operator, cluster.kubeconfig)).stdout
    assert "1.1.0 is not what was rolled back: its content has changed since." in told
    told = (await explained(operator, cluster.kubeconfig, "--no-texts")).stdout
    assert "Not told here: kubectl prompt diff greeting 1.0.0 1.1.0 -n" in told
    assert "Other." not in told


async def test_a_rollback_that_did_not_help_is_told_as_critical(operator: Operated, cluster: Cluster) -> None:
    """The restored version fails as well: the outcome, what is wrong now, and the ways out."""
    operator.metrics.traffic["greeting", "1.0.0"] = BAD
    (record,) = await operator.records("Executed")
    await time_passes(operator, 6)

    async def judged() -> bool:
        return await outcome_of(operator, record) == "NotRecovered"

    await operator.until(judged)
    told = (await explained(operator, cluster.kubeconfig)).stdout
    assert "The rollback did not help (NotRecovered)" in told
    assert "Healthy is False (TargetUnhealthy)" in told
    assert "Look outside the prompt" in told
    assert "Outcome: NotRecovered: error_rate 60.0%" in told
    assert "To let applications use their default: kubectl prompt fallback greeting" in told


async def test_who_lifted_the_hold_is_part_of_the_story(operator: Operated, cluster: Cluster) -> None:
    """The time is what the API server noted of the signature."""
    (record,) = await operator.records("Executed")
    name = record["metadata"]["name"]
    assert (await ran(operator, cluster.kubeconfig, "release", name, "--reason", "found it")).exit_code == 0
    told = (await explained(operator, cluster.kubeconfig)).stdout
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  admin lifted the hold on 1\.1\.0: found it\n", told)
