"""The times of the demo and those of its manifests agree."""

import yaml

from devcluster.demo.pace import FAST, NORMAL
from devcluster.demo.story import SAMPLES, THRESHOLD
from devcluster.watch import Json
from prompt_operator.core import duration
from prompt_operator.core.policy import BUILT_IN_RULES

POLICY: Json = yaml.safe_load((SAMPLES / "policy.yaml").read_text("utf-8"))


def _times(policy: Json) -> list[float]:
    """Every time in the policy, in seconds."""
    rules, rollback = policy["spec"]["rules"], policy["spec"]["rollback"]
    found = [*(rule["for"] for rule in rules), rollback["initialDelay"], rollback["recoveryWindow"]]
    return [duration.parse(each).total_seconds() for each in found]


def test_the_normal_pace_is_that_of_the_manifest() -> None:
    """Without --fast the manifest is applied as it stands, and the demo waits by the same times."""
    assert _times(NORMAL.applied_to(POLICY)) == _times(POLICY)


def test_a_faster_pace_changes_times_alone() -> None:
    """--fast shortens every time, and leaves windows, conditions and everything else as they are."""
    fast = FAST.applied_to(POLICY)

    assert all(short < long for short, long in zip(_times(fast), _times(POLICY), strict=True))
    assert NORMAL.applied_to(fast) == NORMAL.applied_to(POLICY)
    assert {rule["window"] for rule in fast["spec"]["rules"]} == {"1m"}


def test_evidence_and_guards_stay_as_built_in() -> None:
    """The policy sets neither evidence nor switches a guard off, and its conditions are those of the built-in rules."""
    built_in = {rule.name: rule.condition for rule in BUILT_IN_RULES}

    assert POLICY["spec"].keys() == {"rules", "rollback"}
    assert POLICY["spec"]["rollback"].keys() == {"initialDelay", "recoveryWindow"}
    assert {rule["name"]: rule["condition"] for rule in POLICY["spec"]["rules"]}.items() <= built_in.items()
    assert f"error_rate > {THRESHOLD:.0%}" in built_in.values()
