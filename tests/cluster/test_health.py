"""What the operator says of itself over HTTP, and what doctor makes of it: fine, at fault, and not known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.cluster.installed import TEAM, install, plain_installation, working

from prompt_operator.cli.main import main
from prompt_operator.ports import CONFIG_MAP, DEFAULT_SOURCE, EXPERIMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.operating import Operated

    from devcluster.controlplane import ControlPlane


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, with the plain installation."""
    with plain_installation(tmp_path_factory.mktemp("health")) as plane:
        yield plane


async def ask(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Return status and document."""

    def read() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:  # noqa: S310  loopback
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    status, body = await asyncio.to_thread(read)
    return status, json.loads(body)


async def until_at_fault(operator: Operated, url: str, name: str) -> str:
    """Wait until the check fails, and return what it says."""

    async def fails() -> str:
        status, document = await ask(url, "/health/deep")
        check = document["checks"][name]
        return str(check["message"]) if status == 503 and check["ok"] is False else ""

    return await operator.until(fails)


async def examined(plane: ControlPlane, url: str) -> set[str]:
    """Return what doctor finds about the operator."""
    words = ["doctor", "-o", "json", "-n", TEAM, "--operator-url", url, "--kubeconfig", str(plane.kubeconfig)]
    done = await asyncio.to_thread(CliRunner().invoke, main, words)
    return {each["found"] for each in json.loads(done.stdout)["found"] if each["where"] == "operator"}


async def test_what_is_not_known_yet_is_not_called_fine(installed: ControlPlane) -> None:
    """Before Prometheus was asked anything its state is null; afterwards each check is fine."""
    async with working(installed) as (operator, url):
        status, deep = await ask(url, "/health/deep")
        assert status == 200
        assert deep["checks"].keys() == {"api", "store", "prometheus", "rules", "render", "audit"}
        assert {name for name, check in deep["checks"].items() if check["ok"] is None} == {"prometheus"}
        _, health = await ask(url, "/healthz")
        assert {each["name"]: each["connected"] for each in health["dependencies"]} == {
            "store": True,
            "prometheus": None,
        }
        await operator.tick()
        status, deep = await ask(url, "/health/deep")
        assert (status, {check["ok"] for check in deep["checks"].values()}) == (200, {True})
        _, health = await ask(url, "/healthz")
        assert health["prompts"] == {"total": 1, "healthy": 0, "serving": 1, "held": 0}
        assert all(datetime.strptime(each["since"], "%Y-%m-%dT%H:%M:%S%z") for each in health["dependencies"])
        assert all(each["connected"] for each in health["dependencies"])


async def test_diagnostics_say_what_goes_on(installed: ControlPlane) -> None:
    """No experiment is active in this release, and one that somebody created is named as one without effect."""
    async with working(installed) as (operator, url):
        arms = [{"name": name, "version": f"{name}.0.0", "weight": 50} for name in ("1", "2")]
        spec = {"promptRef": {"name": "greeting"}, "type": "ABTest", "arms": arms}
        primary = {"metric": "success_rate", "direction": "Increase"}
        await operator.apply(EXPERIMENT, "tone", {**spec, "primary": primary})
        operator.metrics.failing = "connection refused"
        await operator.tick()

        async def told() -> dict[str, Any]:
            status, document = await ask(url, "/diagnostics")
            assert status == 200
            return document if document["prompts"]["experiments_without_effect"] else {}

        document = await operator.until(told)
        assert document["prompts"] == {
            "active_experiments": [],
            "experiments_without_effect": [f"{TEAM}/tone"],
            "held": [],
            "firing": [],
        }
        assert document["rules"]["unknown"]
        assert [issue["subject"] for issue in document["issues"]] == ["metric source default"]
        assert {"breakers", "queue"} <= document.keys()
        assert (await ask(url, "/healthz"))[1]["dependencies"][1]["connected"] is False
        await operator.api.delete(
            EXPERIMENT, TEAM, "tone", uid=(await operator.get(EXPERIMENT, "tone"))["metadata"]["uid"]
        )


async def test_an_edited_config_map_is_a_fault_while_nobody_puts_it_back(installed: ControlPlane) -> None:
    """Frozen, the operator only looks: what it sees is said."""
    async with working(installed) as (operator, url):
        assert operator.running is not None
        operator.running.mode.now = "Frozen"
        edit = [{"op": "replace", "path": "/data/prompt.txt", "value": "Evil."}]
        await operator.api.json_patch(CONFIG_MAP, TEAM, "prompt-greeting", edit)
        assert "1 ConfigMaps do not say what was rendered" in await until_at_fault(operator, url, "render")


async def test_a_full_disk_under_the_audit_trail(installed: ControlPlane) -> None:
    """Decisions go on; deep health and doctor name it."""
    async with working(installed, audit="file", audit_file="/dev/full") as (operator, url):
        assert await until_at_fault(operator, url, "audit")
        assert "AuditTrailFails" in await examined(installed, url)


class Hanging:
    """A Prometheus that takes the question and never answers."""

    lag = timedelta()

    async def query(self, _promql: str, _at: datetime) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()


async def test_rules_that_are_judged_too_late(installed: ControlPlane) -> None:
    """A tick that does not end: said by deep health, and named by doctor."""
    async with working(installed, sources={DEFAULT_SOURCE: Hanging()}, tick=timedelta(seconds=1)) as (operator, url):
        assert "overdue" in await until_at_fault(operator, url, "rules")
        assert "RulesLate" in await examined(installed, url)


async def test_without_rights_the_store_is_not_whole(installed: ControlPlane) -> None:
    """The operator cannot read what there is: not ready, for the reason it says; doctor names that and the rights."""
    async with working(installed) as (operator, url):
        await operator.stop()
        installed.kubectl("delete", "clusterrolebinding", "prompt-operator")
        starting = asyncio.create_task(operator.start())

        async def unavailable() -> bool:
            with contextlib.suppress(urllib.error.URLError):
                status, document = await ask(url, "/readyz")
                return status == 503 and "store_unavailable" in document["reason"]
            return False

        await operator.until(unavailable)
        assert "store_unavailable" in await until_at_fault(operator, url, "store")
        assert await examined(installed, url) >= {"OperatorNotReady", "RightsMissing"}
        install(installed)
        await starting
        assert await ask(url, "/readyz") == (200, {"ready": True})


async def test_an_api_server_that_does_not_answer(installed: ControlPlane) -> None:
    """Stopped, it takes connections and says nothing: deep health says so, and does not hang itself."""
    async with working(installed, lease="") as (operator, url):
        (server,) = [each for each in installed.processes.recorded if "apiserver" in each.name]
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert "the API server has not answered within 3 s" in await until_at_fault(operator, url, "api")
            assert (await ask(url, "/healthz"))[0] == 200
        finally:
            os.kill(server.pid, signal.SIGCONT)
