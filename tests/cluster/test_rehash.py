"""`kubectl prompt rehash` against the real API server and a running operator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from click.testing import CliRunner
from tests.cluster.looking import delete
from tests.cluster.operating import operated

from prompt_operator.cli.main import main
from prompt_operator.ports import PROMPT_VERSION

if TYPE_CHECKING:
    from devcluster.cluster import Cluster


async def test_an_accepted_content_is_served(cluster: Cluster, namespace: str) -> None:
    """A version made anew with other content stays out until its hash is accepted; then applications get it."""
    async with operated(cluster.kubeconfig, namespace) as operator:
        await operator.version("1.0.0")
        await operator.prompt("1.0.0")
        await operator.start()
        await operator.until_served("1.0.0")
        await delete(operator, PROMPT_VERSION, "greeting-1.0.0")
        await operator.version("1.0.0", text="Corrected.")

        async def reason_is(reason: str) -> bool:
            return bool((await operator.condition("Ready")).get("reason") == reason)

        await operator.until(lambda: reason_is("HashMismatch"))
        words = ["rehash", "greeting", "1.0.0", "--reason", "typo", "--kubeconfig", str(cluster.kubeconfig)]
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "-n", namespace])
        assert done.exit_code == 0, done.output
        await operator.until(lambda: reason_is("Active"))
        config_map = await operator.config_map()
        assert config_map is not None
        assert config_map["data"]["prompt.txt"] == "Corrected."
        annotations = (await operator.get(PROMPT_VERSION, "greeting-1.0.0"))["metadata"]["annotations"]
        assert annotations["promptops.dev/accepted-reason"] == "admin: typo"
        again = await asyncio.to_thread(CliRunner().invoke, main, [*words, "-n", namespace])
        assert "nothing was changed" in again.stderr
