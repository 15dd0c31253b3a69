"""What `explain` tells, to the letter."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tests.cli.cluster import (
    FINE,
    QUERY,
    RECORD,
    FakeCluster,
    at,
    condition,
    prompt,
    record,
    rolled_back,
    thing,
    version,
)

from prompt_operator.ports import PROMPT_POLICY, PROMPT_ROLLBACK, Forbidden

if TYPE_CHECKING:
    from prompt_operator.ports import Kind, Manifest

EXPLORED = {
    "decisions": [
        {"depth": 1, "selected": "B", "potentialIssue": "may forget the form of the answer"},
        {"depth": 2, "selected": "B.1"},
    ]
}
MEASURED = "error_rate 60.0% (120 of 200 in 5m; at least 48.4% at 99.9% confidence) > 5%"


def told(*objects: dict[str, Any]) -> str:
    """Return what is told of the prompt."""
    done = FakeCluster.of(*objects).run("explain", "greeting")
    assert done.exit_code == 0, done.output
    return done.stdout


def text(block: str) -> str:
    """Return an expected text."""
    return dedent(block).lstrip("\n")


def test_a_prompt_that_is_fine() -> None:
    """Active and why; nothing is wrong, nothing to do, and no empty sections."""
    assert told(prompt()) == text("""
        greeting in namespace shop
          1.0.0 is active, for 10m, as spec.version asks.
          It was activated at 2026-11-21T08:00:00Z for argocd-controller.

        What is wrong
          Nothing.

        What to do
          Nothing.
        """)


def test_what_counts_as_normal() -> None:
    """What was measured and on what, and what the version declares where nothing was."""
    measured = {
        "metric": "latency_p95", "value": "1.5", "samples": 900, "window": "1h", "version": "0.9.0", "at": at(0),
    }  # fmt: skip
    declared = version("1.0.0", expectations={"latencyP95": "800ms", "tokensAverage": 500, "quality": "8"})
    assert text("""
        What counts as normal
          latency_p95 1.5s: measured on 0.9.0 in 1h until 2026-11-21T08:00:00Z, 900 samples
          tokens_avg 500: declared by 1.0.0
        """) in told(prompt(status={"baseline": [measured]}), declared)


def test_after_an_automatic_rollback() -> None:
    """What happened, the evidence, what the author foresaw, the outcome, and the command that lifts the hold."""
    watched = {"message": "1.0.0 is watched until 2026-11-21T08:20:00Z"}
    objects = (rolled_back(), record(status=watched), version("2.0.0", exploration=EXPLORED))
    assert told(*objects) == text(f"""
        greeting in namespace shop
          1.0.0 is active, for 5m, but spec.version asks for 2.0.0.
          It stands in for 2.0.0 since 2026-11-21T08:05:00Z, by an automatic rollback.

        What is wrong
          Ready is False (RolledBack): 1.0.0 is active instead of 2.0.0: 2.0.0 was rolled back and stays out: set spec.release of PromptRollback {RECORD}.

        What happened
          2026-11-21T08:01:00Z  2.0.0 was activated for argocd
          2026-11-21T08:05:00Z  2.0.0 was rolled back to 1.0.0, by rule critical-error-rate

        Last decision
          2026-11-21T08:05:00Z: 2.0.0 -> 1.0.0, an automatic rollback by rule critical-error-rate.
          Because critical-error-rate: {MEASURED}
          Measured at 2026-11-21T08:04:00Z; the numbers are in PromptRollback {RECORD}.
            {QUERY}
          Outcome: not judged yet: 1.0.0 is watched until 2026-11-21T08:20:00Z.

        The guards
          All let it pass; the numbers of the guards are not in its record, which an earlier release wrote.

        What 2.0.0 changed against 1.0.0
          Not known: PromptVersion greeting-1.0.0 is gone.

        How the versions came about
          2.0.0: no path given
            depth 1: B
              foreseen: may forget the form of the answer
            depth 2: B.1

        Held versions
          2.0.0 since 2026-11-21T08:05:00Z
            lift it with: kubectl prompt release {RECORD} -n shop --reason "…"

        What to do
          Put right what was wrong with 2.0.0, release it under a new version and set spec.version to that.
          If 2.0.0 was not the cause, lift its hold as said above.
        """)  # noqa: E501


def test_a_critical_rule_that_a_guard_keeps_from_rolling_back() -> None:
    """The rule with its message, the guard's refusal from its record, and the ways out with the record to sign."""
    message = "critical-error-rate fires, not rolled back: 3 automatic rollbacks within 24 hours, the limit is 3"
    rules = [
        {"name": "avg", "state": "Unknown", "since": at(0), "message": "avg_user_feedback unknown: no data (in 24h)"},
        {
            "name": "critical-error-rate", "state": "Firing", "since": at(8), "message": MEASURED,
            "measuredAt": at(8), "query": QUERY,
        },
    ]  # fmt: skip
    unhealthy = condition("Healthy", "False", "ManualInterventionRequired", message)
    refusal = record(
        "refused", minutes=9, decision="Refused", guard="DailyLimitReached", toVersion="",
        reason="3 automatic rollbacks within 24 hours, the limit is 3",
    )  # fmt: skip
    shown = prompt(status={"rules": rules, "conditions": [*FINE[:2], unhealthy]})
    explored = version("1.0.0", exploration=EXPLORED)
    assert told(shown, record(), refusal, explored) == text(f"""
        greeting in namespace shop
          1.0.0 is active, for 10m, as spec.version asks.
          It was activated at 2026-11-21T08:00:00Z for argocd-controller.

        What is wrong
          Healthy is False (ManualInterventionRequired): {message}.
          The author of 1.0.0 foresaw, choosing B: may forget the form of the answer

        Rules that are not Normal
          critical-error-rate is Firing for 2m: {MEASURED}
            measured at 2026-11-21T08:08:00Z, by
            {QUERY}
          avg is Unknown for 10m: avg_user_feedback unknown: no data (in 24h)

        Rollbacks that were refused
          2026-11-21T08:09:00Z: rule critical-error-rate from 2.0.0: DailyLimitReached: 3 automatic rollbacks within 24 hours, the limit is 3

        What to do
          To allow automatic rollbacks again: kubectl prompt ack refused -n shop --reason "…"
          To go back by hand: kubectl prompt rollback greeting -n shop --reason "…"
          To let applications use their default: kubectl prompt fallback greeting -n shop
        """)  # noqa: E501


