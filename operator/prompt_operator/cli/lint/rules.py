"""What `lint` finds in rules and custom metrics: what the operator itself would say of them, from files alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.api.policyblocks import MetricsSource, RuleSpec
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import CustomMetric, PromptPolicySpec
from prompt_operator.cli.lint.finding import ERROR, Finding
from prompt_operator.cli.manifests.places import place_of, position_within
from prompt_operator.core.policy import compiled_rule, effective
from prompt_operator.core.rules.custom import BUILT_IN, Catalogue, catalogue
from prompt_operator.core.rules.errors import RuleError, UnknownMetricError
from prompt_operator.core.rules.futile import idle_rollback, unreachable
from prompt_operator.core.rules.model import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prompt_operator.cli.manifests.documents import Document
    from prompt_operator.cli.manifests.schema import Problem
    from prompt_operator.core.rules.profile import Profile

_RULES = {"Prompt": "rules", "PromptPolicy": "rules", "Experiment": "guardrails"}
_DEFAULT_POLICY = "default"
_QUERIES = ("value", "numerator", "denominator")


def policy_of(document: Document, documents: Iterable[Document]) -> Document | None:
    """Return the PromptPolicy that a document is, or is under, as far as it is among these."""
    if document.kind == "PromptPolicy":
        return document
    wanted = _policy_name(document)
    for each in documents:
        if each.kind == "PromptPolicy" and (each.namespace, each.name) == (document.namespace, wanted):
            return each
    return None


def _policy_name(document: Document) -> str:
    reference = document.spec.get("policyRef")
    return str(reference.get("name") or "") if isinstance(reference, dict) else _DEFAULT_POLICY


def bad_metrics(document: Document) -> Iterator[Problem]:
    """Yield the custom metrics of a PromptPolicy that cannot be used."""
    broken = _catalogue(document).broken if document.kind == "PromptPolicy" else {}
    for index, metric in enumerate(_listed(document, "customMetrics")):
        name = metric.get("name") if isinstance(metric, dict) else None
        if isinstance(name, str) and name in broken:
            yield _in_metric(f"spec.customMetrics[{index}]", broken[name])


def _in_metric(path: str, message: str) -> Problem:
    """A message about a query begins with the member that holds it."""
    member, _, rest = message.partition(": ")
    return (f"{path}.{member}", rest) if member in _QUERIES else (path, message)


def bad_rules(document: Document, policy: Document | None) -> Iterator[Finding]:
    """Yield the rules that cannot be used; custom metrics are those of `policy`."""
    for place, error in _compiled(document, policy):
        if isinstance(error, RuleError):
            part = ".condition" if error.column else ""
            yield _finding(document, f"{place}{part}", error, _elsewhere(document, policy, error))


def _finding(document: Document, path: str, error: RuleError, hint: str) -> Finding:
    """The column of a condition becomes one of the file, where the file has the condition as it is read."""
    within = position_within(document.root, place_of(path), error.column) if error.column else None
    return Finding(document, ERROR, path, f"{error.message if within else error}{hint}", within)


def futile_rules(document: Document, policy: Document | None) -> Iterator[Problem]:
    """Yield the rules that can be used, and not for what they are meant for."""
    profile, confidence = _in_force(document, policy)
    if profile is None:
        return
    for place, rule in _compiled(document, policy):
        if isinstance(rule, Rule):
            yield from ((f"{place}.condition", message) for message in unreachable(rule, profile))
            if idle := idle_rollback(rule, profile, confidence):
                yield f"{place}.actions", idle


def _in_force(document: Document, policy: Document | None) -> tuple[Profile | None, float]:
    """Return profile and rollback confidence; no profile where these files do not tell.

    Without a policy the built-in one is taken to be in force.
    """
    if policy is None and "policyRef" in document.spec:
        return None, 0.0
    own = document.spec.get("metrics") if document.kind == "Prompt" else None
    try:
        above = PromptPolicySpec.model_validate(policy.spec) if policy is not None else None
        prompt = PromptSpec(version="0.0.0", metrics=None if own is None else MetricsSource.model_validate(own))
    except ValidationError:
        return None, 0.0  # the schema's findings say so
    merged = effective(prompt, above, _DEFAULT_POLICY)
    return _profiles().get(merged.profile), merged.rollback_confidence


@cache
def _profiles() -> Mapping[str, Profile]:
    return load_profiles()


def _compiled(document: Document, policy: Document | None) -> Iterator[tuple[str, Rule | RuleError]]:
    """Yield where each rule stands, and what the operator makes of it."""
    known = _catalogue(policy) if policy is not None else BUILT_IN
    member = _RULES.get(document.kind, "")
    for index, rule in enumerate(_listed(document, member)):
        compiled = _rule(rule, known)
        if compiled is not None:
            yield f"spec.{member}[{index}]", compiled


def _elsewhere(document: Document, policy: Document | None, error: RuleError) -> str:
    """A metric that nobody here knows may be one of the policy that is named and not here."""
    if policy is not None or not isinstance(error, UnknownMetricError) or "policyRef" not in document.spec:
        return ""
    return f" (if PromptPolicy {_policy_name(document)} declares it, lint both files together)"


def _catalogue(policy: Document) -> Catalogue:
    found = []
    for metric in _listed(policy, "customMetrics"):
        try:
            found.append(CustomMetric.model_validate(metric))
        except ValidationError:
            continue  # the schema's findings say so
    return catalogue(tuple(found), policy.namespace or _DEFAULT_POLICY)


def _listed(document: Document, member: str) -> list[Any]:
    given = document.spec.get(member)
    return given if isinstance(given, list) else []


def _rule(rule: Any, known: Catalogue) -> Rule | RuleError | None:
    """Compile a rule as the operator does; None without a condition, and where the schema's findings say the rest."""
    try:
        spec = RuleSpec.model_validate(rule)
    except ValidationError:
        return None
    if spec.condition is None or spec.state == "Disabled":
        return None
    return compiled_rule(spec, known)
