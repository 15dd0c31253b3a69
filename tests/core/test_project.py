"""What is written so that the ConfigMap says what it should: revisions, suspend, conflicts, strays, sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.builders import (
    OWNER,
    V1,
    V2,
    a_config_map,
    a_prompt,
    a_spec,
    a_status,
    a_version,
    after,
    content_of,
    facts,
    hash_of,
    kinds,
    observed,
)

from prompt_client import wire
from prompt_operator.core.facts import Content
from prompt_operator.core.plan import ApplyConfigMap, DeleteConfigMap, RemoveKeys
from prompt_operator.core.project import HIGHEST_REVISION, project, unfit
from prompt_operator.core.projection import entry_of, observe
from prompt_operator.core.reasons import Reason

if TYPE_CHECKING:
    from prompt_operator.core.facts import Facts
    from prompt_operator.core.project import Projection

BOTH = (content_of(V1), content_of(V2))
SERVING = a_prompt(V1, status=a_status(V1))


def projected(given: Facts, version: str = V1, mode: str = "Active") -> Projection:
    """Project a version as active."""
    return project(given, version, hash_of(version) if version else "", mode, after(hours=1))


def revision(projection: Projection) -> int:
    """Return the revision that is written."""
    (apply,) = [each for each in projection.effects if isinstance(each, ApplyConfigMap)]
    written = int(apply.manifest["metadata"]["annotations"][wire.REVISION_ANNOTATION])
    assert projection.status is not None
    assert projection.status.revision == written
    return written


def test_what_stands_is_not_written() -> None:
    """Equal content: no effect, no read, the status of before."""
    projection = projected(facts(SERVING, config_map=observed(V1)))
    assert projection.effects == ()
    assert projection.read_content_of == ""
    assert projection.status == SERVING.status.projection


def test_content_is_read_only_to_write() -> None:
    """Without the content the plan asks for it; a ConfigMap that is not known is asked for with it."""
    assert projected(facts(SERVING, config_map=observed(V2))).read_content_of == V1
    assert projected(facts(SERVING, contents=BOTH, config_map_known=False)).read_content_of == V1
    assert projected(facts(config_map_known=False), "", "Fallback").read_content_of == "-"


def test_the_first_revision_is_the_time() -> None:
    """A Prompt deleted and created again goes on with a greater number."""
    assert revision(projected(facts(a_prompt(), contents=BOTH))) == int(after(hours=1).timestamp())


def test_another_version_is_one_revision_more() -> None:
    """Revisions count changes."""
    given = facts(a_prompt(V2, status=a_status(V1)), contents=BOTH, config_map=observed(V1))
    assert revision(projected(given, V2)) == 8


def test_healing_keeps_the_revision() -> None:
    """The same content is the same revision, and is marked as healed."""
    manifest = a_config_map(V1)
    manifest["data"]["prompt.txt"] = "Say what I want."
    projection = projected(facts(SERVING, contents=BOTH, config_map=observe(manifest)))
    assert revision(projection) == 7
    assert [each.healed for each in projection.effects if isinstance(each, ApplyConfigMap)] == [True]


def test_a_deleted_config_map_comes_back_as_it_was() -> None:
    """Deleting is an edit like any other."""
    assert revision(projected(facts(SERVING, contents=BOTH))) == 7


def test_after_a_crash_the_config_map_tells_its_revision() -> None:
    """Projected, and the process died before status said so: nothing is written again, status catches up."""
    given = facts(a_prompt(V2, status=a_status(V1)), config_map=observed(V2, revision=8))
    projection = projected(given, V2)
    assert projection.effects == ()
    assert projection.status is not None
    assert (projection.status.revision, projection.status.content_hash) == (8, hash_of(V2))


@pytest.mark.parametrize(("version", "expected"), [(V1, 0), (V2, 42)])
def test_where_status_was_lost_the_config_map_tells_its_revision(version: str, expected: int) -> None:
    """The same content stands; other content is one more than what is there."""
    projection = projected(facts(a_prompt(), contents=BOTH, config_map=observed(V1, revision=41)), version)
    assert len(projection.effects) == (1 if expected else 0)
    assert projection.status is not None
    assert projection.status.revision == (expected or 41)


def test_an_older_config_map_put_back_by_hand_gets_a_new_revision() -> None:
    """Somebody restored an old but sound ConfigMap with a greater revision: ours must be greater still."""
    assert revision(projected(facts(SERVING, contents=BOTH, config_map=observed(V2, revision=50)))) == 51


def test_revisions_end_where_json_does() -> None:
    """A forged ConfigMap with the greatest number is still put right."""
    given = facts(SERVING, contents=BOTH, config_map=observed(V2, revision=HIGHEST_REVISION))
    assert revision(projected(given)) == HIGHEST_REVISION


# --- who else is there


def test_a_foreign_config_map_is_left_alone() -> None:
    """Not ours: no effect, and the message names the ways out."""
    manifest = a_config_map(V1)
    manifest["metadata"] |= {"labels": {}, "ownerReferences": [], "managedFields": []}
    projection = projected(facts(a_prompt(), contents=BOTH, config_map=observe(manifest)))
    assert projection.effects == ()
    assert projection.blocked is not None
    assert projection.blocked.reason is Reason.CONFIG_MAP_CONFLICT
    assert "spec.delivery.configMapName" in projection.blocked.message


def test_an_immutable_config_map_is_replaced() -> None:
    """Deleted by its uid, then created."""
    given = facts(SERVING, contents=BOTH, config_map=replace(observed(V1), immutable=True))
    delete, apply = projected(given).effects
    assert delete == DeleteConfigMap("prompt-greeting", "uid-config-map")
    assert isinstance(apply, ApplyConfigMap)
    assert apply.uid == ""


def test_foreign_keys_go_first() -> None:
    """Server-side apply would leave them: they are patched away, fenced by resourceVersion."""
    manifest = a_config_map(V1)
    manifest["data"]["mine"] = "too"
    remove, apply = projected(facts(SERVING, contents=BOTH, config_map=observe(manifest))).effects
    assert remove == RemoveKeys("prompt-greeting", "1", ("/data/mine",))
    assert isinstance(apply, ApplyConfigMap)
    assert apply.uid == "uid-config-map"


def test_a_restored_config_map_is_adopted() -> None:
    """The owner reference of a Prompt that is gone is removed, ours is set."""
    manifest = a_config_map(V1, owner=replace(OWNER, uid="uid-before"))
    manifest["metadata"]["managedFields"] = []
    remove, apply = projected(facts(a_prompt(), contents=BOTH, config_map=observe(manifest))).effects
    assert isinstance(remove, RemoveKeys)
    assert remove.pointers == ("/metadata/ownerReferences",)
    assert isinstance(apply, ApplyConfigMap)


def test_a_config_map_being_deleted_is_waited_for() -> None:
    """It cannot be written any more; its deletion wakes the prompt."""
    assert projected(facts(SERVING, config_map=replace(observed(V1), deleting=True))).effects == ()


def test_config_maps_under_a_former_name_go() -> None:
    """Once the wanted one stands: they would serve an old version for ever."""
    stray = replace(observed(V1), name="prompt-old", uid="uid-old")
    given = facts(SERVING, config_map=observed(V1), strays=[stray, replace(stray, deleting=True)])
    assert projected(given).effects == (DeleteConfigMap("prompt-old", "uid-old"),)


def test_strays_go_after_the_new_one_is_written() -> None:
    """Applications always have one to read."""
    prompt = a_prompt(V1, status=a_status(V1), delivery={"configMapName": "other"})
    assert kinds(projected(facts(prompt, contents=BOTH, strays=[observed(V1)])).effects) == [
        "ApplyConfigMap",
        "DeleteConfigMap",
    ]


# --- suspend and Fallback


def test_a_suspended_prompt_may_be_edited_by_hand() -> None:
    """Whoever suspended it may have changed the ConfigMap on purpose."""
    manifest = a_config_map(V1)
    manifest["data"]["prompt.txt"] = "Say what I want."
    prompt = a_prompt(V1, suspend=True, status=a_status(V1))
    assert projected(facts(prompt, contents=BOTH, config_map=observe(manifest))).effects == ()


@pytest.mark.parametrize(("version", "mode"), [(V2, "Active"), (V1, "Fallback")])
def test_what_a_person_decides_moves_a_suspended_prompt(version: str, mode: str) -> None:
    """A rollback by a person, and the switch to Fallback, are not automatic."""
    prompt = a_prompt(V1, suspend=True, status=a_status(V1))
    given = facts(prompt, contents=BOTH, config_map=observed(V1))
    assert kinds(projected(given, version, mode).effects) == ["ApplyConfigMap"]


def test_fallback_takes_the_content_away_and_the_way_back_needs_it() -> None:
    """Fallback is written without reading anything."""
    fallback = projected(facts(SERVING, config_map=observed(V1)), V1, "Fallback")
    assert kinds(fallback.effects) == ["ApplyConfigMap"]
    assert fallback.status is not None
    assert fallback.status.content_hash is None
    prompt = a_prompt(V1, status=a_status(V1, projection=fallback.status.model_dump(mode="json", by_alias=True)))
    back = facts(prompt, config_map=observed(V1, mode="Fallback", revision=8))
    assert projected(back).read_content_of == V1
    assert revision(projected(replace(back, contents={V1: content_of(V1)}))) == 9


def test_nothing_active_writes_nothing() -> None:
    """Before the first activation there is no ConfigMap."""
    assert projected(facts(a_prompt()), "").effects == ()


# --- what cannot be projected


def sized(bytes_: int) -> Content:
    """Return content whose ConfigMap has exactly so many bytes: plain text stands in it twice."""
    empty = entry_of(a_spec(V1, text=""))
    over = _bytes(Content(V1, empty["hash"], empty))
    even, odd = divmod(bytes_ - over, 2)
    name = "n" * (odd + 1)
    padded = entry_of(a_spec(V1, text="x" * even, outputSchema=name))
    content = Content(V1, padded["hash"], padded)
    surplus = _bytes(content) - bytes_
    text = "x" * (even - (surplus + surplus % 2) // 2)
    schema = name + "n" * (bytes_ - _bytes(_content(text, name)))
    return _content(text, schema)


def _content(text: str, schema: str) -> Content:
    entry = entry_of(a_spec(V1, text=text, outputSchema=schema))
    return Content(V1, entry["hash"], entry)


def _bytes(content: Content) -> int:
    """Count with the longest revision, as the check does."""
    manifest = _manifest(content)
    return sum(len(key.encode()) + len(value.encode()) for key, value in manifest["data"].items())


def _manifest(content: Content) -> dict[str, Any]:
    from prompt_operator.core.projection import Served, render

    served = Served(V1, content.content_hash, "Active", HIGHEST_REVISION)
    return render(OWNER, "prompt-greeting", served, content.entry)


@pytest.mark.parametrize(("bytes_", "fits"), [(999_999, True), (1_000_000, True), (1_000_001, False)])
def test_the_size_is_checked_to_the_byte(bytes_: int, fits: bool) -> None:  # noqa: FBT001  a factor
    """At most 1,000,000 bytes of keys and values, and the refusal names both figures."""
    content = sized(bytes_)
    assert _bytes(content) == bytes_
    version = replace(a_version(V1), content_hash=content.content_hash)
    blocked = unfit(facts(a_prompt(), versions=[version], contents=[content]), V1)
    assert (blocked is None) is fits
    if blocked is not None:
        assert blocked.reason is Reason.TOO_LARGE
        assert "1000001 bytes" in blocked.message
        assert "1000000" in blocked.message


def test_content_that_is_not_what_was_activated_is_not_written() -> None:
    """Changed past admission between the decision and the read: the last good projection stays."""
    projection = projected(facts(SERVING, contents=[replace(content_of(V1), content_hash=hash_of(V2))]))
    assert projection.effects == ()
    assert projection.blocked is not None
    assert projection.blocked.reason is Reason.HASH_MISMATCH


def test_a_version_that_is_gone_cannot_be_put_back() -> None:
    """Its ConfigMap deleted as well: said as missing, not asked for again and again."""
    projection = projected(facts(SERVING, versions=[]))
    assert projection.read_content_of == ""
    assert projection.status is None
    assert projection.blocked is not None
    assert projection.blocked.reason is Reason.VERSION_MISSING
