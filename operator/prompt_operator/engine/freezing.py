"""Measures what was normal before an activation, once: a few queries with an explicit time, beside the rule clock.

Prometheus keeps history, so nothing waits for it: an activation goes on at once, and what was served before is measured
afterwards as it was until then. While Prometheus is down it is tried again; a process that starts asks anew. Nothing
here writes: what was found is a fact for the reconcile that is woken.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.api.common import Measurement, rfc3339
from prompt_operator.core.baseline import LADDER, measurement
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.measure import Identity, needs_of
from prompt_operator.core.rules.metrics import CustomSeries, quantities
from prompt_operator.ports import DEFAULT_SOURCE, GiveUp, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from prompt_operator.core.baseline import Freeze, Reference
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.measure import Need
    from prompt_operator.core.rules.metrics import Metric, Series
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.promql import Answer
    from prompt_operator.engine.store import Name
    from prompt_operator.ports import Clock, Metrics

_log = logging.getLogger(__name__)

LAG = timedelta(seconds=30)
"""The last samples before an activation have to be scraped first; a source may add a lag of its own."""
PURSUED = timedelta(hours=24)
"""Older activations are not asked about: Prometheus may have forgotten, and a start would ask about all prompts."""
_AT_MOST = 100
_PROMPT_HOURS = timedelta(hours=240)
"""What one query may read: a hundred prompts over an hour, ten over a day."""
_FAILURES = 3
"""In one round, after which the next tick goes on: a source that is down is not asked for every prompt."""


class _Group(NamedTuple):
    """What can be asked in common."""

    source: str
    profile: str
    window: timedelta
    at: datetime
    custom: frozenset[Series]
    """A policy's own queries are asked apart: one that cannot be answered must not keep the others from it."""


