"""`./operator/dev` as a person uses it: up, up again, down, and its one-sentence errors."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.devcluster.support import Checkout

from devcluster.processes import ProcessSet, Running


def running(checkout: Checkout) -> list[Running]:
    """The processes recorded for the checkout's cluster."""
    state = checkout.root / ".devcluster"
    return [process for part in ("control-plane", "prometheus") for process in ProcessSet(state / part).recorded]


def exports(output: str) -> dict[str, str]:
    """What `eval` makes of the output; fails on anything but export lines."""
    settings = {}
    for line in output.splitlines():
        export, setting = shlex.split(line)
        assert export == "export"
        name, _, value = setting.partition("=")
        settings[name] = value
    return settings


@pytest.fixture
def up(checkout: Checkout) -> dict[str, str]:
    """The checkout's cluster, started without HOME; the settings it printed."""
    return exports(checkout.dev("up", "--scrape", "127.0.0.1:9", HOME=None).stdout)


def test_up_prints_the_settings_and_nothing_else(up: dict[str, str]) -> None:
    """The output can be given to eval, also from a path with a space and without HOME; kubectl is found then."""
    assert set(up) == {"KUBECONFIG", "PROMETHEUS_URL", "PATH"}
    assert up["PATH"].startswith(os.environ["PATH"])
    assert shutil.which("kubectl", path=up["PATH"].removeprefix(os.environ["PATH"]))
    assert " " in up["KUBECONFIG"]
    assert Path(up["KUBECONFIG"]).stat().st_mode & 0o077 == 0


def test_a_second_up_finds_the_first(checkout: Checkout, up: dict[str, str]) -> None:
    """The same processes serve on, with the new targets, and no data is lost."""
    before = running(checkout)
    assert exports(checkout.dev("up", "--scrape", "127.0.0.1:9", "--scrape", "127.0.0.1:10").stdout) == up
    assert running(checkout) == before
    targets = json.loads((checkout.root / ".devcluster" / "prometheus" / "targets.json").read_text())
    assert targets == [{"targets": ["127.0.0.1:9", "127.0.0.1:10"]}]


def test_up_after_a_crash_starts_afresh(checkout: Checkout, up: dict[str, str]) -> None:
    """When the API server was killed, the next up ends the rest and starts a whole control plane."""
    before = running(checkout)
    os.kill(next(process.pid for process in before if process.name == "kube-apiserver"), signal.SIGKILL)
    after = exports(checkout.dev("up").stdout)
    assert after["PROMETHEUS_URL"] == up["PROMETHEUS_URL"]
    assert all(process.alive for process in running(checkout))
    assert not any(process.alive for process in before if process.name != "prometheus")


def test_down_leaves_nothing(checkout: Checkout, up: dict[str, str]) -> None:
    """No process and no state are left, and a second down is harmless."""
    assert up
    before = running(checkout)
    assert len(before) == 4
    checkout.dev("down")
    assert not any(process.alive for process in before)
    assert not (checkout.root / ".devcluster").exists()
    assert "nothing was running" in checkout.dev("down").stderr


def test_up_without_go_prints_one_sentence_and_no_settings(checkout: Checkout, tmp_path: Path) -> None:
    """A failed up gives eval nothing to do and fails."""
    failed = checkout.dev("up", check=False, PATH="/nowhere", PROMPT_OPERATOR_CACHE=str(tmp_path))
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no Go was found" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("arguments", "said"), [(["upp"], "known are demo, test"), ([], "usage:")])
def test_a_wrong_call_shows_the_commands(checkout: Checkout, arguments: list[str], said: str) -> None:
    """Unknown and missing commands list the known ones and fail."""
    failed = checkout.dev(*arguments, check=False)
    assert failed.returncode == 2
    assert said in failed.stdout + failed.stderr


def test_the_python_that_was_asked_for_must_exist(checkout: Checkout) -> None:
    """A wrong PROMPT_OPERATOR_PYTHON is named."""
    failed = checkout.dev("down", check=False, PROMPT_OPERATOR_PYTHON="/no/python")
    assert failed.returncode == 1
    assert failed.stderr == "PROMPT_OPERATOR_PYTHON is /no/python, which is no program: correct or unset it.\n"


def test_the_runner_is_executable_and_needs_no_packages(checkout: Checkout) -> None:
    """It runs by its own name with nothing but the standard library."""
    program = checkout.root / "operator" / "dev"
    shown = subprocess.run(
        [program, "--help"], env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("usage: ./operator/dev COMMAND")
