"""Profiles of the operator's configuration: added, replaced, derived from shipped ones, refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from devcluster.paths import REPO
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.metrics import Quantity

if TYPE_CHECKING:
    from pathlib import Path

PAGE = REPO / "docs" / "metrics-profiles.md"
SHIPPED = load_profiles()
OWN = """
name: own
identity: {namespace: ns, prompt: prompt, version: release}
quantities:
  requests: {counter: own_requests_total}
"""


def test_every_shipped_file_is_named_after_its_profile_and_says_what_was_verified() -> None:
    """The names of the contract, each with the library, version and month it was tried with."""
    assert {*SHIPPED} == {"native", "otel-genai-v1", "otel-genai-v2", "spanmetrics", "litellm", "envoy-ai-gateway"}
    assert all("2026-" in profile.verified and profile.description for profile in SHIPPED.values())


def test_a_file_adds_a_profile(tmp_path: Path) -> None:
    """The shipped ones stay; what is not claimed to be verified says so."""
    (tmp_path / "any-name.yaml").write_text(OWN)
    profiles = load_profiles(tmp_path)
    assert profiles.keys() == SHIPPED.keys() | {"own"}
    assert profiles["own"].verified == "not verified"


def test_a_file_replaces_a_shipped_profile_by_name(tmp_path: Path) -> None:
    """A profile of the same name stands in its place, also when it extends the one it replaces."""
    (tmp_path / "spans.yml").write_text("{name: spanmetrics, extends: spanmetrics, identity: {namespace: namespace}}")
    profiles = load_profiles(tmp_path)
    assert profiles["spanmetrics"].identity.namespace == "namespace"
    assert profiles["spanmetrics"].identity.prompt == SHIPPED["spanmetrics"].identity.prompt
    assert profiles["spanmetrics"].quantities == SHIPPED["spanmetrics"].quantities
    assert profiles["spanmetrics"].verified == "not verified"


def test_extending_changes_only_what_is_given(tmp_path: Path) -> None:
    """One quantity is replaced whole, one is taken out, the others are as in the profile that is extended."""
    text = "{name: own, extends: native, quantities: {cost: {counter: own_cost_total}, input_tokens: null}}"
    (tmp_path / "own.yaml").write_text(text)
    own = load_profiles(tmp_path)["own"]
    changed = {Quantity.COST, Quantity.INPUT_TOKENS}
    assert own.quantities[Quantity.COST].metrics == ("own_cost_total",)
    assert own.quantities.keys() == SHIPPED["native"].quantities.keys() - {Quantity.INPUT_TOKENS}
    for quantity in own.quantities.keys() - changed:
        assert own.quantities[quantity] == SHIPPED["native"].quantities[quantity]


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    """What kubelet keeps beside the files, and files that are no profiles, are left alone."""
    data = tmp_path / "..2026_11_21"
    data.mkdir()
    (data / "own.yaml").write_text(OWN)
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "own.yaml").symlink_to(tmp_path / "..data" / "own.yaml")
    (tmp_path / "README.md").write_text("about them")
    assert "own" in load_profiles(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not YAML"),
        ("", "expected name, identity and quantities, found NoneType"),
        ("{name: a b}", "name: String should match pattern"),
        (OWN.replace("version: release", "verison: release"), "identity.version: Field required; identity.verison: "),
        (OWN + "  error: {counter: a}", "quantities.error: Input should be 'requests', 'errors'"),
        (OWN + "  errors: {counter: a, scale: x}", "quantities.errors.scale: Input should be a valid number"),
        (OWN + "  latency_buckets: {counter: a}", "latency_buckets: latency_buckets is a histogram"),
        (OWN + "  latency_buckets: {histogram: a, buckets: [1, 1]}", "quantities.latency_buckets: buckets must ascend"),
        (OWN + "  latency_buckets: {histogram: a, buckets: [0]}", "quantities.latency_buckets.buckets.0: Input should"),
        (OWN + "  latency_buckets: {histogram: a, buckets: [.inf]}", "quantities.latency_buckets.buckets.0: Input"),
        (OWN + "  latency_sum: {counter: a, buckets: [1]}", "quantities.latency_sum: buckets are those of a histogram"),
        (
            "{name: own, extends: nativ}",
            "extends: unknown profile 'nativ', known are envoy-ai-gateway, litellm",
        ),
        ("{name: own, extends: native, quantities: 3}", "quantities: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_file_is_refused_with_file_field_and_cause(tmp_path: Path, text: str, says: str) -> None:
    """Nothing is started on a profile that was meant otherwise."""
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ValueError, match="own") as refused:
        load_profiles(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/own.yaml: {says}")


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    """Which of the two was meant cannot be told."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(OWN)
    with pytest.raises(ValueError, match=r"b\.yaml: name: another file has a profile own too"):
        load_profiles(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Going on without the profiles would leave every rule on them unknown."""
    with pytest.raises(ValueError, match="cannot read the profiles in"):
        load_profiles(tmp_path / "nowhere")


def test_the_profiles_of_the_docs_are_profiles(tmp_path: Path) -> None:
    """What the page shows as values of the chart is taken as files of the folder."""
    blocks = PAGE.read_text("utf-8").split("```yaml\n")
    (shown,) = [block.partition("```")[0] for block in blocks if block.startswith("profiles:")]
    for name, profile in yaml.safe_load(shown)["profiles"].items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **profile}))
    assert load_profiles(tmp_path).keys() - SHIPPED.keys() == {"half-way", "spans-in-seconds", "dotted"}
