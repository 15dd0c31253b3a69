"""Fallback, Frozen and suspend on a real API server, and the way back from each."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.looking import (
    Writes,
    conditions_of,
    delete,
    edit,
    healed,
    mount,
    until_condition,
    until_settled,
    wake_everything,
)
from tests.cluster.operating import Operated, operated

from prompt_client.client import Client
from prompt_operator import settings
from prompt_operator.core.mode import Mode
from prompt_operator.handlers import lifecycle
from prompt_operator.ports import CONFIG_MAP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from devcluster.cluster import Cluster
    from devcluster.controlplane import ControlPlane
    from prompt_operator.ports import Manifest

NAME = "prompt-greeting"
BUILT_IN = "Built in: {{ name }}."


async def greet(operator: Operated) -> Operated:
    """Have greeting 1.0.0 served, and 1.1.0 there."""
    for version in ("1.0.0", "1.1.0"):
        await operator.version(version)
    await operator.prompt("1.0.0")
    await operator.start()
    await operator.until_served("1.0.0")
    await operator.settle()
    return operator


@pytest.fixture
async def greeting(cluster: Cluster, namespace: str) -> AsyncIterator[Operated]:
    """An operator with greeting 1.0.0 served."""
    async with operated(cluster.kubeconfig, namespace) as one:
        yield await greet(one)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that is read often."""
    monkeypatch.setattr(lifecycle, "_MODE_EVERY", 0.02)
    file = tmp_path / "settings.yaml"
    file.write_text("mode: Active\n")
    return file


@pytest.fixture
def write(config: Path) -> Callable[[str], object]:
    """Overwrite the settings file in place, as `echo >` does."""
    return config.write_text


@pytest.fixture
async def switched(control_plane: ControlPlane, namespace: str, config: Path) -> AsyncIterator[Operated]:
    """The same operator with `--config`."""
    async with operated(control_plane.kubeconfig, namespace, config=str(config)) as one:
        yield await greet(one)


async def until_mode(operator: Operated, mode: str, name: str = NAME) -> Manifest:
    """Wait until a ConfigMap says this mode."""

    async def says() -> Manifest:
        found = await operator.config_map(name)
        return found if found and found["data"]["mode"] == mode else {}

    found = await operator.until(says)
    await operator.settle()
    return found


def is_fallback(config_map: Manifest, folder: Path) -> bool:
    """Return what prompt_client makes of a ConfigMap, and check the text it serves."""
    mount(config_map, folder / "greeting")
    with Client(folder, reload="off", fallbacks={"greeting": BUILT_IN}) as client:
        prompt = client.get("greeting")
        expected = "Built in: Ada." if prompt.is_fallback else "Text of 1.0.0: greet Ada."
        assert prompt.render(name="Ada") == expected
        return prompt.is_fallback


# --- Fallback


async def test_fallback_of_a_prompt_and_back(greeting: Operated, tmp_path: Path) -> None:
    """Applications use their built-in text; the ConfigMap carries no content; back, all is as before."""
    before = (await greeting.get(CONFIG_MAP, NAME))["data"]
    await greeting.prompt("1.0.0", mode="Fallback")
    config_map = await until_mode(greeting, "Fallback")
    document = json.loads(config_map["data"]["prompt.json"])
    assert config_map["data"].keys() == {"mode", "prompt.json", "version", "hash"}
    assert (document["mode"], document["versions"]) == ("Fallback", {})
    assert is_fallback(config_map, tmp_path / "off")
    await greeting.prompt("1.0.0", mode="Active")
    after = await until_mode(greeting, "Active")
    assert {key: after["data"][key] for key in ("prompt.txt", "version", "hash")} == {
        key: before[key] for key in ("prompt.txt", "version", "hash")
    }
    assert not is_fallback(after, tmp_path / "on")


async def test_fallback_of_a_policy_reaches_every_prompt_under_it(greeting: Operated, tmp_path: Path) -> None:
    """And only those; a new version that is made desired meanwhile is active when the mode is back."""
    await greeting.policy("other")
    await greeting.version("1.0.0", prompt="elsewhere")
    await greeting.prompt("1.0.0", name="elsewhere", policyRef={"name": "other"})
    await greeting.until_served("1.0.0", "elsewhere")
    await greeting.policy(mode="Fallback")
    assert is_fallback(await until_mode(greeting, "Fallback"), tmp_path / "off")
    assert (await conditions_of(greeting))["Ready"] == "True Fallback"
    assert (await conditions_of(greeting, "elsewhere"))["Ready"] == "True Active"
    await greeting.prompt("1.1.0")
    await until_settled(greeting)
    assert (await greeting.get(CONFIG_MAP, NAME))["data"]["mode"] == "Fallback"
    await greeting.policy(mode="Active")
    assert (await until_mode(greeting, "Active"))["data"]["version"] == "1.1.0"


