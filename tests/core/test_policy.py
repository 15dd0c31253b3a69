"""The policy in force: built-in, policy and prompt laid over each other; durations, versions, conditions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.builders import V1, a_policy, a_version, a_version_manifest, hash_of

from prompt_operator.core import duration, versions
from prompt_operator.core.policy import BUILT_IN_RULES, share
from prompt_operator.core.reasons import Reason

LAX = {"name": "critical-error-rate", "condition": "error_rate > 50%", "severity": "Critical"}
OFF = {"name": "critical-error-rate", "state": "Disabled"}
BAD = {"name": "critical-error-rate", "condition": "error_rate > 5"}
OWN = {"name": "own", "condition": "error_rate > 5"}


def condition_of(policy: Any, name: str = "critical-error-rate") -> str | None:
    """Return a rule's condition in force, None when it is off."""
    return next((rule.text for rule in policy.rules if rule.name == name), None)


def test_the_built_in_policy_is_the_contracts() -> None:
    """Thirteen rules in their order, and the safeguards' figures."""
    policy = a_policy()
    assert [rule.name for rule in policy.rules] == [spec.name for spec in BUILT_IN_RULES]
    assert len(policy.rules) == 13
    assert (policy.auto, policy.max_per_day, policy.min_samples, policy.mode) == ("Enabled", 3, 20, "Active")
    assert (policy.cooldown, policy.initial_delay) == (timedelta(minutes=15), timedelta(minutes=2))
    assert (policy.alert_confidence, policy.rollback_confidence) == (0.95, 0.9999)
    assert policy.problems == policy.policy_problems == ()


@pytest.mark.parametrize(
    ("prompt", "policy", "expected"),
    [
        pytest.param({}, {}, "error_rate > 5%", id="built-in"),
        pytest.param({}, {"rules": [LAX]}, "error_rate > 50%", id="the policy replaces"),
        pytest.param({"rules": [LAX]}, {}, "error_rate > 50%", id="the prompt replaces"),
        pytest.param({"rules": [LAX]}, {"rules": [OFF]}, "error_rate > 50%", id="the prompt brings back"),
        pytest.param({}, {"rules": [OFF]}, None, id="the policy switches off"),
        pytest.param({"rules": [OFF]}, {"rules": [LAX]}, None, id="the prompt switches off"),
        pytest.param({"rules": [BAD]}, {}, "error_rate > 5%", id="a bad one leaves the inherited one"),
        pytest.param({"rules": [BAD]}, {"rules": [LAX]}, "error_rate > 50%", id="also the policy's"),
    ],
)
def test_rules_are_merged_by_name(prompt: dict[str, Any], policy: dict[str, Any], expected: str | None) -> None:
    """Built-in < policy < prompt."""
    assert condition_of(a_policy(prompt, **policy)) == expected


def test_a_bad_rule_is_named_where_it_stands() -> None:
    """A prompt's own one is its problem, a policy's is the policy's; both say what stays in force."""
    own = a_policy({"rules": [BAD, OWN]})
    assert [problem.partition(":")[0] for problem in own.problems] == ["rule critical-error-rate", "rule own"]
    assert "stays in force" in own.problems[0]
    assert "it is off" in own.problems[1]
    inherited = a_policy(rules=[OWN])
    assert inherited.problems == ()
    assert len(inherited.policy_problems) == 1


def test_blocks_are_merged_field_by_field() -> None:
    """What a block leaves out stays as the wider one says."""
    policy = a_policy({"rollback": {"cooldown": "1h"}}, rollback={"maxPerDay": 1, "cooldown": "2h"})
    assert (policy.cooldown, policy.max_per_day, policy.recovery_window) == (
        timedelta(hours=1),
        1,
        timedelta(minutes=15),
    )


@pytest.mark.parametrize(
    ("prompt", "policy", "auto"),
    [
        ("DryRun", "Enabled", "DryRun"),
        ("Enabled", "DryRun", "Enabled"),
        ("Enabled", "Disabled", "Disabled"),
        ("Disabled", "Enabled", "Disabled"),
    ],
)
def test_disabled_wins(prompt: str, policy: str, auto: str) -> None:
    """Of the others the prompt's counts."""
    assert a_policy({"rollback": {"auto": prompt}}, rollback={"auto": policy}).auto == auto


