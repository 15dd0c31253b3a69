"""From a file of rule tests, and the manifests that hold the rules, to what is played."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import inf, isnan
from typing import TYPE_CHECKING, Any, TypeVar

from prompt_operator.api.policyblocks import EvidencePolicy
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.api.promptpolicy import PromptPolicySpec
from prompt_operator.cli.errors import BadFile
from prompt_operator.cli.manifests import schema
from prompt_operator.cli.manifests.documents import ours
from prompt_operator.cli.manifests.places import place_of, position
from prompt_operator.core import duration
from prompt_operator.core.duration import exact
from prompt_operator.core.policy import effective
from prompt_operator.core.rules.baseline import of_values
from prompt_operator.core.rules.errors import RuleError, did_you_mean
from prompt_operator.core.rules.metrics import METRICS, Quantity, Slower
from prompt_operator.core.rules.scenario import Evidence, Expectation, Given
from prompt_operator.core.rules.series import MOST_SAMPLES, Series, expand
from prompt_operator.core.rules.slower import EXAMPLE, canonical, metric_of
from prompt_operator.core.rules.streak import State
from prompt_operator.core.rules.syntax import comparisons, metric_refs
from prompt_operator.core.rules.units import parse_duration, parse_window
from prompt_operator.core.rules.written import read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import timedelta

    from prompt_operator.cli.manifests.documents import Document
    from prompt_operator.cli.manifests.places import Place
    from prompt_operator.cli.testrules.testfile import RuleFile
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.profile import Profile

T = TypeVar("T")

BUCKETS = Quantity.LATENCY_BUCKETS.value
_ANY_NAMESPACE = "default"  # nothing is asked


@dataclass(frozen=True, slots=True)
class Deployed:
    """The specs that hold the rules to test; without a policy, the built-in one."""

    prompt: PromptSpec
    policy: PromptPolicySpec | None = None
    missing: str = ""
    """Name of the policy that the prompt asks for and that is not among the files."""


BUILT_IN = Deployed(PromptSpec(version="1.0.0"))
"""Nothing is deployed: the rules of the built-in policy."""


def deployed(documents: Iterable[Document]) -> Deployed:
    """Take the rules of a Prompt and its policy, or of a policy alone; `BadFile` says what is wrong with them."""
    documents = [document for document in documents if ours(document) and document.kind in {"Prompt", "PromptPolicy"}]
    for document in documents:
        for path, message in schema.problems(document.manifest):
            where = position(document.root, place_of(path))
            raise BadFile(f"{document.file}:{where}: {path}: {message}")
    prompt = _only([document for document in documents if document.kind == "Prompt"])
    policies = [document for document in documents if document.kind == "PromptPolicy"]
    if prompt is None:
        policy = _only(policies)
        if policy is None:
            raise BadFile("--rules-from: there is no Prompt and no PromptPolicy in these files")
        return replace(BUILT_IN, policy=PromptPolicySpec.model_validate(policy.spec))
    spec = PromptSpec.model_validate(prompt.spec)
    name = spec.policy_ref.name if spec.policy_ref else "default"
    found = next((policy for policy in policies if policy.name == name), None)
    return Deployed(
        spec,
        None if found is None else PromptPolicySpec.model_validate(found.spec),
        missing=name if found is None and spec.policy_ref else "",
    )


def _only(documents: list[Document]) -> Document | None:
    if len(documents) > 1:
        names = ", ".join(document.name for document in documents)
        raise BadFile(f"--rules-from: {documents[0].kind} {names}: give a file with the one to test")
    return documents[0] if documents else None


@dataclass(frozen=True, slots=True)
class RuleCase:
    """All that is played for one file."""

    file: RuleFile
    rules: tuple[Rule, ...]
    given: Given
    evidence: Evidence
    expected: tuple[Expectation, ...]


def case_of(file: RuleFile, source: Deployed, profiles: Mapping[str, Profile]) -> RuleCase:
    """Make a case of a file; `BadFile` names everything in it that cannot be used, with line and field."""
    return _Reader(file, source, profiles, []).case()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of a file, and goes on after a mistake, so that all are told at once."""

    file: RuleFile
    source: Deployed
    profiles: Mapping[str, Profile]
    found: list[str]

    def case(self) -> RuleCase:
        policy = self.policy()
        custom = {name: metric for rule in policy.rules for name, metric in rule.metrics.items()}
        given = self.given(METRICS | custom)
        rules = {rule.name: rule for rule in policy.rules}
        expected = tuple(
            each for index in range(len(self.file.content.expect)) for each in self.expectation(index, rules, given)
        )
        evidence = self.evidence(policy)
        if self.found or evidence is None:
            raise BadFile("\n".join(self.found))
        return RuleCase(self.file, policy.rules, given, evidence, expected)

    def complain(self, place: Place, error: RuleError | str) -> None:
        self.found.append(self.file.complaint(place, str(error)))

    def taken(self, place: Place, read: Callable[[], T]) -> T | None:
        """Return what was read; None when it cannot be, which is told."""
        try:
            return read()
        except RuleError as error:
            self.complain(place, error)
            return None

    # --- rules and evidence

    def policy(self) -> Effective:
        """Merge built-in policy, manifests and file, as the operator merges policy and prompt."""
        content, policy = self.file.content, self.source.policy or PromptPolicySpec()
        if content.evidence is not None:
            over = (policy.evidence or EvidencePolicy()).model_dump() | content.evidence.model_dump(exclude_none=True)
            policy = policy.model_copy(update={"evidence": EvidencePolicy.model_validate(over)})
        prompt = self.source.prompt.model_copy(update={"rules": (*self.source.prompt.rules, *content.rules)})
        merged = effective(prompt, policy, _ANY_NAMESPACE)
        own = {rule.name: index for index, rule in enumerate(content.rules)}
        for problem in (*merged.metric_problems, *merged.policy_problems, *merged.problems):
            name, _, cause = problem.removeprefix("rule ").partition(": ")
            if name in own:
                self.complain(("rules", own[name], "condition"), cause.rpartition("; ")[0])
            else:
                self.found.append(f"--rules-from: {problem}")
        return merged

    def evidence(self, policy: Effective) -> Evidence | None:
        """Return what the policy asks for; the profile says what an absent series means."""
        profile = self.profiles.get(policy.profile)
        if profile is None:
            self.complain(
                (), f"unknown metrics.profile '{policy.profile}': {did_you_mean(policy.profile, self.profiles)}"
            )
            return None
        return Evidence(
            policy.min_samples, policy.alert_confidence, policy.rollback_confidence, profile, policy.unknown_after
        )

    # --- series

    def given(self, catalogue: Mapping[str, Metric]) -> Given:
        """Read series and baseline."""
        values: dict[tuple[str, timedelta | None], Series] = {}
        counts: dict[Quantity, Series] = {}
        buckets: list[tuple[float, Series]] = []
        for name, text in self.file.content.series.items():
            place = ("series", name)
            if name == BUCKETS:
                buckets = self.buckets(place, text)
            elif not isinstance(text, str):
                self.complain(place, "must be samples in promtool's shorthand, such as 0+10x30")
            elif name in set(Quantity):
                counts |= {Quantity(name): self.counter(place, text)}
            elif named := self.taken(place, partial(_named, name, catalogue)):
                metric, window = named
                values[metric.name, window] = self.values(place, text, metric)
        return Given(
            duration.parse(self.file.content.interval),
            values,
            counts,
            tuple(buckets),
            of_values(self.baseline(catalogue)),
        )

    def samples(self, place: Place, text: str) -> Series:
        return self.taken(place, partial(expand, text)) or ()

    def values(self, place: Place, text: str, metric: Metric) -> Series:
        series = self.samples(place, text)
        outside = next((value for value in series if value is not None and not _possible(metric, value)), None)
        if outside is not None:
            limits = f"between {metric.low:g} and {metric.high:g}" if metric.high < inf else f"{metric.low:g} or more"
            self.complain(place, f"{metric.name} is {limits}, in base units: {outside:g} is not")
        return series

    def counter(self, place: Place, text: str) -> Series:
        series = self.samples(place, text)
        if any(value is not None and not value >= 0 for value in series):
            self.complain(place, "a counter is never below 0")
        return series

    def buckets(self, place: Place, series: Any) -> list[tuple[float, Series]]:
        """Read the counters of a histogram: upper bound -> observations at or below it."""
        if not isinstance(series, dict):
            self.complain(place, "must be upper bounds with a counter each, such as {1s: 0+9x30, +Inf: 0+10x30}")
            return []
        found = [
            (bound, self.counter((*place, text), str(samples)))
            for text, samples in series.items()
            if (bound := self.taken((*place, text), partial(_bound, text))) is not None
        ]
        if found and inf not in dict(found):
            self.complain(place, "the bucket +Inf, which counts everything, is missing")
        return sorted(found)

    def baseline(self, catalogue: Mapping[str, Metric]) -> dict[str, float]:
        found = {}
        for name, text in self.file.content.baseline.items():
            place = ("baseline", name)
            metric = self.taken(place, partial(_normal, name, catalogue))
            value = self.taken(place, partial(read_value, metric, text)) if metric else None
            if metric and value:
                found[metric.name] = value.value
        return found

    # --- expectations

    def expectation(self, index: int, rules: Mapping[str, Rule], given: Given) -> Iterator[Expectation]:
        """Yield the expectation, unless something is wrong with it."""
        wanted, place = self.file.content.expect[index], ("expect", index)
        rule, at = rules.get(wanted.rule), duration.parse(wanted.at)
        if rule is None:
            self.complain((*place, "rule"), f"no rule '{wanted.rule}' is in force: {did_you_mean(wanted.rule, rules)}")
            return
        if problem := _not_judged(at, given.interval):
            self.complain((*place, "at"), problem)
            return
        value = None
        if wanted.value is not None:
            value = self.taken((*place, "value"), partial(read_value, first_metric(rule), wanted.value))
        yield Expectation(at, wanted.rule, State(wanted.state), value, wanted.rollback)


