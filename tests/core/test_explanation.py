"""What a rule is judged by is told wherever it is told that it fires: status, decision, record, Event."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.core.builders import (
    NAMESPACE,
    RULE,
    V1,
    V2,
    V3,
    a_policy,
    a_prompt,
    a_reading,
    a_status,
    a_version,
    after,
    content_of,
    facts,
    observed,
    of,
    readings,
)

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.evidence import NOTE_BYTES, evidence_of, queries_of, with_queries
from prompt_operator.core.plan import CreateRecord, Tell, WriteStatus
from prompt_operator.core.reconcile import reconcile
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from typing import Any

    from prompt_operator.core.facts import Facts

NOW = after(minutes=10)
NATIVE = load_profiles()["native"]
VERSION = f'prompt_namespace="{NAMESPACE}",prompt="greeting",version="{V2}"'
REQUESTS = f"sum(increase(llm_prompt_requests_total{{{VERSION}}}[5m]))"
ERRORS = f'sum(increase(llm_prompt_requests_total{{{VERSION},outcome="error"}}[5m]))'
QUERY = f"({ERRORS} or {REQUESTS} * 0) / {REQUESTS}"
MEASURED = a_reading().alert.message


def failing(state: State = State.FIRING, **given: Any) -> Facts:
    """Return facts in which a rule that may roll back is in a state, on the active version 2.0.0."""
    serving = a_prompt(V2, status=a_status(V2, history=(V1,)))
    shown = facts(
        serving,
        versions=[a_version(v) for v in (V1, V2, V3)],
        config_map=observed(V2),
        readings=readings(a_reading(state=state)),
        **given,
    )
    return replace(shown, profile=NATIVE)


def told(given: Facts, reason: str) -> list[str]:
    """Return the notes of the Events with this reason."""
    return [each.note for each in of(reconcile(given, NOW), Tell) if each.reason == reason]


def test_the_evidence_carries_its_query() -> None:
    """The numbers of a decision, and how to see them again."""
    given = failing()
    assert given.readings is not None
    (evidence,) = evidence_of(given, given.readings.rules[0])
    assert (evidence.query, evidence.value, evidence.window, evidence.rule) == (QUERY, "0.5", "5m", RULE)


def test_status_says_when_and_by_what_a_rule_was_judged() -> None:
    """For one that fires on the active version."""
    dry = failing(policy=a_policy(rollback={"auto": "DryRun"}))
    status = of(reconcile(dry, NOW), WriteStatus)[-1].status
    (rule,) = status.rules
    assert (rule.name, rule.message, rule.measured_at, rule.query) == (RULE, MEASURED, NOW, QUERY)


def test_a_rule_that_is_unknown_has_neither() -> None:
    """Most prompts of a large cluster have no traffic, and a dozen rules that are Unknown."""
    unknown = failing(State.UNKNOWN)
    status = of(reconcile(unknown, after(hours=3)), WriteStatus)[-1].status
    assert [(rule.state, rule.measured_at, rule.query) for rule in status.rules] == [("Unknown", None, None)]


def test_events_of_a_rollback_and_its_record_carry_the_query() -> None:
    """The Event of the rule that fires has the sentence and the query; the record has the evidence."""
    given = failing(contents=[content_of(V1)])
    (record,) = of(reconcile(given, NOW), CreateRecord)
    assert [each["query"] for each in record.manifest["spec"]["evidence"]] == [QUERY]
    (note,) = told(given, "RuleFiring")
    assert note.endswith(f"; query: {QUERY}")
    assert len(note.encode()) <= NOTE_BYTES


def test_events_of_a_refusal_carry_the_query() -> None:
    """So does the Event that says which guard objected, and the one of the rule."""
    dry = failing(policy=a_policy(rollback={"auto": "DryRun"}))
    (refused,) = told(dry, "RollbackDryRun")
    assert refused.startswith(f"{RULE}: DryRun: ")
    assert refused.endswith(f"; query: {QUERY}")
    (fired,) = told(dry, "RuleFiring")
    assert fired == f"{RULE}: {MEASURED}; query: {QUERY}"


def test_an_unknown_profile_has_no_query() -> None:
    """Then nobody knows under which names the metrics would be; all else is told."""
    given = replace(failing(), profile=None)
    assert given.readings is not None
    assert queries_of(given, given.readings.rules[0]) == ()
    assert evidence_of(given, given.readings.rules[0])[0].query is None


def test_a_note_has_room_for_what_it_says_first() -> None:
    """The API server takes 1024 bytes of a note: a query is added whole or not at all."""
    assert with_queries("note", ["a", "b"]) == "note; query: a; query: b"
    assert with_queries("note", ["ü" * 600]) == "note"
    assert with_queries("n" * 1015, ["b"]) == "n" * 1015
