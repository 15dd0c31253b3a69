"""What `lint` finds in rules and custom metrics: what the operator itself would say of them, from files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prompt_operator.api.policyblocks import RuleSpec
from prompt_operator.api.promptpolicy import CustomMetric
from prompt_operator.core.policy import compiled_rule
from prompt_operator.core.rules.custom import BUILT_IN, Catalogue, catalogue
from prompt_operator.core.rules.errors import RuleError, UnknownMetricError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_operator.cli.manifests import Document
    from prompt_operator.cli.schema import Problem

_RULES = {"Prompt": "rules", "PromptPolicy": "rules", "Experiment": "guardrails"}
_DEFAULT_POLICY = "default"


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
            yield f"spec.customMetrics[{index}]", broken[name]


def bad_rules(document: Document, policy: Document | None) -> Iterator[Problem]:
    """Yield the rules that cannot be used; custom metrics are those of `policy`."""
    known = _catalogue(policy) if policy is not None else BUILT_IN
    member = _RULES.get(document.kind, "")
    for index, rule in enumerate(_listed(document, member)):
        error = _rule_error(rule, known)
        if error is not None:
            part = ".condition" if error.column else ""
            yield f"spec.{member}[{index}]{part}", f"{error}{_elsewhere(document, policy, error)}"


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


def _rule_error(rule: Any, known: Catalogue) -> RuleError | None:
    """Return why the operator cannot use a rule; None also where the schema's findings say it already."""
    try:
        spec = RuleSpec.model_validate(rule)
    except ValidationError:
        return None
    if spec.condition is None or spec.state == "Disabled":
        return None
    compiled = compiled_rule(spec, known)
    return compiled if isinstance(compiled, RuleError) else None