def _named(name: str, catalogue: Mapping[str, Metric]) -> tuple[Metric, timedelta | None]:
    """Read `metric` or `metric[window]`."""
    written, bracket, window = name.partition("[")
    metric = metric_of(canonical(written), catalogue)
    if metric is None:
        known = [*catalogue, *Quantity, EXAMPLE]
        raise RuleError(f"no metric and no quantity is named so: {did_you_mean(written, known)}")
    return metric, parse_window(window.removesuffix("]")) if bracket else None


def _normal(name: str, catalogue: Mapping[str, Metric]) -> Metric:
    """Read the name of a metric that has a baseline; which window is meant is of no matter."""
    metric, _ = _named(name, catalogue)
    if isinstance(metric.formula, Slower):
        raise RuleError("a share of slow requests has no baseline")
    return metric


def _possible(metric: Metric, value: float) -> bool:
    return isnan(value) or metric.low <= value <= metric.high


def _bound(text: str) -> float:
    if text.lower() in {"+inf", "inf"}:
        return inf
    try:
        return float(text)
    except ValueError:
        return parse_duration(text).total_seconds()


def _not_judged(at: timedelta, interval: timedelta) -> str:
    """Say why nothing is judged at an instant; empty when something is."""
    if not interval:
        return "the interval must be longer than 0s"
    if at // interval >= MOST_SAMPLES:
        return f"more than {MOST_SAMPLES} judgements: choose a longer interval"
    if at % interval:
        before = at // interval * interval
        known = f"{exact(before)} or {exact(before + interval)}"
        return f"rules are judged every {exact(interval)}: did you mean {known}?"
    return ""


def first_metric(rule: Rule) -> Metric:
    """Return the metric that the condition names first."""
    comparison = next(comparisons(rule.condition.predicate))
    return rule.metrics[next(metric_refs(comparison)).name]
