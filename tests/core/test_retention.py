"""Which versions `prune` may delete, and why each other one stays."""

from __future__ import annotations

from typing import Any

import pytest

from prompt_operator.api.experiment import Experiment
from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.api.promptversion import PromptVersion
from prompt_operator.core.retention import Surroundings, kept

AT = "2026-01-02T03:04:05Z"
HASH = f"sha256:{'a' * 64}"
REF = {"name": "greeting"}


def version(number: str, *, prompt: str = "greeting", created: str = AT, **given: Any) -> PromptVersion:
    """Return a version; `labels` and `annotations` go to its metadata."""
    metadata = {"name": f"{prompt}-{number}", "namespace": "shop", "creationTimestamp": created}
    metadata |= {key: given.pop(key) for key in ("labels", "annotations") if key in given}
    spec = {"promptRef": {"name": prompt}, "version": number, "text": "x", **given}
    return PromptVersion.from_manifest({"kind": "PromptVersion", "metadata": metadata, "spec": spec})


def around(*versions: PromptVersion, keep: int = 1, status: dict[str, Any] | None = None, **given: Any) -> Surroundings:
    """Return a prompt that wants 9.0.0 and keeps so many versions."""
    spec = {"version": "9.0.0", "retention": {"versions": keep}}
    metadata = {"name": "greeting", "namespace": "shop"}
    manifest = {"kind": "Prompt", "metadata": metadata, "spec": spec, "status": status or {}}
    return Surroundings(Prompt.from_manifest(manifest), (*versions, version("9.0.0")), **given)


def going(surroundings: Surroundings) -> list[str]:
    """Return the versions that may go."""
    return [number for number, why in kept(surroundings).items() if not why]


def test_the_newest_stay_by_age_then_by_number() -> None:
    """A version made later is newer whatever its number; at the same second the number decides, 10 after 9."""
    old = version("8.0.0", created="2025-01-01T00:00:00Z")
    same = [version(number) for number in ("0.9.0", "0.10.0", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0")]
    found = kept(around(old, *same, keep=4))
    assert list(found) == ["9.0.0", "1.0.0", "1.0.0-rc.10", "1.0.0-rc.2", "0.10.0", "0.9.0", "8.0.0"]
    assert going(around(old, *same, keep=4)) == ["0.10.0", "0.9.0", "8.0.0"]
    assert found["1.0.0"] == "one of the newest 4"


def test_twenty_stay_where_nothing_is_said() -> None:
    """The default of the contract."""
    surroundings = around(*(version(f"1.{number}.0") for number in range(25)))
    spec = surroundings.prompt.spec.model_copy(update={"retention": None})
    prompt = surroundings.prompt.model_copy(update={"spec": spec})
    assert len(going(Surroundings(prompt, surroundings.versions))) == 6


HISTORY = [{"version": "1.0.0", "hash": HASH, "at": AT}]
OVERRIDE = {"version": "1.0.0", "because": "Rollback", "since": AT, "against": "9.0.0"}
ROLLOUT = {"candidate": "1.0.0", "step": 0, "weight": 5, "since": AT}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"activeVersion": "1.0.0"}, "active"),
        ({"previousVersion": "1.0.0"}, "active before"),
        ({"held": [{"version": "1.0.0", "since": AT}]}, "held"),
        ({"history": HISTORY}, "in history"),
        ({"override": OVERRIDE}, "active"),
        ({"override": {**OVERRIDE, "version": "9.0.0", "against": "1.0.0"}}, "rolled back from"),
        ({"rollout": ROLLOUT}, "being rolled out"),
    ],
)
def test_what_status_names_stays(status: dict[str, Any], why: str) -> None:
    """Each use is a reason of its own, and the reason is told."""
    found = kept(around(version("1.0.0"), version("2.0.0"), status=status))
    assert found == {"9.0.0": "desired", "2.0.0": "", "1.0.0": why}