@dataclass(slots=True)
class _Case:
    """One reference that is to be measured for one prompt."""

    of: Reference
    source: str
    profile: str
    min_samples: int
    pending: dict[str, tuple[Metric, tuple[timedelta, ...]]] = field(default_factory=dict)
    """By name of the metric: the windows that are still to be tried."""
    found: dict[str, Measurement] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What cannot be measured, and why."""

    def is_for(self, of: Reference, policy: Effective) -> bool:
        asked = (of, *_measured_by(policy))
        return asked == (self.of, self.source, self.profile, self.min_samples)

    def groups(self) -> dict[_Group, tuple[Metric, ...]]:
        """Return what is to be measured next, by what can be asked in common."""
        found: dict[_Group, tuple[Metric, ...]] = {}
        for metric, windows in self.pending.values():
            custom = frozenset(series for series in quantities(metric) if isinstance(series, CustomSeries))
            group = _Group(self.source, self.profile, windows[0], self.of.until, custom)
            found[group] = (*found.get(group, ()), metric)
        return found

    def take_in(self, metric: Metric, answer: Measurement | str) -> None:
        """Keep what was measured; after a window that was too short go on to the next."""
        if metric.name not in self.pending:
            return  # no rule names it any more
        _, (_, *longer) = self.pending.pop(metric.name)
        if isinstance(answer, Measurement):
            self.found[metric.name] = answer
        elif longer:
            self.pending[metric.name] = metric, tuple(longer)
        else:
            self.missing[metric.name] = answer


class _Asked(NamedTuple):
    """The part of a query that is about one prompt."""

    name: Name
    case: _Case
    metrics: tuple[Metric, ...]

    @property
    def identity(self) -> Identity:
        """The version that is measured."""
        return Identity(self.name.namespace, self.name.name, self.case.of.version)


class Freezing:
    """Measures references, one query at a time.

    Args:
        sources: where queries go, by name.
        profiles: metric profiles by name.
        clock: the wall clock.
        wake: called with the name of a prompt about whose baseline something is known now.
    """

    def __init__(
        self,
        sources: Mapping[str, Metrics],
        profiles: Mapping[str, Profile],
        clock: Clock,
        wake: Callable[[Name], None],
    ) -> None:
        self._sources, self._profiles, self._clock, self._wake = sources, profiles, clock, wake
        self._cases: dict[Name, _Case] = {}

    def want(self, name: Name, freeze: Freeze | None, policy: Effective) -> None:
        """Have this measured in the next rounds; None: nothing is missing. What is known already stays known."""
        if freeze is None:
            self.forget(name)
            return
        case = self._cases.get(name)
        if case is None or not case.is_for(freeze.of, policy):
            case = self._cases[name] = _Case(freeze.of, *_measured_by(policy))
        answered = {*case.found, *case.missing}
        wanted = {metric.name: (metric, windows) for metric, windows in freeze.metrics if metric.name not in answered}
        case.pending = {name: case.pending.get(name, asked) for name, asked in wanted.items()}
        self._give_up(case)

    def forget(self, name: Name) -> None:
        """Measure nothing for this prompt."""
        self._cases.pop(name, None)

    def found(self, name: Name) -> tuple[Measurement, ...]:
        """Return what was measured for this prompt and is not in its status yet."""
        case = self._cases.get(name)
        return tuple(case.found.values()) if case is not None else ()

    def missing(self, name: Name) -> Mapping[str, str]:
        """Return the metrics that could not be measured, and why."""
        case = self._cases.get(name)
        return dict(case.missing) if case is not None else {}

    async def forever(self, every: float) -> None:
        """Measure what is wanted, every so many seconds."""
        while True:
            await asyncio.sleep(every)
            try:
                await self.round()
            except Exception:  # noqa: BLE001  one bad round must not end it
                _log.exception("baselines could not be measured; they stay unknown, the next round tries again")

    async def round(self) -> None:
        """Ask once for everything that is pending; what was too little over a window is asked over the next at once."""
        failures = 0
        failed: set[tuple[Name, _Group]] = set()
        for _ in LADDER:
            for group, asked in list(self._groups(failed)):
                try:
                    answers = await self._ask(group, asked)
                except (Retry, GiveUp) as error:
                    _log.warning("the baselines of %d prompts are not measured yet: %s", len(asked), error)
                    failed.update((each.name, group) for each in asked)
                    self._ask_last(asked)
                    failures += 1
                    if failures == _FAILURES:
                        return
                else:
                    self._take_in(group, asked, answers)

    def _groups(self, failed: Container[tuple[Name, _Group]]) -> Iterator[tuple[_Group, Sequence[_Asked]]]:
        """Yield what one query can ask in common, without what failed in this round."""
        groups: dict[_Group, list[_Asked]] = {}
        for name, case in self._cases.items():
            if not self._is_due(case):
                continue
            for group, metrics in case.groups().items():
                if (name, group) not in failed:
                    groups.setdefault(group, []).append(_Asked(name, case, metrics))
        for group, asked in groups.items():
            most = min(_AT_MOST, max(1, _PROMPT_HOURS // group.window))
            for start in range(0, len(asked), most):
                yield group, asked[start : start + most]

    def _ask_last(self, asked: Iterable[_Asked]) -> None:
        """Let the next round begin with others: a few that always fail must not end every round."""
        for name, case, _ in asked:
            if self._cases.get(name) is case:
                self._cases[name] = self._cases.pop(name)

    def _is_due(self, case: _Case) -> bool:
        metrics = self._sources.get(case.source)
        behind = metrics.lag if metrics is not None else timedelta()
        return case.of.until + LAG + behind <= self._clock.now()

    async def _ask(self, group: _Group, asked: Iterable[_Asked]) -> dict[Need, Answer]:
        profile, metrics = self._profiles.get(group.profile), self._sources.get(group.source)
        if profile is None or metrics is None:
            return {}
        needs = {need for each in asked for metric in each.metrics for need in needs_of(metric, group.window)}
        answers: dict[Need, Answer] = {}
        for query in promql.queries_of(profile, needs, [each.identity for each in asked]):
            answers[query.need] = promql.absorb(query, await metrics.query(query.promql, group.at))
        return answers

    def _take_in(self, group: _Group, asked: Iterable[_Asked], answers: Mapping[Need, Answer]) -> None:
        profile = self._profiles.get(group.profile)
        for each in asked:
            name, case, metrics = each
            reading = promql.reading(profile, each.identity, answers) if profile is not None else {}
            for metric in metrics:
                one = measurement(metric, case.of, group.window, reading, min_samples=case.min_samples)
                case.take_in(metric, one)
            if self._cases.get(name) is case:
                self._wake(name)

    def _give_up(self, case: _Case) -> None:
        """Stop asking about what is long past."""
        if case.pending and self._clock.now() - case.of.until > PURSUED:
            why = f"{case.of.version} before {rfc3339(case.of.until)}: not measured within 24h"
            case.missing |= dict.fromkeys(case.pending, why)
            case.pending = {}


def _measured_by(policy: Effective) -> tuple[str, str, int]:
    """Return source, profile and the least number of samples."""
    return policy.source or DEFAULT_SOURCE, policy.profile, policy.min_samples
