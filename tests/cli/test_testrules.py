"""`test-rules`: what it says of files that come true, that do not, and that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from prompt_operator.cli.main import main

GOOD = """
    interval: 1m
    series:
      requests: 0+100x20
      errors: 0+9x20
    expect:
      - {at: 10m, rule: critical-error-rate, state: Firing, value: 9%}
    """
WRONG = """
    interval: 1m
    series:
      requests: 0+100x20
      errors: 0+4x20
    expect:
      - {at: 10m, rule: critical-error-rate, state: Normal}
      - {at: 10m, rule: critical-error-rate, state: Firing, value: 9%, rollback: true}
      - {at: 10m, rule: runaway-errors, state: Normal}
    """
PROMPT = """
    apiVersion: promptops.dev/v1alpha1
    kind: Prompt
    metadata: {name: greeting}
    spec:
      version: 1.0.0
      policyRef: {name: strict}
      rules:
        - {name: own, condition: error_rate > 8%}
    """
POLICY = """
    ---
    apiVersion: promptops.dev/v1alpha1
    kind: PromptPolicy
    metadata: {name: strict}
    spec:
      evidence: {minSamples: 1000}
      rules:
        - {name: critical-error-rate, state: Disabled}
    """


def run(tmp_path: Path, text: str, *args: str) -> Result:
    """Test the rules of a text."""
    file = tmp_path / "t.yaml"
    file.write_text(dedent(text), "utf-8")
    return CliRunner().invoke(main, ["test-rules", str(file), *args])


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows what is printed for the file that it shows."""
    page = (Path(__file__).parents[2] / "docs" / "testing-rules.md").read_text("utf-8")
    (tmp_path / "burn.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], "utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["test-rules", "burn.yaml"])
    shown = page.split("$ kubectl prompt test-rules burn.yaml\n")[1].split("```")[0]
    assert done.stdout + done.stderr == shown


def test_what_comes_true(tmp_path: Path) -> None:
    """One line for the file, exit status 0."""
    done = run(tmp_path, GOOD)
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/t.yaml: 1 of 1 as expected\n")


def test_what_does_not_come_true(tmp_path: Path) -> None:
    """A table of what was expected, what came, and the sentence of the judgement; exit status 1."""
    few = "error_rate 4.0% (20 of 500 in 5m; at least 2.6% at 95% confidence) not > 5%"
    none = (
        "error_rate unknown: no data, or fewer than two scrapes (in 1m); an interval of 1m leaves one sample in 1m, "
        "and an increase needs two: "
        "choose a shorter interval"
    )
    done = run(tmp_path, WRONG)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{tmp_path}/t.yaml: 1 of 3 as expected",
        "AT    RULE                  EXPECTED               GOT                         WHY",
        f"10m   critical-error-rate   Firing, 9%, rollback   Normal, 4.0%, no rollback   {few}",
        f"10m   runaway-errors        Normal                 Unknown                     {none}",
    ]
    assert done.stderr == "2 of 3 expectations did not come true\n"


def test_why_there_is_no_rollback(tmp_path: Path) -> None:
    """Where the rule fires and only the rollback was expected in vain, the sentence is that of the surer judgement."""
    done = run(tmp_path, GOOD.replace("value: 9%", "rollback: true").replace("0+9x20", "0+8x20"))
    assert "at 99.99% confidence) not surely > 5%" in done.stdout


def test_for_programs(tmp_path: Path) -> None:
    """JSON has the line of each expectation; JUnit has a case for each."""
    (told,) = json.loads(run(tmp_path, WRONG, "-o", "json").stdout)
    assert [(each["line"], each["got"]) for each in told["differences"]] == [
        (8, "Normal, 4.0%, no rollback"),
        (9, "Unknown"),
    ]
    suite = ET.fromstring(run(tmp_path, WRONG, "-o", "junit").stdout).find("testsuite")  # noqa: S314  our own output
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    failures = [case.find("failure") for case in suite.findall("testcase")]
    assert [failure is not None and failure.get("message") for failure in failures] == [
        False,
        "got Normal, 4.0%, no rollback",
        "got Unknown",
    ]


def test_rules_of_a_manifest(tmp_path: Path) -> None:
    """The rules that are deployed are tested, with the evidence that their policy asks for; the file's come last."""
    manifest = tmp_path / "prompt.yaml"
    manifest.write_text(dedent(PROMPT) + dedent(POLICY), "utf-8")
    own = GOOD.replace("critical-error-rate, state: Firing, value: 9%", "own, state: Unknown")
    assert run(tmp_path, own, "--rules-from", str(manifest)).exit_code == 0
    switched_off = run(tmp_path, GOOD, "--rules-from", str(manifest))
    assert switched_off.exit_code == 2
    assert "no rule 'critical-error-rate' is in force" in switched_off.stderr
    again = "rules: [{name: own, condition: error_rate > 50%}]\nevidence: {minSamples: 10}" + dedent(own)
    assert run(tmp_path, again.replace("Unknown", "Normal"), "--rules-from", str(manifest)).exit_code == 0