UNKNOWN = {"state": "Unknown", "since": at(0), "message": "no data"}


def unknown(*names: str, **spec: Any) -> dict[str, Any]:
    """A prompt whose rules of these names are Unknown."""
    return prompt(status={"rules": [{"name": name, **UNKNOWN} for name in names]}, spec=spec)


def test_a_rule_without_data_is_told_with_its_query() -> None:
    """Computed from prompt, policy and profile, as status has none: a metric of the policy, and one of the profile."""
    rules = [{"name": "drifts", "condition": "drift[1h] > 3 and slower_than_10s > 5% and drift[1h] < 9"}]
    metrics = [{"name": "drift", "unit": "Score", "value": "avg by ($by) (drift)"}]
    policy = thing(PROMPT_POLICY, "default", {"customMetrics": metrics, "metrics": {"profile": "spanmetrics"}})
    own = 'k8s_namespace_name="shop",gen_ai_prompt_name="greeting",gen_ai_prompt_version="1.0.0"'
    by = "k8s_namespace_name, gen_ai_prompt_name, gen_ai_prompt_version"
    shown = told(unknown("drifts", "gone", rules=rules), policy)
    assert "  drifts is Unknown for 10m: no data\n    asked by\n" in shown
    assert f"    (avg by ({by}) (drift{{{own}}}))\n" in shown
    assert shown.count("avg by") == 1
    histogram = f"increase(traces_span_metrics_duration_milliseconds_bucket{{{own}"
    assert f"    1 - histogram_fraction(0, 10000, sum by (le) ({histogram}" in shown
    assert "  gone is Unknown for 10m: no data\n\n" in shown


def test_many_rules_without_data_are_told_together() -> None:
    """Without traffic all are Unknown: a line each, and the queries where they are asked for."""
    cluster = FakeCluster.of(unknown("a", "b", "c", "critical-error-rate"))
    shown = cluster.run("explain", "greeting").stdout
    assert (
        "Rules that are not Normal\n"
        "  4 rules are Unknown:\n"
        "    a, for 10m: no data\n"
        "    b, for 10m: no data\n"
        "    c, for 10m: no data\n"
        "    critical-error-rate, for 10m: no data\n"
        "    what they ask: kubectl prompt explain greeting --queries -n shop\n\n"
    ) in shown
    assert "asked by\n    (sum(increase(" in cluster.run("explain", "greeting", "--queries").stdout


def test_a_request_is_told_before_its_answer() -> None:
    """Times have whole seconds: both may have the same one."""
    spec = {"promptRef": {"name": "greeting"}, "fromVersion": "2.0.0", "reason": "odd", "requestedBy": "ada"}
    request = thing(PROMPT_ROLLBACK, "please", spec)
    request["metadata"]["creationTimestamp"] = at(5)
    answer = record(trigger="Manual", requestRef={"name": "please"}, requestedBy="ada", reason="odd", rule="")
    for objects in ((request, answer), (answer, request)):
        shown = told(rolled_back(), *objects)
        assert shown.index("ada asked to leave 2.0.0: odd") < shown.index("2.0.0 was rolled back to 1.0.0, by ada")


