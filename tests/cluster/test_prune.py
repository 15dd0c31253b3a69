"""`kubectl prompt prune` against the real API server and a running operator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, ONE_RULE, release_a_bad_one, roll_back, serve

from prompt_operator.cli.main import main
from prompt_operator.ports import PROMPT_VERSION

if TYPE_CHECKING:
    from devcluster.cluster import Cluster

KEEP_ONE: dict[str, Any] = {"retention": {"versions": 1}}


async def test_what_is_served_or_held_survives(cluster: Cluster, namespace: str) -> None:
    """After a rollback only versions that were never served go; the operator deletes none and is not disturbed."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        await operator.policy(rollback=AT_ONCE, rules=ONE_RULE)
        for version in ("0.1.0", "0.2.0", "1.0.0", "1.1.0"):
            await operator.version(version)
        await operator.version("0.3.0", rollback={"reference": "0.2.0"})
        await operator.prompt("1.0.0", **KEEP_ONE)
        await operator.start()
        await operator.until_served("1.0.0")
        await release_a_bad_one(operator, **KEEP_ONE)
        await roll_back(operator)
        words = ["prune", "greeting", "--yes", "--kubeconfig", str(cluster.kubeconfig), "-n", namespace]
        done = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert done.exit_code == 0, done.output
        found = [each["spec"]["version"] async for each in operator.api.list(PROMPT_VERSION, namespace=namespace)]
        assert {"1.0.0", "1.1.0"} <= set(found), "active, and held"
        assert "0.1.0" not in found
        assert "NotImplemented" not in {c["type"] for c in (await operator.status())["conditions"]}
        await operator.version("1.2.0")
        await serve(operator, "1.2.0", **KEEP_ONE)