def test_a_policy_that_is_not_given(tmp_path: Path) -> None:
    """As in the cluster, the built-in policy holds then; it is said."""
    manifest = tmp_path / "prompt.yaml"
    manifest.write_text(dedent(PROMPT), "utf-8")
    done = run(tmp_path, GOOD, "--rules-from", str(manifest))
    assert done.exit_code == 0
    assert done.stderr == "PromptPolicy strict is not among these files: the built-in one is used instead.\n"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("interval: 1m", "intervall: 1m", "2: interval: is required"),
        ("interval: 1m", "intervall: 1m", "2: intervall: unknown field, did you mean interval?"),
        ("interval: 1m", "interval: 0s", "7: expect[0].at: the interval must be longer than 0s"),
        ("at: 10m", "at: 10m30", "7: expect[0].at: must be a duration such as 30s, 15m, 24h or 14d"),
        ("at: 10m", "at: 90s", "7: expect[0].at: rules are judged every 1m: did you mean 1m or 2m?"),
        ("at: 10m", "at: 100d", "7: expect[0].at: more than 100000 judgements: choose a longer interval"),
        ("rule: critical-e", "rule: critical-", "7: expect[0].rule: no rule 'critical-rror-rate' is in force"),
        ("state: Firing", "state: firing", "7: expect[0].state: 'firing' is none of Normal, Pending, Firing"),
        ("value: 9%", "value: 900", "7: expect[0].value: a share is between 0% and 100%: did you mean 900%?"),
        ("value: 9%", "value: 9ms", "7: expect[0].value: error_rate is a share: write it without 'ms'"),
        ("value: 9%", "value: nine", "7: expect[0].value: 'nine' is no value of error_rate: write 9%"),
        ("requests: 0+100x20", "request: 0+100x20", "4: series.request: no metric and no quantity is named so"),
        ("requests: 0+100x20", "error_rate: 9", "4: series.error_rate: error_rate is between 0 and 1, in base"),
        ("requests: 0+100x20", "tokens_avg: -9", "4: series.tokens_avg: tokens_avg is 0 or more, in base units: -9 is"),
        ("requests: 0+100x20", "requests: 5-1x9", "4: series.requests: a counter is never below 0"),
        ("requests: 0+100x20", "requests: 5 x", "4: series.requests: column 3: 'x' is no sample"),
        ("requests: 0+100x20", "requests: {1s: 4}", "4: series.requests: must be samples in promtool's shorthand"),
        ("requests: 0+100x20", "error_rate[2m]: 0.1", "4: series.error_rate[2m]: window 2m is not offered: did you"),
        ("requests: 0+100x20", "latency_buckets: 3", "4: series.latency_buckets: must be upper bounds with a counter"),
        ("requests: 0+100x20", "latency_buckets: {1s: 3}", "4: series.latency_buckets: the bucket +Inf"),
        ("requests: 0+100x20", "latency_buckets: {1q: 3}", "4: series.latency_buckets.1q: unknown unit 'q'"),
        ("series:", "baseline: {latency_p95: 3}\nseries:", "3: baseline.latency_p95: a time needs a unit: did you"),
        ("series:", "baseline: {slower_than_3s: 9%}\nseries:", "3: baseline.slower_than_3s: a share of slow requests"),
        ("series:", "rules: [{name: a, condition: eror_rate > 5%}]\nseries:", "3: rules[0].condition: column 1"),
        ("series:", "rules: [{condition: error_rate > 5%}]\nseries:", "3: rules[0].name: is required"),
        ("series:", "evidence: {minSample: 3}\nseries:", "3: evidence.minSample: unknown field, did you mean"),
    ],
)  # fmt: skip
def test_a_bad_file(tmp_path: Path, before: str, after: str, told: str) -> None:
    """Exit status 2, and file, line, field, cause and what may have been meant."""
    text = dedent(GOOD)
    assert before in text
    done = run(tmp_path, text.replace(before, after, 1))
    assert done.exit_code == 2, done.output
    assert f"{tmp_path}/t.yaml:{told}" in done.stderr


def test_a_share_of_slow_requests(tmp_path: Path) -> None:
    """Such a metric has its bound in its name; its values can be given, however the bound is written."""
    text = """
        interval: 1m
        rules: [{name: slow, condition: "slower_than_3s > 10% for 2m"}]
        series: {slower_than_3000ms: 0.05x3 0.2x10}
        expect:
          - {at: 3m, rule: slow, state: Normal, value: 5%}
          - {at: 8m, rule: slow, state: Firing, value: 20%}
        """
    done = run(tmp_path, text)
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/t.yaml: 2 of 2 as expected\n")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Whoever writes a file does not mend it mistake by mistake; no file is played while one is bad."""
    done = run(tmp_path, GOOD.replace("at: 10m", "at: 90s").replace("0+9x20", "0+9"), f"{tmp_path}/missing.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert [line.split(": ")[0 if "missing" in line else 1] for line in done.stderr.splitlines()] == [
        f"{tmp_path}/t.yaml:5",
        "expect[0].at",
        f"{tmp_path}/missing.yaml",
    ]
    assert done.stderr.endswith("missing.yaml: cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rule test: it has interval, rules, series and expect"),
        ("- a", "no rule test"),
        ("a: {", "t.yaml:1:5: not valid YAML: "),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: 1\na: 2", "t.yaml:2:1: not valid YAML: a is there twice"),
    ],
)
def test_what_is_no_file_of_rule_tests(tmp_path: Path, text: str, told: str) -> None:
    """What is not of the form at all is said in one sentence."""
    done = run(tmp_path, text)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Secret", "--rules-from: there is no Prompt and no PromptPolicy in these files"),
        (
            PROMPT + "---" + PROMPT.replace("greeting", "other"),
            "--rules-from: Prompt greeting, other: give a file with",
        ),
        (PROMPT.replace("version:", "versoin:"), "prompt.yaml:6:3: spec.versoin: unknown field, did you mean version?"),
        (
            PROMPT.replace("8%", "8"),
            "--rules-from: rule own: column 14: a share is between 0% and 100%: did you mean 8%?",
        ),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    """The manifests are checked as lint checks them."""
    manifest = tmp_path / "prompt.yaml"
    manifest.write_text(dedent(text), "utf-8")
    done = run(tmp_path, GOOD, "--rules-from", str(manifest))
    assert done.exit_code == 2, done.output
    assert told in done.stderr
