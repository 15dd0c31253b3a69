"""Backup and restore on a real API server with the shipped admission policy: what was rejected stays out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, ONE_RULE, failing, release_a_bad_one, roll_back, serve

from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from prompt_operator.cli.main import main

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.cluster.operating import Operated

OPERATOR = "system:serviceaccount:prompt-operator:prompt-operator"
SHOP, EMPTY = "shop", "empty"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A plain installation; in the empty namespace alice may edit, and carol may restore records as well."""
    folder = tmp_path_factory.mktemp("backup")
    plane = ControlPlane.start(folder, audit=False, crds=REPO / "crds", tokens={"carol": ()})
    try:
        plane.kubectl("apply", "--server-side", "--kustomize", str(REPO / "manifests"))
        for namespace in (SHOP, EMPTY):
            plane.kubectl("create", "namespace", namespace)
        bind(plane, "edit", "alice", "carol")
        bind(plane, "prompt-operator-promptrollbacks-restore", "carol")
        yield plane
    finally:
        plane.stop()


def bind(plane: ControlPlane, role: str, *users: str) -> None:
    """Give users a ClusterRole in the empty namespace."""
    named = [f"--user={user}" for user in users]
    plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", *named, "--namespace", EMPTY)


async def run(kubeconfig: Path, *words: str) -> Result:
    """Run kubectl prompt as the user of a kubeconfig."""
    return await asyncio.to_thread(CliRunner().invoke, main, [*words, "--kubeconfig", str(kubeconfig)])


@contextlib.asynccontextmanager
async def operator_in(plane: ControlPlane, namespace: str) -> AsyncIterator[Operated]:
    """Yield an operator with the rights of its ServiceAccount, people's acts being the administrator's."""
    async with operated(plane.kubeconfig, namespace) as one:
        account = str(plane.kubeconfig_for(OPERATOR))
        one.settings = one.settings.model_copy(update={"kubeconfig": account})
        yield one


@pytest.fixture
async def shop(installed: ControlPlane) -> AsyncIterator[Operated]:
    """1.1.0 rolled back by a rule, 1.2.0 by a person, a request refused, 1.3.0 active after a dry run."""
    async with operator_in(installed, SHOP) as one:
        rollback = {**AT_ONCE, "cooldown": "0s"}
        await one.policy(rollback=rollback, rules=ONE_RULE)
        for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
            await one.version(version)
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await release_a_bad_one(one)
        await roll_back(one)
        await serve(one, "1.2.0")
        asked = ("rollback", "greeting", "--reason", "odd", "--timeout", "60s", "-n", SHOP)
        assert (await run(installed.kubeconfig, *asked)).exit_code == 0
        assert (await run(installed.kubeconfig, *asked, "--to", "1.1.0")).exit_code == 1
        await one.policy(rollback={**rollback, "auto": "DryRun"}, rules=ONE_RULE)
        await release_a_bad_one(one, "1.3.0")
        await one.tick()
        await one.until(lambda: one.records("DryRun"))
        yield one


async def test_what_was_rejected_stays_out(shop: Operated, installed: ControlPlane, tmp_path: Path) -> None:
    """In an empty namespace, with an operator running: both holds, no hold of the rest, no request made again."""
    file = str(tmp_path / "shop.tar.gz")
    done = await run(installed.kubeconfig, "backup", "-n", SHOP, "-o", file)
    assert done.exit_code == 0, done.output
    assert "4 promptversions, 6 promptrollbacks, 1 prompt," in done.stdout
    records = await shop.records()
    decided = {r["metadata"]["name"]: r["spec"] for r in records if "decision" in r["spec"]}
    assert sorted(spec["decision"] for spec in decided.values()) == ["DryRun", "Executed", "Executed", "Refused"]
    await shop.stop()

    async with operator_in(installed, EMPTY) as empty:
        empty.clock.offset = shop.clock.offset
        empty.metrics.traffic = failing("1.1.0", "1.2.0")
        await empty.start()
        await restored_without_the_right(empty, installed, file)
        done = await run(installed.kubeconfig_for("carol"), "restore", file, "-n", EMPTY)
        assert done.exit_code == 0, done.output
        assert "5 created, 5 there and equal, 0 there and different, 2 left out, 0 failed." in done.stderr
        await empty.until_served("1.3.0")
        for _ in range(2):
            await empty.tick()
        assert {held["version"] for held in (await empty.status())["held"]} == {"1.1.0", "1.2.0"}
        assert {r["metadata"]["name"]: r["spec"] for r in await empty.records()} == decided
        for rejected in ("1.1.0", "1.2.0"):
            await empty.prompt(rejected)
            await empty.until(lambda: held_out(empty))
            assert await empty.served() == "1.3.0"


async def restored_without_the_right(empty: Operated, installed: ControlPlane, file: str) -> None:
    """Alice may edit but not restore: the server refuses her the records, and the Prompt stays out."""
    done = await run(installed.kubeconfig_for("alice"), "restore", file, "-n", EMPTY)
    assert done.exit_code == 1
    assert "records need the verb restore on promptrollbacks" in done.stdout
    assert "is for the operator: alice may create a request" in done.stdout
    assert "the record that holds 1.1.0, 1.2.0 is not there" in done.stdout
    assert "5 created, 0 there and equal, 0 there and different, 2 left out, 5 failed." in done.stderr
    assert await empty.records() == []


async def held_out(operator: Operated) -> bool:
    """Tell whether the desired version waits for a release."""
    return bool((await operator.condition("Stalled")).get("reason") == "VersionHeld")
