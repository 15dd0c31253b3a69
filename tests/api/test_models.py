"""The models read what a server returns and give what is applied."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from prompt_operator.api import KINDS, Prompt, PromptVersion
from prompt_operator.api.common import ApiModel, Resource, rfc3339
from prompt_operator.api.policyblocks import (
    CorrelatedBreach,
    Escalation,
    EscalationLevel,
    EvidencePolicy,
    MetricsSource,
    RollbackPolicy,
    RuleSpec,
)
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptrollback import PromptRollbackSpec
from prompt_operator.api.promptstatus import Decision, Held, PromptStatus
from prompt_operator.api.promptversion import PromptVersionSpec

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
HASH = "sha256:" + "0" * 64


def greeting(**spec: Any) -> dict[str, Any]:
    """The smallest Prompt, as a server returns it."""
    metadata = {"name": "greeting", "namespace": "shop", "uid": "u-1", "resourceVersion": "7", "generation": 3}
    return {
        "apiVersion": "promptops.dev/v1alpha1",
        "kind": "Prompt",
        "metadata": {
            **metadata,
            "creationTimestamp": "2026-01-02T12:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"version": "1.0.0", **spec},
    }


def applied(model: BaseModel) -> dict[str, Any]:
    """What is sent to the server."""
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


def test_a_manifest_is_read_as_the_server_returns_it() -> None:
    """Metadata and spec are read under their Python names; what is not ours, such as managedFields, is left out."""
    prompt = Prompt.from_manifest(greeting())
    assert (prompt.metadata.name, prompt.metadata.resource_version, prompt.metadata.generation) == ("greeting", "7", 3)
    assert prompt.metadata.creation_timestamp == NOON
    assert prompt.spec == PromptSpec(version="1.0.0")
    assert prompt.status == PromptStatus()


def test_members_of_a_newer_release_are_ignored() -> None:
    """An older operator reads what a newer server stores."""
    assert Prompt.from_manifest(greeting(addedLater={"x": 1})).spec == PromptSpec(version="1.0.0")


def test_another_kind_is_refused() -> None:
    """A PromptVersion is not read as a Prompt, whatever its members are."""
    with pytest.raises(ValidationError, match="kind"):
        Prompt.from_manifest({**greeting(), "kind": "PromptVersion"})


def test_spec_and_status_are_read_on_their_own() -> None:
    """A broken status does not keep the spec from being read."""
    broken = {**greeting(), "status": {"activeVersion": 7}}
    assert PromptSpec.model_validate(broken["spec"]).version == "1.0.0"
    with pytest.raises(ValidationError, match="activeVersion"):
        PromptStatus.model_validate(broken["status"])


def test_what_is_applied_has_no_empty_members() -> None:
    """An empty status is {}: server-side apply then owns nothing it has nothing to say about."""
    assert applied(PromptStatus()) == {}
    assert applied(PromptStatus(held=(Held(version="1.1.0", since=NOON),))) == {
        "held": [{"version": "1.1.0", "since": "2026-01-02T12:00:00Z"}]
    }


def test_an_empty_list_says_something_where_blocks_merge() -> None:
    """`actions: []` takes inherited actions away, so it is not the same as saying nothing."""
    assert applied(RuleSpec(name="a", condition="error_rate > 5%", actions=()))["actions"] == []
    assert "actions" not in applied(RuleSpec(name="a", condition="error_rate > 5%"))


def test_what_is_read_back_equals_what_was_kept() -> None:
    """Times are whole seconds in UTC from the start, so memory and server never differ by a fraction."""
    at = NOON.astimezone(timezone(timedelta(hours=2))) + timedelta(microseconds=123456)
    decision = Decision(
        id="d-1", kind="Rollback", decision="Executed", from_version="1.1.0", to_version="1.0.0", from_hash=HASH, at=at
    )
    assert applied(decision)["at"] == "2026-01-02T12:00:00Z"
    assert (applied(decision)["from"], applied(decision)["to"]) == ("1.1.0", "1.0.0")
    assert Decision.model_validate(applied(decision)) == decision


def test_times_need_a_zone() -> None:
    """A time without a zone is a guess, and is refused."""
    with pytest.raises(ValidationError, match="timezone"):
        Held.model_validate({"version": "1.1.0", "since": "2026-01-02T12:00:00"})


def test_times_are_written_as_kubernetes_writes_them() -> None:
    """RFC 3339 in UTC, whole seconds, with a Z."""
    assert rfc3339(NOON + timedelta(microseconds=999999)) == "2026-01-02T12:00:00Z"


def test_models_are_values() -> None:
    """Equal content is equal and hashes alike, and nothing can be changed in place."""
    assert hash(Prompt.from_manifest(greeting()).spec) == hash(PromptSpec(version="1.0.0"))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(PromptSpec(version="1.0.0"), "version", "2.0.0")  # noqa: B010 - mypy refuses the plain form


@pytest.mark.parametrize(
    "block", [RollbackPolicy, CorrelatedBreach, EvidencePolicy, MetricsSource, Escalation, EscalationLevel]
)
def test_blocks_that_merge_have_only_optional_members(block: type[ApiModel]) -> None:
    """Nothing given means nothing said: policy and prompt merge field by field."""
    assert applied(block()) == {}


@pytest.mark.parametrize(
    "version", ["1.0.0", "0.0.1", "10.20.30", "1.0.0-rc.1", "1.0.0-0", "1.0.0-alpha-2.b", "1.0.0-1a"]
)
def test_versions_that_are_valid(version: str) -> None:
    """Semantic versions in lower case, also with a pre-release."""
    assert PromptSpec(version=version).version == version


@pytest.mark.parametrize(
    "version",
    ["1.0", "v1.0.0", "01.0.0", "1.0.0-RC.1", "1.0.0+build", "1.0.0-", "1.0.0-01", "1.0.0-a.", "1.0.0-a_b", "1.0.0 "],
)
def test_versions_that_are_not(version: str) -> None:
    """No missing parts, leading zeros, upper case or build metadata: the version is part of an object's name."""
    with pytest.raises(ValidationError, match="version"):
        PromptSpec(version=version)


