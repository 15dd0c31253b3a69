"""What `kubectl describe` shows of the Prompt: what matters of it, and a form that is the same after every run."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from devcluster.demo.bot import PROMPT
from devcluster.demo.stage import NAMESPACE, Stage

_KEPT = ("Name", "Namespace", "Spec", "Status", "Events")
_KEPT_OF_STATUS = ("Active Version", "Conditions", "Decision", "Held")
_NOT_KEPT = ("Last Transition Time", "Observed Generation")
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"-\d{8}t\d{6}z-[0-9a-f]{8}"), "-<time>-<id>"),
    (re.compile(r"(sha256:[0-9a-f]{8})[0-9a-f]{56}"), r"\1…"),
    (re.compile(r"(error_rate|success_rate|at least|at most) [\d.]+%"), r"\1 <n>%"),
    (re.compile(r"[\d.,]+ of [\d.,]+ in "), "<n> of <n> in "),
    (re.compile(r"^( +(?:Bound|Samples|Value): +)[\d.]+$"), r"\1<n>"),
)
_QUERY = re.compile(r"; query: .*$")  # an Event's; the evidence names it, too
_AGE = re.compile(r"^  (\S+) +(\S+) +(?:\S+(?: \(x\d+ over \S+\))?) +(\S+) +(.*)$")

NEXT = """
Next:
  ./operator/dev demo --good            the same release with a good version: nothing is rolled back
  ./operator/dev demo --json FILE       the figures of a run
  eval "$(./operator/dev up)"           a cluster that stays, with KUBECONFIG and PROMETHEUS_URL set; then
  .venv/bin/prompt-operator run         the operator on it, and in another shell
  kubectl apply --server-side -f manifests/samples/smallest.yaml
  ./operator/dev test                   all tests, on a real API server and a real Prometheus
"""


def described(stage: Stage) -> str:
    """Return what the real kubectl prints."""
    return stage.cluster.kubectl("describe", "prompt", PROMPT, "--namespace", NAMESPACE).stdout


def shortened(text: str) -> str:
    """Leave out the lines that say nothing about the rollback."""
    return "\n".join(_kept(text.splitlines())) + "\n"


def normalised(text: str) -> str:
    """Return the shortened text with times, ids and figures masked, hashes cut, and Events in a fixed order."""
    head, _, events = shortened(text).partition("Events:\n")
    rows = sorted(_AGE.sub(r"  \1  \2  <age>  \3  \4", row) for row in events.splitlines()[2:])
    lines = [*head.splitlines(), "Events:", "  Type  Reason  Age  From  Message", *rows]
    return "\n".join(map(_masked, lines)) + "\n"


def epilogue(figures: Mapping[str, Any], text: str) -> str:
    """Return what is printed at the end: the figures in a sentence, what kubectl shows, what to try next."""
    return f"\n{_summary(figures)}\n\n$ kubectl describe prompt {PROMPT}   (shortened)\n{shortened(text)}{NEXT}"


def _summary(figures: Mapping[str, Any]) -> str:
    rates = "{before:.1%} before, {during:.1%} at the worst, {after:.1%} after".format(**figures["errorRate"])
    if not figures["rolledBack"]:
        return f"No rollback: {figures['activeAfter']} stays. Error rate within a minute: {rates}."
    return (
        f"{figures['activeBefore']} was rolled back to {figures['activeAfter']}"
        f" {figures['breach_to_switch_s']} s after its first failed answer. Error rate within a minute: {rates}.\n"
        f"From apply to the new ConfigMap: {figures['apply_to_configmap_ms']} ms."
    )


def _kept(lines: list[str]) -> Iterator[str]:
    """Yield the lines whose block is wanted; a block is named by the line above it that is indented less."""
    block, inner = "", ""
    for line in _deciding(lines):
        indent, name = len(line) - len(line.lstrip()), line.strip().partition(":")[0]
        if indent == 0:
            block, inner = name, ""
        elif indent == 2:  # noqa: PLR2004 - the members of a block
            inner = name
        if block in _KEPT and name not in _NOT_KEPT and (block != "Status" or not inner or inner in _KEPT_OF_STATUS):
            yield _QUERY.sub("", line).rstrip()


def _deciding(lines: list[str]) -> Iterator[str]:
    """Yield all lines, but of a decision's evidence only the first piece: that of the rule that decided."""
    pieces, depth = 0, 0
    for line in lines:
        indent, name = len(line) - len(line.lstrip()), line.strip().partition(":")[0]
        if name == "Evidence":
            pieces, depth = 0, indent
        elif indent <= depth:
            depth = 0
        elif depth and name == "At":
            pieces += 1
        if not depth or pieces < 2:  # noqa: PLR2004 - the second piece and those behind it
            yield line


def _masked(line: str) -> str:
    for pattern, mask in _MASKS:
        line = pattern.sub(mask, line)
    return line
