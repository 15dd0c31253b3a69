"""The verbs that set one field or annotation of a Prompt: which patch they send, what they say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cli.cluster import NOW, FakeCluster, prompt

from prompt_operator.api.common import rfc3339

NOW_TEXT = rfc3339(NOW)
ANNOTATIONS = "/metadata/annotations"


def add(path: str, value: Any) -> dict[str, Any]:
    """Return a JSON patch operation."""
    return {"op": "add", "path": path, "value": value}


# --- suspend, resume, fallback, enable


@pytest.mark.parametrize(
    ("verb", "before", "operation", "said"),
    [
        ("suspend", {}, add("/spec/suspend", value=True), "greeting is suspended: "),
        ("resume", {"suspend": True}, add("/spec/suspend", value=False), "greeting is resumed: "),
        ("fallback", {}, add("/spec/mode", "Fallback"), "greeting is in Fallback: "),
        ("enable", {"mode": "Fallback"}, add("/spec/mode", "Active"), "greeting is enabled: "),
    ],
)
def test_a_switch_is_one_patch_of_one_field(
    verb: str, before: dict[str, Any], operation: dict[str, Any], said: str
) -> None:
    """Nothing but the field is written, and whose manifest may put it back is said on stderr."""
    cluster = FakeCluster.of(prompt(spec=before, managers=("argocd-controller", "kubectl-prompt")))
    done = cluster.run(verb, "greeting")
    assert cluster.patches == [("Prompt", "greeting", [operation])]
    assert done.stdout.startswith(said)
    field = operation["path"].rpartition("/")[2]
    assert done.stderr == (
        "If Git, Argo CD or Flux keeps this Prompt (its spec was written by argocd-controller), "
        f"change spec.{field} there, too: it may put this back.\n"
    )


@pytest.mark.parametrize(
    ("verb", "before", "said"),
    [
        ("suspend", {"suspend": True}, "spec.suspend is already true"),
        ("resume", {}, "spec.suspend is already false"),
        ("fallback", {"mode": "Fallback"}, "spec.mode is already Fallback"),
        ("enable", {"mode": "Active"}, "spec.mode is already Active"),
    ],
)
def test_a_switch_that_stands_already_writes_nothing(verb: str, before: dict[str, Any], said: str) -> None:
    """Running it twice is fine and says so."""
    cluster = FakeCluster.of(prompt(spec=before))
    done = cluster.run(verb, "greeting")
    assert (done.exit_code, cluster.patches) == (0, [])
    assert said in done.stderr


def test_the_reason_of_a_suspension_comes_and_goes() -> None:
    """It is an annotation; where there were none, the patch refuses to overwrite ones added at this moment."""
    cluster = FakeCluster.of(prompt(managers=()))
    done = cluster.run("suspend", "greeting", "--reason", "load test")
    assert cluster.patches[0][2] == [
        add("/spec/suspend", value=True),
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        add(ANNOTATIONS, {}),
        add(f"{ANNOTATIONS}/promptops.dev~1suspendReason", "load test"),
    ]
    assert "keeps this Prompt, change spec.suspend there" in done.stderr, "no other manager is known"
    cluster.run("resume", "greeting")
    removed = {"op": "remove", "path": f"{ANNOTATIONS}/promptops.dev~1suspendReason"}
    assert cluster.patches[1][2] == [add("/spec/suspend", value=False), removed]


# --- review


def test_review_is_an_annotation() -> None:
    """It says until when a person has looked."""
    cluster = FakeCluster.of(prompt(annotations={}))
    done = cluster.run("review", "greeting")
    assert cluster.patches[0][2] == [add(f"{ANNOTATIONS}/promptops.dev~1reviewedAt", NOW_TEXT)]
    assert done.stdout == f"greeting is reviewed (promptops.dev/reviewedAt={NOW_TEXT}).\n"
