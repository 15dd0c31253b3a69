"""The shipped recording rules are ones that Prometheus reads, whichever way they get there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from devcluster import tools
from devcluster.paths import REPO
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.recording import rule_group

if TYPE_CHECKING:
    from pathlib import Path

    from prompt_operator.core.rules.profile import Profile

FOLDER = REPO / "manifests" / "recording-rules"
FILES = sorted(FOLDER.glob("*.rules.yaml"))


def test_every_profile_has_its_rules() -> None:
    """A profile without recording rules would have no window of 24h."""
    assert {file.name.removesuffix(".rules.yaml") for file in FILES} == load_profiles().keys()


@pytest.mark.parametrize(("name", "profile"), load_profiles().items(), ids=load_profiles())
def test_the_rules_are_those_of_the_profile(name: str, profile: Profile) -> None:
    """A profile that changed without its rules would be recorded under names that nobody reads."""
    shipped = yaml.safe_load((FOLDER / f"{name}.rules.yaml").read_text("utf-8"))
    assert shipped == {"groups": [rule_group(profile)]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_promtool_finds_nothing_to_complain_of(file: Path) -> None:
    """The syntax is right, no two rules write the same series, and the names follow Prometheus' custom."""
    promtool = str(tools.ensure("prometheus") / "promtool")
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_object_for_the_prometheus_operator_holds_the_same(file: Path) -> None:
    """What kube-prometheus-stack loads is what the plain file says."""
    manifest = yaml.safe_load(file.with_name(file.name.replace(".rules.", ".prometheusrule.")).read_text("utf-8"))
    assert manifest["spec"] == yaml.safe_load(file.read_text("utf-8"))