def test_the_built_in_rules_need_no_policy() -> None:
    """Where none is there, the built-in one is in force."""
    shown = told(unknown("critical-error-rate"))
    assert 'asked by\n    (sum(increase(llm_prompt_requests_total{prompt_namespace="shop",prompt="greeting"' in shown


def test_no_query_is_told_that_may_be_another() -> None:
    """A policy that may not or cannot be read, or a profile that is not shipped, may say anything."""

    class Closed(FakeCluster):
        async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
            if kind is PROMPT_POLICY:
                raise Forbidden("GET PromptPolicy: 403 Forbidden")
            return await super().get(kind, namespace, name)

    closed = Closed.of(unknown("critical-error-rate")).run("explain", "greeting")
    own = told(unknown("critical-error-rate", metrics={"profile": "own"}))
    newer = told(unknown("critical-error-rate"), thing(PROMPT_POLICY, "default", {"mode": "Later"}))
    for shown in (closed.stdout, own, newer):
        assert "critical-error-rate is Unknown for 10m: no data\n\n" in shown


def test_a_suspended_prompt_in_fallback() -> None:
    """Both switches are told with the reason that was given, and both commands that end them."""
    serving = condition("Serving", "False", "Fallback", "applications use their built-in default")
    ready = condition("Ready", "True", "Suspended", "suspended: 1.0.0 stays active until spec.suspend is false")
    shown = prompt(
        spec={"suspend": True, "mode": "Fallback"},
        annotations={"promptops.dev/suspendReason": "load test"},
        status={"conditions": [ready, serving]},
    )
    assert told(shown) == text("""
        greeting in namespace shop
          1.0.0 is active, for 10m, as spec.version asks.
          It was activated at 2026-11-21T08:00:00Z for argocd-controller.
          It is suspended (load test): nothing automatic happens.
          Serving is False (Fallback): applications use their built-in default.

        What is wrong
          Nothing.

        What to do
          When it may go on: kubectl prompt resume greeting -n shop
          To serve the prompt again: kubectl prompt enable greeting -n shop
        """)


def test_a_prompt_nobody_has_looked_at() -> None:
    """An operator that does not run, or looks elsewhere, is named as the first thing to check."""
    status: dict[str, Any] = {"activeVersion": None, "history": [], "conditions": [], "observedGeneration": None}
    assert told(prompt(status=status)) == text("""
        greeting in namespace shop
          No version is active; spec.version asks for 1.0.0.
          The operator has not looked at the latest change of spec yet.

        What is wrong
          The operator has not looked at this prompt yet.

        What to do
          See whether the operator runs and looks after this namespace.
        """)


def test_a_version_that_is_not_there() -> None:
    """Names the object to apply."""
    missing = "PromptVersion greeting-3.0.0 does not exist"
    ready, stalled = (condition(*each, "VersionMissing", missing) for each in (("Ready", "False"), ("Stalled", "True")))
    shown = told(prompt("3.0.0", status={"conditions": [ready, stalled]}))
    assert f"  Ready is False (VersionMissing): {missing}.\n\n" in shown, "the same message is told once"
    assert "  Apply PromptVersion greeting-3.0.0, or set spec.version to one that exists.\n" in shown


def test_no_target_leaves_fallback() -> None:
    """Where there is nothing to go back to, going back by hand is not offered."""
    unhealthy = condition("Healthy", "False", "NoTarget", "critical-error-rate fires, not rolled back")
    shown = told(prompt(status={"conditions": [*FINE[:2], unhealthy]}))
    assert "kubectl prompt fallback greeting -n shop" in shown
    assert "kubectl prompt rollback" not in shown


def test_a_review_and_a_policy_in_fallback() -> None:
    """What others have to do is said without a command; what the reader can do, with one."""
    conditions = [
        FINE[0],
        condition("Serving", "False", "Fallback", "applications use their built-in default"),
        condition("ReviewRequired", "True", "ReviewRequested", "calibration-drift asks for a review"),
    ]
    shown = told(prompt(status={"conditions": conditions}))
    assert "ReviewRequired is True (ReviewRequested): calibration-drift asks for a review." in shown
    assert "Its policy or the whole operator is switched to Fallback: switch it back there." in shown
    assert "Look at its answers, then: kubectl prompt review greeting -n shop" in shown