@pytest.mark.parametrize(
    "marks",
    [
        {"annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        {"labels": {"app.kubernetes.io/instance": "x"}},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}},
        {"labels": {"helm.toolkit.fluxcd.io/name": "x"}},
        {"annotations": {"meta.helm.sh/release-name": "x"}},
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
    ],
)
def test_what_git_or_helm_keeps_stays(marks: dict[str, Any]) -> None:
    """A deletion would be undone, or shown as drift; another manager's label is no reason."""
    assert "kept by Git or Helm" in kept(around(version("1.0.0", **marks)))["1.0.0"]
    assert going(around(version("1.0.0", labels={"app.kubernetes.io/managed-by": "kubectl"}))) == ["1.0.0"]


def record(**spec: Any) -> PromptRollback:
    """Return an executed rollback of 1.0.0, changed by what is given; None leaves a member out."""
    whole: dict[str, Any] = {"promptRef": REF, "fromVersion": "1.0.0", "trigger": "Automatic", "decision": "Executed"}
    body = {key: value for key, value in {**whole, "decidedAt": AT, **spec}.items() if value is not None}
    metadata = {"name": "r", "namespace": "shop"}
    return PromptRollback.from_manifest({"kind": "PromptRollback", "metadata": metadata, "spec": body})


def test_what_a_record_holds_stays() -> None:
    """Also where status was lost; not after its release, and not of another prompt, nor for a dry run."""
    old = version("1.0.0")
    assert going(around(old, rollbacks=[record()])) == []
    free = ({"release": {"by": "ada", "reason": "x"}}, {"promptRef": {"name": "other"}}, {"decision": "DryRun"})
    for spec in free:
        assert going(around(old, rollbacks=[record(**spec)])) == ["1.0.0"]


def test_where_a_person_asks_to_go_stays() -> None:
    """A request that is not answered yet names its target."""
    asked = record(trigger=None, decision=None, decidedAt=None, fromVersion="9.0.0", toVersion="1.0.0")
    assert kept(around(version("1.0.0"), rollbacks=[asked]))["1.0.0"] == "asked for by r"


@pytest.mark.parametrize("spec", [{"arms": [{"name": "a", "version": "1.0.0"}]}, {"shadow": {"version": "1.0.0"}}])
def test_what_an_experiment_uses_stays(spec: dict[str, Any]) -> None:
    """As an arm or as a shadow."""
    if "shadow" in spec:
        spec["shadow"]["sample"] = "10%"
    else:
        spec |= {"primary": {"metric": "success_rate", "direction": "Increase"}}
        spec["arms"].append({"name": "b", "version": "9.0.0"})
    body = {"promptRef": REF, "type": "Shadow" if "shadow" in spec else "ABTest", **spec}
    metadata = {"name": "tone", "namespace": "shop"}
    experiment = Experiment.from_manifest({"kind": "Experiment", "metadata": metadata, "spec": body})
    assert kept(around(version("1.0.0"), experiments=[experiment]))["1.0.0"] == "in experiment tone"


def test_what_is_included_stays() -> None:
    """By a version of any prompt of the namespace."""
    user = version("1.0.0", prompt="other", includes=[{"promptRef": REF, "version": "1.0.0"}])
    found = kept(around(version("1.0.0"), user))
    assert found == {"9.0.0": "desired", "1.0.0": "included by other-1.0.0"}


def test_a_chain_of_references_does_not_keep_everything() -> None:
    """The way back from what stays is there; the way back from there is not."""
    chain = [version(f"{n}.0.0", rollback={"reference": f"{n - 1}.0.0"}) for n in range(1, 9)]
    found = kept(around(version("0.0.0"), *chain, keep=2))
    assert found["8.0.0"] == "one of the newest 2"
    assert found["7.0.0"] == "rollback.reference of 8.0.0"
    assert going(around(version("0.0.0"), *chain, keep=2)) == [f"{n}.0.0" for n in range(6, -1, -1)]
