"""`lint`: the same answers as the API server and the operator, from files alone."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.documented import documented
from tests.cluster.manifest_cases import Case, cases, manifest

from prompt_client import wire
from prompt_operator.cli.lint.finding import ERROR
from prompt_operator.cli.lint.findings import findings
from prompt_operator.cli.main import main

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
GOOD = """
    apiVersion: promptops.dev/v1alpha1
    kind: PromptVersion
    metadata: {name: greeting-1.0.0}
    spec: {promptRef: {name: greeting}, version: 1.0.0, text: "Greet {{ name }}."}
    ---
    apiVersion: promptops.dev/v1alpha1
    kind: Prompt
    metadata: {name: greeting}
    spec: {version: 1.0.0}
    """


def lint(*args: str, stdin: str = "") -> Result:
    """Run lint."""
    return CliRunner().invoke(main, ["lint", *args], input=stdin)


def checked(text: str, *args: str) -> Result:
    """Lint a text from stdin."""
    return lint("-", *args, stdin=dedent(text))


def errors(case: Case) -> list[str]:
    """Return the errors found in a row of the table that the API server is tested with."""
    found = findings([documented(manifest(case, case.spec))])
    return [str(finding) for finding in found if finding.severity == ERROR]


@pytest.mark.parametrize("case", cases("accepted"), ids=lambda case: f"{case.kind}-{case.case[:40]}")
def test_what_the_api_server_accepts_has_no_errors(case: Case) -> None:
    """The same table as in tests/cluster/test_admission_of_manifests."""
    assert errors(case) == []


@pytest.mark.parametrize("case", cases("refused"), ids=lambda case: f"{case.kind}-{case.case[:40]}")
def test_what_the_api_server_refuses_has_errors(case: Case) -> None:
    """Each row is refused, and where the model explains the refusal, in the same words."""
    found = errors(case)
    assert found
    if "must" in case.says and "in body" not in case.says and "must have" not in case.says:
        assert any(case.says in line for line in found)


def test_good_files_are_silent() -> None:
    """No output on stdout, exit status 0, counts on stderr."""
    done = checked(GOOD)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "0 errors, 0 warnings in 2 objects\n")


def test_the_samples_are_good() -> None:
    """All of them together, without a warning: none names an object that another one names."""
    done = lint("--strict", str(SAMPLES))
    assert (done.exit_code, done.stdout) == (0, "")


def test_every_finding_names_its_file_line_and_field(tmp_path: Path) -> None:
    """Misspelt fields, values, kinds and metrics with the word that was meant; numbers that should be text."""
    (tmp_path / "prompt.yaml").write_text(
        dedent("""
        apiVersion: promptops.dev/v1alpha1
        kind: Prompt
        metadata: {name: greeting, lables: {}}
        spec:
          versoin: 1.0.0
          rules:
          - {name: a, condition: "eror_rate > 5%", severity: critical}
          - {name: b, condition: "error_rate[5m] > 5", actions: [Alert]}
          - {name: c, condition: "latency_p95 > 3000"}
          - {name: c, condition: "error_rate > 5% for 5m", for: 10m}
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: not-ours}
        ---
        apiVersion: promptops.dev/v1alpha1
        kind: PromtVersion
        metadata: {name: greeting-1.0.0}
        ---
        apiVersion: promptops.dev/v1
        kind: Prompt
        metadata: {name: later}
        ---
        apiVersion: promptops.dev/v1alpha1
        kind: PromptVersion
        metadata: {name: greeting-1.0}
        spec: {promptRef: {name: greeting}, version: 1.0, text: [], model: {temprature: "0.2"}}
        """)
    )
    done = lint(str(tmp_path))
    file = tmp_path / "prompt.yaml"
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{file}:4:28: metadata.lables: unknown field, did you mean labels?",
        f"{file}:5:1: spec.version: is required",
        f"{file}:6:3: spec.versoin: unknown field, did you mean version?",
        f"{file}:8:44: spec.rules[0].severity: 'critical' is none of Warning, Critical: did you mean Critical?",
        f"{file}:9:44: spec.rules[1].condition: a share is between 0% and 100%: did you mean 5%?",
        f"{file}:10:41: spec.rules[2].condition: a time needs a unit: did you mean 3000ms?",
        f"{file}:11:5: spec.rules[3]: c is there twice",
        f"{file}:11:5: spec.rules[3]: the condition says for 5m, the rule for 10m: keep one",
        f"{file}:18:1: kind: unknown kind 'PromtVersion', did you mean PromptVersion?",
        f"{file}:21:1: apiVersion: unknown version promptops.dev/v1: use promptops.dev/v1alpha1",
        f"{file}:28:37: spec.version: must be a string: put it in quotes",
        f"{file}:28:51: spec.text: must be a string",
        f"{file}:28:69: spec.model.temprature: unknown field, did you mean temperature?",
    ]
    assert done.stderr == "13 errors, 0 warnings in 4 objects\n"


def test_an_unknown_metric_is_found_at_its_column() -> None:
    """The operator's own compiler judges the rules."""
    rule = '{name: a, condition: "execution_count > 10 and eror_rate > 5%"}'
    done = checked(GOOD.replace("spec: {version: 1.0.0}", f"spec: {{version: 1.0.0, rules: [{rule}]}}"))
    said = "-:10:79: spec.rules[0].condition: unknown metric 'eror_rate': did you mean error_rate?\n"
    assert done.stdout == said


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("error_rate > 500%", "-:14:29: spec.rules[0].condition: a share"),
        ("'error_rate > 500%'", "-:14:30: spec.rules[0].condition: a share"),
        ('"error_rate \\x3e 500%"', "-:14:5: spec.rules[0].condition: column 14: a share"),
        (">-\n              error_rate >\n              500%", "-:14:5: spec.rules[0].condition: column 14: a share"),
    ],
    ids=["plain", "quoted", "escaped", "folded"],
)
def test_the_column_is_the_files_where_the_file_shows_the_condition_as_it_is(condition: str, said: str) -> None:
    """Elsewhere the finding is at the member, and the column is the condition's, as in the operator's message."""
    text = GOOD.replace("spec: {version: 1.0.0}", "spec:\n      version: 1.0.0\n      rules:\n      - name: a\n")
    assert checked(f"{text.rstrip()}\n        condition: {condition}\n").stdout.startswith(said)