@pytest.mark.parametrize(("prompt", "policy"), [("Fallback", "Active"), ("Active", "Fallback")])
def test_fallback_anywhere_is_fallback(prompt: str, policy: str) -> None:
    """A prompt cannot opt out of its policy's switch."""
    assert a_policy({"mode": prompt}, mode=policy).mode == "Fallback"


def test_equal_blocks_share_one_policy() -> None:
    """Ten thousand prompts under one policy hold it once."""
    assert a_policy(rollback={"cooldown": "7m"}) is a_policy(rollback={"cooldown": "7m"})


@pytest.mark.parametrize(("text", "value"), [("99.9%", 0.999), ("5%", 0.05), ("100%", 1.0), ("0.1%", 0.001)])
def test_percentages_are_shares(text: str, value: float) -> None:
    """Without the error of binary division."""
    assert share(text) == value


# --- durations


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("15m", 900), ("24h", 86400), ("2w", 1209600), ("1h30m", 5400)]
)
def test_durations_are_read(text: str, seconds: int) -> None:
    """As in conditions; the API itself takes one whole number and one unit only."""
    assert duration.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "15", "m", "-1m", "5 m", "٣m", "1M", "5x", "1.m", "1h30"])
def test_what_is_no_duration(text: str) -> None:
    """Refused with examples."""
    with pytest.raises(ValueError, match="is not a duration such as"):
        duration.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (-5, "0s"), (42.9, "42s"), (900, "15m"), (3900, "1h5m"), (90061, "1d1h")]
)
def test_spans_are_spoken(seconds: float, text: str) -> None:
    """The two largest units, rounded down."""
    assert duration.spoken(timedelta(seconds=seconds)) == text


@given(st.integers(0, 999), st.sampled_from("smhd"))
@settings(deadline=None)
def test_what_is_spoken_in_one_unit_is_read_back(number: int, unit: str) -> None:
    """Both agree on the units."""
    span = duration.parse(f"{number}{unit}")
    spoken = duration.spoken(span)
    assert sum(unit in spoken for unit in "smhd") > 1 or duration.parse(spoken) == span


# --- versions


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        pytest.param({}, None, id="fine"),
        pytest.param({"seen": False}, None, id="not seen before"),
        pytest.param({"stage": "Draft"}, Reason.VERSION_DRAFT, id="a draft"),
        pytest.param({"stage": "Deprecated"}, None, id="deprecated"),
        pytest.param({"contentHash": hash_of(V1)}, None, id="declared"),
        pytest.param({"contentHash": hash_of("9.9.9")}, Reason.HASH_MISMATCH, id="declared otherwise"),
        pytest.param(
            {"includes": [{"promptRef": {"name": "a"}, "version": V1}]}, Reason.NOT_IMPLEMENTED, id="includes"
        ),
    ],
)
def test_what_keeps_a_version_out(given_: dict[str, Any], problem: Reason | None) -> None:
    """Stage, hash and fields that nothing acts on."""
    assert a_version(V1, **given_).problem() == problem


def test_content_that_changed_since_it_was_seen_first() -> None:
    """Against its own status and against the hash the Prompt served, until a person accepts that very hash."""
    manifest = a_version_manifest(V1)
    manifest["spec"]["text"] = "something else"
    changed = versions.record_of(manifest)
    assert not changed.verified()
    assert not a_version(V1).verified(hash_of("9.9.9"))
    manifest["metadata"]["annotations"] = {versions.ACCEPTED_HASH_ANNOTATION: changed.content_hash}
    assert versions.record_of(manifest).verified(hash_of(V1))
    manifest["metadata"]["annotations"] = {versions.ACCEPTED_HASH_ANNOTATION: hash_of(V1)}
    assert not versions.record_of(manifest).verified()


def test_content_without_a_canonical_form_is_never_verified() -> None:
    """A lone surrogate has no UTF-8 form, so it has no hash."""
    broken = a_version_manifest(V1)
    broken["spec"]["text"] = "\ud800"
    record = versions.record_of(broken)
    assert record.content_hash == ""
    assert record.problem() is Reason.HASH_MISMATCH