def test_defaults_are_the_promised_ones() -> None:
    """A version of four lines is rendered by the Simple engine and may be activated."""
    spec = PromptVersionSpec.model_validate({"promptRef": {"name": "greeting"}, "version": "1.0.0", "text": "Hello"})
    assert (spec.engine, spec.stage, spec.model, spec.variables) == ("Simple", "Staged", None, ())


def test_a_manifest_survives_reading_and_writing() -> None:
    """A version read from a server and dumped again is the same manifest."""
    manifest = {
        "apiVersion": "promptops.dev/v1alpha1",
        "kind": "PromptVersion",
        "metadata": {"name": "greeting-1.0.0", "namespace": "shop"},
        "spec": {
            "promptRef": {"name": "greeting"},
            "version": "1.0.0",
            "text": "Hello {{ name }}",
            "engine": "Simple",
            "stage": "Staged",
            "variables": [{"name": "name", "required": True, "maxLength": 80}],
            "model": {
                "provider": "openai",
                "name": "gpt-4o",
                "topP": "0.9",
                "extra": [{"name": "top_k", "value": "4"}],
            },
            "expectations": {"latencyP50": "800ms", "tokensMax": 900},
        },
        "status": {"contentHash": HASH, "stage": "Active"},
    }
    assert applied(PromptVersion.from_manifest(manifest)) == manifest


@pytest.mark.parametrize(
    ("spec", "changeable"),
    [(PromptVersionSpec, {"stage"}), (PromptRollbackSpec, {"release", "acknowledge"})],
    ids=["PromptVersion", "PromptRollback"],
)
def test_a_new_member_is_immutable_too(spec: type[ApiModel], changeable: set[str]) -> None:
    """A member added to an immutable spec cannot be forgotten in the rules that keep it so."""
    rules = spec.model_json_schema()["x-kubernetes-validations"]
    kept = {rule["message"].split(" ")[0] for rule in rules if "cannot be changed" in rule.get("message", "")}
    assert kept == {field.alias for field in spec.model_fields.values()} - changeable


@pytest.mark.parametrize("model", KINDS, ids=lambda model: str(model.__name__))
def test_each_kind_names_itself(model: type[Resource]) -> None:
    """Class, kind and definition say the same name."""
    assert model.model_fields["kind"].default == model.definition.kind == model.__name__