POLICY = """
    ---
    apiVersion: promptops.dev/v1alpha1
    kind: PromptPolicy
    metadata: {name: shared}
    spec:
      customMetrics:
        - {name: drift, unit: Score, value: "avg by ($by) (embedding_drift)"}
        - {name: grounded, unit: Ratio, numerator: "sum(x)", denominator: "sum by ($by) (increase(y[$window]))"}
      rules:
        - {name: drifted, condition: drift > 2}
        - {name: share, condition: drift > 5%}
    """
DRIFTS = GOOD.replace(
    "spec: {version: 1.0.0}",
    "spec: {version: 1.0.0, policyRef: {name: shared}, "
    'rules: [{name: a, condition: "drift > 1"}, {name: b, condition: "grounded > 2%"}]}',
)


def test_custom_metrics_are_known_where_their_policy_is_at_hand() -> None:
    """Those that cannot be used are found in the policy, and in the rules that name them."""
    ungrouped = "the outermost operation must be grouped by prompt: write for example sum by ($by) (…)"
    unit = "a score cannot be compared with a share: write a number without a unit"
    done = checked(DRIFTS + POLICY)
    assert done.stdout.splitlines() == [
        "-:10:116: spec.rules[1].condition: custom metric grounded of the policy cannot be used",
        f"-:19:37: spec.customMetrics[1].numerator: {ungrouped}",
        f"-:22:32: spec.rules[1].condition: {unit}",
    ]


def test_a_custom_metric_of_a_policy_that_is_not_there_is_not_known() -> None:
    """The message says what would help."""
    done = checked(DRIFTS)
    assert "unknown metric 'drift'" in done.stdout
    assert "if PromptPolicy shared declares it, lint both files together" in done.stdout


def test_fields_without_effect_and_absent_versions_are_warnings() -> None:
    """They fail with --strict only."""
    text = """
        apiVersion: promptops.dev/v1alpha1
        kind: Prompt
        metadata: {name: greeting}
        spec:
          version: 1.0.0
          rollout: {strategy: Canary, unit: User, steps: [{weight: 5}]}
          metrics: {source: main, profile: otel-genai-v1}
        """
    done = checked(text)
    assert done.exit_code == 0
    idle = "accepted, but without effect in this release: spec.rollout.steps, spec.rollout.unit"
    assert done.stdout.splitlines() == [
        f"-:2:1: warning: {idle}",
        "-:6:3: warning: spec.version: PromptVersion greeting-1.0.0 is not among these files",
    ]
    assert checked(text, "--strict").exit_code == 1


def test_the_same_name_twice() -> None:
    """Also across files and lists; the same name in another namespace is another object."""
    twice = checked(GOOD + "---" + GOOD)
    assert twice.stdout.splitlines() == [
        "-:14:12: metadata.name: PromptVersion greeting-1.0.0 is also in -:4:12",
        "-:19:12: metadata.name: Prompt greeting is also in -:9:12",
    ]
    elsewhere = GOOD.replace("greeting-1.0.0}", "greeting-1.0.0, namespace: lab}")
    elsewhere = elsewhere.replace("{name: greeting}\n    spec: {v", "{name: greeting, namespace: lab}\n    spec: {v")
    assert checked(GOOD + "---" + elsewhere).exit_code == 0