async def test_fallback_before_any_version(greeting: Operated, tmp_path: Path) -> None:
    """A prompt without a version yet can still tell its applications to use what they have."""
    await greeting.prompt("9.9.9", name="new", mode="Fallback")
    config_map = await until_mode(greeting, "Fallback", "prompt-new")
    assert config_map["data"].keys() == {"mode", "prompt.json"}
    mount(config_map, tmp_path / "new")
    with Client(tmp_path, reload="off", fallbacks={"new": BUILT_IN}) as client:
        assert client.get("new").is_fallback


async def test_fallback_is_healed_like_any_other_projection(greeting: Operated) -> None:
    """Somebody switches the ConfigMap by hand while the prompt says Fallback: put back and counted."""
    await greeting.prompt("1.0.0", mode="Fallback")
    await until_mode(greeting, "Fallback")
    await edit(greeting, NAME, ("replace", "/data/mode", "Active"))
    await until_mode(greeting, "Fallback")
    assert healed(greeting) >= 1


async def test_the_settings_file_switches_the_whole_operator_without_a_restart(
    switched: Operated, write: Callable[[str], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every projection says Fallback, and is back when the file says Active; a broken file changes nothing."""
    write("mode: Fallback\n")
    assert is_fallback(await until_mode(switched, "Fallback"), tmp_path / "off")
    assert (await until_condition(switched, "Ready", "Fallback"))["Serving"] == "False Fallback"
    for broken, cause in (("mode: [", "cannot read"), ("", "is empty")):
        complaint = re.compile(rf"the mode stays Fallback: .*{cause}")
        caplog.clear()  # before, since the file may be read at once; half-written it may give the other cause, too
        write(broken)

        async def complained(complaint: re.Pattern[str] = complaint) -> bool:
            return complaint.search(caplog.text) is not None

        await switched.until(complained)
    await wake_everything(switched)
    assert (await switched.get(CONFIG_MAP, NAME))["data"]["mode"] == "Fallback"
    write("mode: Active\n")
    assert not is_fallback(await until_mode(switched, "Active"), tmp_path / "on")
    await until_condition(switched, "Ready", "Active")


async def test_prompts_enabled_false_is_fallback(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """The variable known from feature flags, read as any setting; a start without it is the way back."""
    mode = settings.load([], {"PROMPTS_ENABLED": "false"}).mode
    async with operated(cluster.kubeconfig, namespace) as one:
        await greet(one)
    async with operated(cluster.kubeconfig, namespace, mode=mode) as one:
        await one.start()
        await wake_everything(one)
        assert is_fallback(await until_mode(one, "Fallback"), tmp_path / "off")
    async with operated(cluster.kubeconfig, namespace) as one:
        await one.start()
        assert not is_fallback(await until_mode(one, "Active"), tmp_path / "on")


# --- Frozen


async def test_frozen_writes_nothing_and_thawed_catches_up(
    switched: Operated, write: Callable[[str], object], control_plane: ControlPlane
) -> None:
    """Changes, tampering, deletion, new objects, failing versions: all wait; nothing is forgotten."""
    assert switched.running is not None
    running = switched.running
    write("mode: Frozen\n")

    async def mode_is(wanted: str) -> bool:
        return running.mode.now == wanted

    await switched.until(lambda: mode_is("Frozen"))
    await switched.settle()
    writes = Writes(control_plane, switched.namespace)
    await switched.prompt("1.1.0")
    await switched.version("1.0.0", prompt="new")
    await switched.prompt("1.0.0", name="new")
    await switched.policy(rules=[{"name": "theirs", "condition": "latency_p95 > 3000"}])
    await edit(switched, NAME, ("replace", "/data/prompt.txt", "Evil."))
    switched.metrics.traffic = {("greeting", "1.0.0"): (200.0, 120.0)}
    await switched.tick()
    await wake_everything(switched)
    assert list(writes) == []
    assert (await switched.get(CONFIG_MAP, NAME))["data"]["prompt.txt"] == "Evil."
    write("mode: Active\n")
    await switched.until_served("1.1.0")
    await switched.until_served("1.0.0", "new")
    await switched.settle()
    assert (await switched.get(CONFIG_MAP, NAME))["data"]["prompt.txt"].startswith("Text of 1.1.0")


async def test_a_start_in_frozen_writes_nothing(control_plane: ControlPlane, namespace: str) -> None:
    """Not even the first status."""
    writes = Writes(control_plane, namespace)
    async with operated(control_plane.kubeconfig, namespace, mode=Mode.FROZEN) as one:
        await one.version("1.0.0")
        await one.prompt("1.0.0")
        await one.start()
        await wake_everything(one)
        await one.tick()
    assert list(writes) == []


# --- suspend


async def test_suspend_keeps_hand_edits_until_it_ends(greeting: Operated) -> None:
    """Whoever suspends may edit the ConfigMap on purpose; with the end of it the edit is put back."""
    await greeting.prompt("1.0.0", suspend=True)
    await until_condition(greeting, "Ready", "Suspended")
    edited = await edit(greeting, NAME, ("replace", "/data/prompt.txt", "By hand."), ("add", "/data/extra", "x"))
    await greeting.look_again()
    assert await greeting.get(CONFIG_MAP, NAME) == edited
    assert healed(greeting) == 0
    await greeting.prompt("1.0.0", suspend=False)

    async def put_back() -> bool:
        data: dict[str, Any] = (await greeting.get(CONFIG_MAP, NAME))["data"]
        return bool(data["prompt.txt"].startswith("Text of 1.0.0")) and "extra" not in data

    await greeting.until(put_back)


async def test_suspend_keeps_the_version(greeting: Operated) -> None:
    """A new desired version waits; so does one that goes missing; resumed, the new one is served."""
    await greeting.prompt("1.1.0", suspend=True)
    await until_condition(greeting, "Ready", "Suspended")
    await greeting.look_again()
    assert await greeting.served() == "1.0.0"
    await greeting.prompt("1.1.0")
    await greeting.until_served("1.1.0")


async def test_suspend_survives_a_restart(greeting: Operated) -> None:
    """The hand edit stays also when the operator starts anew."""
    await greeting.prompt("1.0.0", suspend=True)
    await until_condition(greeting, "Ready", "Suspended")
    await greeting.stop()
    edited = await edit(greeting, NAME, ("replace", "/data/prompt.txt", "By hand."))
    await greeting.start()
    await wake_everything(greeting)
    assert await greeting.get(CONFIG_MAP, NAME) == edited


async def test_a_person_can_switch_a_suspended_prompt_to_fallback(greeting: Operated, tmp_path: Path) -> None:
    """Suspend stops what is automatic; the mode is a person's word."""
    await greeting.prompt("1.0.0", suspend=True, mode="Fallback")
    assert is_fallback(await until_mode(greeting, "Fallback"), tmp_path / "off")
    await greeting.prompt("1.0.0", suspend=True)
    assert not is_fallback(await until_mode(greeting, "Active"), tmp_path / "on")


async def test_a_prompt_that_begins_suspended_is_not_served_before_it_is_resumed(greeting: Operated) -> None:
    """Nothing is projected; Ready is False, because nothing is active."""
    await greeting.version("1.0.0", prompt="new")
    await greeting.prompt("1.0.0", name="new", suspend=True)
    found = await until_condition(greeting, "Ready", "Suspended", "new")
    assert (found["Ready"], found["Serving"]) == ("False Suspended", "False NothingServed")
    assert await greeting.config_map("prompt-new") is None
    await greeting.prompt("1.0.0", name="new")
    await greeting.until_served("1.0.0", "new")


async def test_a_configmap_deleted_while_suspended_is_back_when_resumed(greeting: Operated) -> None:
    """Nothing automatic happens meanwhile; the way back brings it."""
    await greeting.prompt("1.0.0", suspend=True)
    await until_condition(greeting, "Ready", "Suspended")
    await delete(greeting, CONFIG_MAP, NAME)
    await greeting.look_again()
    assert await greeting.config_map() is None
    await greeting.prompt("1.0.0")
    await greeting.until_served("1.0.0")
