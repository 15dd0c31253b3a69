"""What the trail lacks of a prompt is told, whoever did it and whenever this process began."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import PROMPT, T0, V1, V2, a_reading, after, condition, hash_of, readings
from tests.core.world import World

from prompt_client.wire import canonical_json
from prompt_operator.api.common import rfc3339
from prompt_operator.core.audit.entry import Audited, Verb
from prompt_operator.core.managed import Acts, Written, acts_of
from prompt_operator.core.plan import Audit, AuditRecord
from prompt_operator.core.reconcile import reconcile

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.audit.entry import Entry
    from prompt_operator.core.facts import Facts
    from prompt_operator.core.plan import Plan

RETRY, REVIEW = "promptops.dev/retryAt", "promptops.dev/reviewedAt"


def seen(world: World, *held: str, since: datetime = T0, acts: Acts = Acts()) -> Facts:  # noqa: B008
    """Return the facts of a process whose trail holds these ids."""
    return replace(world.facts(), audited=Audited(frozenset(held), since), acts=acts)


def entries(plan: Plan) -> list[Entry]:
    """Return the entries of a plan."""
    return [effect.entry for effect in plan.effects if isinstance(effect, Audit)]


def told(plan: Plan, verb: Verb) -> list[tuple[str, str]]:
    """Return actor and reason of the entries of one verb."""
    return [(entry.actor, entry.reason) for entry in entries(plan) if entry.verb is verb]


def a_world(**given: Any) -> World:
    """Return a prompt that serves 1.0.0."""
    world = World.with_versions(V1, V2, **given)
    world.settle()
    return world


def test_without_knowledge_of_the_trail_nothing_is_told() -> None:
    """The sink hangs at the start: what would be doubled waits until it is known."""
    world = a_world()
    world.want(V2)
    assert entries(world.look()) == []


def test_a_change_of_spec_and_what_it_activates_are_told_once() -> None:
    """Who wrote the spec, what it says now, what became active after what; and not again once it is held."""
    world = a_world()
    world.want(V2)
    acts = Acts(Written("flux", after(minutes=1)))
    first = entries(plan := reconcile_all(world, seen(world, acts=acts)))
    assert told(plan, Verb.PROMPT) == [("flux", "generation 2: version 2.0.0")]
    assert told(plan, Verb.ACTIVATE)[0] == ("kubectl", "1.0.0 -> 2.0.0")
    world.settle()
    later = reconcile(seen(world, *(entry.id for entry in first), acts=acts), world.now)
    assert entries(later) == []


def reconcile_all(world: World, facts: Facts) -> Plan:
    """Decide with the contents that are asked for."""
    plan = reconcile(facts, world.now)
    if plan.read_content_of:
        content = world._content(plan.read_content_of)
        assert content is not None
        plan = reconcile(replace(facts, contents={content.version: content}), world.now)
    return plan


def test_a_switch_of_a_prompt_says_how_it_stands() -> None:
    """Suspend and Fallback are acts of a person as well."""
    world = a_world()
    world.spec |= {"suspend": True, "mode": "Fallback"}
    world.generation += 1
    plan = reconcile_all(world, seen(world, acts=Acts(Written("kubectl-prompt", world.now))))
    assert told(plan, Verb.PROMPT) == [("kubectl-prompt", "generation 2: version 1.0.0, mode Fallback, suspended")]


@pytest.mark.parametrize(("annotation", "verb"), [(RETRY, Verb.RETRY), (REVIEW, Verb.REVIEW)])
def test_a_wish_by_annotation_is_told_with_who_wrote_it(annotation: str, verb: Verb) -> None:
    """A time that lies before this process began does not hide it: what counts is when the API server took it."""
    world = a_world(annotations={annotation: rfc3339(T0)})
    acts = Acts(annotations=((annotation, Written("kubectl-annotate", after(hours=2))),))
    (entry,) = (
        each for each in entries(reconcile(seen(world, since=after(hours=1), acts=acts), T0)) if each.verb is verb
    )
    assert (entry.actor, entry.at, entry.inputs) == ("kubectl-annotate", after(hours=2), {annotation: rfc3339(T0)})
    assert entries(reconcile(seen(world, entry.id, since=after(hours=1), acts=acts), T0)) == []


def test_a_malformed_time_is_no_wish() -> None:
    """It has no effect and is told nowhere."""
    world = a_world(annotations={RETRY: "now", REVIEW: "soon"})
    verbs = {entry.verb for entry in entries(reconcile(seen(world), T0))}
    assert not verbs & {Verb.RETRY, Verb.REVIEW}


def test_a_rollback_is_told_by_its_record_and_not_as_an_activation() -> None:
    """The history has both; the record knows why."""
    world = a_world()
    world.pass_(hours=1)
    world.want(V2)
    world.settle()
    world.pass_(hours=1)
    world.readings = readings(a_reading(at=world.now), activated_at=world.prompt().status.activated_at)
    world.settle()
    assert world.prompt().status.active_version == V1, condition(world.prompt().status, "Healthy")
    plan = reconcile(seen(world, since=after(minutes=90)), world.now)
    assert [entry.verb for entry in entries(plan)] == []
    assert [each.name for each in plan.effects if isinstance(each, AuditRecord)] == list(world.records)


def test_what_happened_before_the_trail_is_not_told() -> None:
    """The first start on a large cluster is no flood."""
    world = a_world()
    assert entries(reconcile(seen(world, since=after(hours=1)), world.now)) == []


def test_a_full_history_no_longer_says_why_its_oldest_came() -> None:
    """It may have come by a rollback: what is not known is not told."""
    world = a_world()
    for turn in range(12):
        world.pass_(hours=1)
        world.want((V2, V1)[turn % 2])
        world.settle()
    plan = reconcile(seen(world), world.now)
    assert len(world.prompt().status.history) == 10
    assert len(told(plan, Verb.ACTIVATE)) == 9


def test_an_accepted_hash_is_told() -> None:
    """Only the one that is accepted now."""
    world = a_world()
    world.versions[V1]["metadata"]["annotations"] = {
        "promptops.dev/accepted-hash": hash_of(V1),
        "promptops.dev/accepted-reason": "ada: a restored backup",
    }
    world.versions[V1]["metadata"]["managedFields"] = [
        {
            "manager": "kubectl-prompt",
            "time": rfc3339(after(minutes=5)),
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:promptops.dev/accepted-hash": {}}}},
        }
    ]
    assert told(reconcile(seen(world), T0), Verb.REHASH) == [("kubectl-prompt", "ada: a restored backup")]


def test_a_healed_config_map_is_told_and_cannot_be_told_later() -> None:
    """Nothing outlives it, so that it counts as lost where it finds no room."""
    world = a_world()
    world.config_maps[f"prompt-{PROMPT}"]["data"]["version"] = "9.9.9"
    (entry,) = (each for each in entries(reconcile_all(world, seen(world))) if each.verb is Verb.HEAL)
    assert (entry.actor, entry.fleeting) == ("prompt-operator", True)


def test_managed_fields_tell_who_wrote_what() -> None:
    """The newest owner of spec, and the owner of each annotation that was asked for."""
    manifest = {
        "metadata": {
            "managedFields": [
                {"manager": "old", "time": rfc3339(T0), "fieldsV1": {"f:spec": {"f:version": {}}}},
                {"manager": "new", "time": rfc3339(after(hours=1)), "fieldsV1": {"f:spec": {"f:suspend": {}}}},
                {"manager": "us", "subresource": "status", "time": rfc3339(after(hours=2)), "fieldsV1": {"f:spec": {}}},
                {"manager": "ann", "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{RETRY}": {}}}}},
            ]
        }
    }
    acts = acts_of(manifest, (RETRY, REVIEW))
    assert (acts.spec, acts.annotated(RETRY).manager) == (Written("new", after(hours=1)), "ann")
    assert acts.annotated(REVIEW).manager == "unknown"


def test_every_entry_has_a_canonical_form() -> None:
    """Numbers are strings, and no text of a prompt is in it."""
    world = a_world(annotations={RETRY: rfc3339(T0)})
    lines = [canonical_json(entry.members()) for entry in entries(reconcile(seen(world), T0))]
    assert lines
    assert not any(b"Greet, as" in line for line in lines)