def test_a_list_is_taken_apart() -> None:
    """What `kubectl get -o yaml` prints can be linted; status and what the server adds are no findings."""
    item = {
        "apiVersion": "promptops.dev/v1alpha1",
        "kind": "PromptPolicy",
        "metadata": {"name": "default", "uid": "u", "creationTimestamp": "2026-11-21T08:00:00Z", "managedFields": []},
        "spec": {"mode": "Active"},
        "status": {"anything": 1},
    }
    done = lint("-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [item, item]}))
    assert done.stdout == "-:1:358: metadata.name: PromptPolicy default is also in -:1:126\n"


def test_content_is_checked_with_the_operators_own_code() -> None:
    """A declared hash that does not fit, and a version that would not fit into a ConfigMap."""
    spec: dict[str, Any] = {"promptRef": {"name": "greeting"}, "version": "1.0.0", "text": "Hi."}
    right = wire.content_hash(spec)
    version = {"apiVersion": "promptops.dev/v1alpha1", "kind": "PromptVersion", "metadata": {"name": "greeting-1.0.0"}}
    assert lint("-", stdin=json.dumps(version | {"spec": spec | {"contentHash": right}})).exit_code == 0
    wrong = lint("-", stdin=json.dumps(version | {"spec": spec | {"contentHash": f"sha256:{'0' * 64}"}}))
    assert wrong.stdout == f"-:1:186: spec.contentHash: does not fit the content, whose hash is {right}\n"
    messages = [{"role": "User", "content": "ü" * 60000}] * 10
    large = lint("-", stdin=json.dumps(version | {"spec": spec | {"text": None, "messages": messages}}))
    assert "bytes in its ConfigMap, at most 1000000 are allowed" in large.stdout


def test_findings_for_programs() -> None:
    """As JSON, one object per finding; the exit status is the same."""
    done = checked(GOOD.replace("text:", "tetx:"), "-o", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)[1] == {
        "file": "-", "document": 1, "line": 5, "column": 53, "kind": "PromptVersion", "name": "greeting-1.0.0",
        "severity": "error", "path": "spec.tetx", "message": "unknown field, did you mean text?",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "-:2:1: not valid YAML: "),
        ("a: 1\na: 2", "-:2:1: not valid YAML: a is there twice"),
        ("just words", "-:1:1: not an object"),
        ("apiVersion: v1\nkind: ConfigMap", "No object of promptops.dev in -."),
        ("", "No object of promptops.dev in -."),
        ("a: \x00", "-: not valid YAML: "),
        ("? [a]\n: b", "-:1:3: not valid YAML: the name of a member must be text"),
    ],
)
def test_a_file_that_cannot_be_read_is_exit_status_two(text: str, said: str) -> None:
    """Neither silence nor a traceback: which file, where, what."""
    done = lint("-", stdin=f"{text}\n")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {said}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A misspelt path never passes as "no findings"; nor does a folder without manifests."""
    assert lint(str(tmp_path / "none.yaml")).exit_code == 2
    assert lint(str(tmp_path)).exit_code == 2
    assert lint().exit_code == 2


def test_times_are_text() -> None:
    """YAML would read 2026-01-01 as a date; to the API server it is text."""
    done = checked(GOOD.replace('text: "Greet {{ name }}."', "text: 2026-01-01"))
    assert (done.exit_code, done.stdout) == (0, "")


def ruled(rule: str, spec: str = "") -> str:
    """Manifests whose Prompt has this one rule."""
    return GOOD.replace("spec: {version: 1.0.0}", f"spec: {{version: 1.0.0, {spec}rules: [{rule}]}}")


def test_thresholds_that_the_buckets_cannot_tell_are_warnings() -> None:
    """By the profile in force: the prompt's, the policy's, or the built-in one; not where nobody knows which."""
    rule = '{name: a, condition: "latency_p99 > 20s"}'
    spans = "metrics: {profile: spanmetrics}, "
    warned = checked(ruled(rule, spans))
    assert (warned.exit_code, len(warned.stdout.splitlines())) == (0, 1)
    assert warned.stdout.startswith("-:10:75: warning: spec.rules[0].condition: latency_p99 > 20s can never be true: ")
    assert checked(ruled(rule, spans), "--strict").exit_code == 1
    policy = (
        "---\n    {apiVersion: promptops.dev/v1alpha1, kind: PromptPolicy, metadata: {name: default}, "
        f"spec: {{{spans.rstrip(', ')}}}}}\n"
    )
    assert "the last bucket of profile spanmetrics" in checked(ruled(rule) + policy).stdout
    assert checked(ruled(rule)).stdout == ""
    assert checked(ruled(rule, "policyRef: {name: elsewhere}, ")).stdout == ""
    assert checked(ruled(rule, "metrics: {profile: own}, ")).stdout == ""
    assert "profile native begins at 120s" in checked(ruled(rule.replace("20s", "3m"))).stdout


def test_a_rollback_that_never_comes_is_a_warning() -> None:
    """A custom metric that is one value, and a policy that rolls back by it."""
    policy = """
        apiVersion: promptops.dev/v1alpha1
        kind: PromptPolicy
        metadata: {name: default}
        spec:
          customMetrics: [{name: drift, unit: Score, value: avg by ($by) (drift)}]
          rules: [{name: drifts, condition: drift > 3, actions: [Rollback]}]
        """
    done = checked(policy)
    said = "-:7:48: warning: spec.rules[0].actions: Rollback never comes: how many requests the value of drift rests on"
    assert done.stdout.startswith(said)
    assert checked(policy + "  evidence: {rollbackConfidence: 90%}\n").stdout == ""