def test_a_manual_rollback_and_a_request_without_an_answer() -> None:
    """Who asked and why, who takes care of it, and the request that still waits."""
    decision = {
        "id": RECORD, "kind": "ManualRollback", "decision": "Executed", "from": "2.0.0", "to": "1.0.0",
        "reason": "odd answers", "requestedBy": "ada", "at": at(5),
    }  # fmt: skip
    spec = {"promptRef": {"name": "greeting"}, "fromVersion": "1.0.0", "reason": "again", "requestedBy": "bob"}
    acknowledged = record(trigger="Manual", acknowledge={"by": "bob", "reason": "on it"})
    shown = told(prompt(status={"decision": decision}), acknowledged, thing(PROMPT_ROLLBACK, "please", spec))
    assert "2.0.0 -> 1.0.0, a rollback that ada asked for.\n  Because odd answers\n" in shown
    assert "  bob takes care of it: on it\n" in shown
    assert "  Request please of bob is not answered yet.\n" in shown


def test_many_refusals_are_cut() -> None:
    """The newest five, newest first, and how to see the rest; another prompt's are not told."""
    refusals = [
        record(f"r{number}", minutes=number, decision="Refused", guard="CoolingDown", reason=f"reason {number}")
        for number in range(7)
    ]
    foreign = record("foreign", decision="Refused", guard="NoTarget", promptRef={"name": "other"})
    shown = told(prompt(), foreign, *refusals)
    assert [line[-1] for line in shown.splitlines() if "CoolingDown" in line] == ["6", "5", "4", "3", "2"]
    assert "… and 2 earlier ones: kubectl get promptrollbacks -n shop" in shown
    assert "NoTarget" not in shown


def test_a_hold_without_record_is_lifted_by_retry() -> None:
    """Where there is nothing to sign, the annotation is the way."""
    held = {"held": [{"version": "2.0.0", "since": at(5), "reason": "it was bad"}], "decision": None}
    shown = told(rolled_back(status=held))
    assert (
        "  2.0.0 since 2026-11-21T08:05:00Z: it was bad\n    lift it with: kubectl prompt retry greeting -n shop"
        in shown
    )


def test_the_same_for_programs() -> None:
    """As JSON: titles and lines."""
    done = FakeCluster.of(prompt()).run("explain", "greeting", "-o", "json")
    assert json.loads(done.stdout)[-1] == {"title": "What to do", "lines": ["Nothing."]}


def test_a_long_story_is_cut() -> None:
    """Many moments, and a difference of many lines: the newest and the first of them, and how to see the rest."""
    texts = {each: "\n".join(f"{each} {line}" for line in range(50)) for each in ("1.0.0", "2.0.0")}
    versions = [version(each, text=text) for each, text in texts.items()]
    refused = [record(f"r{i}", minutes=5, decision="Refused", guard="CoolingDown") for i in range(30)]
    shown = told(rolled_back(), record(), *versions, *refused)
    assert "… 12 earlier moments left out" in shown
    assert "… 43 more lines: kubectl prompt diff greeting 1.0.0 2.0.0 -n shop" in shown


def test_what_people_signed_and_asked_for_is_part_of_the_story() -> None:
    """A release, an acknowledgement and a retry: by whom, when and why, as the API server and status know it."""
    limit = "greeting-20261121t080600z-4d5e6f70"
    refused = record(limit, minutes=6, decision="Refused", guard="DailyLimitReached")
    released = record()
    for signed, member, minutes, why in (
        (refused, "acknowledge", 7, "I take care"),
        (released, "release", 8, "found it"),
    ):
        signed["spec"][member] = {"by": "ada", "reason": why}
        signed["metadata"]["managedFields"].append(
            {"manager": "kubectl-prompt", "time": at(minutes), "fieldsV1": {"f:spec": {f"f:{member}": {}}}}
        )
    retried = {"handledRequests": [{"verb": "Retry", "value": at(9)}, {"verb": "Review", "value": at(9)}]}
    shown = told(rolled_back() | {"status": rolled_back()["status"] | retried}, released, refused)
    assert (
        text(f"""
        What happened
          2026-11-21T08:01:00Z  2.0.0 was activated for argocd
          2026-11-21T08:05:00Z  2.0.0 was rolled back to 1.0.0, by rule critical-error-rate
          2026-11-21T08:06:00Z  no rollback of 2.0.0 for rule critical-error-rate: DailyLimitReached
          2026-11-21T08:07:00Z  ada acknowledged {limit}: I take care
          2026-11-21T08:08:00Z  ada lifted the hold on 2.0.0: found it
          2026-11-21T08:09:00Z  a person asked to try again what was held
        """)
        in shown
    )


def test_the_same_content_is_said() -> None:
    """Two versions that differ in nothing: the prompt is not the cause."""
    versions = [version(each, text="The same.") for each in ("1.0.0", "2.0.0")]
    assert "Nothing: content and settings are the same." in told(rolled_back(), record(), *versions)


def test_a_lost_record_is_said() -> None:
    """Somebody deleted it: what came of the rollback is not known."""
    assert f"There is no PromptRollback {RECORD}: its outcome is not known." in told(rolled_back())
