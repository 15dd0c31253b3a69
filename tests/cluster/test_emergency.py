"""docs/emergency.md: each of its commands is given, as it stands there, and does what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner
from tests.cluster.installed import HOME, TEAM, install, plain_installation, working
from tests.cluster.looking import delete
from tests.faults.scene import failing, serve, time_passes

from devcluster.paths import REPO
from prompt_operator.cli.main import main
from prompt_operator.ports import PROMPT, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.operating import Operated

    from devcluster.controlplane import ControlPlane

COPY = f"{TEAM}-copy"
PAGE = (REPO / "docs" / "emergency.md").read_text("utf-8").partition("## What doctor finds")[0]
LINES = tuple(re.findall(r"^(?:KUBE_EDITOR=.*)?kubectl .*$", PAGE, re.MULTILINE))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    """A control plane of its own, as the levers reach the whole of it, and a folder to work in."""
    monkeypatch.chdir(tmp_path)
    with plain_installation(tmp_path / "plane") as plane:
        plane.kubectl("create", "namespace", COPY)
        yield plane


@dataclass
class OnCall:
    """Somebody who has the page before them."""

    plane: ControlPlane
    operator: Operated
    done: list[str] = field(default_factory=list)
    """Lines of the page that were given."""

    async def run(self, start: str, **names: str) -> str:
        """Give the one line of the page that begins so and was not given yet, with these names filled in.

        Returns what it says; a failure fails the test, but for doctor, which finds something.
        """
        line = next(each for each in LINES if each.startswith(start) and each not in self.done)
        self.done.append(line)
        for name, value in {"NAME": "greeting", "WHY": "it greets badly", **names}.items():
            line = re.sub(rf"\b{name}\b", value, line)
        if not line.startswith("kubectl prompt "):
            return await asyncio.to_thread(self._kubectl, line)
        words = shlex.split(line)[2:]
        words += [] if "-n" in words or "-A" in words else ["-n", TEAM]
        given = [*words, "--kubeconfig", str(self.plane.kubeconfig)]
        done = await asyncio.to_thread(CliRunner().invoke, main, given)
        assert done.exit_code == 0 or words[0] == "doctor", (line, done.output)
        return done.output

    def _kubectl(self, line: str) -> str:
        place = "" if "--namespace" in line else f" --namespace {TEAM}"
        environment = {**os.environ, "KUBECONFIG": str(self.plane.kubeconfig)}
        path = f"{self.plane.bin_dir}:{environment['PATH']}"
        words = ["bash", "-c", line + place]
        done = subprocess.run(words, env={**environment, "PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout

    async def until_mode(self, mode: str) -> None:
        """Wait until applications are told this mode."""

        async def told() -> bool:
            config_map = await self.operator.config_map()
            return config_map is not None and bool(config_map["data"]["mode"] == mode)

        await self.operator.until(told)

    async def until_ready(self, reason: str) -> None:
        """Wait until the Prompt is Ready, or not, for this reason."""

        async def so() -> bool:
            return bool((await self.operator.condition("Ready")).get("reason") == reason)

        await self.operator.until(so)

    def settings(self) -> str:
        """Return the mode that the operator's settings say."""
        found = self.plane.kubectl("get", "configmap", "prompt-operator-settings", "-n", HOME, "-o", "yaml").stdout
        return str(yaml.safe_load(yaml.safe_load(found)["data"]["settings.yaml"])["mode"])


async def test_each_lever_of_the_page_works(installed: ControlPlane) -> None:
    """One bad night: back by hand, the limit reached, off and on, frozen, a changed text, a loss, the morning after."""
    async with working(installed) as (operator, _):
        one = OnCall(installed, operator)
        for version in ("1.1.0", "1.2.0", "1.3.0"):
            await operator.version(version)
        await go_back(one)
        await after_the_limit(one)
        await switch_off_and_on(one)
        await stop_and_go_on(one)
        await accept_a_text(one)
        await lose_and_restore(one)
        await turn_everything_off(one)
        assert set(LINES) == set(one.done)


async def go_back(one: OnCall) -> None:
    """Look, then leave two versions by hand."""
    await serve(one.operator, "1.1.0")
    assert "1.1.0" in await one.run("kubectl prompt get")
    assert "Nothing wrong; 1 prompt of " in await one.run("kubectl prompt doctor")
    assert "1.1.0 is active" in await one.run("kubectl prompt explain")
    await one.run("kubectl prompt rollback NAME --reason")
    await one.operator.until_served("1.0.0")
    await serve(one.operator, "1.2.0")
    await one.run("kubectl prompt rollback NAME --to", VERSION="1.0.0")
    await one.operator.until_served("1.0.0")


async def after_the_limit(one: OnCall) -> None:
    """Automatic rollbacks are at their limit: it is acknowledged; and a version that was left by hand is released."""
    operator = one.operator
    held = (await operator.status())["held"]
    await one.run("kubectl prompt release", RECORD=next(each["record"] for each in held if each["version"] == "1.1.0"))

    async def is_free() -> bool:
        return "1.1.0" not in [each["version"] for each in (await operator.status()).get("held", ())]

    await operator.until(is_free)
    await time_passes(operator, 5)  # a rule decides on 1.1.0 again when its window holds nothing from before
    for version, after in (("1.3.0", "1.0.0"), ("1.1.0", "1.1.0")):
        await serve(operator, version)
        operator.metrics.traffic = failing(version)
        await operator.tick()
        await operator.until_served(after)
    (limit,) = [each for each in await operator.records("Refused") if each["spec"]["guard"] == "DailyLimitReached"]
    await one.run("kubectl prompt ack", RECORD=limit["metadata"]["name"])
    await operator.tick()
    await operator.until_served("1.0.0")
    operator.metrics.traffic = {}


async def switch_off_and_on(one: OnCall) -> None:
    """The built-in default for one prompt, then for all under the policy."""
    for start, mode in (("kubectl prompt fallback", "Fallback"), ("kubectl prompt enable", "Active")):
        await one.run(start)
        await one.until_mode(mode)
    for mode in ("Fallback", "Active"):
        await one.run("kubectl patch promptpolicy")
        await one.until_mode(mode)


async def stop_and_go_on(one: OnCall) -> None:
    """Suspended, and resumed: the rejected version that Git still names stays out."""
    await one.run("kubectl prompt suspend")
    await one.until_ready("Suspended")
    await one.run("kubectl prompt resume")
    await one.until_ready("RolledBack")


async def accept_a_text(one: OnCall) -> None:
    """A version is made anew with another text; it stays out until somebody accepts it."""
    await delete(one.operator, PROMPT_VERSION, "greeting-1.0.0")
    await one.operator.version("1.0.0", text="Corrected.")
    await one.operator.prompt("1.0.0")
    await one.until_ready("HashMismatch")
    await one.run("kubectl prompt rehash", VERSION="1.0.0")
    await one.until_ready("Active")


async def lose_and_restore(one: OnCall) -> None:
    """The Prompt is deleted by mistake; it comes back, and once more in another namespace."""
    await one.run("kubectl prompt backup")
    await delete(one.operator, PROMPT, "greeting")
    assert "1 created" in await one.run("kubectl prompt restore prompts.tar.gz --dry-run")
    assert "not found" in one.plane.kubectl("get", "prompt", "greeting", "-n", TEAM, check=False).stderr
    await one.run("kubectl prompt restore prompts.tar.gz")
    await one.operator.until_served("1.0.0")
    await one.run("kubectl prompt restore prompts.tar.gz --from")
    assert "greeting" in one.plane.kubectl("get", "prompts", "-n", COPY).stdout


async def turn_everything_off(one: OnCall) -> None:
    """The operator's own mode, and its pods; tests/cluster/test_modes.py shows what each mode does."""
    for mode in ("Fallback", "Active", "Frozen"):
        await one.run("KUBE_EDITOR")
        assert one.settings() == mode
    await one.run("kubectl scale")
    deployment = one.plane.kubectl("get", "deployment", "prompt-operator", "-n", HOME, "-o", "yaml").stdout
    assert yaml.safe_load(deployment)["spec"]["replicas"] == 0
    install(one.plane)
